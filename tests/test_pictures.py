"""Static pictures in files, for pages that run no script: `attnviz export --svg --png`."""

import io
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import commands
import pytest
from bs4 import BeautifulSoup
from conftest import MINILM, served
from markdown_it import MarkdownIt
from PIL import Image, ImageChops
from test_accessibility import FIGURES

from mkdocs_attnviz.hosts.commented import as_fences, filled, lines_of_blocks
from mkdocs_attnviz.hosts.page import SourcePage
from mkdocs_attnviz.hosts.png import drawn_from

CAT = f"model: {MINILM}\ntext: The cat sat on the mat\nlayer: 2\nheads: [8, 11]\nid: two-heads\ncaption: Two <heads>."
README = f"""# Cats

<!-- attention
{CAT}
-->

Words below.

<!-- attention
model: {MINILM}
text: 猫 חתול قطة
layer: 1
-->
Old.
<!-- /attention -->

```attention
model: {MINILM}
text: The cat sat on the mat
theme: dark
```
"""
GITHUB = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""The header under which GitHub serves the pictures of a repository (raw.githubusercontent.com)."""


# ---- blocks in comments


def test_a_block_in_a_comment_is_read_as_a_fence_on_the_same_line():
    text = as_fences(README)
    lines = text.splitlines()
    assert lines[2:4] == ["~~~attention", f"model: {MINILM}"]
    assert lines[9] == "~~~"
    assert "Old." not in text
    assert len(lines) == len(README.splitlines())
    page = SourcePage()
    page.begin("README.md", text)
    assert page.line_of(CAT) == 3


@pytest.mark.parametrize(
    "text",
    [
        "Words.\n",
        "<!-- attention\nmodel: a\n",  # without an end
        "<!-- attention\nmodel: a -->\n",  # which ends within a line
        "<!-- attentions\nmodel: a\n-->\n",
        "<!-- attention -->\n",
    ],
)
def test_other_comments_stay_as_they_are(text):
    assert as_fences(text) == text
    assert lines_of_blocks(text) == set()


def test_tildes_in_a_block_end_no_fence():
    assert as_fences("<!-- attention\ntext: ~~~~\n-->\n") == "~~~~~attention\ntext: ~~~~\n~~~~~\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_below_a_block_are_written_and_replaced(newline):
    text = "<!-- attention\na: 1\n-->\n\nWords.\n<!-- attention\nb: 1\n-->".replace("\n", newline)
    once = filled(text, {1: "<p>\n1\n</p>", 6: "<p>2</p>"})
    assert once == (
        "<!-- attention\na: 1\n-->\n<p>\n1\n</p>\n<!-- /attention -->\n\nWords.\n"
        "<!-- attention\nb: 1\n-->\n<p>2</p>\n<!-- /attention -->\n"
    ).replace("\n", newline)
    again = filled(once, {10: "<p>3</p>"})
    assert again == once.replace("<p>2</p>", "<p>3</p>")
    assert filled(once, {}) == once


def test_words_below_a_block_without_an_end_are_not_swallowed():
    """The end that follows belongs to the next block."""
    text = "<!-- attention\na: 1\n-->\nWords.\n<!-- attention\nb: 1\n-->\n<!-- /attention -->\n"
    assert "Words." in filled(text, {1: "<p>1</p>"})
    assert "Words." in as_fences(text)


# ---- a README


@pytest.fixture(scope="module")
def repository(once, shared_cache) -> Path:
    """Return a folder with a README whose pictures are written."""

    def make(folder: Path) -> None:
        (folder / "mkdocs.yml").write_text(f"plugins: [{{attnviz: {{cache_dir: '{shared_cache}'}}}}]\n")
        (folder / "README.md").write_text(README)
        run = export(folder, "README.md")
        assert run.returncode == 0, run.stderr
        assert run.stderr.endswith("3 figures on 1 page: 10 pictures written\n")
        (folder / "stdout").write_text(run.stdout)

    return once("repository-with-pictures", make)


def export(folder, *arguments, formats=("--svg", "--png"), stdin=""):
    command = ["mkdocs_attnviz", "export", *arguments, *formats, "-o", "pictures"]
    return commands.run(*command, cwd=folder, input=stdin)


def check(folder):
    run = export(folder, "README.md", "--check")
    return run.returncode, run.stderr.splitlines(), run.stdout


@pytest.fixture
def copied(repository, tmp_path) -> Path:
    """A copy of the repository that a test may change."""
    return Path(shutil.copytree(repository, tmp_path / "repository"))


def shown(folder: Path) -> BeautifulSoup:
    """Return the README as GitHub's Markdown, CommonMark, shows it."""
    return BeautifulSoup(MarkdownIt("commonmark").render((folder / "README.md").read_text()), "html5lib")


def test_a_readme_shows_the_pictures_of_its_blocks(repository):
    html = shown(repository)
    first, second = html.select("p > picture")
    assert first.img["src"] == "pictures/README/two-heads-light.svg"
    assert first.source["srcset"] == "pictures/README/two-heads-dark.svg"
    assert first.source["media"] == "(prefers-color-scheme: dark)"
    assert first.img["alt"].startswith(f"Attention of {MINILM}, layer 2, 2 heads, over 8 tokens.")
    assert first.parent.em.get_text() == "Two <heads>."
    assert second.img["src"] == "pictures/README/attnviz-2-light.svg"
    assert "Old." not in html.get_text()
    assert "model:" not in html.select_one("p").get_text()
    assert "Words below." in html.get_text()
    printed = BeautifulSoup((repository / "stdout").read_text(), "html5lib")  # that of the block in a fence
    assert [image["src"] for image in printed.select("picture img")] == ["pictures/README/attnviz-3-dark.svg"]
    assert not printed.select("source")


@pytest.mark.parametrize("dark", [False, True])
def test_a_reader_gets_the_picture_of_the_own_theme(repository, open_page, dark):
    (repository / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{shown(repository)}")
    page = open_page(repository / "page.html", width=360, dark=dark)
    images = page.locator("picture img")
    drawn = images.evaluate_all("all => all.map(each => [each.currentSrc, each.complete && each.naturalWidth > 0])")
    assert [Path(url).name for url, _ in drawn] == [
        f"{id}-{'dark' if dark else 'light'}.svg" for id in ("two-heads", "attnviz-2")
    ]
    assert all(complete for _, complete in drawn)


def test_a_png_has_two_pixels_for_each_of_the_page_and_says_what_it_shows(repository):
    folder = repository / "pictures" / "README"
    for path in folder.glob("*.png"):
        svg = path.with_suffix(".svg").read_text()
        width, height = map(int, re.search(r'width="(\d+)" height="(\d+)"', svg).groups())
        image = Image.open(path)
        image.load()  # checks every chunk
        assert image.size == (2 * width, 2 * height)
        assert image.text["attnviz"] == drawn_from(path.read_bytes())
        assert image.getpixel((0, 0))[:3] == ((22, 24, 29) if "dark" in path.name else (255, 255, 255))
    assert drawn_from(b"\x89PNG") is None


def test_a_second_run_writes_nothing(copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file() and path.name != "stdout"}
    run = export(copied, "README.md")
    assert run.stderr.endswith("3 figures on 1 page: 0 pictures written\n")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_check_names_what_is_out_of_date(copied):
    assert check(copied) == (0, [], "3 figures on 1 page: all pictures are up to date\n")
    folder = copied / "pictures" / "README"
    (folder / "two-heads-dark.svg").write_text("<svg/>")
    (folder / "two-heads-light.png").write_bytes((folder / "attnviz-2-light.png").read_bytes())
    (folder / "attnviz-2-light.svg").unlink()
    (folder / "cats-light.svg").touch()
    page = copied / "README.md"
    page.write_text(page.read_text().replace("Two &lt;heads&gt;", "Three heads"))
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    status, problems, _ = check(copied)
    assert status == 1
    assert problems == [
        "README.md:3: pictures/README/two-heads-light.png is out of date.",
        "README.md:3: pictures/README/two-heads-dark.svg is out of date.",
        "README.md:22: pictures/README/attnviz-2-light.svg is missing.",
        "README.md: pictures/README/cats-light.svg belongs to no block; remove it.",
        "README.md:3: The lines below this block are out of date.",
        "The same command without `--check` writes pictures and pages anew.",
    ]
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_block_that_cannot_be_drawn_costs_the_others_nothing(copied):
    page = copied / "README.md"
    page.write_text(page.read_text().replace("layer: 2", "layr: 2"))
    status, problems, _ = check(copied)
    assert status == 1
    assert problems[0] == "README.md:6: `layr` is not a key of the block (did you mean `layer`?)."
    run = export(copied, "README.md", formats=["--svg"])
    assert run.returncode == 1
    assert "README.md:6: `layr` is not a key" in run.stderr
    assert len(shown(copied).select("picture")) == 2, "what stood below the block stays"


def test_a_single_block_for_hugging_face(repository, tmp_path):
    text = CAT.replace(MINILM, "minilm").replace("Two <heads>.", "Costs $ `x` $ {y}.")
    settings = f"models: {{minilm: '{MINILM}'}}, cache_dir: '{repository / '.attnviz'}'"
    (tmp_path / "mkdocs.yml").write_text(f"plugins: [{{attnviz: {{{settings}}}}}]\n")
    url = "https://huggingface.co/datasets/me/pictures/resolve/main"
    run = export(tmp_path, "-", "--for", "hugging-face", "--url", f"{url}/", formats=["--svg"], stdin=text)
    assert run.returncode == 0, run.stderr
    html = BeautifulSoup(run.stdout, "html5lib")
    assert [(image["class"], image["src"]) for image in html.select("img")] == [
        (["block", "dark:hidden"], f"{url}/two-heads-light.svg"),
        (["hidden", "dark:block"], f"{url}/two-heads-dark.svg"),
    ]
    assert html.em.get_text() == "Costs $ `x` $ {y}."
    assert not set("{}`$") & set(run.stdout), "Svelte and KaTeX would read these"
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "two-heads-dark.svg",
        "two-heads-light.svg",
    ]


# ---- every view


@pytest.fixture(scope="module")
def pictures(every_view, once) -> Path:
    """Return the folder of all views' pictures."""

    def make(folder: Path) -> None:
        run = export(folder, "-f", str(every_view.parent / "mkdocs.yml"))
        assert run.returncode == 0, run.stderr

    return once("pictures-of-every-view", make) / "pictures"


SAFE = {"svg", "style", "g", "defs", "mask", "pattern"}
SAFE |= {"rect", "path", "line", "circle", "text", "tspan", "image", "title"}
OWN_KEY = ("heads", "similarity", "sublayers")
"""The views whose pictures have a key to their colours inside."""
NO_COLOURS = ("predict", "compared")


@pytest.mark.parametrize("view", FIGURES)
def test_a_picture_has_nothing_that_a_host_takes_away(pictures, view):
    """No script, no HTML, no font or image from elsewhere."""
    for theme in ("light", "dark"):
        content = (pictures / view / f"{view}-{theme}.svg").read_text()
        elements = list(ElementTree.fromstring(content).iter())
        assert {element.tag.rpartition("}")[2] for element in elements} <= SAFE
        links = [value for element in elements for name, value in element.attrib.items() if name.endswith("href")]
        assert all(link.startswith("data:image/png;base64,") for link in links)
        assert not re.search(r"url\((?!#)|@import|@media|@font-face", content)
        assert (pictures / view / f"{view}-{theme}.png").is_file()
        told = [element.text for element in elements if element.get("class") == "legend"]
        assert bool(told) == (view not in (*OWN_KEY, *NO_COLOURS)), "what do its colours mean?"


def test_pictures_look_the_same_under_github_s_rules(pictures, open_page):
    """Images within pictures (heat maps) are drawn, although the header allows none from anywhere."""
    names = [f"{view}/{view}-{theme}.svg" for view in FIGURES for theme in ("light", "dark")]
    looks = []
    with served(pictures) as url, served(pictures, csp=GITHUB) as restricted:
        for server in (url, restricted):
            images = "".join(f'<img src="{server}/{name}">' for name in names)
            (pictures / "index.html").write_text(f"<!doctype html><meta charset=utf-8>{images}")
            page = open_page(f"{url}/index.html")
            looks.append(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    assert looks[0].size == looks[1].size
    assert ImageChops.difference(*looks).getbbox() is None
    assert len(looks[0].getcolors(1 << 24)) > 1000, "they are drawn"
