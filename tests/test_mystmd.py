"""mystmd, the engine of Jupyter Book 2, as npm has it. Its pages are drawn by its own renderers and read in a browser.

The book theme itself is published only at an address outside of every registry; it was looked at by hand.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import INDUCTION, becomes, draw_all, served
from host_pages import PAGES
from hosts import MkDocs, MyST
from node_packages import installed
from test_hosts import CAT, LONG, TEN, WEIGHTS, ink, reference  # noqa: F401 — a fixture

from mkdocs_attnviz.cli.myst import _with_plugin
from mkdocs_attnviz.cli.site import SiteError
from mkdocs_attnviz.hosts.myst_nodes import target_of
from mkdocs_attnviz.hosts.myst_pages import blocks_of

# ---- a book, built once

INDEX = f"""\
---
title: Cats
---

See [](#cats), [](#dogs) and {{ref}}`long`; on the next page, [](#other).

```attention
{CAT}
id: cats
caption: Cats & `mats`.
```

```{{code}} attention
:label: dogs
:caption: Dogs *and* [cats](#cats).

model: minilm
text: The dog did not
```

(long)=
```attention layer="2"
{LONG}
view: model
```

:::{{note}}
```attention
{CAT}
```
:::
"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Notebook\n"]},
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": f"Text.\n\n```attention\n{CAT}\nid: other\ncaption: Again.\n```\n".splitlines(True),
        },
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture(scope="session")
def book(once, shared_cache) -> MyST:
    """A book of a page and a notebook, built where its models are. Only read."""

    def make(folder: Path) -> None:
        host = MyST(folder, shared_cache)
        host.source.mkdir()
        (host.source / "index.md").write_text(INDEX)
        (host.source / "notebook.ipynb").write_text(json.dumps(NOTEBOOK))
        built = host.build(strict=True)
        assert built.returncode == 0, built.log
        assert "⚠" not in built.log, built.log

    return MyST(once("mystmd", make), shared_cache)


def test_a_book_in_the_browser(book, open_page, reference):  # noqa: F811
    with served(book.folder / "site") as url:
        page = open_page(f"{url}/")
        page.wait_for_function("document.querySelectorAll('.relative.w-full, .myst-anywidget').length >= 4")
        becomes(page, lambda: page.locator("attn-viz").count(), 4)
        draw_all(page)
        first = page.locator("attn-viz").first
        assert np.abs(np.reshape(first.evaluate(WEIGHTS), (8, 8)) - reference[4]).max() < 0.004
        captions = [text.replace("\xa0", " ") for text in page.locator("figcaption:visible").all_inner_texts()]
        assert captions == ["Figure 1:Cats & `mats`.", "Figure 2:Dogs and cats."]
        links = [text.replace("\xa0", " ") for text in page.locator("article > p").first.locator("a").all_inner_texts()]
        assert links == ["Figure 1", "Figure 2", "Figure 3", "Figure 1"]
        assert page.locator("img.attnviz-static:visible").count() == 0

        # The reader's switch to dark, as mystmd's themes do it; on a phone; a state in the address.
        light = ink(first)
        page.evaluate("document.documentElement.classList.add('dark')")
        becomes(page, lambda: ink(first) - light > 300, True)
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.evaluate("location.hash = '#cats~layer=3'")
        becomes(page, lambda: first.evaluate("element => element.state.layer"), 3)


def test_a_book_without_javascript(book, open_page):
    with served(book.folder / "site") as url:
        page = open_page(f"{url}/notebook/", javascript=False)
        picture = page.locator("figure img:visible")
        assert picture.get_attribute("alt").startswith("Attention of minilm, layer 0, 12 heads, over 8 tokens.")
        assert picture.evaluate("image => image.naturalWidth") > 100


def test_a_book_has_one_copy_of_the_script(book):
    files = list((book.folder / "site" / "build").glob("attnviz-*.mjs"))
    assert sorted(path.name.rsplit("-", 1)[0] for path in files) == ["attnviz", "attnviz-myst"]
    widgets = [*book.nodes("index", "anywidget"), *book.nodes("notebook", "anywidget")]
    assert len({widget["esm"] for widget in widgets}) == 1
    assert len(widgets) == 5
    assert "minilm" not in (book.folder / "site" / "config.json").read_text(), "settings are not published"


def test_ten_blocks_give_the_same_data_as_elsewhere(tmp_path, shared_cache):
    figures, data = {}, {}
    for kind in (MkDocs, MyST):
        host = kind(tmp_path / kind.__name__, shared_cache)
        host.folder.mkdir()
        host.write("index", *TEN)
        built = host.build(strict=True)
        assert built.returncode == 0, built.log
        html = built.text()
        if kind is MyST:
            html = "".join(node["model"]["figure"] for node in host.nodes("index", "anywidget")).replace(".bin", ".js")
        elements = BeautifulSoup(html, "html5lib").select("attn-viz")
        figures[kind], data[kind] = [element["data-figure"] for element in elements], host.data()
    assert len(figures[MkDocs]) == len(TEN)
    assert figures[MyST] == figures[MkDocs]
    assert len(data[MkDocs]) > 5
    assert data[MyST] == data[MkDocs]


def test_what_is_wrong(tmp_path, shared_cache):
    host = MyST(tmp_path, shared_cache)
    host.write("index", f"{CAT}\nexpect:\n  - {{layer: 2, head: 8, from: the, to: cat, is: 0.9}}")
    built = host.build()
    assert built.returncode == 0, built.log
    host.write("guide/page", "model: minilm\ntext: Never computed.\nid: lost", f"{CAT}\nlayr: 3", CAT)
    with (host.source / "guide" / "page.md").open("a") as file:
        file.write("\nSee [](#lost).\n")
    built = host.build(computing=False)
    assert built.returncode == 0, built.log
    assert "⛔️ guide/page.md:3 The cache does not hold this figure's tensors" in built.log
    assert "`attnviz run -f myst.yml`" in built.log
    assert "⛔️ guide/page.md:12 `layr` is not a key of the block (did you mean `layer`?)." in built.log
    assert "⛔️ index.md:7 " in built.log
    assert "head 8 of layer 2 is 0.9; it is 0.75" in built.log
    assert "⚠" not in built.log, "references to a figure lead to its alert"
    html = built.page("page/index.html")
    alerts = [" ".join(alert.get_text(" ").split()) for alert in html.select("aside.attnviz-error")]
    assert len(alerts) == 2
    assert alerts[0].startswith("This attention block could not be drawn. The cache does not hold")
    assert alerts[0].endswith("(guide/page.md:3)")
    assert "did you mean layer ?" in alerts[1]
    assert alerts[1].endswith("(guide/page.md:12)")
    assert len(host.nodes("page", "anywidget")) == 1
    [drawn] = host.nodes("index", "anywidget")
    assert "it is 0.75" in drawn["model"]["figure"]

    strict = host.build(strict=True, computing=False)
    assert strict.returncode != 0
    assert "3 errors" in strict.log


def test_the_page_of_the_documentation_works_as_it_stands(reader):
    """The theme is the tests' own, because the book theme would be downloaded."""
    tool = installed("mystmd", "node", "build.mjs")
    shutil.copytree(tool / "theme", reader.folder / "_build" / "templates" / "site" / "myst" / "book-theme")
    [page] = [page for page in PAGES if page.stem == "mystmd"]
    reader.add_programs(Path(shutil.which("node")).parent)
    reader.follow(page)
    html = BeautifulSoup((reader.folder / "_build" / "html" / "index.html").read_text(), "html5lib")
    assert len(html.select("figure img.attnviz-static")) == 1
    assert "Figure\xa01" in html.select_one("article p a").get_text()


# ---- the same blocks as mystmd itself finds

ODD = """\
---
title: Odd
---

````{tab-set}
```{tab-item} A
~~~attention
in a tab
~~~
```
````

* list

  ```attention
  in a list
  ```

> ```attention
> in a quotation
> ```

```{code-block} attention
:class: wide
in a directive

with an empty line
```

```{include} _part.md
```

    ```attention
    in indented code
    ```

```markdown
~~~attention
quoted
~~~
```

```{code-block} markdown
~~~attention
quoted, too
~~~
```

```{attention}
a note of MyST's
```

<!--
```attention
in a comment
```
-->

:::{note}
:class: dropdown
```attention
in a note
```
```attention

twice
```
```attention
twice
```
:::

(label)=
```attention
never closed
"""
LIST = """
import { appendFileSync } from "node:fs";
const walk = (node, see) => { see(node); for (const child of node.children ?? []) walk(child, see); };
const plugin = () => (tree, { path }) => walk(tree, ({ type, lang, value, position }) => {
  if (type === "code" && lang === "attention")
    appendFileSync(process.env.LISTED, JSON.stringify([path, value, position?.start.line ?? null]) + "\\n");
});
export default { name: "list", transforms: [{ name: "list", stage: "document", plugin }] };
"""


def test_blocks_are_those_that_mystmd_finds(tmp_path):
    host = MyST(tmp_path, tmp_path / "cache")
    host.project = {"plugins": ["list.mjs"], "toc": [{"file": "index.md"}, {"file": "book.ipynb"}]}
    host.configure(init=False)
    (host.source / "list.mjs").write_text(LIST)
    (host.source / "index.md").write_text(ODD)
    (host.source / "_part.md").write_text("Part\n\n```attention\nincluded\n```\n")
    (host.source / "book.ipynb").write_text(json.dumps(NOTEBOOK))
    host.environment = {"LISTED": str(tmp_path / "listed")}
    built = host.mystmd("build", "--site")
    assert built.returncode == 0, built.log

    listed = [json.loads(line) for line in (tmp_path / "listed").read_text().splitlines()]
    for name in ("index.md", "book.ipynb"):
        page = host.source / name
        theirs = [(value, line) for path, value, line in listed if path == str(page)]
        ours = [(source.body, source.line) for source in blocks_of(page, name)]
        assert [body.strip() for body, _ in ours] == [value.strip() for value, _ in theirs]
        assert [line for (_, line), (_, known) in zip(ours, theirs, strict=True) if known] == [
            known for _, known in theirs if known
        ]
    [included] = [source for source in blocks_of(host.source / "index.md", "index.md") if source.body == "included"]
    assert (included.page, included.line) == ("_part.md", 3)


def status(folder: Path, *options: str) -> list[str]:
    """Return the places of the blocks that `attnviz status` finds."""
    run = commands.run("mkdocs_attnviz", "status", "--json", *options, cwd=folder)
    assert run.returncode == 0, run.stderr
    blocks = json.loads(run.stdout)["blocks"]
    return [f"{block['page']}:{block['line']}" for block in blocks]


def test_the_command_reads_the_table_of_contents(tmp_path):
    for name in ("index.md", "a/two.md", "a/one.md", "drafts/no.md", "_build/site/made.md", "other/page.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"```attention\nmodel: {INDUCTION}\ntext: {name}\n```\n")
    (tmp_path / "book.ipynb").write_text(json.dumps(NOTEBOOK))
    (tmp_path / "other" / "myst.yml").write_text("version: 1\n")
    (tmp_path / "myst.yml").write_text("version: 1\nproject:\n  exclude: drafts/**\n")
    assert status(tmp_path) == ["a/one.md:1", "a/two.md:1", "book.ipynb:3", "index.md:1"]
    assert status(tmp_path, "a") == ["a/one.md:1", "a/two.md:1"]

    toc = [{"file": "index"}, {"title": "A", "children": [{"file": "a/two.md"}, {"pattern": "a/*.md"}]}]
    (tmp_path / "myst.yml").write_text(yaml.safe_dump({"project": {"toc": toc}}))
    assert status(tmp_path) == ["index.md:1", "a/two.md:1", "a/one.md:1"]

    (tmp_path / "attnviz.yml").write_text("cache_dri: cache\n")
    run = commands.run("mkdocs_attnviz", "status", cwd=tmp_path)
    assert run.returncode == 2
    assert "has no setting 'cache_dri'" in run.stderr
    (tmp_path / "attnviz.yml").write_text("- cache\n")
    run = commands.run("mkdocs_attnviz", "status", cwd=tmp_path)
    assert run.stderr == "Error: myst.yml cannot be read. attnviz.yml must have lines `key: value`.\n"


# ---- `attnviz myst init`

NEW = [{"type": "javascript", "path": "attnviz-plugin.mjs"}]


@pytest.mark.parametrize(
    ("before", "plugins"),
    [
        ("version: 1\nproject:\n  title: A  # a title\nsite: {}\n", NEW),
        ("project:\n    plugins:\n    - other.mjs # mine\n    title: A\n", [*NEW, "other.mjs"]),
        (
            "project:\n  plugins:\n    - type: executable\n      path: other\n",
            [*NEW, {"type": "executable", "path": "other"}],
        ),
        ("site:\n  title: A", NEW),
        ("", NEW),
        ("project:\n# nothing\n", NEW),
        ("project:\r\n  title: A\r\n", NEW),
    ],
)
def test_init_keeps_what_is_there(before, plugins):
    after = _with_plugin(before, "javascript")
    assert yaml.safe_load(after)["project"].pop("plugins") == plugins
    lines = after.splitlines()
    assert [line for line in before.splitlines() if line not in lines] == []
    assert after.count("\r\n") in (0, after.count("\n"))
    assert _with_plugin(after, "javascript") is None


def test_init_that_cannot_add_the_plugin():
    with pytest.raises(SiteError, match="Add it by hand, under `project`, `plugins`: `-"):
        _with_plugin("project: {title: A}\n", "javascript")


# ---- what the plugin does by itself


def node(plugin: Path, *options: str, input: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the plugin as mystmd runs one of the type `executable`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [plugin, *options], input=input, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True
    )


def test_the_plugin_as_an_executable(book):
    plugin = book.source / "attnviz-plugin.mjs"
    spec = json.loads(node(plugin).stdout)
    assert [(transform["name"], transform["stage"]) for transform in spec["transforms"]] == [("attnviz", "document")]
    code = {"type": "code", "lang": "attention", "value": "model: minilm\ntext: Never computed."}
    page = {"type": "root", "children": [{"type": "block", "children": [code, {"type": "code", "lang": "python"}]}]}
    run = node(plugin, "--transform", "attnviz", input=json.dumps(page))
    [block] = json.loads(run.stdout)["children"]
    assert [child["type"] for child in block["children"]] == ["admonition", "code"]
    assert "The cache does not hold" in run.stderr

    run = node(plugin, "--transform", "attnviz", input=json.dumps(page), ATTNVIZ_COMMAND="no-such-command")
    assert "The command `no-such-command` cannot be run; install it with `pip install mkdocs-attnviz`." in run.stdout

    # A page whose blocks are known is known by them.
    code["value"] = f"{CAT}\nid: other\ncaption: Again."
    run = node(plugin, "--transform", "attnviz", input=json.dumps(page))
    [block] = json.loads(run.stdout)["children"]
    [picture, widget, caption] = block["children"][0]["children"]
    assert picture["url"].startswith("/_build/site/public/attnviz-")
    assert caption["children"][0]["children"][0]["value"] == "Again."
    assert "data-figure" in widget["model"]["figure"]


def test_pages_for_print_have_pictures_alone(book, tmp_path):
    out = tmp_path / "page.md"
    built = book.mystmd("build", "notebook.ipynb", "--md", "-o", str(out))
    assert built.returncode == 0, built.log
    assert "⛔" not in built.log, built.log
    assert "anywidget" not in out.read_text()
    assert "Attention of minilm" in out.read_text()


def test_targets_are_named_as_mystmd_names_them():
    labels = ["cats", "Fig_2.a", "a--b", "Ünder-", "2nd", "a.-b_"]
    code = f"import {{ normalizeLabel }} from 'myst-common'; console.log(JSON.stringify({labels}.map(normalizeLabel)))"
    command = ["node", "--input-type=module", "-e", code]
    run = subprocess.run(command, cwd=installed("mystmd", "node", "build.mjs"), capture_output=True, text=True)
    assert [target_of(label) for label in labels] == json.loads(run.stdout)
