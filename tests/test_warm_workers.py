"""Processes of a test run that are forks of one which has imported all they need: they live and die as real ones do."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import commands
import pytest
import warm_workers
from conftest import INDUCTION, PATIENCE, TESTS
from jinja2 import BytecodeCache

from mkdocs_attnviz.models.engine.client import Captured, Worker, WorkerDied
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.capture import ATTENTION

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process with torch cannot be forked elsewhere")


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker that has read a text, started in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    worker = Worker()
    request = Request(ATTENTION, resolve(INDUCTION, None, Settings(), tmp_path), {"text": "a cat"})
    (answer,) = worker.capture([request], device="cpu", batch_size=1, max_tokens=99)
    assert isinstance(answer, Captured)
    yield worker
    worker.close()


def forks(worker):
    """Return the processes that work for the stand-in that the build has started, by the folder they are in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.joinpath("cwd").readlink() == Path.cwd() and int(process.name) != os.getpid():
                found.append(int(process.name))
    return sorted(set(found) - {worker._process.pid if worker._process else None})


def all_end(worker):
    deadline = time.monotonic() + PATIENCE
    while forks(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not forks(worker)


def test_it_imports_nothing_and_ends_with_its_build(worker):
    maps = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert "python" in maps
    assert "libtorch" not in maps
    assert len(forks(worker)) == 2, "the worker and its watchdog"
    worker.close()
    assert all_end(worker)


def test_its_fork_is_killed_with_it(worker):
    os.kill(worker._process.pid, signal.SIGKILL)
    assert all_end(worker)


def test_it_ends_as_its_fork_ends(worker):
    (fork,) = [pid for pid in forks(worker) if os.getsid(pid) == pid]
    os.kill(fork, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="killed \\(signal 9\\)"):
        worker._receive(PATIENCE)


def test_a_site_is_read_by_a_fork(site):
    """A command reads a site of MkDocs in a process of its own, with the site's folder and hooks."""
    site.config["hooks"] = ["hook.py"]
    (site.folder / "hook.py").write_text("import sys\ndef on_config(config):\n    print(sys.orig_argv, sys.argv)\n")
    site.write("index.md", f"```attention\nmodel: {INDUCTION}\ntext: a cat\n```\n")
    told = commands.run("mkdocs_attnviz", "status", "-f", str(site.configure()))
    assert told.returncode == 0, told.stderr
    assert "1 block on 1 page" in told.stdout
    assert f"/{commands.READING['mkdocs']}'] ['-c', 'build', " in told.stderr


def test_a_command_that_another_program_starts_is_a_fork(tmp_path):
    command = [Path(sys.executable).with_name("attnviz"), "render", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        fork, deadline = started.pid, time.monotonic() + PATIENCE
        while fork == started.pid and time.monotonic() < deadline:
            with contextlib.suppress(ValueError):  # there is none yet
                fork = warm_workers.fork_of(started)
        assert Path(f"/proc/{fork}/cmdline").read_text().rstrip("\0").endswith(f"/{commands.ATTNVIZ}")
        started.stdin.write(b'{"body": 1}\n')
        started.stdin.close()
        assert json.loads(started.stdout.read())["ok"] is False
    assert started.returncode == 1


def test_a_build_takes_the_templates_that_another_has_compiled(site, session_folder):
    site.config["theme"] |= {"custom_dir": "overrides"}
    template = site.folder / "overrides" / "main.html"
    template.parent.mkdir()
    template.write_text('{% extends "base.html" %}')
    site.write("index.md", "Words.\n")
    assert site.build().returncode == 0
    name = f"__jinja2_{BytecodeCache().get_cache_key(template.name, str(template))}.cache"
    kept = session_folder / "warm" / commands.READING["mkdocs"] / "templates" / name
    before = kept.stat()
    assert site.build().returncode == 0
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_fork_knows_the_packages_of_a_folder_that_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", metadata.entry_points)
    warm_workers.remember_entry_points()
    known = {each.name for each in metadata.entry_points(group="console_scripts")}
    assert "attnviz" in known
    package = tmp_path / "new-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: new\n")
    (package / "entry_points.txt").write_text("[console_scripts]\nnew = new:main\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert {each.name for each in metadata.entry_points(group="console_scripts")} == known | {"new"}


def test_a_process_of_pytest_xdist_is_a_fork(pytestconfig):
    """Processes that it starts are none."""
    forked = Path(sys.orig_argv[-1]).name == TESTS
    assert forked == ("PYTEST_XDIST_WORKER" in os.environ and not pytestconfig.option.quick)
    assert TESTS not in [Path(folder).name for folder in commands.python_path(os.environ)]


def test_another_environment_is_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    worker = Worker()
    worker.start()
    maps, deadline = Path(f"/proc/{worker._process.pid}/maps"), time.monotonic() + PATIENCE
    while "libtorch" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "libtorch" in maps.read_text()
    worker._process.kill()
    worker.close()


def test_a_stand_in_that_is_killed_while_it_tells_its_job(python_path, session_folder, worker):
    """Its fork, which holds the pipes of a build, would wait for the rest of the job for ever."""
    ours, theirs = os.pipe()
    with socket.socket(socket.AF_UNIX) as warm:
        warm.connect(str(session_folder / "warm" / "worker" / "socket"))
        socket.send_fds(warm, [(1000).to_bytes(4, "big")], [theirs] * 3)
        os.close(theirs)
        warm.sendall(b"{")
    assert select.select([ours], [], [], PATIENCE)[0]
    assert os.read(ours, 1) == b"", "nobody holds the other end any more"
    os.close(ours)
