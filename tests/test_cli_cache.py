"""`attnviz status`, `check`, `prune` and what `run` shares, as they are typed."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import commands
import pytest
import yaml
from conftest import INDUCTION

from mkdocs_attnviz.cache.entry import Entry

TEXT = "the rabbit hopped"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ELSEWHERE = COMMIT[::-1]
NO_TORCH = "raise ImportError('this machine has no torch')"


def fence(model, text=TEXT):
    return f"```attention\nmodel: {model}\ntext: {text}\n```\n"


class Project:
    """A MkDocs site with a model in a directory and one of the hub; without its cache no model can be run."""

    settings: ClassVar = {"models": {"mine": "models/mine"}, "on_missing": "error"}

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache, self.lock = folder, folder / ".attnviz", folder / "attnviz.lock"
        self.environment = {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}

    def create(self) -> None:
        shutil.copytree(INDUCTION, self.folder / "models" / "mine")
        hub = self.folder / "hub" / "models--org--induction"
        (hub / "snapshots").mkdir(parents=True)
        (hub / "snapshots" / COMMIT).symlink_to(INDUCTION)
        self.branch_is(COMMIT)
        self.write("index.md", f"# One\n\n{fence('mine')}")
        self.write("two.md", f"# Two\n\n{fence('org/induction')}")
        self.configure()

    def branch_is(self, commit: str) -> None:
        """Return the place of the model's branch in this machine's hub cache."""
        branch = self.folder / "hub" / "models--org--induction" / "refs" / "main"
        branch.parent.mkdir(exist_ok=True)
        branch.write_text(commit)

    def configure(self, **more) -> None:
        """The site, with more settings; whatever was in its cache."""
        config = {"site_name": "Test", "plugins": ["search", {"attnviz": self.settings | more}]}
        (self.folder / "mkdocs.yml").write_text(yaml.safe_dump(config))

    def write(self, page: str, text: str) -> None:
        path = self.folder / "docs" / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def entries(self) -> list[Path]:
        return sorted(self.cache.glob("*/*.attnviz"))

    def entry_of(self, page: str) -> Path:
        block = next(each for each in self.json("status")["blocks"] if each["page"] == page)
        return self.cache / block["key"][:2] / f"{block['key']}.attnviz"

    def files(self) -> dict[str, bytes]:
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def attnviz(self, *arguments, models: bool = False):
        """Run the command; torch cannot be imported, unless `models` may run."""
        block = self.folder.parent / "no-torch"
        block.mkdir(exist_ok=True)
        (block / "torch.py").write_text(NO_TORCH)
        environment = os.environ | self.environment
        if not models:
            environment["PYTHONPATH"] = commands.path_with(block, workers=False)
        return commands.run("mkdocs_attnviz", *map(str, arguments), cwd=self.folder, env=environment)

    def json(self, *arguments, **options):
        made = self.attnviz(*arguments, "--json", **options)
        assert made.stdout, made.stderr
        return json.loads(made.stdout)

    def states(self) -> dict[str, str]:
        return {block["page"]: block["state"] for block in self.json("status")["blocks"]}


@pytest.fixture(scope="session")
def computed(once) -> Path:
    """Return the project after `attnviz run`; the models run once for all tests."""
    return once("computed", compute) / "site"


def compute(folder: Path) -> None:
    project = Project(folder / "site")
    project.create()
    made = project.attnviz("run", models=True)
    assert (made.returncode, made.stdout) == (0, "2 blocks on 2 pages: 2 computed, 0 cached, 0 bad\n"), made.stderr


@pytest.fixture
def project(computed, tmp_path) -> Project:
    shutil.copytree(computed, tmp_path / "site", symlinks=True)
    return Project(tmp_path / "site")


# ---- status


def test_vv_tells_the_keys_of_the_cache(project):
    told = project.attnviz("-vv", "run")
    assert told.returncode == 0, told.stderr
    keys = {block["key"] for block in project.json("status")["blocks"]}
    assert {*re.findall(r"^key ([0-9a-f]{64}) = ", told.stderr, re.MULTILINE)} == keys


def test_status_shows_each_block(project):
    project.write("three.md", f"{fence('mine', 'another text')}\n{fence('mine')[:-4]}layer: 99\n```\n")
    project.write("four.md", "```attention\nmodle: mine\n```\n\n" + fence("org/unknown"))
    damaged = project.entry_of("two.md")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = project.files()

    made = project.attnviz("status")
    shown = [re.split(r"  +", line) for line in made.stdout.splitlines()]
    size = project.entry_of("index.md").stat().st_size
    assert [line[:4] for line in shown[:-1]] == [
        ["block", "model", "view", "state"],
        ["index.md:3", "mine", "head", "cached"],
        ["four.md:2", "bad"],
        ["four.md:5", "org/unknown", "head", "missing"],
        ["three.md:1", "mine", "head", "missing"],
        ["three.md:9", "mine", "head", "bad"],
        ["two.md:3", "org/induction", "head", "damaged"],
    ]
    assert shown[1][4] == f"{size / 1000:.1f} kB"
    assert re.fullmatch(r"\d+(\.\d)? kB", shown[1][5])
    assert re.fullmatch(r"\d+ (s|min)", shown[1][6])
    assert made.stdout.splitlines()[-1].startswith(
        "6 blocks on 4 pages: 1 cached, 0 shared, 2 missing, 1 damaged, 2 bad; "
    )
    assert made.returncode == 0
    assert project.files() == before


def test_status_as_json(project):
    found = project.json("status", "docs/index.md")
    (block,) = found["blocks"]
    age, key, site_size = block.pop("age"), block.pop("key"), block.pop("site_size")
    entry = project.cache / key[:2] / f"{key}.attnviz"
    assert 0 <= age < 3600
    (model,) = block.pop("provenance")["models"]
    assert ["model", model["identity"]] in Entry.from_bytes(entry.read_bytes()).meta["key"]
    assert block == {
        "page": "index.md",
        "line": 3,
        "model": "mine",
        "other": None,
        "view": "head",
        "state": "cached",
        "size": entry.stat().st_size,
        "problem": "",
        "claims": [],
    }
    states = {"cached": 1, "shared": 0, "missing": 0, "damaged": 0, "bad": 0}
    assert found["totals"] == {
        "blocks": 1,
        "pages": 1,
        **states,
        "size": entry.stat().st_size,
        "site_size": site_size,
    }
    assert 3_000 < site_size < 100_000


def read_all(terminal):
    """A terminal gives what was written to it piece by piece, and then an error."""
    pieces = []
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4096):
            pieces.append(piece)
    return b"".join(pieces)


def test_a_narrow_terminal_cuts_the_widest_columns(project):
    """The end of a path says more than its beginning."""
    project.write("a/folder/with/a/long/name.md", fence("mine"))
    terminal, end = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "mkdocs_attnviz", "status"],
        stdout=end,
        cwd=project.folder,
        env=os.environ | project.environment | {"COLUMNS": "68"},
    )
    os.close(end)
    shown = read_all(terminal).decode().splitlines()
    assert max(map(len, shown[:-1])) <= 68
    (row,) = (line for line in shown if "/long/name.md:1  mine" in line)
    assert row.startswith("…")


# ---- check


def test_check_passes_where_everything_is_here(project):
    made = project.attnviz("check")
    assert (made.returncode, made.stdout) == (0, "2 blocks on 2 pages: nothing is missing\n"), made.stderr
    assert project.json("check") == {"ok": True, "blocks": 2, "pages": 2, "problems": []}


def delete_entry(project):
    project.entry_of("index.md").unlink()


def corrupt_entry(project):
    entry = project.entry_of("index.md")
    content = bytearray(entry.read_bytes())
    content[-9] ^= 1
    entry.write_bytes(content)


def move_branch(project):
    project.branch_is(ELSEWHERE)


def change_model(project):
    config = project.folder / "models" / "mine" / "config.json"
    config.write_text(config.read_text() + "\n")


def delete_lock(project):
    project.lock.unlink()


def damage_lock(project):
    project.lock.write_text("version: 2\n")


def misspell(project):
    project.write("index.md", "# One\n\n```attention\nmodel: mine\ntekst: a\n```\n")


RUN = "`attnviz run -f mkdocs.yml`"
CAUGHT = {
    delete_entry: f"index.md:3: The cache does not hold its tensors. {RUN} computes them.",
    corrupt_entry: rf"index.md:3: Its cache entry .*\.attnviz is damaged. {RUN} computes it again.",
    move_branch: "attnviz.lock: org/induction has moved: 'main' is commit 76543210fe now, the lock file keeps "
    "0123456789. `attnviz run --update` takes the new commit.",
    change_model: "attnviz.lock: models/mine has changed since the lock file was written. "
    f"{RUN} computes its figures again.",
    delete_lock: f"attnviz.lock: It does not name 'org/induction'; {RUN} writes it.",
    damage_lock: "attnviz.lock: The lock file .* cannot be read .*; correct it, or delete it to start again.",
    misspell: "index.md:5: `tekst` is not a key of the block .did you mean `text`.*",
}


@pytest.mark.parametrize("spoil", CAUGHT, ids=lambda spoil: spoil.__name__)
def test_check_catches(project, spoil):
    spoil(project)
    made = project.attnviz("check")
    assert made.returncode == 1
    assert made.stdout == ""
    assert any(re.fullmatch(CAUGHT[spoil], line) for line in made.stderr.splitlines()), made.stderr
    found = project.json("check")
    assert not found["ok"]
    assert [f"{problem['where']}: {problem['message']}" for problem in found["problems"]] == made.stderr.splitlines()


COMPARED = fence("mine", "the rabbit hopped over the fence").replace("text", "view: similarity\nother: {}\ntext")
OTHERS = {
    "org/induction": (
        move_branch,
        "attnviz.lock: org/induction has moved: 'main' is commit 76543210fe now, the lock file keeps "
        "0123456789. `attnviz run --update` takes the new commit.",
    ),
    "models/other": (
        lambda project: (project.folder / "models" / "other" / "model.safetensors").open("ab").write(b" "),
        f"attnviz.lock: models/other has changed since the lock file was written. {RUN} computes its figures again.",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_check_looks_at_the_model_that_is_compared_with(project, other):
    spoil, message = OTHERS[other]
    shutil.copytree(INDUCTION, project.folder / "models" / "other")
    project.write("two.md", f"# Two\n\n{COMPARED.format(other)}")
    assert project.attnviz("check").returncode == 1
    made = project.attnviz("run", models=True)
    assert made.stdout == "2 blocks on 2 pages: 1 computed, 1 cached, 0 bad\n", made.stderr
    assert other in project.lock.read_text()
    assert project.attnviz("check").returncode == 0
    block = project.json("status")["blocks"][1]
    assert (block["model"], block["other"], block["state"]) == ("mine", other, "cached")
    assert f"mine and {other}" in project.attnviz("status").stdout
    assert other not in project.attnviz("prune").stdout
    spoil(project)
    made = project.attnviz("check")
    assert made.returncode == 1
    assert message in made.stderr.splitlines()


def test_prune_forgets_a_model_that_nothing_is_compared_with(project):
    project.write("two.md", f"# Two\n\n{COMPARED.format('org/induction')}")
    project.attnviz("run", models=True)
    assert "org/induction" not in project.attnviz("prune").stdout
    project.write("two.md", "# Two\n")
    assert "org/induction" in project.attnviz("prune").stdout


def test_what_check_says_helps(project):
    """The command that it names makes it pass."""
    delete_entry(project)
    delete_lock(project)
    assert project.attnviz("check").returncode == 1
    made = project.attnviz("run", "-f", "mkdocs.yml", models=True)
    assert made.stdout == "2 blocks on 2 pages: 1 computed, 1 cached, 0 bad\n", made.stderr
    assert project.attnviz("check").returncode == 0


class Hub(BaseHTTPRequestHandler):
    """Serve as much of the hub as tells where a branch is: its config.json, and the commit of that file."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("X-Repo-Commit", ELSEWHERE)
        self.send_header("ETag", '"abc"')
        self.send_header("Content-Length", "2")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("compared", [False, True])
def test_check_asks_the_hub_itself(project, compared):
    if compared:
        project.write("two.md", f"# Two\n\n{COMPARED.format('org/induction')}")
        project.attnviz("run", models=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    project.environment |= {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    assert project.attnviz("check").returncode == 0
    made = project.attnviz("check", "--hub", models=True)
    server.shutdown()
    assert made.returncode == 1
    assert made.stderr == CAUGHT[move_branch].join(["", "\n"])


def test_a_hub_that_cannot_be_asked_is_a_problem(project):
    shutil.rmtree(project.folder / "hub")
    assert project.attnviz("check").returncode == 0
    made = project.attnviz("check", "--hub", models=True)
    assert made.returncode == 1
    assert "attnviz.lock: Model 'org/induction' is not on this machine, and the hub cannot be reached." in made.stderr


# ---- the shared cache


@pytest.fixture
def shared(project, tmp_path) -> Path:
    """The project with a shared cache, which is empty."""
    project.configure(cache_url=(tmp_path / "shared").as_uri())
    return tmp_path / "shared"


def names(folder):
    return sorted(path.name for path in folder.rglob("*.attnviz"))


def test_push_brings_what_is_here_already(project, shared):
    entries = {path.name: path.read_bytes() for path in project.entries()}
    found = project.json("run", "--push")
    assert (found["cached"], found["pushed"]) == (2, 2)
    assert {path.name: path.read_bytes() for path in shared.rglob("*.attnviz")} == entries
    assert project.json("run", "--push")["pushed"] == 0
    damaged = next(shared.rglob("*.attnviz"))
    damaged.write_bytes(b"attnviz 1")
    assert project.json("run", "--push")["pushed"] == 1
    assert {path.name: path.read_bytes() for path in shared.rglob("*.attnviz")} == entries


def test_push_brings_what_is_computed(project, shared):
    shutil.rmtree(project.cache)
    found = project.json("run", "--push", models=True)
    assert (found["computed"], found["pushed"]) == (2, 0)
    assert names(shared) == names(project.cache)


def test_an_entry_in_the_shared_cache_is_there(project, shared):
    project.attnviz("run", "--push")
    project.entry_of("index.md").unlink()
    assert project.states() == {"index.md": "shared", "two.md": "cached"}
    assert project.attnviz("check").returncode == 0
    assert len(project.entries()) == 1  # neither has fetched it
    made = project.attnviz("run")
    assert made.stdout == "2 blocks on 2 pages: 0 computed, 1 cached, 0 bad, 1 fetched\n", made.stderr
    assert project.states() == {"index.md": "cached", "two.md": "cached"}


def test_a_shared_cache_that_cannot_be_read(project):
    project.configure(cache_url="no-such-protocol://bucket")
    assert project.attnviz("check").returncode == 0  # it is not needed
    delete_entry(project)
    made = project.attnviz("check")
    assert made.returncode == 1
    assert "The cache does not hold its tensors. The shared cache no-such-protocol://bucket cannot be" in made.stderr
    made = project.attnviz("run", "--push", "docs/two.md")
    assert made.returncode == 2
    assert "Error: The shared cache no-such-protocol://bucket cannot be" in made.stderr


# ---- prune


@pytest.fixture
def littered(project):
    """A page is gone, and a build was killed long ago, another just now."""
    (project.folder / "docs" / "two.md").unlink()
    for name in (".old.tmp", ".new.tmp"):
        (project.entries()[0].parent / name).write_bytes(b"half")
    os.utime(project.entries()[0].parent / ".old.tmp", (0, 0))
    return project


def test_prune_lists_and_changes_nothing(littered):
    before = littered.files()
    made = littered.attnviz("prune")
    assert made.returncode == 0, made.stderr
    kinds = [line.split()[0] for line in made.stdout.splitlines()]
    assert kinds == ["kind", "entry", "temporary", "model", "3"]
    assert "org/induction" in made.stdout
    assert re.fullmatch(r"3 unused, 1\.\d kB; `--delete` removes it", made.stdout.splitlines()[-1])
    assert littered.files() == before


def test_prune_removes_what_no_page_uses(littered):
    kept = littered.entry_of("index.md")
    found = littered.json("prune", "--delete")
    assert found["deleted"]
    assert [each["kind"] for each in found["unused"]] == ["entry", "temporary", "model"]
    assert found["size"] == sum(each["size"] or 0 for each in found["unused"])
    assert littered.entries() == [kept]
    assert [path.name for path in littered.cache.rglob(".*.tmp")] == [".new.tmp"]
    assert list(yaml.safe_load(littered.lock.read_text())["models"]) == ["models/mine"]
    assert littered.attnviz("check").returncode == 0
    assert littered.attnviz("prune").stdout == "nothing is unused\n"


def test_prune_of_the_shared_cache(project, shared):
    project.attnviz("run", "--push")
    kept = project.entry_of("index.md").name
    (project.folder / "docs" / "two.md").unlink()
    project.attnviz("prune", "--delete")
    assert (len(names(shared)), names(project.cache)) == (2, [kept])
    assert [each["kind"] for each in project.json("prune", "--shared")["unused"]] == ["shared"]
    project.attnviz("prune", "--shared", "--delete")
    assert names(shared) == [kept]


def unknown_commit(project):
    project.write("two.md", fence("org/unknown"))


def unreadable_page(project):
    config = yaml.safe_load((project.folder / "mkdocs.yml").read_text())
    config["plugins"].append("no-such-plugin")
    (project.folder / "mkdocs.yml").write_text(yaml.safe_dump(config))


REFUSED = {
    misspell: "Error: Nothing is pruned, because it is not known what 1 block may use. index.md:5: `tekst` is not",
    unknown_commit: "it is not known what 1 block may use. two.md:1: no commit of its model is known here; "
    f"{RUN} asks the hub.",
    damage_lock: "Error: Nothing is pruned. The lock file ",
    unreadable_page: "Error: Nothing is pruned, because pages may use entries that are not known here: "
    "plugin or hook no-such-plugin was not run.",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_prune_refuses_where_it_cannot_know(littered, spoil):
    spoil(littered)
    before = littered.files()
    made = littered.attnviz("prune", "--delete")
    assert made.returncode == 2
    assert REFUSED[spoil] in made.stderr
    assert littered.files() == before


def test_prune_follows_no_link(littered, tmp_path):
    """A pull request may have brought it, and what it leads to is not the site's."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "cd").mkdir(parents=True)
    others = [elsewhere / "cd" / f"{'cd' * 32}.attnviz", elsewhere / "cd" / ".others.tmp", elsewhere / ".others.tmp"]
    for other in others:
        other.write_bytes(b"theirs")
        os.utime(other, (0, 0))
    (littered.cache / "cd").symlink_to(elsewhere / "cd")
    link = littered.cache / "ab" / f"{'ab' * 32}.attnviz"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(others[0])
    found = littered.json("prune", "--delete")
    assert [each["kind"] for each in found["unused"]] == ["entry", "temporary", "model"]
    shutil.rmtree(littered.cache)
    littered.cache.symlink_to(elsewhere)
    made = littered.attnviz("prune", "--delete")
    assert made.returncode == 2
    assert (
        "Nothing is pruned, because .attnviz is a link to another folder; name that folder as `cache_dir`."
        in made.stderr
    )
    assert all(other.exists() for other in others)
