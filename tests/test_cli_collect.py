"""The command `attnviz` sees the pages and blocks that the site's own tool sees. Nothing here runs a model."""

import json
import os
import time
from pathlib import Path

import commands
import pytest
import yaml
from conftest import INDUCTION

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cli import site as sites
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.settings import Settings

MADE_BY_A_HOOK = """\
from mkdocs.structure.files import File

def on_files(files, config):
    print("a hook prints what it likes")
    files.append(File.generated(config, "made.md", content={page!r}))
"""


def fence(text):
    return f"```attention\nmodel: {INDUCTION}\ntext: {text}\n```\n"


class Folder:
    """A folder in which the command is typed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def configure(self, name: str = "mkdocs.yml", **config) -> None:
        self.write(name, yaml.safe_dump({"site_name": "Test", "plugins": ["search", "attnviz"]} | config))

    def run(self, *arguments):
        return commands.run("mkdocs_attnviz", *map(str, arguments), cwd=self.path)

    def blocks(self, *arguments) -> list[str]:
        made = self.run("status", "--json", *arguments)
        assert made.returncode == 0, made.stderr
        return sorted(f"{block['page']}:{block['line']}" for block in json.loads(made.stdout)["blocks"])

    def files(self) -> list[Path]:
        """Return all paths, but for what Python itself keeps of a hook that it imports."""
        return sorted(path for path in self.path.rglob("*") if "__pycache__" not in path.parts)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize("config", ["mkdocs.yml", "properdocs.yml"])
def test_pages_are_those_of_the_tool_with_its_plugins(folder, config):
    theme = {"name": "material", "font": False}
    plugins = ["search", "macros", "attnviz"]
    folder.configure(config, theme=theme, plugins=plugins, hooks=["hook.py"], exclude_docs="drafts/", strict=True)
    folder.write("hook.py", MADE_BY_A_HOOK.format(page=f"# Made\n\n{fence('made')}"))
    folder.write(
        "docs/index.md", "# Home\n\n{% for word in ['one', 'two'] %}\n" + fence("{{ word }}") + "\n{% endfor %}"
    )
    folder.write("docs/drafts/page.md", fence("a draft"))
    folder.write("docs/folder/page.md", "\n\n" + fence("a page"))
    before = folder.files()

    texts = {"folder/page.md:3", "made.md:3"}
    found = folder.blocks()
    assert texts < set(found)
    assert len([block for block in found if block.startswith("index.md")]) == 2
    assert len(found) == 4
    assert "a hook prints what it likes" in folder.run("status").stderr
    assert folder.blocks("docs/folder") == ["folder/page.md:3"]
    assert folder.files() == before


def test_where_mkdocs_cannot_read_the_site_its_markdown_is_read(folder):
    folder.configure(plugins=["no-such-plugin", "attnviz"])
    folder.write("docs/index.md", fence("home"))
    assert folder.blocks() == ["index.md:1"]
    said = folder.run("status").stderr
    assert said.startswith(
        "MkDocs cannot read mkdocs.yml here (Config value 'plugins': The \"no-such-plugin\" plugin is"
    )
    assert "its Markdown is read without plugins." in said


def test_paths_beside_the_site(folder):
    """pre-commit names every file that changes."""
    folder.configure(exclude_docs="drafts/")
    folder.write("docs/index.md", fence("home"))
    folder.write("docs/drafts/page.md", fence("a draft"))
    folder.write("README.md", fence("read me"))
    assert folder.blocks("README.md", "docs/index.md") == [f"{Path('README.md')}:1", "index.md:1"]
    made = folder.run("check", "docs/drafts/page.md")
    assert (made.returncode, made.stdout) == (0, "0 blocks on 0 pages: nothing is missing\n")
    assert made.stderr == "docs/drafts/page.md is not a page of the site.\n"


CONF = """\
import sys
print("conf.py prints what it likes")
extensions = ["myst_parser", "mkdocs_attnviz"]
attnviz_cache_dir = "cache"
exclude_patterns = ["drafts"]
suppress_warnings = ["toc.not_included"]
"""


@pytest.fixture
def sphinx(folder) -> Folder:
    folder.write("docs/conf.py", CONF)
    folder.write(
        "docs/index.rst",
        f"Home\n====\n\n.. attnviz::\n   :model: {INDUCTION}\n\n   text: home\n\n.. include:: part.txt\n",
    )
    folder.write("docs/part.txt", f".. code-block:: attention\n\n   model: {INDUCTION}\n   text: a part\n")
    folder.write("docs/sub/page.md", f"# Page\n\n{fence('a page')}")
    folder.write("docs/drafts/page.md", fence("a draft"))
    return folder


def test_a_sphinx_project(sphinx):
    before = sphinx.files()
    assert sphinx.blocks("-f", "docs/conf.py") == ["index.rst:6", "part.txt:2", "sub/page.md:3"]
    assert sphinx.blocks("-f", "docs/conf.py", "docs/sub/page.md") == ["sub/page.md:3"]
    made = sphinx.run("check", "-f", "docs/conf.py", "docs/sub")
    assert made.returncode == 1
    assert (
        "sub/page.md:3: The cache does not hold its tensors. `attnviz run -f docs/conf.py` computes them."
        in made.stderr
    )
    assert [path for path in sphinx.files() if "__pycache__" not in path.parts] == before
    assert len(Folder(sphinx.path / "docs").blocks()) == 3  # the conf.py in the current folder, since it names us


def test_warnings_of_a_sphinx_project_have_no_colours_in_a_pipe(sphinx):
    sphinx.write("docs/other.rst", "Other\n=====\n\n:ref:`nowhere`, `broken_\n")
    made = sphinx.run("status", "-f", "docs/conf.py")
    assert made.returncode == 0, made.stderr
    assert "docs/other.rst:4: WARNING: " in made.stderr
    assert "\x1b" not in made.stderr + made.stdout


def test_a_sphinx_project_with_a_bad_setting_is_told_in_one_sentence(sphinx):
    sphinx.write("docs/conf.py", CONF + "attnviz_max_tokens = -1\n")
    made = sphinx.run("status", "-f", "docs/conf.py")
    assert made.returncode == 2
    assert "\nError: docs/conf.py cannot be read by Sphinx: conf.py, attnviz: Setting `max_tokens` is -1" in made.stderr
    assert "Traceback" not in made.stderr


def test_a_sphinx_project_is_computed_and_built_from_the_cache(sphinx):
    made = sphinx.run("run", "-f", "docs/conf.py")
    assert (made.returncode, made.stdout) == (0, "3 blocks on 2 pages: 3 computed, 0 cached, 0 bad\n"), made.stderr
    assert sphinx.run("check", "-f", "docs/conf.py").returncode == 0
    assert (sphinx.path / "docs" / "attnviz.lock").is_file()
    options = ["-W", "-D", "attnviz_on_missing=error"]
    built = commands.run("sphinx", "-q", *options, "docs", "site", cwd=sphinx.path)
    assert built.returncode == 0, built.stderr


def test_export_takes_settings_from_conf_py(sphinx):
    """The configuration runs as Sphinx runs it: in its own folder, and with tags."""
    sphinx.write("docs/mine.txt", INDUCTION)
    alias = "attnviz_models = {'mine': open('mine.txt').read()} if not tags.has('none') else {}\n"
    sphinx.write("docs/conf.py", CONF + alias + "attnviz_on_missing = 'warn'\n")
    sphinx.write("page.md", "```attention\nmodel: mine\ntext: not computed\n```\n")
    made = sphinx.run("export", "page.md", "-f", "docs/conf.py", "-o", "page.html")
    assert made.returncode == 1
    assert "page.md:1: The cache does not hold this figure's tensors" in made.stderr


SPHINX_MISUSE = {
    ("assets", "-f", "docs/conf.py", "-o", "x"): "Error: Sphinx writes script and data itself, when it builds; ",
    ("status", "-f", "broken/conf.py"): "Error: broken/conf.py cannot be read by Sphinx: ",
    ("export", "page.md", "-f", "broken/conf.py"): "Error: broken/conf.py cannot be read by itself: NameError: ",
    ("status", "-f", "other/conf.py"): "other/conf.py cannot be read by Sphinx: its `extensions` do not name "
    "`mkdocs_attnviz`.",
    ("status", "-f", "wrong/conf.py"): "Setting `max_tokens` is 'many': ",
}


@pytest.mark.parametrize("arguments", SPHINX_MISUSE, ids=" ".join)
def test_misuse_of_a_sphinx_project_is_told_in_a_sentence(sphinx, arguments):
    sphinx.write("page.md", "# Notes")
    sphinx.write("broken/conf.py", "mkdocs_attnviz")
    sphinx.write("other/conf.py", "project = 'Nothing'")
    sphinx.write("wrong/conf.py", "extensions = ['mkdocs_attnviz']\nattnviz_max_tokens = 'many'")
    made = sphinx.run(*arguments)
    assert made.returncode == 2
    assert SPHINX_MISUSE[arguments] in made.stderr
    assert "Traceback" not in made.stderr


# ---- what the builder knows and the files alone do not say


def test_a_site_that_builds_others(folder):
    """Material's projects are sites of their own, built in processes that have our environment."""
    theme = {"name": "material", "font": False}
    folder.configure(theme=theme, plugins=["search", "projects", "attnviz"])
    folder.configure("projects/sub/mkdocs.yml", theme=theme)
    folder.write("docs/index.md", fence("main"))
    folder.write("projects/sub/docs/index.md", fence("sub") + "\n" + fence("sub again"))
    assert folder.blocks() == ["index.md:1"]
    assert "read without plugins" not in folder.run("status").stderr
    assert folder.blocks("-f", "projects/sub/mkdocs.yml") == ["index.md:1", "index.md:6"]


def test_a_plugin_in_a_group(folder):
    """Material's group switches plugins on and off together."""
    group = {"enabled": True, "plugins": ["macros", {"attnviz": {"models": {"tiny": INDUCTION}}}]}
    folder.configure(theme={"name": "material", "font": False}, plugins=["search", {"group": group}])
    folder.write("docs/index.md", "{% for word in ['one', 'two'] %}\n" + fence("{{ word }}") + "{% endfor %}\n")
    assert len(folder.blocks()) == 2


def test_folders_that_tools_write_are_no_pages(folder):
    folder.write("page.md", fence("a page"))
    folder.write("site/page.md", fence("in a folder that is only called so"))
    for name in (
        "_build/html/_sources/page.md",
        "node_modules/thing/README.md",
        ".hidden/page.md",
        "venv/lib/thing.md",
    ):
        folder.write(name, fence("a copy"))
    folder.write("public/search/search_index.json", "{}")
    folder.write("public/page.md", fence("a copy"))
    folder.write("venv/pyvenv.cfg", "")
    assert folder.blocks() == ["page.md:1", "site/page.md:1"]
    folder.write("zensical.toml", "[project]\nsite_name = 'Test'\n")
    folder.write("docs/_build/page.md", fence("an author's folder of that name"))
    assert folder.blocks() == ["_build/page.md:1"]


@pytest.fixture
def built(folder, monkeypatch) -> Folder:
    """A folder whose last build has drawn two blocks of `page.md`, and saw `other.md` without making a page of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.path / ".user"))
    folder.write("page.md", fence("a page"))
    folder.write("other.md", fence("another"))
    body = f"model: {INDUCTION}\ntext: from a docstring\n"
    sources = [Source(body, page="page.md", line=1), Source(body, page="page.md", object="thing.attend")]
    settings = Settings(max_tokens=77)
    record.add("sphinx", folder.path, folder.path, settings, {"page.md": sources}, complete=True)
    return folder


def test_the_last_build_tells_of_pages_that_have_not_changed(built):
    assert built.blocks() == ["page.md:1", "page.md:None"]
    assert sites.without_configuration(built.path).settings.max_tokens == 77
    built.write("new.md", fence("written since"))
    os.utime(built.path / "new.md", (time.time() + 60, time.time() + 60))
    assert built.blocks() == ["new.md:1", "page.md:1", "page.md:None"]
    built.write("page.md", "\n" + fence("changed since"))
    assert built.blocks() == ["new.md:1", "page.md:2"]


def test_nothing_is_pruned_while_a_page_is_unknown(built):
    built.write("notes.ipynb", "{}")
    record.add("sphinx", built.path, built.path, Settings(), {"notes.ipynb": []}, complete=True)
    assert built.run("prune").returncode == 0
    built.write("notes.ipynb", '{"cells": []}')
    made = built.run("prune")
    assert made.returncode == 2
    assert "entries that are not known here: notes.ipynb has changed since the site was built." in made.stderr


def test_a_record_that_cannot_be_read_is_none(built):
    (file,) = (built.path / ".user").rglob("builds/*.json")
    whole = file.read_text()
    for text in ("", "[]", "{}", whole[:-9], whole.replace('"max_tokens": 77', '"max_tokens": "x"'), '{"pages": 1}'):
        file.write_text(text)
        assert record.read(built.path) is None
    assert built.blocks() == ["other.md:1", "page.md:1"]


def test_a_build_adds_its_pages_to_the_record(built):
    built.write("docs/one.md", fence("one"))
    built.write("docs/two.md", fence("two"))
    docs = built.path / "docs"
    for name in ("one.md", "two.md"):
        record.add("zensical", docs, docs, Settings(), {name: [Source("text: a", page=name)]})
    (docs / "one.md").unlink()
    record.add("zensical", docs, docs, Settings(), {})
    assert list(record.read(docs).pages) == ["two.md"]
