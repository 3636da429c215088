"""The Sphinx extension, through `python -m sphinx`. What it has in common with other hosts is in test_hosts.py."""

import json
import re
import shutil
import uuid
import zipfile
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hosts import Sphinx, SphinxRst

CAT = "model: minilm\ntext: The cat sat on the mat"


@pytest.fixture
def myst(tmp_path, shared_cache):
    return Sphinx(tmp_path, shared_cache)


@pytest.fixture
def rst(tmp_path, shared_cache):
    return SphinxRst(tmp_path, shared_cache)


def page(host: Sphinx, text: str, name: str = "index") -> None:
    path = host.source / f"{name}{host.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{host.heading('Page')}\n\n{text}\n")


def figures(html: BeautifulSoup) -> list[dict]:
    return [json.loads(figure["data-figure"]) for figure in html.select("figure.attnviz attn-viz")]


def options(html: BeautifulSoup, name: str) -> list:
    return [figure["options"].get(name) for figure in figures(html)]


def test_ways_to_write_a_block_in_myst(myst):
    page(
        myst,
        f"""
```attention
{CAT}
layer: 1
```

```attention layer="2" heads="[3, 5]"
{CAT}
```

- ```attention layer="0" heads="[1]"
  model: minilm
  text: The cat sat on the mat
  ```

> - In a list in a quotation:
>
>   ```attention layer="3"
>   model: minilm
>   text: The cat sat on the mat
>   ```

```{{attnviz}}
:layer: 4

{CAT}
```

~~~attention
{CAT}
layer: 5
~~~

```{{code-block}} attention
{CAT}
```
""",
    )
    built = myst.build(strict=True)
    assert built.returncode == 0, built.log
    assert options(built.page(), "layer") == [1, 2, 0, 3, 4, 5, 0]
    assert options(built.page(), "heads")[1:3] == [[3, 5], [1]]


def test_a_block_in_a_notebook(myst):
    myst.extensions = ("myst_nb", "mkdocs_attnviz")
    cells = ["# Page", f'Words.\n\n```attention layer="3"\n{CAT}\n```', "```attention\nmodel: minilm\ntxt: a\n```"]
    cells = [{"cell_type": "markdown", "metadata": {}, "source": cell.splitlines(keepends=True)} for cell in cells]
    myst.source.mkdir()
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (myst.source / "index.ipynb").write_text(json.dumps(notebook))
    built = myst.build()
    assert options(built.page(), "layer") == [3]
    assert "`txt` is not a key of the block" in built.alerts()[0]
    assert "docs/index.ipynb, cell 3:3: WARNING: `txt`" in built.log


def test_a_mistake_in_a_notebook_of_nbsphinx_names_the_cell(rst):
    rst.extensions = ("nbsphinx", "mkdocs_attnviz")
    block = ".. attnviz::\n\n   model: minilm\n   txt: {}\n"
    cells = ["Page\n====\n", f"Words.\n\n{block.format('a')}", f"{block.format('b')}\n{block.format('a')}"]
    raw = {"cell_type": "raw", "metadata": {"raw_mimetype": "text/restructuredtext"}}
    cells = [raw | {"source": cell.splitlines(keepends=True)} for cell in cells]
    rst.source.mkdir()
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (rst.source / "index.ipynb").write_text(json.dumps(notebook))
    built = rst.build()
    found = re.findall(r"docs/index\.ipynb, (cell \d:\d): WARNING: `txt`", built.log)
    assert found == ["cell 2:6", "cell 3:4", "cell 3:9"], built.log
    assert "(index.ipynb, cell 2:6)" in built.alerts()[0]


def test_ways_to_write_a_block_in_restructuredtext(rst):
    (rst.folder / "docs").mkdir()
    (rst.folder / "docs" / "cat.yml").write_text(f"{CAT}\nlayer: 3\n")
    page(
        rst,
        """
.. code-block:: attention
   :caption: A cat.

   model: minilm
   text: The cat sat on the mat
   layer: 1

.. attnviz::
   :layer: 2
   :caption: Another: cat

   model: minilm
   text: The cat sat on the mat

.. literalinclude:: cat.yml
   :language: attention
""",
    )
    built = rst.build(strict=True)
    assert built.returncode == 0, built.log
    html = built.page()
    assert options(html, "layer") == [1, 2, 3]
    assert [caption.get_text() for caption in html.select("figcaption")] == ["A cat.", "Another: cat"]
    assert not html.select(".code-block-caption")


def test_the_admonition_stays_an_admonition(myst, rst):
    page(myst, "```{attention}\nMind the gap.\n```")
    page(rst, ".. attention:: Mind the gap.", "other")
    for host, name in ((myst, "index"), (rst, "other")):
        host.config = {"root_doc": name}
        host.options = ["-E"]
        built = host.build(strict=True)
        assert built.returncode == 0, built.log
        assert "Mind the gap." in built.page(f"{name}.html").select_one(".admonition.attention").get_text()
        for path in host.source.glob(f"{name}.*"):
            path.unlink()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("```attention\nmodel: minilm\ntxt: a\n```", 5, "`txt` is not a key of the block"),
        ("```attention layer=3\nmodel: minilm\ntext: a\n```", 3, "The fence's header 'layer=3' cannot be read"),
        ("```attention {layer=3}\nmodel: minilm\ntext: a\n```", 3, "The fence's header 'layer=3' cannot be read"),
        ("```{attnviz}\n:layer: 3\n\nmodel: minilm\ntxt: a\n```", 7, "`txt` is not a key of the block"),
        ("- ```attention\n  model: minilm\n  layr: 2\n  ```", 5, "`layr` is not a key of the block"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(myst, text, line, message):
    page(myst, text)
    built = myst.build(strict=True)
    assert built.returncode != 0
    assert re.search(rf"/docs/index\.md:{line}: WARNING: .*\[attnviz\.block\]", built.log), built.log
    assert message in built.log
    assert f"(index.md:{line})" in built.alerts()[0]


@pytest.mark.parametrize("wrong", ["layr: 3", "layer: 99"])
def test_an_alert_is_told_again_by_the_next_build(myst, wrong):
    page(myst, f"```attention\n{CAT}\n{wrong}\n```")
    page(myst, f"```attention\n{CAT}\nid: a\n```\n\n```attention\n{CAT}\nid: a\n```", "twice")
    assert myst.build().returncode == 0
    built = myst.build(strict=True)
    assert built.returncode != 0
    assert wrong.split(":")[0] in built.log
    assert "`id` is 'a', which something else on this page has." in built.log


def test_a_mistake_in_a_docstring_is_told_with_its_page(rst):
    rst.source.mkdir()
    (rst.source / "cats.py").write_text('"""Cats.\n\n.. attnviz::\n\n   model: minilm\n   txt: a\n"""\n')
    page(rst, ".. automodule:: cats")
    rst.extensions = ("sphinx.ext.autodoc", "mkdocs_attnviz")
    rst.environment = {"PYTHONPATH": str(rst.source)}
    built = rst.build()
    assert "docs/index.rst:docstring of cats: WARNING: `txt` is not a key of the block" in built.log, built.log


def test_a_mistake_in_an_included_file_is_told_with_that_file(rst):
    (rst.folder / "docs").mkdir()
    (rst.folder / "docs" / "part.txt").write_text("Words.\n\n.. attnviz::\n\n   model: minilm\n   txt: a\n")
    page(rst, ".. include:: part.txt")
    assert re.search(r"/docs/part\.txt:6: WARNING: `txt`", rst.build().log)


def test_bad_settings(myst):
    myst.settings["max_tokens"] = -1
    page(myst, "")
    built = myst.build()
    assert built.returncode != 0
    assert "\nconf.py, attnviz: Setting `max_tokens` is -1" in built.log
    assert "Traceback" not in built.log


def test_search_finds_the_caption(myst):
    page(myst, f"```attention\n{CAT}\ncaption: Giraffe\n```")
    assert myst.build(strict=True).returncode == 0
    assert "giraff" in (myst.folder / "site" / "searchindex.js").read_text()


def test_references_in_a_book(myst):
    page(myst, f"```{{attnviz}}\n:name: there\n\n{CAT}\n```\n\n[See](#there).")
    assert myst.build(strict=True, builder="latex").returncode == 0
    tex = next((myst.folder / "latex").glob("*.tex")).read_text()
    assert r"\label{\detokenize{index:there}}" in tex
    assert r"\hyperref[\detokenize{index:there}]" in tex


def test_other_pictures_are_left_alone(myst):
    myst.source.mkdir()
    (myst.source / "broken.svg").write_text("<svg")
    page(myst, f"![Broken](broken.svg)\n\n```attention\n{CAT}\n```")
    assert myst.build(builder="latex").returncode == 0
    assert len(list((myst.folder / "latex").glob("attnviz-*.pdf"))) == 1


def test_references(myst):
    page(
        myst,
        f"""
(here)=
```attention
{CAT}
```

```{{attnviz}}
:name: there

{CAT}
id: by-id
```

{{ref}}`one <here>` and [another](#there).
""",
    )
    built = myst.build(strict=True)
    assert built.returncode == 0, built.log
    html = built.page()
    targets = [link["href"] for link in html.select("p a.reference.internal")]
    assert targets == ["#here", "#there"]
    for target, figure in zip(targets, html.select("figure.attnviz"), strict=True):
        found = html.select_one(target)
        assert figure in (found, found.find_next("figure"))
    assert html.select_one("figure#here")
    assert html.select_one("figure#by-id")


def test_the_id_of_a_block_is_a_target(myst):
    links = "[One](#Cat_1), [](#Cat_1), [two](#Cat_1~layer=2&selected=left,1)"
    page(myst, f"```attention\n{CAT}\nid: Cat_1\ncaption: A cat.\n```\n\n{links}.")
    links = "[Over there](index.md#Cat_1), [set](index.md#Cat_1~layer=2)"
    page(myst, f"{links}.\n\n```attention\n{CAT}\nid: Cat_1\n```", "other")
    myst.options = ["-n"]
    built = myst.build(strict=True)
    assert built.returncode == 0, built.log
    html = built.page()
    assert len(html.select("#Cat_1")) == 1
    links = html.select("p a.reference.internal[href='#Cat_1']")
    assert [link.get_text() for link in links] == ["One", "A cat."]
    assert html.select("p a[href='#Cat_1~layer=2&selected=left,1']")
    assert built.page("other.html").select("p a[href='index.html#Cat_1']")
    assert built.page("other.html").select("p a[href='index.html#Cat_1~layer=2']")


def test_captions_are_translated(myst):
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    page(myst, f"```attention\n{CAT}\ncaption: A cat.\n```\n\n```{{attnviz}}\n:caption: A dog.\n\n{CAT}\n```")
    assert myst.build(strict=True, builder="gettext").returncode == 0
    with (myst.folder / "gettext" / "index.pot").open("rb") as file:
        catalogue = read_po(file)
    translated = {"A cat.": "Eine Katze.", "A dog.": "Ein Hund."}
    for caption, german in translated.items():
        catalogue[caption].string = german
    folder = myst.source / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "index.mo").open("wb") as file:
        write_mo(file, catalogue)
    shutil.rmtree(myst.folder / "doctrees")  # a translator's builder keeps other ones
    myst.config = {"language": "de", "locale_dirs": ["locale"], "gettext_auto_build": False}
    built = myst.build(strict=True)
    assert built.returncode == 0, built.log
    assert [caption.get_text() for caption in built.page().select("figcaption")] == [*translated.values()]
    assert myst.build(strict=True, builder="text").returncode == 0
    assert "Eine Katze." in (myst.folder / "text" / "index.txt").read_text()


def test_assets_are_only_where_a_figure_is(myst):
    page(myst, "```attention\n" + CAT + "\n```\n\n```attention\n" + CAT + "\nlayer: 1\n```")
    page(myst, "Nothing.", "sub/other")
    page(myst, "```attention\n" + CAT + "\n```", "sub/deep/third")
    assert myst.build(strict=True).returncode == 0
    site = myst.folder / "site"
    scripts = [*(site / "_static" / "attnviz").glob("attnviz-*.js")]
    assert len(scripts) == 3
    for script in scripts:
        assert (site / "index.html").read_text().count(f'src="_static/attnviz/{script.name}"') == 1
        assert f'src="../../_static/attnviz/{script.name}"' in (site / "sub" / "deep" / "third.html").read_text()
    assert "attnviz" not in (site / "sub" / "other.html").read_text()


@pytest.mark.parametrize("builder", ["dirhtml", "singlehtml", "json"])
def test_other_builders_with_script(myst, builder):
    page(myst, f"```attention\n{CAT}\n```\n\n```{{toctree}}\nsub/other\n```")
    page(myst, f"```attention\n{CAT}\nlayer: 1\n```", "sub/other")
    built = myst.build(strict=True, builder=builder)
    assert built.returncode == 0, built.log
    folder = myst.folder / builder
    paths = {
        "dirhtml": {"index.html": "_static", "sub/other/index.html": "../../_static"},
        "singlehtml": {"index.html": "_static"},
        "json": {"index.fjson": "_static", "sub/other.fjson": "../../_static"},
    }
    for path, assets in paths[builder].items():
        text = (folder / path).read_text()
        html = BeautifulSoup(json.loads(text)["body"] if builder == "json" else text, "html5lib")
        assert len(figures(html)) == (2 if builder == "singlehtml" else 1)
        scripts = [script["src"] for script in html.select("script[src*='attnviz-']")]
        assert len(scripts) == 3
        for script in scripts:
            assert script.startswith(f"{assets}/attnviz/")
            assert builder == "json" or (folder / path).parent.joinpath(script).exists()


@pytest.mark.parametrize("builder", ["text", "latex", "epub", "man", "texinfo"])
def test_builders_without_script_get_the_picture_and_the_sentence(myst, builder):
    changed = "interventions: [{layer: 0, heads: 1}]"
    bodies = [f"{CAT}\ncaption: A cat.", f"{CAT}\nview: model", f"{CAT}\nview: matrix\n{changed}"]
    page(myst, "\n\n".join(f"```attention\n{body}\n```" for body in bodies))
    built = myst.build(strict=True, builder=builder)
    assert built.returncode == 0, built.log
    folder = myst.folder / builder
    texts = " ".join(
        path.read_text() for path in folder.rglob("*") if path.suffix in (".txt", ".tex", ".xhtml", ".1", ".texi")
    )
    texts = " ".join(texts.split())
    assert "Attention of minilm, layer 0, 12 heads, over 8 tokens." in texts
    assert "A cat." in texts
    assert "Without head 1 of layer 0: Attention of minilm" in texts
    assert "As it is: Attention of minilm" in texts
    assert "attn-viz" not in texts
    assert not list(folder.rglob("attnviz-*.js"))
    pictures = {path.suffix for path in folder.rglob("attnviz-*")}
    assert pictures == {"text": set(), "man": set(), "latex": {".pdf"}, "epub": {".svg"}, "texinfo": {".png"}}[builder]
    if builder == "epub":
        with zipfile.ZipFile(folder / "Test.epub") as book:
            drawn = [book.read(name).decode() for name in book.namelist() if name.endswith(".svg")]
        assert ["The model without head 1 of layer 0" in svg for svg in drawn].count(True) == 1
        assert len(drawn) == 3


def test_an_alert_in_a_book(myst):
    page(myst, "```attention\nmodel: minilm\ntxt: a\n```")
    built = myst.build(builder="text")
    assert built.returncode == 0
    text = " ".join((myst.folder / "text" / "index.txt").read_text().split())
    assert "This attention block could not be drawn. index.md:5: `txt` is not a key of the block" in text


@pytest.mark.parametrize("builder", ["linkcheck", "gettext", "dummy"])
def test_builders_that_write_no_documents_run_no_model(tmp_path, builder):
    host = Sphinx(tmp_path, tmp_path / "cache")
    page(host, f"```attention\n{CAT}\n```")
    assert host.build(strict=True, builder=builder).returncode == 0
    assert not [path for path in Path(host.settings["cache_dir"]).rglob("*") if path.is_file()]


# ---- large projects


@pytest.fixture
def large(tmp_path, shared_cache):
    """60 pages, every fourth of which has a block: enough for Sphinx to share them among processes."""
    host = Sphinx(tmp_path, shared_cache)
    names = [f"part{n % 7}/page{n}" for n in range(59)]
    page(host, "```{toctree}\n" + "\n".join(names) + "\n```")
    for n, name in enumerate(names):
        page(host, f"```attention\nmodel: minilm\ntext: Sentence number {n}\n```" if n % 4 == 0 else "Words.", name)
    return host


ALWAYS = ("genindex.html", "search.html")  # Sphinx writes these each time


def stamps(host: Sphinx) -> dict[str, int]:
    site = host.folder / "site"
    pages = [path for path in site.rglob("*.html") if path.name not in ALWAYS]
    return {str(path.relative_to(site)): path.stat().st_mtime_ns for path in pages}


def test_only_what_changed_is_done_again(large):
    assert large.build(strict=True).returncode == 0
    before = stamps(large)
    content = {path: path.read_bytes() for path in (large.folder / "site").rglob("*") if path.is_file()}

    built = large.build(strict=True)
    assert built.returncode == 0
    assert stamps(large) == before
    assert {path: path.read_bytes() for path in (large.folder / "site").rglob("*") if path.is_file()} == content

    page(large, f"```attention\nmodel: minilm\ntext: Sentence {uuid.uuid4()}\n```", "part4/page4")
    built = large.build(strict=True)
    assert built.returncode == 0
    assert re.findall(r"running model minilm on (\d+) text", built.log) == ["1"]
    changed = {name for name, stamp in stamps(large).items() if stamp != before.get(name)}
    assert changed - {"index.html"} == {"part4/page4.html"}  # the index lists the page, so Sphinx writes it too


def test_many_processes_write_what_one_writes(large):
    assert large.build(strict=True).returncode == 0
    alone = {path.name: path.read_text() for path in (large.folder / "site").rglob("page*.html")}
    shutil.rmtree(large.folder / "site")
    shutil.rmtree(large.folder / "doctrees")
    large.options = ["-j", "4"]
    built = large.build(strict=True)
    assert built.returncode == 0, built.log
    assert {path.name: path.read_text() for path in (large.folder / "site").rglob("page*.html")} == alone


def test_bad_blocks_are_told_by_many_processes_too(large):
    page(large, "```attention\nmodel: minilm\ntext: a\nlayer: 99\n```", "part4/page4")
    large.options = ["-j", "4"]
    built = large.build(strict=True)
    assert built.returncode != 0
    assert built.log.count("`layer` is 99") == 1


def test_a_page_is_written_again_when_its_tensors_changed(tmp_path, shared_cache):
    import numpy as np
    from safetensors.numpy import save_file

    host = Sphinx(tmp_path, shared_cache)
    host.source.mkdir()

    def save(weight: float) -> None:
        rows = np.full((1, 2, 2), 0.5, np.float32)
        rows[0, 0] = weight, 1 - weight
        save_file({"self.0": rows}, host.source / "own.safetensors", {"tokens": json.dumps(["a", "b"])})

    save(0.25)
    page(host, "```attention\ntensors: own.safetensors\n```\n")
    page(host, "Words.", "other")
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert host.build(strict=True, builder="dirhtml").returncode == 0
    before, first = stamps(host), built.text()
    second = (host.folder / "dirhtml" / "index.html").read_text()
    save(0.75)
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert built.text() != first
    assert stamps(host)["other.html"] == before["other.html"]
    assert host.build(strict=True, builder="dirhtml").returncode == 0
    assert (host.folder / "dirhtml" / "index.html").read_text() != second, "of each output its own record"


WRONG = "`layer` is 6; model 'minilm' has layers 0 to 5."


def test_states_in_links_of_myst_are_checked(myst):
    block = f"```attention\n{CAT}\nid: cat\n```"
    page(myst, f"{block}\n\n[good](#cat~layer=5), [good](other.md#dog~heads=11&layer=1).\n\nAnd [this](#cat~layer=6).")
    page(myst, f"{block.replace('cat', 'dog')}\n\n[There](index.md#cat~heads=12&layer=1)", "other")
    built = myst.build()
    told = [line for line in built.log.splitlines() if "cannot be followed" in line]
    assert len(told) == 2, built.log
    assert "index.md:11: WARNING: The link to `#cat~layer=6` cannot be followed: " + WRONG in built.log
    assert "other.md:9: WARNING" in built.log
    assert "`heads` is 12; model 'minilm' has heads 0 to 11." in built.log
    assert myst.build(strict=True).returncode != 0  # nothing was read again, and it is told again


def test_states_in_links_of_restructuredtext_are_checked(rst):
    text = rst.block(CAT + "\nid: cat")
    page(rst, f"{text}\n\n`Good <#cat~layer=5>`__ and\n`this <#cat~layer=6>`__.")
    built = rst.build()
    assert "index.rst:10: WARNING: The link to `#cat~layer=6` cannot be followed: " + WRONG in built.log
    assert built.log.count("cannot be followed") == 1
