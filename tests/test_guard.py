"""One bad object costs one block: never the build, never another block, and nobody reads a traceback."""

import base64
import collections
import io
import json
import os
import pwd
import resource
import subprocess
import sys

import pytest
import torch
from bs4 import BeautifulSoup
from conftest import INDUCTION, MINILM
from safetensors.torch import save_file

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.placeholders import MARK, placeholder, sources
from mkdocs_attnviz.models.engine.client import _collect_lines
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.publishing import without_folders
from mkdocs_attnviz.settings import Settings

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
    """Return the page that `code` prints, and the log."""
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
    """Anybody may write them in raw HTML."""
    text = "".join(f"{forged(carried)}\n\n" for carried in FORGED.values()) + BLOCK.format("good")
    page, log = converted(f"convert({text!r})", tmp_path)
    assert len(page.select("#good attn-viz")) == 1
    assert log == ""


def test_a_full_disk_costs_the_figures_that_need_it(tmp_path):
    """Nothing is written in part, since the next build would take it for the whole."""
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
    """A user may have no more processes; here there are no more pipes."""
    import_all = "convert('', on_missing='warn')\nimport os, mkdocs_attnviz.models.engine.client\n"
    full = (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + 3, 999))\n"
        f"convert({BLOCK.format('one')!r}, cache_dir={str(tmp_path / 'cache')!r})"
    )
    page, log = converted(f"{import_all}import resource\n{full}", tmp_path)
    (alert,) = page.select('[role="alert"]')
    assert "Model 'mine' could not be run: its process could not be started (Too many open files)." in alert.get_text()
    assert log.count("could not be started") == 1


VANISHES = """
from mkdocs_attnviz.cache.folder import Cache
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
        assert len(page.select("#one attn-viz")) == 1
    else:
        (alert,) = page.select('[role="alert"]')
        assert "Its cache entry was written and is gone again, twice in this build." in alert.get_text()


# ---- what a page or a console cannot take


def test_a_token_of_two_megabytes(tmp_path):
    """The middle of it is left out, in the data, the picture and the sentence."""
    tokens = json.dumps(["a" * 2_000_000, "<" * 2_000_000, "c"])
    save_file({"self.0": torch.full((1, 3, 3), 1 / 3)}, tmp_path / "x.safetensors", {"tokens": tokens})
    page, log = converted("convert('```attention\\ntensors: x.safetensors\\n```')", tmp_path)
    assert log == ""
    (figure,) = page.select("figure.attnviz")
    page.script.decompose()
    assert "aaa…aaa" in json.loads(figure.find("attn-viz")["data-figure"])["label"]
    assert len(str(figure)) < 50_000


FORBIDDEN = "\0\a\x1b\x7f\x85\ufffe\uffff"


def test_control_characters_in_a_caption_and_in_an_alert(tmp_path):
    """XML, and so an EPUB, has none of them."""
    nasty = json.dumps(f"a{FORBIDDEN}b")
    good, bad = (
        f"```attention\nmodel: mine\ntext: a b\n{line}\n```\n\n" for line in (f"caption: {nasty}", f"{nasty}: 1")
    )
    page, _ = converted(f"convert({good + bad!r})", tmp_path)
    caption, alert = page.figcaption.get_text(), page.select_one('[role="alert"]').get_text()
    shown = "a␀␇␛" + "�" * 4 + "b"
    assert caption == shown
    assert shown in alert
    assert not set(FORBIDDEN) & set(caption + alert)


def test_messages_in_pages_name_no_folder_of_this_machine(tmp_path):
    """Those in the log do."""
    model = tmp_path / "broken"
    model.mkdir()
    (model / "config.json").write_text("{")
    blocks = "".join(f"```attention\nmodel: {name}\ntext: a\n```\n\n" for name in ("broken", "./gone"))
    page, log = converted(f"convert({blocks!r}, base_dir={str(tmp_path)!r})", "/")
    alerts = [alert.get_text() for alert in page.select('[role="alert"]')]
    assert len(alerts) == 2
    assert not [alert for alert in alerts if str(tmp_path.parent) in alert]
    assert "looked in the site's folder" in alerts[1]
    assert log.count(str(tmp_path)) >= 2


@pytest.mark.parametrize(
    ("message", "published"),
    [
        ("{base}/models/x/config.json is bad", "models/x/config.json is bad"),
        ("looked in {base}, and", "looked in the site's folder, and"),
        ("looked in {base}.", "looked in the site's folder."),
        ("'{base}2/x' is bad", "'…/x' is bad"),
        (f"{sys.prefix}/lib/model.bin: no such file", "…/model.bin: no such file"),
        ("/tmp/here/and/there: as written", "/tmp/here/and/there: as written"),
        ("see https://example.org/usr/lib/x or 3/4", "see https://example.org/usr/lib/x or 3/4"),
        ("write /no-such-folder/x/y", "write /no-such-folder/x/y"),
    ],
)
def test_what_of_a_path_is_published(tmp_path, message, published):
    assert without_folders(message.format(base=tmp_path), tmp_path, "model: /tmp/here/and/there") == published


def test_a_user_that_the_system_does_not_know(monkeypatch):
    """A container may run under a user number without a name and without a home."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert resolve(MINILM, None, Settings(), ".").identity.startswith("sha256:")


def test_a_console_without_our_characters(tmp_path):
    name = "ü ’ 😀.md"
    (tmp_path / name).write_text("```attention\nmodel: m\ntext: a\n```\n")

    def status(*options):
        command = [sys.executable, "-m", "mkdocs_attnviz", "status", *options, name]
        environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout

    assert "ü \\u2019 \\U0001f600.md:1" in status().decode("latin-1")
    assert json.loads(status("--json").decode("latin-1"))["blocks"][0]["page"] == name


def test_output_of_a_worker_without_a_line_break():
    """The output is read, but only its end is stored."""
    kept = collections.deque(maxlen=20)
    _collect_lines(io.BytesIO(b"x" * 50_000_000 + b"\nthe end\n"), kept)
    assert sum(map(len, kept)) <= 20 * 10_000
    assert kept[-1] == "the end"
