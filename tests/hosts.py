"""The tools that documentation is written with, each run by its own command line on pages of the same blocks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import commands
import pypandoc
import yaml
from conftest import INDUCTION, MINILM, ROOT, Built
from node_packages import installed


class Host(ABC):
    """A site in a folder of its own, built into its `site` folder."""

    suffix = ".md"
    python = sys.executable
    """The interpreter of the environment that the tool is installed in."""
    fresh = False
    """Let the interpreter itself start each command, and each worker, with nothing imported before."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {
            "models": {"minilm": MINILM, "induction": INDUCTION},
            "cache_dir": str(cache),
        }
        self.source = folder / "docs"
        self.environment: dict[str, str] = {}

    def write(self, page: str, *bodies: str) -> None:
        """A page with these blocks; `page` has no suffix."""
        path = self.source / f"{page}{self.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join([self.heading("Page"), *map(self.block, bodies)]) + "\n")

    def heading(self, text: str) -> str:
        return f"# {text}"

    def block(self, body: str) -> str:
        return f"```attention\n{body.strip()}\n```"

    @property
    def base(self) -> Path:
        """The folder of the configuration, where relative directories start from."""
        return self.folder

    config_file = "mkdocs.yml"
    """Name of the configuration in `base`, once it is built."""

    @abstractmethod
    def build(self, *, strict: bool = False) -> Built: ...

    def run(self, *command: str) -> Built:
        environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "SOURCE_DATE_EPOCH": "1700000000"} | self.environment
        run = commands.run(*command, cwd=self.folder, env=environment, python=self.python, fresh=self.fresh)
        return Built(self.folder, run.returncode, run.stdout + run.stderr)

    def page_of(self, page: str) -> str:
        """The built page's path in the site folder."""
        return f"{page}.html"

    def data(self) -> dict[str, bytes]:
        """The data files of a built site."""
        found = (self.folder / "site").rglob("*.js")
        return {path.name: path.read_bytes() for path in found if re.fullmatch(r"[0-9a-f]{64}\.js", path.name)}


class MkDocs(Host):
    command = "mkdocs"

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.theme: dict[str, Any] = {"name": "mkdocs", "highlightjs": False}
        self.plugins: list[Any] = ["search"]

    def build(self, *, strict: bool = False) -> Built:
        config = {
            "site_name": "Test",
            "use_directory_urls": False,
            "theme": self.theme,
            "markdown_extensions": ["pymdownx.superfences"],
            "plugins": [*self.plugins, {"attnviz": self.settings}],
        }
        (self.folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
        return self.run(self.command, "build", "-f", "mkdocs.yml", *["--strict"] * strict)


class ProperDocs(MkDocs):
    command = "properdocs"

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.theme = {"name": "material", "font": False}  # it has none of its own


class Zensical(Host):
    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.theme: dict[str, Any] = {"font": False}

    def build(self, *, strict: bool = False) -> Built:
        extension = self.settings | {
            "assets_dir": "docs/assets/attnviz",
            "assets_url": "assets/attnviz",
            "strict": strict,
        }
        config = {
            "site_name": "Test",
            "use_directory_urls": False,
            "theme": self.theme,
            "markdown_extensions": ["pymdownx.superfences", {"mkdocs_attnviz": extension}],
        }
        (self.folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
        assets = self.run("mkdocs_attnviz", "assets", "-f", "mkdocs.yml")
        built = self.run("zensical", "build", "--clean", "-f", "mkdocs.yml", *["--strict"] * strict)
        return Built(self.folder, built.returncode, assets.log + built.log)


class PythonMarkdown(Host):
    """`python -m markdown`, a page at a time, and a minimal frame around what it gives."""

    frame = '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Page</title>\n<body>\n{}\n</body></html>'

    def build(self, *, strict: bool = False) -> Built:
        log, worst = "", 0
        site = self.folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        for page in sorted(self.source.rglob("*.md")):
            path = (site / page.relative_to(self.source)).with_suffix(".html")
            path.parent.mkdir(parents=True, exist_ok=True)
            extension = self.settings | {
                "assets_dir": str(site / "assets"),
                "assets_url": os.path.relpath(site / "assets", path.parent),
                "strict": strict,
            }
            config = self.folder / "extensions.json"
            config.write_text(json.dumps({"mkdocs_attnviz": extension}))
            built = self.run("markdown", "-x", "mkdocs_attnviz", "-c", str(config), "-f", str(path), str(page))
            fragment = path.read_text() if path.exists() else ""
            path.write_text(self.frame.format(fragment))
            log, worst = log + built.log, max(worst, built.returncode)
        return Built(self.folder, worst, log)


class Pandoc(Host):
    """Pandoc with Quarto's extension: the entries are computed first, and then pages are converted, each by itself."""

    config_file = "attnviz.yml"
    extension = ROOT / "mkdocs_attnviz" / "hosts" / "quarto" / "_extensions" / "attnviz" / "attnviz.lua"

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.tool = pypandoc.get_pandoc_path()

    @property
    def base(self) -> Path:
        return self.source

    def build(self, *, strict: bool = False) -> Built:
        site = self.folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        (self.source / "attnviz.yml").write_text(yaml.safe_dump(self.settings))
        computing = "on_missing" not in self.settings
        log = self.run("mkdocs_attnviz", "run", "-f", str(self.source / "attnviz.yml")).log if computing else ""
        worst = 0
        for page in sorted(self.source.rglob(f"*{self.suffix}")):
            path = (site / page.relative_to(self.source)).with_suffix(".html")
            path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {
                "pagetitle": "Page",
                "lang": "en",
                "attnviz-assets": str(site / "assets"),
                "attnviz-assets-url": os.path.relpath(site / "assets", path.parent),
                "attnviz-strict": str(strict).lower(),
            }
            options = [f"--metadata={name}={value}" for name, value in metadata.items()]
            built = self.pandoc(str(page.relative_to(self.source)), "-o", str(path), "-s", *options)
            log, worst = log + built.log, max(worst, built.returncode)
        return Built(self.folder, worst, log)

    def pandoc(self, *options: str) -> Built:
        """Run Pandoc with the filter in the folder of the pages."""
        path = f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path} | self.environment
        command = [self.tool, f"--lua-filter={self.extension}", *options]
        run = subprocess.run(command, cwd=self.source, env=environment, capture_output=True, text=True)
        return Built(self.folder, run.returncode, run.stdout + run.stderr)


class Sphinx(Host):
    """Sphinx with MyST."""

    config_file = "conf.py"
    extensions: Sequence[str] = ("myst_parser", "mkdocs_attnviz.hosts.sphinx")

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.theme = "alabaster"
        self.config: dict[str, Any] = {}
        self.options: list[str] = []

    @property
    def base(self) -> Path:
        return self.source

    def build(self, *, strict: bool = False, builder: str = "html") -> Built:
        values = {
            "project": "Test",
            "version": "1",
            "copyright": "nobody",
            "html_theme": self.theme,
            "extensions": list(self.extensions),
            "suppress_warnings": ["toc.not_included"],
            **{f"attnviz_{name}": value for name, value in self.settings.items()},
        } | self.config
        conf = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        self.source.mkdir(parents=True, exist_ok=True)
        if not (self.source / "conf.py").exists() or (self.source / "conf.py").read_text() != conf:
            (self.source / "conf.py").write_text(conf)
        output = "site" if builder == "html" else builder
        doctrees = ["-d", str(self.folder / "doctrees")]
        options = [*doctrees, *self.options, *["-W", "--keep-going"] * strict]
        return self.run("sphinx", "-b", builder, *options, str(self.source), str(self.folder / output))


class SphinxRst(Sphinx):
    extensions = ("mkdocs_attnviz.hosts.sphinx",)
    suffix = ".rst"

    def heading(self, text: str) -> str:
        return f"{text}\n{'=' * len(text)}"

    def block(self, body: str) -> str:
        return f".. code-block:: attention\n\n{textwrap.indent(body.strip(), '   ')}"


class MyST(Host):
    """mystmd, as npm has it, with a theme of its own renderers: the book theme is in no registry of packages."""

    config_file = "myst.yml"

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.project: dict[str, Any] = {}
        self.tool = installed("mystmd", "node", "build.mjs")

    @property
    def base(self) -> Path:
        return self.source

    def configure(self, *, init: bool = True) -> None:
        """Write the configuration, and the plugin with `init`."""
        theme = os.path.relpath(self.tool / "theme", self.source)
        config = {"version": 1, "project": {"title": "Test", **self.project}, "site": {"template": theme}}
        self.source.mkdir(parents=True, exist_ok=True)
        (self.source / "myst.yml").write_text(yaml.safe_dump(config))
        (self.source / "attnviz.yml").write_text(yaml.safe_dump(self.settings))
        if init:
            written = self.run("mkdocs_attnviz", "myst", "init", "-f", str(self.source / "myst.yml"))
            assert written.returncode == 0, written.log

    def build(self, *, strict: bool = False, computing: bool = True) -> Built:
        self.configure()
        log = self.run("mkdocs_attnviz", "run", "-f", str(self.source / "myst.yml")).log if computing else ""
        built = self.mystmd("build", "--html", *["--strict"] * strict)
        shutil.rmtree(self.folder / "site", ignore_errors=True)
        if (self.source / "_build" / "html").exists():
            (self.source / "_build" / "html").rename(self.folder / "site")
        return Built(self.folder, built.returncode, log + built.log)

    def mystmd(self, *options: str) -> Built:
        """Run mystmd in the project."""
        path = f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["node", str(self.tool / "node_modules" / "mystmd" / "dist" / "myst.cjs"), *options]
        environment = os.environ | {"PATH": path} | self.environment
        run = commands.run_and_end(command, cwd=self.source, env=environment)
        return Built(self.folder, run.returncode, run.stdout + run.stderr)

    def nodes(self, page: str, kind: str) -> list[dict[str, Any]]:
        """Return the nodes of a kind in mystmd's own document of a page of the built site."""
        return list(_nodes(json.loads((self.folder / "site" / f"{page}.json").read_text())["mdast"], kind))

    def data(self) -> dict[str, bytes]:
        """The data files of a built site, by the names that they have elsewhere."""
        files = (self.folder / "site" / "build").glob("*.bin")
        return {f"{path.stem}.js": path.read_bytes() for path in files}


def _nodes(node: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a kind in a document of mystmd."""
    if node.get("type") == kind:
        yield node
    for child in node.get("children", ()):
        yield from _nodes(child, kind)


FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)\n(?P=fence)$", re.M | re.S
)
"""A pattern for code in a page of the documentation; its title is the name of a file."""


def documented(page: str) -> dict[str, str]:
    """Return the files that stand in the documentation's page of a host, by name."""
    text = (ROOT / "example_site" / "docs" / "guide" / "hosts" / f"{page}.md").read_text("utf-8")
    return {code["title"]: code["body"] + "\n" for code in FENCE.finditer(text) if code["title"]}


class Generator(Host):
    """A generator of npm, whose pages get their figures from `attnviz render` by the module in the documentation."""

    config_file = "attnviz.yml"
    package: str
    """The folder in `tests/node/`."""
    files: Sequence[str]
    """The files that the documentation has for it."""
    assets: str
    """The folder of scripts and data."""

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder, cache)
        self.source = folder / "src" / "pages"

    def page_of(self, page: str) -> str:
        return "index.html" if page == "index" else f"{page}/index.html"

    def install(self) -> None:
        """Write the documented files, and make the packages of npm known. A tool may write beside these."""
        for name in self.files:
            (self.folder / name).write_text(documented("generators")[name])
        link_packages(self.package, self.folder)

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that builds the site."""

    def build(self, *, strict: bool = False) -> Built:
        self.install()
        settings = {"assets_dir": self.assets, "assets_url": "/attnviz"} | self.settings
        pages = f"{self.source.relative_to(self.folder)}/**/*.md"
        (self.folder / self.config_file).write_text(yaml.safe_dump(settings | {"pages": pages}))
        log = self.run("mkdocs_attnviz", "run").log if "on_missing" not in settings else ""
        shutil.rmtree(self.folder / "site", ignore_errors=True)
        environment = os.environ | QUIET | {"PATH": path_of_packages(self.folder), "CI": "1" if strict else ""}
        run = subprocess.run(self.command(), cwd=self.folder, env=environment, capture_output=True, text=True)
        return Built(self.folder, run.returncode, log + run.stdout + run.stderr)


QUIET = {"ASTRO_TELEMETRY_DISABLED": "1", "NO_COLOR": "1"}
"""The environment in which generators report nothing to their makers."""


def link_packages(package: str, folder: Path) -> None:
    """Make the packages of a folder in `tests/node/` those of another folder."""
    (folder / "node_modules").mkdir(exist_ok=True)
    for path in (installed(package) / "node_modules").iterdir():
        link = folder / "node_modules" / path.name
        if not link.is_symlink() and (path.name == ".bin" or not path.name.startswith(".")):
            link.symlink_to(path)


def path_of_packages(folder: Path) -> str:
    """Return the search path for commands, with those of npm's packages and of this environment first."""
    return os.pathsep.join(
        [str(folder / "node_modules" / ".bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )


class Astro(Generator):
    package = "astro"
    files = ("attnviz.mjs", "astro.config.mjs")
    assets = "public/attnviz"

    def command(self) -> list[str]:
        return ["astro", "build", "--outDir", "site"]


class Eleventy(Generator):
    package = "eleventy"
    files = ("attnviz.mjs", "eleventy.config.mjs")
    assets = "site/attnviz"

    def command(self) -> list[str]:
        return ["eleventy", "--output", "site"]


GENERATORS: dict[str, type[Generator]] = {"astro": Astro, "eleventy": Eleventy}
"""The generators that are not written in Python."""

HOSTS: dict[str, type[Host]] = {
    "mkdocs": MkDocs,
    "properdocs": ProperDocs,
    "zensical": Zensical,
    "sphinx-myst": Sphinx,
    "sphinx-rst": SphinxRst,
    "python-markdown": PythonMarkdown,
    "pandoc": Pandoc,
}
