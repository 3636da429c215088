"""The documentation's page of a documentation tool, followed to the letter in an environment that is new.

- A code block with a title is a file. It is written where it stands among the commands.
- A line that begins with `$ ` in a `console` block is a command. It is run in the folder of the files.
- `pip install …` installs what it names into an environment in which there was nothing before. `attnviz` and
  `mkdocs-attnviz` are wheels of this checkout; all other packages are the newest.
- `npm install …` is not run: what it names is in `tests/node/`, with exact versions.
- What cannot be run in a test stands in a `text` block: a server that does not end, an upload to somebody's account.

Three things are not as they are for a reader. What the extra `torch` installs takes gigabytes: it is linked from the
environment of the tests, except where a test says that it is to be installed. A folder `.attnviz` is the cache of the
test run: a text goes through a model once. And jsonschema lacks its test of IRIs, which compiles a grammar for a second
in each command of Jupyter.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import bytecode
import commands
from base_install import WITH_MKDOCS
from conftest import ROOT
from hosts import FENCE, QUIET, link_packages
from packaging.requirements import Requirement

PAGES = sorted((ROOT / "example_site" / "docs" / "guide" / "hosts").glob("*.md"))
OURS = re.compile(r"(?P<name>(?:mkdocs-)?attnviz)\[(?P<extras>[\w,]+)\]$")
CONFIGURATIONS = ("mkdocs.yml", "properdocs.yml", "zensical.toml", "conf.py", "myst.yml", "_quarto.yml", "attnviz.yml")
UV = [sys.executable, "-m", "uv"]
SLOW = {"rfc3987-syntax"}
"""Distributions that others import if they are installed, and that are not."""
LINKED = {"torch", "transformers", "sentence-transformers"}
"""Distributions that are linked, and one that the model's package asks for and does not import."""


def packages_of(extra: str) -> set[str]:
    """Return the distributions that an extra of ours installs, with all that they need."""
    found, waiting = set[str](), [Requirement(f"attnviz[{extra}]")]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        for needed in map(Requirement, metadata.requires(requirement.name) or ()):
            wanted = any(needed.marker is None or needed.marker.evaluate({"extra": extra}) for extra in extras)
            base = requirement.name == "attnviz" and "extra ==" not in str(needed.marker)
            if wanted and not base and needed.name not in found:
                found.add(needed.name)
                waiting.append(needed)
    return found


def link_distributions(names: set[str], folder: Path) -> None:
    """Make a folder from which Python can import these distributions, as they are installed here."""
    for name in names:
        files = metadata.files(name) or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            place = files[0].locate().parents[len(files[0].parts) - 1] if files else Path()
            if (place / top).exists() and not (folder / top).exists():
                (folder / top).symlink_to(place / top)


class Wheels(NamedTuple):
    """A folder with what new environments get of this one."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> None:
        """Build our distributions, and link what runs models."""
        for project in (ROOT, WITH_MKDOCS):
            subprocess.run([*UV, "build", "--quiet", "--wheel", "--out-dir", folder / "wheels", project], check=True)
        (folder / "torch").mkdir()
        link_distributions(packages_of("torch"), folder / "torch")

    def of(self, package: str) -> str:
        """Return a package that may be one of our projects, with extras, as its wheel."""
        project, bracket, extras = package.partition("[")
        name = {str(ROOT): "attnviz", str(WITH_MKDOCS): "mkdocs_attnviz"}.get(project)
        if name is None:
            return package
        [wheel] = self.folder.glob(f"wheels/{name}-*.whl")
        return f"{wheel}{bracket}{extras}"


class Reader:
    """A reader of a page, with a folder and an environment of their own."""

    def __init__(self, folder: Path, wheels: Wheels, cache: Path, compiled: Path) -> None:
        self.folder, self.wheels, self.cache, self.compiled = folder / "site", wheels, cache, compiled
        self.environment = folder / "environment"
        self.linked = True
        """Link what runs models, instead of installing it."""
        self.folder.mkdir()
        subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, self.environment], check=True)
        here = [self.environment / "bin", "/usr/local/bin", "/usr/bin", "/bin"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON", "VIRTUAL_"))}
        self.variables = kept | QUIET | {"PATH": os.pathsep.join(map(str, here)), "NO_MKDOCS_2_WARNING": "1"}
        self.variables["XDG_CACHE_HOME"] = str(folder / "user")  # where nobody has built a site before
        self._share_cache(self.folder)

    def add_programs(self, folder: Path) -> None:
        """Let commands find the programs in a folder before those of the system."""
        first, rest = self.variables["PATH"].split(os.pathsep, 1)
        self.variables["PATH"] = os.pathsep.join([first, str(folder), rest])

    def add_node(self, package: str) -> None:
        """Put packages of npm into the folder of the files: those of a folder in `tests/node/`."""
        link_packages(package, self.folder)
        self.add_programs(self.folder / "node_modules" / ".bin")
        self.add_programs(Path(shutil.which("node") or "").parent)

    def follow(self, page: Path) -> None:
        """Write the files of a page, and run its commands."""
        for block in FENCE.finditer(page.read_text("utf-8")):
            if block["title"]:
                self.write(block["title"], f"{block['body']}\n")
            for command in self._commands(block):
                self.run(command)
        bytecode.keep(self.environment, self.compiled)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.name in CONFIGURATIONS:
            self._share_cache(path.parent)

    def run(self, command: str) -> None:
        if command.startswith("pip install "):
            self.install(*shlex.split(command)[2:])
            return
        run = commands.run_and_end(command, shell=True, cwd=self.folder, env=self.variables)
        assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"

    def install(self, *packages: str) -> None:
        """Install packages. What runs models is linked, where an extra asks for it."""
        named = [OURS.match(package) for package in packages]
        if self.linked and any(ours and "torch" in ours["extras"].split(",") for ours in named):
            [site] = self.environment.glob("lib/python*/site-packages")
            (site / "torch.pth").write_text(f"{self.wheels.folder / 'torch'}\n")
        if self.linked:
            packages = tuple(without_torch(ours) if ours else each for ours, each in zip(named, packages, strict=True))
        excluded = self.environment / "excluded.txt"
        excluded.write_text("\n".join(SLOW | LINKED if self.linked else SLOW))
        where = [f"--python={self.environment / 'bin' / 'python'}", f"--find-links={self.wheels.folder / 'wheels'}"]
        install = [*UV, "pip", "install", "--quiet", *where, f"--excludes={excluded}", *packages]
        done = subprocess.run(install, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        bytecode.take(self.environment, self.compiled)

    def _commands(self, block: re.Match[str]) -> Iterator[str]:
        """Yield the commands of a code block."""
        if block["language"] == "console":
            yield from re.findall(r"^\$ (?!npm install)(.+)$", block["body"], re.M)

    def _share_cache(self, folder: Path) -> None:
        """Let a site in this folder take its tensors from the cache of the test run."""
        self.cache.mkdir(exist_ok=True)
        if not (folder / ".attnviz").is_symlink():
            (folder / ".attnviz").symlink_to(self.cache)


def without_torch(ours: re.Match[str]) -> str:
    """Return the requirement without the extra `torch`."""
    extras = [extra for extra in ours["extras"].split(",") if extra != "torch"]
    return f"{ours['name']}[{','.join(extras)}]" if extras else ours["name"]
