"""Blocks in docstrings: drawn with the site's settings, counted, and told with page and object, whoever shows them."""

import json
import os
from pathlib import Path

import commands
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import INDUCTION

pytest.importorskip("mkdocstrings_handlers.python")

PACKAGE = '''\
"""A package.

{module}
"""


def attend(text: str) -> str:
    """Attend to a text.

    {function}

    Args:
        text: What is read.

            {parameter}
    """
'''
GOOD = "```attention\nmodel: tiny\ntext: The cat sat on the mat\n```"
"""`tiny` is an alias: only a block that has the site's settings can be drawn."""
BAD = "```attention\nmodel: tiny\ntext: The cat sat on the mat\nlayer: 99\n```"
PAGE = f"# Reference\n\n{GOOD}\n\n::: thing\n"
TOLD = "reference.md, docstring of thing.attend: `layer` is 99; model 'tiny' has layers 0 to 1."


class Project:
    """A package `thing` and a site that shows its docstrings."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.settings = {"models": {"tiny": INDUCTION}, "cache_dir": str(cache)}
        self.write("docs/reference.md", PAGE)
        self.document(GOOD, GOOD, GOOD)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def document(self, module: str, function: str, parameter: str) -> None:
        deeper = {"module": 0, "function": 4, "parameter": 12}
        blocks = {"module": module, "function": function, "parameter": parameter}
        indented = {name: block.replace("\n", "\n" + " " * deeper[name]) for name, block in blocks.items()}
        self.write("thing/__init__.py", PACKAGE.format(**indented))

    def configure(self, *, plugin: bool, **extension) -> None:
        """Convert as in a site whose Markdown extensions have no options of their own."""
        plugins = [{"mkdocstrings": {"handlers": {"python": {"paths": ["."]}}}}]
        config = {"site_name": "Test", "theme": {"name": "material", "font": False}}
        if plugin:
            config |= {"plugins": [*plugins, {"attnviz": self.settings}]}
        else:
            extensions = ["pymdownx.superfences", {"mkdocs_attnviz": self.settings | extension}]
            config |= {"plugins": plugins, "markdown_extensions": extensions}
        self.write("mkdocs.yml", yaml.safe_dump(config))

    def run(self, *command: str):
        environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
        return commands.run(*command, cwd=self.folder, env=environment)

    def page(self, name: str = "site/reference/index.html") -> BeautifulSoup:
        return BeautifulSoup((self.folder / name).read_text(), "html5lib")

    def blocks(self, *options: str) -> list[tuple[str, int | None, str | None, str]]:
        status = self.run("mkdocs_attnviz", "status", "--json", *options)
        assert status.returncode == 0, status.stderr
        found = json.loads(status.stdout)["blocks"]
        return [(block["page"], block["line"], block.get("object"), block["state"]) for block in found]


@pytest.fixture
def project(tmp_path, shared_cache):
    return Project(tmp_path, shared_cache)


def seen(*states: str):
    """Return what is counted of the project: its page's block, and those of the docstrings."""
    places = [(3, None), (None, "thing"), (None, "thing.attend"), (None, "thing.attend")]
    return [("reference.md", line, name, state) for (line, name), state in zip(places, states, strict=True)]


def are_drawn(page: BeautifulSoup) -> None:
    assert len(page.select("figure.attnviz attn-viz")) == 4
    assert not page.select("[role=alert]")
    ids = [figure["id"] for figure in page.select("figure.attnviz")]
    assert ids == [f"attnviz-{number}" for number in range(1, 5)]
    assert len(page.select('script[src*="attnviz-"]')) == 3


@pytest.mark.parametrize("tool", ["mkdocs", "properdocs"])
def test_mkdocstrings_before_our_plugin(project, tool):
    project.configure(plugin=True)
    built = project.run(tool, "build", "--strict", "-f", "mkdocs.yml")
    assert built.returncode == 0, built.stderr
    are_drawn(project.page())
    assert project.blocks() == seen("cached", "cached", "cached", "cached")


def test_what_cannot_be_drawn_fails_strict_and_names_the_object(project):
    project.document(GOOD, BAD, "```attention layer=3\nmodel: tiny\n```")
    project.configure(plugin=True)
    built = project.run("mkdocs", "build", "--strict")
    assert built.returncode == 1
    assert f"WARNING -  attnviz: {TOLD}" in built.stderr
    assert "reference.md, docstring of thing.attend: The fence's header 'layer=3' cannot be read" in built.stderr
    assert project.blocks() == seen("cached", "cached", "bad", "bad")
    check = project.run("mkdocs_attnviz", "check")
    assert check.returncode == 1
    assert TOLD in check.stderr


def test_a_block_in_an_indented_docstring_that_is_not_closed(project):
    project.document("```attention\nmodel: tiny", GOOD, GOOD)
    project.configure(plugin=True)
    told = project.run("mkdocs", "build").stderr
    assert "reference.md, docstring of thing: This fence is not closed" in told


def test_mkdocs_with_the_extension_alone(project):
    """There is no plugin whose build could be asked: the last one has left word."""
    project.configure(plugin=False)
    built = project.run("mkdocs", "build", "--strict")
    assert built.returncode == 0, built.stderr
    assert len(project.page().select("attn-viz")) == 4
    assert project.blocks() == seen("cached", "cached", "cached", "cached")
    project.document(GOOD, BAD, GOOD)
    built = project.run("mkdocs", "build", "--strict")
    assert built.returncode == 1, built.stderr
    assert f"WARNING -  {TOLD}" in built.stderr
    assert project.blocks() == seen("cached", "cached", "bad", "cached")


CUSTOM_FENCE = """
site_name: Test
theme: {{name: material, font: false}}
plugins:
- mkdocstrings: {{handlers: {{python: {{paths: [.]}}}}}}
markdown_extensions:
- pymdownx.superfences:
    custom_fences:
    - name: attention
      class: attention
      format: !!python/object/apply:mkdocs_attnviz.fence_format
        kwds: {settings}
      validator: !!python/name:mkdocs_attnviz.fence_validator
"""


def test_a_custom_fence(project):
    """The page itself has no block."""
    project.write("mkdocs.yml", CUSTOM_FENCE.format(settings=json.dumps(project.settings)))
    project.write("docs/reference.md", "# Reference\n\n::: thing\n")
    built = project.run("mkdocs", "build", "--strict")
    assert built.returncode == 0, built.stderr
    assert len(project.page().select("attn-viz")) == 3
    project.document(GOOD, BAD, GOOD)
    built = project.run("mkdocs", "build", "--strict")
    assert built.returncode == 1
    assert f"WARNING -  {TOLD}" in built.stderr


def test_zensical(project):
    project.configure(plugin=False, assets_dir="docs/assets/attnviz", assets_url="assets/attnviz", strict=True)
    assert project.run("mkdocs_attnviz", "assets").returncode == 0
    built = project.run("zensical", "build", "--clean", "--strict")
    assert built.returncode == 0, built.stderr
    are_drawn(project.page())
    assert project.blocks() == seen("cached", "cached", "cached", "cached")
    project.document(GOOD, BAD, GOOD)
    assert project.blocks() == seen("cached", "cached", "bad", "cached")
    built = project.run("zensical", "build", "--clean", "--strict")
    assert built.returncode != 0
    assert TOLD in built.stderr + built.stdout


def test_markdown_of_a_hook_s_own(project):
    """Any instance that is made while MkDocs builds leaves its blocks to the plugin."""
    project.write(
        "hook.py",
        f"import markdown\nBLOCK = {GOOD!r}\nEARLY = markdown.Markdown(extensions=['mkdocs_attnviz'])\n"
        "def on_page_markdown(text, **_):\n    return text.replace('HERE', EARLY.convert(BLOCK))\n",
    )
    project.write("docs/index.md", "# Home\n\nHERE\n")
    project.configure(plugin=True)
    config = yaml.safe_load((project.folder / "mkdocs.yml").read_text()) | {"hooks": ["hook.py"]}
    project.write("mkdocs.yml", yaml.safe_dump(config))
    built = project.run("mkdocs", "build", "--strict")
    assert built.returncode == 0, built.stderr
    assert len(project.page("site/index.html").select("attn-viz")) == 1


AUTODOC = '''\
class Thing:
    """A thing.

    .. code-block:: attention

       model: tiny
       text: The cat sat on the mat
    """

    def attend(self):
        """Attend.

        .. attnviz::

           model: tiny
           text: The cat sat on the mat
           layer: 99
        """
'''


def test_autodoc(project):
    project.write("thing/__init__.py", AUTODOC)
    settings = "".join(f"attnviz_{name} = {value!r}\n" for name, value in project.settings.items())
    project.write(
        "docs/conf.py",
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).resolve().parent.parent))\n"
        f"extensions = ['sphinx.ext.autodoc', 'mkdocs_attnviz']\nexclude_patterns = ['*.md']\n{settings}",
    )
    project.write("docs/index.rst", "API\n===\n\n.. automodule:: thing\n   :members:\n   :undoc-members:\n")
    built = project.run("sphinx", "-q", "-W", "--keep-going", "docs", "out")
    assert built.returncode == 1
    assert "index.rst:docstring of thing.Thing.attend: WARNING: `layer` is 99" in built.stderr
    page = project.page("out/index.html")
    assert len(page.select("attn-viz")) == 1
    assert "(index.rst, docstring of thing.Thing.attend)" in page.select_one("[role=alert]").get_text()
    found = [(page, name, state) for page, _, name, state in project.blocks("-f", "docs/conf.py")]
    assert found == [("index.rst", "thing.Thing", "cached"), ("index.rst", "thing.Thing.attend", "bad")]
