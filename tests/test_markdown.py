"""The Markdown extension alone: a fragment that is complete."""

import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import commands
import markdown
import pytest
from bs4 import BeautifulSoup
from conftest import INDUCTION, MINILM

from mkdocs_attnviz import fence, fence_format, fence_validator
from mkdocs_attnviz.hosts.markdown import Undrawn
from mkdocs_attnviz.settings import SettingsError

BLOCK = f"```attention\nmodel: {MINILM}\ntext: The cat sat on the mat\n```\n"


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path, monkeypatch):
    """Lock file and cache are made in the present folder by default."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def convert(shared_cache, tmp_path):
    def convert(text, *extensions, **settings):
        settings = {"cache_dir": str(shared_cache), "lock_file": str(tmp_path / "attnviz.lock")} | settings
        html = markdown.markdown(
            text, extensions=["mkdocs_attnviz", *extensions], extension_configs={"mkdocs_attnviz": settings}
        )
        return BeautifulSoup(html, "html5lib")

    return convert


@pytest.mark.parametrize("extensions", [[], ["fenced_code"], ["pymdownx.superfences"], ["extra"], ["attr_list"]])
def test_a_fragment_holds_everything(convert, extensions):
    page = convert(f"# Cats\n\n{BLOCK}\nAfter.\n\n```python\nprint(1)\n```\n", *extensions)
    (figure,) = page.select("figure.attnviz")
    data = json.loads(figure.select_one("attn-viz")["data-figure"])
    assert all("data" in layer for layer in data["stacks"]["self"]["layers"])
    assert "attn-viz" in page.select_one("script:not([src])").string
    assert "After." in page.get_text()


def test_nested_fences_without_superfences(convert):
    page = convert(
        "- item\n\n    ```attention\n"
        + "    text: a\n"
        + "    ```\n\n        ```attention\n        code\n        ```\n"
    )
    assert len(page.select("li [role=alert]")) == 1
    assert "```attention" in page.get_text()


def test_two_figures_share_their_scripts(convert):
    page = convert(BLOCK + "\n" + BLOCK.replace("cat", "dog"))
    assert len(page.select("figure.attnviz")) == 2
    assert len(page.select("script")) == 3


def test_assets_in_a_folder(convert, tmp_path):
    text = BLOCK.replace("The cat", "many words " * 60)
    page = convert(text, assets_dir=str(tmp_path), assets_url="/static/attn")
    scripts = [Path(script["src"]) for script in page.select("script")]
    assert [path.parent for path in scripts] == [Path("/static/attn")] * 3
    names = [path.name.rpartition("-")[0] for path in scripts]
    assert names == ["attnviz", "attnviz-attention", "attnviz-head"]
    assert all((tmp_path / path.name).is_file() for path in scripts)
    data = json.loads(page.select_one("attn-viz")["data-figure"])
    for layer in data["stacks"]["self"]["layers"]:
        assert (tmp_path / layer["file"]).read_bytes().startswith(b'attnvizData("')


def test_relative_folders_start_from_base_dir(convert, tmp_path):
    shutil.copytree(INDUCTION, tmp_path / "models" / "copy")
    page = convert(BLOCK.replace(MINILM, "models/copy"), base_dir=str(tmp_path), assets_dir="made")
    assert page.select("attn-viz")
    assert list((tmp_path / "made").glob("attnviz-*.js"))


def test_the_line_of_a_mistake(convert):
    page = convert("# Cats\n\ntext\n\n```attention\nmodel: m\n```\n")
    assert "The block has no text" in page.select_one("[role=alert]").get_text()
    assert "(line 5)" in page.select_one("[role=alert]").get_text()


def test_a_page_without_figures_gets_no_script(convert):
    assert not convert("# Nothing\n\nhere").select("script")


def test_what_failed_once_is_tried_again(convert, tmp_path):
    """A notebook or a server converts for hours in one process."""
    text = BLOCK.replace(MINILM, str(tmp_path / "model"))
    assert convert(text).select("[role=alert]")
    shutil.copytree(INDUCTION, tmp_path / "model")
    assert convert(text).select("attn-viz")


def test_one_worker_for_many_conversions(tmp_path):
    def workers():
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "engine.worker"], capture_output=True, text=True)
        return len(found.stdout.split())

    before = workers()  # those of other tests in this process
    settings = {"cache_dir": str(tmp_path / "cache"), "lock_file": str(tmp_path / "attnviz.lock")}
    for word in ("cat", "dog", "hen"):
        text = BLOCK.replace("cat", word)
        markdown.markdown(text, extensions=["mkdocs_attnviz"], extension_configs={"mkdocs_attnviz": settings})
    assert workers() == before + 1


def test_unknown_settings_are_refused(convert):
    with pytest.raises(KeyError, match="mkdocs_attnviz has no setting 'devise'"):
        convert(BLOCK, devise="cpu")


def test_settings_must_have_values_that_they_can_have(convert):
    with pytest.raises(SettingsError, match="Setting `strict` is 'maybe'"):
        convert(BLOCK, strict="maybe")


# ---- strict

TWO_MISTAKES = f"{BLOCK}\n```attention\nmodle: m\n```\n\n```attention\nmodel: m\n```\n"


def test_strict_names_every_block_that_cannot_be_drawn(convert):
    with pytest.raises(Undrawn) as raised:
        convert(TWO_MISTAKES, strict=True)
    first, second = str(raised.value).splitlines()
    assert first == "line 7: `modle` is not a key of the block (did you mean `model`?)."
    assert second.startswith("line 10: The block has no `text`")


def test_strict_lets_a_good_page_pass(convert):
    assert convert(BLOCK, strict=True).select("attn-viz")


# ---- a custom fence of SuperFences, without our extension


def with_fence(formatter=fence):
    entry = {"name": "attention", "class": "attention", "format": formatter, "validator": fence_validator}
    return markdown.Markdown(
        extensions=["pymdownx.superfences"], extension_configs={"pymdownx.superfences": {"custom_fences": [entry]}}
    )


@pytest.fixture
def cached(shared_cache):
    return fence_format(cache_dir=str(shared_cache), lock_file=str(shared_cache / "attnviz.lock"))


def test_a_custom_fence_gives_a_complete_fragment(cached):
    page = BeautifulSoup(with_fence(cached).convert(BLOCK + "\n" + BLOCK.replace("cat", "dog")), "html5lib")
    ids = [figure["id"] for figure in page.select("figure.attnviz")]
    assert ids == ["attnviz-1", "attnviz-2"]
    assert len(page.select("script")) == 3


def test_a_custom_fence_has_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "<attn-viz" in with_fence().convert(BLOCK)
    assert list(tmp_path.glob(".attnviz/*/*.attnviz"))


@pytest.mark.parametrize("header", ['attention layer="3"', "{ .attention layer=3 }"])
def test_options_in_a_custom_fence_s_header(cached, header):
    page = BeautifulSoup(with_fence(cached).convert(BLOCK.replace("attention", header)), "html5lib")
    assert json.loads(page.select_one("attn-viz")["data-figure"])["options"]["layer"] == 3


def test_lines_in_a_custom_fence_s_messages(cached):
    """Each conversion of one Markdown instance is a page of its own."""
    md = with_fence(cached)
    mistake = "```attention\nmodel: m\ntxt: a\n```\n"
    assert "(line 5)" in md.convert(f"# Cats\n\n{mistake}")
    assert "(line 3)" in md.reset().convert(mistake)
    assert "(line 8)" in md.reset().convert(f"> {mistake[:-1].replace(chr(10), chr(10) + '> ')}\n\n{mistake}")


def test_settings_of_a_custom_fence(shared_cache):
    named = fence_format(
        models={"cats": MINILM}, cache_dir=str(shared_cache), lock_file=str(shared_cache / "attnviz.lock")
    )
    assert "<attn-viz" in with_fence(named).convert(BLOCK.replace(MINILM, "cats"))
    with pytest.raises(KeyError, match="no setting 'devise'"):
        fence_format(devise="cpu")


def test_a_custom_fence_can_be_strict(shared_cache):
    with pytest.raises(Undrawn, match="line 7: `modle`"):
        with_fence(fence_format(strict=True, cache_dir=str(shared_cache))).convert(TWO_MISTAKES)


def test_a_custom_fence_can_be_pickled(cached):
    """Zensical does so, to know whether the configuration has changed."""
    assert pickle.loads(pickle.dumps(cached)) == cached


CUSTOM_FENCE = """
site_name: Test
theme: {{name: mkdocs, highlightjs: false}}
plugins: []
markdown_extensions:
  - pymdownx.superfences:
      custom_fences:
        - name: attention
          class: attention
          format: !!python/object/apply:mkdocs_attnviz.fence_format
            kwds: {{cache_dir: {cache}, lock_file: {cache}/attnviz.lock, strict: true}}
          validator: !!python/name:mkdocs_attnviz.fence_validator
"""


def test_a_custom_fence_in_mkdocs_without_our_plugin(site, shared_cache):
    site.write("index.md", BLOCK)
    _, _, *command = site.command()
    (site.folder / "mkdocs.yml").write_text(CUSTOM_FENCE.format(cache=shared_cache))
    built = commands.run(*command)
    assert built.returncode == 0, built.stderr
    assert "<attn-viz" in (site.folder / "site" / "index.html").read_text()
    site.write("index.md", TWO_MISTAKES)
    built = commands.run(*command)
    assert built.returncode == 1
    assert "index.md:7: `modle` is not a key of the block" in built.stderr
    assert "Traceback" not in built.stderr


def test_states_in_links_within_the_page_are_checked(convert, caplog):
    links = "[good](#cat~layer=5&heads=1), [far](other.html#cat~layer=6)\n\n[this](#cat~heads=1&layer=6)"
    page = f"{BLOCK.replace('text:', 'id: cat' + chr(10) + 'text:')}\n{links}\n"
    convert(page)
    line = page.splitlines().index("[this](#cat~heads=1&layer=6)") + 1
    wrong = f"line {line}: The link to `#cat~heads=1&layer=6` cannot be followed: `layer` is 6; "
    (told,) = [record.message for record in caplog.records if "cannot be followed" in record.message]
    assert told.startswith(wrong)
    with pytest.raises(Undrawn, match="cannot be followed"):
        convert(page, strict=True)
