"""The Markdown extension alone: a fragment that is complete."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import markdown
import pytest
from bs4 import BeautifulSoup
from conftest import INDUCTION, MINILM

BLOCK = f"```attention\nmodel: {MINILM}\ntext: The cat sat on the mat\n```\n"


@pytest.fixture
def convert(shared_cache):
    def convert(text, *extensions, **settings):
        settings = {"cache_dir": str(shared_cache)} | settings
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


def test_two_figures_one_script(convert):
    page = convert(BLOCK + "\n" + BLOCK.replace("cat", "dog"))
    assert len(page.select("figure.attnviz")) == 2
    assert len(page.select("script")) == 1


def test_assets_in_a_folder(convert, tmp_path):
    text = BLOCK.replace("The cat", "many words " * 60)
    page = convert(text, assets_dir=str(tmp_path), assets_url="/static/attn")
    script = page.select_one("script")["src"]
    assert script.startswith("/static/attn/attnviz-")
    assert (tmp_path / Path(script).name).is_file()
    data = json.loads(page.select_one("attn-viz")["data-figure"])
    for layer in data["stacks"]["self"]["layers"]:
        assert (tmp_path / layer["file"]).read_text().startswith(f'attnvizData("{layer["file"]}","')


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
    settings = {"cache_dir": str(tmp_path / "cache")}
    for word in ("cat", "dog", "hen"):
        text = BLOCK.replace("cat", word)
        markdown.markdown(text, extensions=["mkdocs_attnviz"], extension_configs={"mkdocs_attnviz": settings})
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "models.worker"], capture_output=True, text=True)
    assert len(found.stdout.split()) <= 2  # this test's, and that of the other tests in this process


def test_unknown_settings_are_refused(convert):
    with pytest.raises(KeyError, match="mkdocs_attnviz has no setting 'devise'"):
        convert(BLOCK, devise="cpu")
