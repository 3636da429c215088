"""Kinds of documentation sites, each small and with what makes its model special: plugins, extensions, hooks.

Each is built by its own tool under its own strict mode; every block is a figure, and `attnviz status` counts the same
blocks as the builder has drawn.
"""

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import commands
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import INDUCTION


def block(text: str = "The cat sat on the mat", indent: int = 0) -> str:
    lines = f"```attention\nmodel: tiny\ntext: {text}\n```\n"
    return "".join(f"{' ' * indent}{line}\n" for line in lines.splitlines())


DIRECTIVE = ".. attnviz::\n\n   model: tiny\n   text: The cat sat on the mat\n"
LITERAL = ".. code-block:: attention\n\n   model: tiny\n   text: The cat sat on the mat\n"
MODULE = f'"""A package."""\n\n\ndef attend(text: str) -> str:\n    """Attend to a text.\n\n{block(indent=4)}    """\n'
REST_MODULE = (
    '"""A package."""\n\n\ndef attend(text):\n    """Attend to a text.\n\n    Args:\n        text: what is read\n\n'
    + "".join(f"    {line}\n" if line else "\n" for line in LITERAL.splitlines())
    + '    """\n'
)
IMPORT_PARENT = (
    "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).resolve().parent.parent))\n"
)


@dataclass
class Kind:
    """A kind of site in a folder; `CACHE` in its texts is the shared cache."""

    files: dict[str, str]
    command: list[str]
    drawn: dict[str, int]
    """The number of figures on each page of the built site."""
    counted: int
    """The number of blocks that the command counts; a page that is built twice counts once."""
    config: str | None = "mkdocs.yml"
    needs: tuple[str, ...] = ()
    """Modules without which the kind is not tried."""
    site: str = "site"
    """The folder that it is built into, seen from that of its configuration."""


def settings(**more: object) -> dict[str, object]:
    return {"models": {"tiny": INDUCTION}, "cache_dir": "CACHE", "lock_file": "attnviz.lock"} | more


def mkdocs(plugins: list[object], files: dict[str, str], drawn: dict[str, int], counted: int, **more) -> Kind:
    """A site of MkDocs under `--strict`; our plugin is the last one, but for one that wants to be."""
    needs, tool = more.pop("needs", ()), more.pop("tool", "mkdocs")
    listed = [*plugins, {"attnviz": settings()}, *more.pop("last", ())]
    config = {"site_name": "Test", "theme": {"name": "material", "font": False}} | more | {"plugins": listed}
    text = yaml.safe_dump(config, sort_keys=False).replace("'PYTHON:", "!!python/name:").replace(":END'", "")
    return Kind({"mkdocs.yml": text} | files, [tool, "build", "--strict"], drawn, counted, needs=needs)


def zensical(text: str, files: dict[str, str], drawn: dict[str, int], counted: int, **more) -> Kind:
    name = more.pop("config", "mkdocs.yml")
    return Kind(
        {name: text} | files,
        ["zensical", "build", "--clean", "--strict", "-f", name],
        drawn,
        counted,
        config=name,
        needs=("zensical", *more.pop("needs", ())),
        **more,
    )


def sphinx(extensions: str, files: dict[str, str], drawn: dict[str, int], counted: int, **more) -> Kind:
    """A project of Sphinx under `-W`, with two processes, as inseq is built."""
    conf = more.pop("conf", "")
    given = "".join(f"attnviz_{name} = {value!r}\n" for name, value in settings().items())
    text = f"{IMPORT_PARENT}extensions = {[*extensions.split(), 'mkdocs_attnviz']!r}\n{given}{conf}\n"
    command = ["sphinx", "-q", "-W", "--keep-going", "-j", "2", "docs", "site"]
    return Kind({"docs/conf.py": text} | files, command, drawn, counted, config="docs/conf.py", **more)


PYTHON = {"mkdocstrings": {"handlers": {"python": {"paths": ["."]}}}}
OUR_EXTENSION = f"""
  - mkdocs_attnviz:
      models: {{tiny: {INDUCTION}}}
      cache_dir: CACHE
      lock_file: attnviz.lock
      assets_dir: ASSETS
      assets_url: assets/attnviz
      strict: true
"""


def ecco() -> Kind:
    """mkdocstrings before us, no extension has options."""
    return mkdocs(
        ["search", PYTHON],
        {"docs/index.md": f"# Ecco\n\n{block()}\n::: thing\n", "thing/__init__.py": MODULE},
        {"index.html": 2},
        2,
        markdown_extensions=["pymdownx.highlight", "pymdownx.superfences"],
        needs=("mkdocstrings_handlers.python",),
    )


def sae_lens() -> Kind:
    """mike, autorefs and section indexes; a hook makes a page; instant navigation; snippets."""
    hook = "from mkdocs.structure.files import File\n\ndef on_files(files, config):\n"
    hook += f"    files.append(File.generated(config, 'table.md', content={'# Table' + chr(10) * 2 + block()!r}))\n"
    return mkdocs(
        ["search", "autorefs", "section-index", "mike", PYTHON],
        {
            "docs/index.md": "# Home\n\n[attend][thing.attend]\n\n--8<-- 'part.md'\n",
            "docs/api.md": "# API\n\n::: thing\n",
            "thing/__init__.py": MODULE,
            "part.md": block(),
            "hook.py": hook,
        },
        {"index.html": 1, "table/index.html": 1, "api/index.html": 1},
        3,
        theme={"name": "material", "font": False, "features": ["navigation.instant"]},
        hooks=["hook.py"],
        nav=[{"Home": "index.md"}, {"More": ["api.md", "table.md"]}],
        markdown_extensions=[
            "admonition",
            {"pymdownx.highlight": {"anchor_linenums": True, "line_spans": "__span"}},
            {"pymdownx.snippets": {"base_path": ["."]}},
            "pymdownx.superfences",
        ],
        extra={"version": {"provider": "mike"}},
        needs=("mkdocstrings_handlers.python", "mike", "mkdocs_section_index"),
    )


def material() -> Kind:
    """A blog, minified pages, short codes from a hook, appended abbreviations, own templates, a page not in `nav`."""
    post = f"---\ndate: 2026-01-0{{n}}\n---\n# Post {{n}}\n\n{block()}\n<!-- more -->\n\n{block('More of it')}"
    return mkdocs(
        ["blog", "search", {"minify": {"minify_html": True}}],
        {
            "docs/index.md": "# Home\n\n<!-- md:figure -->\n\nThe HTML of it.\n",
            "docs/hidden/page.md": f'# Hidden\n\n??? note "Folded"\n\n{block(indent=4)}',
            "docs/blog/index.md": "# Blog\n",
            "docs/blog/posts/1.md": post.replace("{n}", "1"),
            "docs/blog/posts/2.md": post.replace("{n}", "2"),
            "abbreviations.md": "*[HTML]: Hyper Text Markup Language\n",
            "overrides/main.html": '{% extends "base.html" %}\n{% block announce %}News{% endblock %}\n',
            "hook.py": "def on_page_markdown(markdown, **_):\n"
            f"    return markdown.replace('<!-- md:figure -->', {block()!r})\n",
        },
        {"index.html": 1, "hidden/page/index.html": 1, "blog/index.html": 2, "blog/2026/01/01/post-1/index.html": 2},
        6,
        theme={"name": "material", "font": False, "custom_dir": "overrides", "features": ["content.code.annotate"]},
        hooks=["hook.py"],
        not_in_nav="/hidden/\n",
        nav=[{"Home": "index.md"}, {"Blog": ["blog/index.md"]}],
        markdown_extensions=[
            "abbr",
            "attr_list",
            "md_in_html",
            {"toc": {"permalink": True}},
            {"pymdownx.betterem": {"smart_enable": "all"}},
            "pymdownx.details",
            {"pymdownx.emoji": {"emoji_generator": "PYTHON:material.extensions.emoji.to_svg:END"}},
            {"pymdownx.magiclink": {"repo_url_shorthand": True, "user": "a", "repo": "b"}},
            "pymdownx.smartsymbols",
            {"pymdownx.snippets": {"auto_append": ["abbreviations.md"]}},
            {
                "pymdownx.superfences": {
                    "custom_fences": [
                        {
                            "name": "mermaid",
                            "class": "mermaid",
                            "format": "PYTHON:pymdownx.superfences.fence_code_format:END",
                        }
                    ]
                }
            },
            {"pymdownx.tabbed": {"alternate_style": True}},
        ],
        needs=("mkdocs_minify_plugin",),
    )


def pydantic() -> Kind:
    """A hook that rewrites each page, redirects, excluded files, mkdocstrings."""
    return mkdocs(
        [
            "search",
            {"exclude": {"glob": ["plugins/*"]}},
            PYTHON,
            {"redirects": {"redirect_maps": {"old.md": "api.md"}}},
        ],
        {
            "docs/index.md": '# Home\n\n=== "One"\n\n' + block(indent=4) + '\n=== "Two"\n\n' + block("Two", indent=4),
            "docs/api.md": "# API\n\n::: thing\n    options:\n      members: [attend]\n",
            "docs/plugins/main.py": "def on_page_markdown(text, **_):\n    return text + '\\n\\nVersion 3\\n'\n",
            "docs/plugins/notes.md": block("left out"),
            "thing/__init__.py": MODULE,
        },
        {"index.html": 2, "api/index.html": 1},
        3,
        hooks=["docs/plugins/main.py"],
        markdown_extensions=[
            "tables",
            "admonition",
            "pymdownx.superfences",
            {"pymdownx.tabbed": {"alternate_style": True}},
        ],
        needs=("mkdocstrings_handlers.python", "mkdocs_exclude", "mkdocs_redirects"),
    )


def fastapi() -> Kind:
    """An `mkdocs.yml` for Zensical in a language's folder; blocks named `attention`, included files, docstrings."""
    extensions = """
site_name: Test
theme: {name: material, font: false, variant: classic}
plugins:
  mkdocstrings:
    handlers: {python: {paths: [../..], options: {extensions: [griffe_typingdoc]}}}
markdown_extensions:
  - attr_list
  - md_in_html
  - pymdownx.superfences
  - pymdownx.blocks.admonition:
      types: [note, attention]
  - pymdownx.blocks.tab: {alternate_style: true}
  - mdx_include
  - markdown_include_variants"""
    page = "# Home\n\n/// attention\n\nNo figure.\n\n///\n\n/// tab | One\n\n" + block() + "\n///\n\n"
    return zensical(
        extensions + OUR_EXTENSION.replace("ASSETS", "docs/assets/attnviz"),
        {
            "docs/en/docs/index.md": page + block("Two"),
            "docs/en/docs/reference.md": "# Reference\n\n::: thing\n",
            "thing/__init__.py": MODULE,
        },
        {"index.html": 2, "reference/index.html": 1},
        3,
        config="docs/en/mkdocs.yml",
        needs=("mkdocstrings_handlers.python", "mdx_include", "markdown_include_variants", "griffe_typingdoc"),
    )


def zensical_docs() -> Kind:
    """Previews of links, which need Zensical's context; its own emoji; slugs; tags."""
    extensions = """
site_name: Test
theme: {name: material, font: false}
plugins: [search, tags]
exclude_docs: drafts/
markdown_extensions:
  - zensical.extensions.preview:
      targets: {include: [setup/*]}
  - pymdownx.emoji:
      emoji_generator: !!python/name:zensical.extensions.emoji.to_svg
      emoji_index: !!python/name:zensical.extensions.emoji.twemoji
  - pymdownx.smartsymbols
  - pymdownx.superfences:
      custom_fences:
        - name: mermaid
          class: mermaid
          format: !!python/name:pymdownx.superfences.fence_code_format
  - pymdownx.tabbed:
      alternate_style: true
      slugify: !!python/object/apply:pymdownx.slugs.slugify {kwds: {case: lower}}"""
    return zensical(
        extensions + OUR_EXTENSION.replace("ASSETS", "docs/assets/attnviz"),
        {
            "docs/index.md": "---\ntags: [one]\n---\n# Home\n\n[setup](setup/page.md)\n\n"
            f'=== "Tab"\n\n{block(indent=4)}',
            "docs/setup/page.md": f"# Setup :smile:\n\n{block()}",
            "docs/drafts/page.md": f"# Draft\n\n{block()}",
        },
        {"index.html": 1, "setup/page/index.html": 1},
        2,
    )


def zensical_macros() -> Kind:
    """A `zensical.toml` with macros, which read the page's front matter and the site's configuration."""
    toml = f"""
[project]
site_name = "Test"
[project.extra]
animals = ["cat", "dog"]
[project.theme]
font = false
[project.markdown_extensions.zensical.extensions.macros]
[project.markdown_extensions.pymdownx.superfences]
[project.markdown_extensions.mkdocs_attnviz]
models = {{ tiny = "{INDUCTION}" }}
cache_dir = "CACHE"
lock_file = "attnviz.lock"
assets_dir = "docs/assets/attnviz"
assets_url = "assets/attnviz"
strict = true
"""
    text = "{{ animal }} {{ page.meta.verb }} {{ config.site_name }}"
    page = "{% for animal in animals %}\n" + block(text) + "\n{% endfor %}\n"
    return zensical(
        toml, {"docs/index.md": f"---\nverb: sat\n---\n# Home\n\n{page}"}, {"index.html": 2}, 2, config="zensical.toml"
    )


def book_theme() -> Kind:
    """MyST-NB with notebooks, a design, sums, fences of colons, figures with numbers."""
    tabs = f"::::{{tab-set}}\n:::{{tab-item}} One\n{block()}:::\n::::\n"
    page = f"# Home\n\n{tabs}\n$$a$$\n\n```{{toctree}}\nnotebook\n```\n"
    return sphinx(
        "myst_nb sphinx_design sphinx_copybutton sphinx.ext.viewcode sphinx.ext.todo",
        {"docs/index.md": page, "docs/notebook.ipynb": notebook("markdown", f"# Notes\n\n{block()}")},
        {"index.html": 1, "notebook.html": 1},
        2,
        conf="html_theme = 'sphinx_book_theme'\nmyst_enable_extensions = ['dollarmath', 'colon_fence', 'deflist']\n"
        "numfig = True\nnb_execution_mode = 'off'\n",
        needs=("myst_nb", "sphinx_design", "sphinx_book_theme", "sphinx_copybutton"),
    )


def inseq() -> Kind:
    """reStructuredText with Furo, docstrings in Google's style, tabs of a design."""
    tabs = ".. tab-set::\n\n   .. tab-item:: One\n\n" + "".join(
        f"      {line}\n" if line else "\n" for line in DIRECTIVE.splitlines()
    )
    return sphinx(
        "sphinx.ext.autodoc sphinx.ext.autosummary sphinx.ext.napoleon sphinx.ext.viewcode sphinx_copybutton "
        "sphinx_design",
        {
            "docs/index.rst": f"Home\n====\n\n{LITERAL}\n{tabs}\n.. automodule:: thing\n   :members:\n",
            "thing/__init__.py": REST_MODULE,
        },
        {"index.html": 3},
        3,
        conf="html_theme = 'furo'\n",
        needs=("furo", "sphinx_design", "sphinx_copybutton"),
    )


def transformer_lens() -> Kind:
    """conf.py writes pages with apidoc; MyST beside reStructuredText; notebooks by nbsphinx."""
    return sphinx(
        "sphinx.ext.autodoc sphinx.ext.napoleon myst_parser sphinx.ext.githubpages nbsphinx",
        {
            "docs/index.md": f"# Home\n\n{block()}\n```{{toctree}}\ngenerated/thing\n```\n",
            "thing/__init__.py": REST_MODULE,
        },
        {"index.html": 1, "generated/thing.html": 1},
        2,
        conf="html_theme = 'furo'\nfrom sphinx.ext import apidoc\nHERE = Path(__file__).parent\n"
        "apidoc.main(['-q', '--force', '--no-toc', '-o', str(HERE / 'generated'), str(HERE.parent / 'thing')])\n",
        needs=("furo", "myst_parser", "nbsphinx"),
    )


def uva_dl() -> Kind:
    """A course of notebooks by nbsphinx in the theme of Read the Docs."""
    return sphinx(
        "nbsphinx sphinx.ext.mathjax sphinx_rtd_theme",
        {
            "docs/index.rst": f"Home\n====\n\n{DIRECTIVE}\n.. toctree::\n\n   tutorials/one\n",
            "docs/tutorials/one.ipynb": notebook(
                "raw", f"One\n===\n\n{DIRECTIVE}", raw_mimetype="text/restructuredtext"
            ),
        },
        {"index.html": 1, "tutorials/one.html": 1},
        2,
        conf="html_theme = 'sphinx_rtd_theme'\nnbsphinx_execute = 'never'\n",
        needs=("nbsphinx", "sphinx_rtd_theme"),
    )


def jupyter_book() -> Kind:
    """Jupyter Book 1 runs Sphinx without a conf.py and leaves copies of its pages in `_build`: the record tells."""
    said = {
        "project": "Book",
        "extensions": ["myst_nb", "mkdocs_attnviz"],
        "master_doc": "intro",
        "html_theme": "sphinx_book_theme",
        "nb_execution_mode": "off",
        "exclude_patterns": ["_build", "README.md"],
    } | {f"attnviz_{name}": value for name, value in settings().items()}
    build = (
        "import sys\nfrom sphinx.application import Sphinx\n"
        f"app = Sphinx('.', None, '_build/html', '_build/.doctrees', 'html', {said!r}, warningiserror=True)\n"
        "app.build()\nsys.exit(app.statuscode)\n"
    )
    return Kind(
        {
            "intro.md": f"# Intro\n\n{block()}\n```{{toctree}}\nnotebook\n```\n",
            "notebook.ipynb": notebook("markdown", f"# Notes\n\n{block()}"),
            "README.md": f"# Not in the book\n\n{block('read me')}",
            "_build/jupyter_execute/intro.md": f"# A copy\n\n{block('copied')}",
            "build.py": build,
        },
        ["build"],
        {"intro.html": 1, "notebook.html": 1},
        2,
        config=None,
        site="_build/html",
        needs=("myst_nb", "sphinx_book_theme"),
    )


def translated() -> Kind:
    """mkdocs-static-i18n builds the second language inside the first one's last hook."""
    languages = [{"locale": "en", "name": "English", "default": True}, {"locale": "de", "name": "Deutsch"}]
    return mkdocs(
        ["search", {"i18n": {"languages": [each | {"build": True} for each in languages]}}],
        {
            "docs/index.md": f"# Home\n\n{block()}",
            "docs/index.de.md": f"# Start\n\n{block()}\n{block('Zwei')}",
            "docs/both.md": f"# Both\n\n{block()}",
        },
        {"index.html": 1, "de/index.html": 2, "both/index.html": 1, "de/both/index.html": 1},
        4,
        markdown_extensions=["pymdownx.superfences"],
        needs=("mkdocs_static_i18n",),
    )


def mkdocs_theme() -> Kind:
    """MkDocs' own theme of Read the Docs, with macros, included Markdown, executed code, a print page."""
    return mkdocs(
        ["search", "macros", "include-markdown", "markdown-exec"],
        {
            "docs/index.md": "# Home\n\n{% for animal in ['cat', 'dog'] %}\n"
            + block("The {{ animal }}")
            + "{% endfor %}\n"
            '\n{% include-markdown "part.md" %}\n\n````python exec="on"\nprint("""' + block("By code") + '""")\n````\n',
            "docs/part.md": f"Part\n\n{block()}",
        },
        {"index.html": 4, "part/index.html": 1, "print_page/index.html": 5},
        5,
        last=["print-site"],
        theme={"name": "readthedocs", "highlightjs": False},
        markdown_extensions=["pymdownx.superfences"],
        needs=(
            "mkdocs_macros",
            "mkdocs_include_markdown_plugin",
            "markdown_exec",
            "mkdocs_print_site_plugin",
        ),
    )


def notebook(kind: str, source: str, **metadata: str) -> str:
    cell = {"cell_type": kind, "id": "a", "metadata": metadata, "source": source}
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    return json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


KINDS: list[Callable[[], Kind]] = [
    ecco,
    sae_lens,
    material,
    pydantic,
    fastapi,
    zensical_docs,
    zensical_macros,
    book_theme,
    inseq,
    transformer_lens,
    uva_dl,
    jupyter_book,
    translated,
    mkdocs_theme,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_of_site(kind, tmp_path, shared_cache):
    site = kind()
    if lacking := [module for module in site.needs if importlib.util.find_spec(module) is None]:
        pytest.skip(f"{lacking} are not installed")
    for name, text in site.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace("CACHE", str(shared_cache)))
    run = run_in(tmp_path)
    config = ["-f", site.config] if site.config else []
    if site.command[0] == "zensical":
        assert run("mkdocs_attnviz", "assets", *config).returncode == 0  # before any build there is no record of one
    built = run(*site.command) if site.command != ["build"] else run("build")
    assert built.returncode == 0, built.stdout + built.stderr
    folder = (tmp_path / site.config).parent if site.command[0] == "zensical" else tmp_path
    for name, number in site.drawn.items():
        page = BeautifulSoup((folder / site.site / name).read_text(), "html5lib")
        assert not page.select("[role=alert]"), name
        assert len(page.select("figure.attnviz attn-viz")) == number, name
    status = run("mkdocs_attnviz", "status", "--json", *config)
    assert status.returncode == 0, status.stderr
    blocks = json.loads(status.stdout)["blocks"]
    assert {block["state"] for block in blocks} == {"cached"}, status.stdout
    assert len(blocks) == site.counted, status.stdout


def run_in(folder: Path):
    def run(*command: str):
        return commands.run(*command, cwd=folder, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})

    return run
