"""One bad object costs one block: never the build, never another block, and nobody reads a traceback."""

import base64
import json
import resource
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup
from conftest import INDUCTION

from mkdocs_attnviz.block import Source
from mkdocs_attnviz.figure import MARK, placeholder, sources

GOOD = Source("model: mine\ntext: a b c")


def forged(carried):
    return f'<figure class="attnviz" {MARK}{base64.urlsafe_b64encode(carried.encode()).decode()}"></figure>'


def changed(**fields):
    return json.dumps(json.loads(GOOD.to_json()) | fields)


FORGED = {
    "a number for the body": changed(body=5),
    "no body": changed(body=None),
    "a list for the header": changed(header=["a"]),
    "a number in the header": changed(header={"text": 5}),
    "deep JSON in the header": changed(header={"text": 1}).replace("1", "[" * 90_000 + "]" * 90_000),
    "deep JSON": "[" * 90_000 + "]" * 90_000,
    "a list for the page": changed(page=["a.md"]),
    "a text for the line": changed(line="3"),
    "true for the line": changed(line=True),
    "a fraction for the line": changed(line=0.5),
    "a line before the first": changed(line=-1),
    "a line with 4,000 digits": changed(line=10**4000),
    "a mapping for the problem": changed(problem={"a": 1}),
    "a field too many": changed(more=1),
    "fields too few": json.dumps({"body": "model: mine"}),
    "a list": "[]",
    "no JSON": "{",
    "nothing": "",
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_placeholder_that_is_none_of_ours(kind):
    assert sources(forged(FORGED[kind]) + placeholder(GOOD)) == [GOOD]


CONVERT = f"""
import logging, markdown, sys
logging.basicConfig(format="%(message)s")
settings = {{"models": {{"mine": {INDUCTION!r}}}}}
def convert(text, **more):
    md = markdown.Markdown(extensions=["mkdocs_attnviz"], extension_configs={{"mkdocs_attnviz": settings | more}})
    sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    print(md.convert(text))
"""
BLOCK = "```attention\nmodel: mine\ntext: a b c\nid: {}\n```\n\n"


def converted(code, folder, limit=None):
    """The page that `code` prints, and what was said meanwhile."""
    run = subprocess.run(
        [sys.executable, "-"],
        input=CONVERT + code,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        preexec_fn=limit and (lambda: resource.setrlimit(*limit)),
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    page = BeautifulSoup(run.stdout, "html5lib")
    assert not [alert for alert in page.select('[role="alert"]') if "Error" in alert.get_text()]
    return page, run.stderr


def test_forged_placeholders_beside_a_good_one(tmp_path):
    """In raw HTML, where anybody may write them."""
    text = "".join(f"{forged(carried)}\n\n" for carried in FORGED.values()) + BLOCK.format("good")
    page, log = converted(f"convert({text!r})", tmp_path)
    assert len(page.select("#good > attn-viz")) == 1
    assert log == ""


def test_a_full_disk_costs_the_figures_that_need_it(tmp_path):
    """Nothing is written in part: the next build would take that for the whole."""
    text = BLOCK.format("one") + BLOCK.format("two")
    code = f"convert({text!r}, assets_dir='assets', cache_dir={str(tmp_path / 'cache')!r})"
    converted(code, tmp_path)
    for script in (tmp_path / "assets").iterdir():
        script.unlink()
    page, log = converted(code, tmp_path, (resource.RLIMIT_FSIZE, (50_000, 50_000)))
    alerts = [alert.get_text() for alert in page.select('[role="alert"]')]
    assert len(alerts) == 2
    assert all("cannot be written into the site (File too large)" in alert for alert in alerts)
    assert log.count("cannot be written into the site") == 2
    assert list((tmp_path / "assets").iterdir()) == []
    page, log = converted(code, tmp_path)
    assert len(page.select("attn-viz")) == 2
    assert log == ""


def test_a_worker_that_cannot_be_started(tmp_path):
    """As where a user may have no more processes; here there are no more pipes."""
    import_all = "convert('', on_missing='warn')\nimport os, mkdocs_attnviz.models.client\n"
    full = (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + 3, 999))\n"
        f"convert({BLOCK.format('one')!r}, cache_dir={str(tmp_path / 'cache')!r})"
    )
    page, log = converted(f"{import_all}import resource\n{full}", tmp_path)
    (alert,) = page.select('[role="alert"]')
    assert "Model 'mine' could not be run: its process could not be started (Too many open files)." in alert.get_text()
    assert log.count("could not be started") == 1


VANISHES = """
from mkdocs_attnviz.cache import Cache
put, left = Cache.put, {left}
def put_and_lose(self, key, *entry):
    global left
    put(self, key, *entry)
    left -= 1
    if left >= 0:
        self.path(key).unlink()
Cache.put = put_and_lose
"""


@pytest.mark.parametrize("times", [1, 9])
def test_an_entry_that_vanishes_before_it_is_drawn(tmp_path, times):
    """It is computed again; an alert has a reason."""
    code = VANISHES.format(left=times) + f"convert({BLOCK.format('one')!r}, cache_dir={str(tmp_path / 'cache')!r})"
    page, _ = converted(code, tmp_path)
    if times == 1:
        assert len(page.select("#one > attn-viz")) == 1
    else:
        (alert,) = page.select('[role="alert"]')
        assert "Its cache entry was written and is gone again, twice in this build." in alert.get_text()
