"""Quarto's extension in Pandoc 2.17 and 3, and the pages that the command reads. Quarto itself is not here."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import commands
import pypandoc
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import MINILM, becomes, draw_all, served
from hosts import Pandoc

from mkdocs_attnviz import __version__
from mkdocs_attnviz.hosts import fenced_projects

CAT = "model: minilm\ntext: The cat sat on the mat"
PAGE = f"""---
title: Cats
---

```attention
{CAT}
caption: A *cat* — “on” a mat 🐈.
id: cats
```

- in a list

  ```{{.attention #fig-two layer=3 fig-cap="The **fourth** layer." fig-align="left"}}
  {CAT.replace(chr(10), chr(10) + "  ")}
  ```

```{{.python}}
x = 1
```

```attention
{CAT}
layr: 3
```
"""
PANDOCS = {"2.17": shutil.which("pandoc") or "pandoc", "3": pypandoc.get_pandoc_path()}


@pytest.fixture(scope="module")
def project_of_pandoc(once, shared_cache):
    """Return the folder of a page with three blocks, whose entries are in the cache."""

    def make(folder):
        (folder / "cats.md").write_text(PAGE)
        (folder / "attnviz.yml").write_text(yaml.safe_dump(Pandoc(folder, shared_cache).settings))
        commands.run("mkdocs_attnviz", "run", cwd=folder)

    return once("quarto", make)


@pytest.fixture(params=list(PANDOCS))
def pandoc(request, tmp_path, shared_cache, project_of_pandoc):
    """Each Pandoc with the filter, in a copy of that folder."""
    host = Pandoc(tmp_path, shared_cache)
    host.tool = PANDOCS[request.param]
    shutil.copytree(project_of_pandoc, host.source)
    return host


def convert(host, *options):
    built = host.pandoc("cats.md", *options)
    assert built.returncode == 0, built.log
    assert "cats.md:26: `layr` is not a key of the block" in built.log
    return built


def test_a_page_of_html_holds_its_figures(pandoc, open_page):
    embedding = ["--metadata=attnviz-assets=shared", "--metadata=embed-resources=true"]
    convert(pandoc, "-s", "--metadata=lang=en", *embedding, "-o", "cats.html")
    assert not (pandoc.source / "shared").exists(), "what a script loads later cannot be embedded"
    html = BeautifulSoup((pandoc.source / "cats.html").read_text(), "html5lib")
    captions = [" ".join(map(str, caption.contents)) for caption in html.select("figure.attnviz figcaption")]
    assert captions == ["A  <em>cat</em>  — “on” a mat 🐈.", "The  <strong>fourth</strong>  layer."]
    assert [figure["id"] for figure in html.select("figure.attnviz")] == ["cats", "fig-two"]
    assert html.select_one("li figure#fig-two")
    assert html.select_one("code.sourceCode.python")
    [alert] = html.select("[role=alert]")
    assert "(cats.md:26)" in alert.get_text()
    page = open_page(pandoc.source / "cats.html")
    draw_all(page)
    assert page.locator("#fig-two attn-viz").evaluate("figure => figure.state.layer") == 3


def test_documents_get_pictures(pandoc):
    convert(pandoc, "-o", "cats.docx")
    names = zipfile.ZipFile(pandoc.source / "cats.docx").namelist()
    assert sum(name.endswith(".png") for name in names) == 2
    convert(pandoc, "-o", "cats.epub", "--metadata=title=Cats")
    names = zipfile.ZipFile(pandoc.source / "cats.epub").namelist()
    assert sum(name.endswith(".svg") for name in names) == 2
    assert not (pandoc.source / "cats_files").exists(), "they are inside"

    convert(pandoc, "-t", "latex", "-o", "cats.tex")
    latex = (pandoc.source / "cats.tex").read_text()
    pictures = sorted((pandoc.source / "cats_files").iterdir())
    assert [picture.read_bytes()[:4] for picture in pictures] == [b"%PDF"] * 2
    assert all(f"cats_files/{picture.name}" in latex for picture in pictures)
    assert r"\caption{The \textbf{fourth} layer.}\label{fig-two}" in latex
    assert r"(did you mean \texttt{layer}?). (cats.md:26)" in latex

    convert(pandoc, "-t", "gfm", "-o", "cats.github.md")
    text = (pandoc.source / "cats.github.md").read_text()
    assert text.count("cats.github_files/attnviz-") == 2
    assert "(cats.md:26)" in text


def test_a_fence_with_braces_and_no_dot_is_told_of(pandoc):
    (pandoc.source / "cats.md").write_text(f"```{{attention}}\n{CAT}\n```\n")
    built = pandoc.pandoc("cats.md", "-t", "plain")
    assert built.returncode == 0
    assert "cats.md: A fence has `{attention}`; write `attention` without braces, or `{.attention}`.\n" in built.log


def test_what_ends_the_conversion(pandoc):
    strict = pandoc.pandoc("cats.md", "--metadata=attnviz-strict=true")
    assert strict.returncode != 0
    assert "cats.md:26: `layr`" in strict.log
    assert "`attnviz render` has found what its messages above say, and `strict` is set." in strict.log
    none = pandoc.pandoc("cats.md", "--metadata=attnviz-command=no-such-command")
    assert none.returncode != 0
    assert "`no-such-command render` cannot be run; install it (`pip install attnviz`), or name it by" in none.log
    wrong = pandoc.pandoc("cats.md", "--metadata=attnviz-config=none.yml")
    assert "File 'none.yml' does not exist" in wrong.log
    assert "`attnviz render` has ended with exit status 2; its message is above." in wrong.log


# ---- what Quarto itself adds: dependencies, figures with numbers, and its switch of colours

STUB = """
local noted = {}
quarto = {
  project = { directory = os.getenv("PROJECT") },
  doc = {
    input_file = os.getenv("PROJECT") .. "/guide/cats.qmd",
    add_html_dependency = function(given) noted[#noted + 1] = given end,
  },
}
local filter = dofile(os.getenv("EXTENSION"))
local own = Pandoc
function Pandoc(doc)
  local result = own(doc)
  local file = io.open(os.getenv("PROJECT") .. "/noted.txt", "w")
  for _, given in ipairs(noted) do
    for _, kind in ipairs({ "scripts", "resources" }) do
      for _, each in ipairs(given[kind]) do
        local defer = (each.attribs or {}).defer or ""
        file:write(table.concat({ given.name, kind, each.name, each.path, defer }, "\\t"), "\\n")
      end
    end
  end
  file:close()
  return result
end
"""
"""A filter with that part of Quarto's Lua API which ours uses, as its documentation and its sources describe it."""
LONG = "model: minilm\ntext: " + "the bee sat on the mat and the cat sat on the bee " * 6


@pytest.fixture
def quarto(tmp_path, shared_cache):
    """`quarto(page, format, …)` converts a page as Quarto calls Pandoc; returns the output and the dependencies."""
    config = {"attnviz": {"models": {"minilm": MINILM}, "cache_dir": str(shared_cache)}}
    (tmp_path / "_quarto.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "guide").mkdir()
    (tmp_path / "stub.lua").write_text(STUB)

    def quarto(page, format, *options, **environment):
        (tmp_path / "guide" / "cats.qmd").write_text(page)
        commands.run("mkdocs_attnviz", "run", cwd=tmp_path)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment |= {"PATH": path, "PROJECT": str(tmp_path), "EXTENSION": str(Pandoc.extension)}
        filters = ["--lua-filter", str(tmp_path / "stub.lua")]
        command = [PANDOCS["3"], "cats.qmd", "-t", format, *filters, *options]
        run = subprocess.run(
            command, cwd=tmp_path / "guide", env=os.environ | environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        noted = [line.split("\t") for line in (tmp_path / "noted.txt").read_text().splitlines()]
        return run, noted

    return quarto


QMD = f"""
```attention
{CAT}
id: fig-one
caption: A *cat*.
```

```{{.attention fig-cap="Bees."}}
{LONG}
```

```attention
layr: 3
```
"""


def test_scripts_and_data_are_dependencies_of_quarto_s(quarto, tmp_path):
    run, noted = quarto(QMD, "html")
    html = BeautifulSoup(run.stdout, "html.parser")
    assert not html.select("script")
    scripts, data = noted[:3], noted[3:]
    assert [(name, kind, how) for name, kind, *_, how in scripts] == [("attnviz", "scripts", "defer")] * 3
    assert {kind for _, kind, *_ in data} == {"resources"}
    for _, _, name, path, _ in noted:
        assert Path(path) == tmp_path / ".quarto" / "attnviz" / name
        assert Path(path).is_file()
    assert "guide/cats.qmd:15: `layr` is not a key" in run.stderr

    numbered = html.select_one("div#fig-one")  # of which Quarto makes a figure with a number
    assert numbered.select_one("figure.attnviz")["id"] == "fig-one-figure"
    assert not numbered.select("figcaption")
    assert str(numbered.select("p")[-1]) == "<p>A <em>cat</em>.</p>"
    assert [caption.get_text() for caption in html.select("figcaption")] == ["Bees."]


def test_one_file_holds_everything(quarto, tmp_path):
    info = tmp_path / "info.json"
    info.write_text(json.dumps({"document-path": "é", "format": {"pandoc": {"embed-resources": True, "n": None}}}))
    run, noted = quarto(QMD, "html", QUARTO_EXECUTE_INFO=str(info))
    html = BeautifulSoup(run.stdout, "html.parser")
    assert noted == []
    assert "customElements" in html.select_one("script").get_text()
    assert not [figure for figure in html.select("attn-viz") if '"file"' in figure["data-figure"]]


def test_pictures_are_where_quarto_keeps_figures(quarto, tmp_path):
    run, _ = quarto(QMD, "latex")
    [*pictures] = (tmp_path / "guide" / "cats_files" / "figure-latex").iterdir()
    assert len(pictures) == 2
    assert all(f"cats_files/figure-latex/{picture.name}" in run.stdout for picture in pictures)


def test_the_stub_has_all_of_quarto_s_interface_that_the_filter_uses():
    used = set(re.findall(r"\bquarto\.[\w.]+", Pandoc.extension.read_text()))
    assert used == {
        "quarto.project",
        "quarto.project.directory",
        "quarto.doc.input_file",
        "quarto.doc.add_html_dependency",
    }


TOGGLE = """
<link href="light.css" rel="stylesheet" class="quarto-color-scheme" id="quarto-bootstrap" data-mode="light">
<link href="dark.css" rel="disabled-stylesheet" class="quarto-color-scheme quarto-color-alternate" data-mode="dark">
<script>
function toggle() { // as Quarto does: the page says that it is dark, and its style sheet comes later
  document.querySelector("link[data-mode=dark]").rel = "stylesheet";
  document.body.classList.add("quarto-dark");
  document.body.classList.remove("quarto-light");
}
</script>
"""


def test_the_switch_of_colours_is_followed(tmp_path, shared_cache, open_page):
    host = Pandoc(tmp_path, shared_cache)
    host.write("index", CAT)
    (host.source / "header.html").write_text(TOGGLE)
    host.settings["on_missing"] = "run"
    (host.source / "attnviz.yml").write_text(yaml.safe_dump(host.settings))
    options = ["-s", "--metadata=lang=en", "--metadata=pagetitle=Cats", "--include-in-header=header.html"]
    built = host.pandoc("index.md", *options, "-o", "index.html")
    assert built.returncode == 0, built.log
    (host.source / "light.css").write_text("body {background: white; color: black}")
    (host.source / "dark.css").write_text("body.quarto-dark {background: #111; color: #eee}")
    with served(host.source) as url:
        page = open_page("about:blank")
        waiting = []
        page.route("**/dark.css", lambda route: waiting.append(route))
        page.goto(f"{url}/index.html")
        draw_all(page)
        assert page.locator("attn-viz .figure.light").count() == 1
        page.evaluate("toggle()")
        page.wait_for_function("document.body.classList.contains('quarto-dark')")
        becomes(page, lambda: len(waiting), 1)
        waiting[0].continue_()
        page.locator("attn-viz .figure.dark").wait_for()


# ---- the pages of a project


def listed(folder, *options):
    run = commands.run("mkdocs_attnviz", "status", "--json", *options, cwd=folder)
    assert run.returncode == 0, run.stderr
    return [(block["page"], block.get("cell", block["line"])) for block in json.loads(run.stdout)["blocks"]]


def project(folder, **config):
    (folder / "_quarto.yml").write_text(yaml.safe_dump({"attnviz": {"models": {"minilm": MINILM}}} | config))


def test_the_pages_of_a_project(tmp_path):
    fence = f"```{{.attention #fig-a layer=3}}\n{CAT}\n```\n"
    names = ["a.qmd", "b.md", "sub/c.Rmd", "_part.qmd", "README.qmd", "_site/d.md", "venv/e.md", ".hidden/f.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(fence)
    (tmp_path / "a.qmd").write_text(f"---\ntitle: A\n---\n\n{{{{< include _part.qmd >}}}}\n\n{fence}")
    cells = [{"cell_type": "markdown", "source": ["Words\n"]}, {"cell_type": "markdown", "source": fence}]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [*cells, {"cell_type": "code", "source": fence}]}))
    everywhere = [("_part.qmd", 1), ("a.qmd", 7), ("b.md", 1), ("n.ipynb", 2), ("sub/c.Rmd", 1)]
    project(tmp_path, project={"type": "website"})
    assert listed(tmp_path) == everywhere
    assert listed(tmp_path, "sub") == everywhere[-1:]
    project(tmp_path, project={"render": ["*.qmd", "sub/", "!a.qmd"]})
    assert listed(tmp_path) == [("sub/c.Rmd", 1)]
    book = {"chapters": ["b.md", {"part": "Parts", "chapters": ["sub/c.Rmd"]}], "appendices": ["n.ipynb"]}
    project(tmp_path, project={"type": "book"}, book=book)
    assert listed(tmp_path) == [("b.md", 1), ("sub/c.Rmd", 1), ("n.ipynb", 2)]
    project(tmp_path, attnviz=3)
    run = commands.run("mkdocs_attnviz", "status", cwd=tmp_path)
    assert (run.returncode, "`attnviz` is 3; it must have settings" in run.stderr) == (2, True)


def pages_of(folder, **environment):
    """Return the names of a project's pages, and its settings, as commands read them with environment variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("QUARTO_PROFILE", "RSTUDIO_PRODUCT"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        read = fenced_projects.read(folder / "_quarto.yml")
    return [path.relative_to(folder).as_posix() for path in read.files()], read.settings


def test_profiles_say_which_pages_and_settings_count(tmp_path):
    """The cases of Quarto's page "Project Profiles", and of `project-profile.ts` where it is silent."""
    for name in ("basic", "intro", "pro"):
        (tmp_path / f"{name}.qmd").write_text("Words")

    def write(name, **values):
        (tmp_path / name).write_text(yaml.safe_dump(values))

    models = {"models": {"minilm": MINILM}}
    base = {"project": {"type": "book"}, "book": {"chapters": ["basic.qmd"]}, "attnviz": models}
    write("_quarto.yml", **base)
    write("_quarto-advanced.yml", book={"chapters": ["intro.qmd", "basic.qmd"]}, attnviz={"max_tokens": 20})
    write("_quarto-pro.yaml", book={"chapters": ["pro.qmd"]}, attnviz={"max_tokens": 30, "strict": True})
    assert pages_of(tmp_path) == (["basic.qmd"], models)
    advanced = (["basic.qmd", "intro.qmd"], {**models, "max_tokens": 20})
    assert pages_of(tmp_path, QUARTO_PROFILE="advanced") == advanced
    assert pages_of(tmp_path, QUARTO_PROFILE="none") == (["basic.qmd"], models)
    both = {**models, "max_tokens": 20, "strict": True}
    assert pages_of(tmp_path, QUARTO_PROFILE="advanced,pro") == (["basic.qmd", "pro.qmd", "intro.qmd"], both)

    write("_quarto.yml", **base, profile={"group": [["basic", "advanced"], ["pro", "free"]], "default": "advanced"})
    assert pages_of(tmp_path)[1] == both
    assert pages_of(tmp_path, QUARTO_PROFILE="free")[1] == models, "basic is the first of its group"
    (tmp_path / "_environment").write_text("OTHER=1\nQUARTO_PROFILE='free advanced' # of this project\n")
    assert pages_of(tmp_path) == advanced
    write("_quarto.yml.local", attnviz={"max_tokens": 7})
    write("_more.yml", attnviz={"strict": False})
    write("_quarto-free.yml", **{"metadata-files": ["_more.yml", "_none.yml"]})
    assert pages_of(tmp_path)[1] == {**models, "max_tokens": 7, "strict": False}

    (tmp_path / "_quarto-pro.yaml").write_text("- a list")
    with pytest.raises(ValueError, match=r"^_quarto-pro.yaml: It must have lines `key: value`.$"):
        pages_of(tmp_path, QUARTO_PROFILE="pro")


def test_init_writes_the_extension_and_names_it(tmp_path):
    def init():
        return commands.run("mkdocs_attnviz", "quarto", "init", cwd=tmp_path)

    assert "Name it in the front matter of a document: `filters: [attnviz]`." in init().stdout
    (tmp_path / "_quarto.yml").write_text("# mine\nproject:\n  type: website")
    assert "_quarto.yml names it." in init().stdout
    text = "# mine\nproject:\n  type: website\nfilters:\n  - attnviz\n"
    assert (tmp_path / "_quarto.yml").read_text() == text
    assert "names it already" in init().stdout
    (tmp_path / "_quarto.yml").write_text("filters: [lightbox]\n")
    assert "Add `- attnviz` to `filters` in _quarto.yml." in init().stdout
    folder = tmp_path / "_extensions" / "attnviz"
    assert (folder / "attnviz.lua").read_bytes() == Pandoc.extension.read_bytes()
    about = yaml.safe_load((folder / "_extension.yml").read_text())
    assert about["contributes"] == {"filters": [{"path": "attnviz.lua", "at": "pre-ast"}]}
    assert about["version"] == __version__
