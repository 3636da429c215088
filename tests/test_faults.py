"""Faults while a site is built: never a wrong figure, never a lost entry, always a next build that succeeds.

Builds are `mkdocs build`. Most are forked from a process that has imported all it needs (`WARM`), so that a kill
hits what a build does, not its imports.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flaky
import pytest
import yaml
from conftest import INDUCTION, Built, Site
from entries import alike, entries, leftovers, weights

from mkdocs_attnviz.models.identity import reference
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings

pytestmark = pytest.mark.usefixtures("cold_workers")
WORDS = ["the", "old", "cat", "sat", "on", "the", "mat", "and", "a", "dog", "ran", "over", "the", "hill"]

WARM = """
import gc, os, subprocess, sys
from pathlib import Path
packages, tests = sys.argv[1:]
sys.path.append(tests)
import permissions, warm_workers
warm_workers.remember_entry_points()
import commands, jinja2
warm_workers.import_all(commands.modules_of("mkdocs"))
warm_workers.keep_templates(jinja2, Path(packages, "templates"))
import mkdocs.__main__, mkdocs_attnviz.models.loading.load, transformers.models.gpt2.modeling_gpt2
from mkdocs_attnviz.models.engine import worker

class Forked(subprocess.Popen):
    '''A worker process that need not import torch again; all else is as it is.'''

    def _execute_child(self, *how):
        ends = how[10:16]  # of the pipes: ours and theirs
        theirs, ours = (ends[0], ends[3], ends[5]), (ends[1], ends[2], ends[4])
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            for end in ours: os.close(end)
            for number, end in enumerate(theirs): os.dup2(end, number)
            worker.main()
            os._exit(0)
        self._child_created = True
        for end in theirs: os.close(end)

def build(log, environment, *arguments):
    os.setsid()
    os.environ.update(pair.split("=") for pair in environment.split(","))
    if os.environ["OBEYS"] == "True":
        permissions.obey()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1), os.dup2(out, 2)
    subprocess.Popen = Forked
    status = 0
    try:
        mkdocs.__main__.cli(["build", *arguments])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)

sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("gpt2")  # compiles for all models
gc.collect()
gc.freeze()  # a fork then shares their memory
print("ready", flush=True)
while line := sys.stdin.readline().split():
    if line[0] == "build":
        pid = os.fork()
        if pid == 0:
            build(*line[1:])
        print(pid, flush=True)
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(int(line[1]), 0)[1]), flush=True)
"""


ENVIRONMENT = {"SOURCE_DATE_EPOCH": "1700000000", "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}


class Warm:
    """Starts builds at once; each is a process of its own, and so is its worker. `packages` can be imported by them."""

    def __init__(self, packages):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WARM, packages, Path(__file__).parent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(packages)},
        )
        assert self.process.stdout.readline() == "ready\n"

    def _ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, site, store_fails=3, obeys=False):
        """Return the process id of a build that has begun.

        Each `store_fails`-th call of a store `flaky://` fails. A build that `obeys` may not write where permission bits
        forbid it.
        """
        (site.folder / "log").write_text("")  # there may be no time for that
        return self._ask("build", site.folder / "log", f"FLAKY={store_fails},OBEYS={obeys}", "-f", site.configure())

    def wait(self, site, pid):
        status = self._ask("wait", pid)
        return Built(site.folder, status, (site.folder / "log").read_text())

    def build(self, site, **options):
        return self.wait(site, self.start(site, **options))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    warm = Warm(flaky.install(tmp_path_factory.mktemp("packages") / "flaky"))
    yield warm
    warm.close()


def make_site(folder, cache, blocks=8):
    """Two pages of blocks whose texts differ in length, so that they go through the model in several batches."""
    site = Site(folder, cache)
    shutil.copytree(INDUCTION, folder / "models" / "mine")
    site.settings = {"models": {"mine": "models/mine"}, "cache_dir": str(cache), "batch_size": 2}
    texts = [" ".join(WORDS[: 4 + number % 9]) + f" {WORDS[number % 11]}" for number in range(blocks)]
    fences = [f"```attention\nmodel: mine\ntext: {text}\n```\n\n" for text in texts]
    site.write("index.md", "".join(fences[: blocks // 2]))
    site.write("other.md", "".join(fences[blocks // 2 :]))
    return site


PAGES = ("index.html", "other/index.html")


def figures(built):
    return [each for page in PAGES for each in weights(built, page)]


@pytest.fixture(scope="module")
def right(warm, tmp_path_factory):
    """The figures of a build that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("right")
    built = warm.build(make_site(folder, folder / "cache"))
    assert built.returncode == 0, built.log
    drawn = figures(built)
    assert len(drawn) == 8
    return drawn


def assert_right(built, right, *, alerts=()):
    assert built.returncode == 0, built.log
    assert [alert for page in PAGES for alert in built.alerts(page)] == list(alerts), built.log
    assert alike(figures(built), right)


# ---- kill -9


def children(pid):
    return [int(child) for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True).stdout.split()]


def kill(pid, how=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


def gone(pid):
    """Return whether the process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def shot(warm, site, victim, moment):
    """A build of which `victim` was killed when the moment had come, and the workers that it had then."""
    pid = warm.start(site)
    moment()
    kill(pid, signal.SIGSTOP)  # else it would go on while its workers are looked up, which takes longer than an entry
    workers = children(pid)
    for each in [pid] if victim == "build" else workers:
        kill(each)
    kill(pid, signal.SIGCONT)
    return warm.wait(site, pid), workers


@pytest.mark.parametrize("victim", ["build", "worker"])
def test_killed_at_any_moment(warm, right, tmp_path, victim):
    """A build is killed at 6 moments of its own work, each on an empty cache: any, or when another entry is there.

    There are more moments, until enough of them have met what they are meant for.
    """
    chance = random.Random(victim)
    start = time.monotonic()
    warm.build(make_site(tmp_path / "whole", tmp_path / "cache"))
    takes, held, hit = time.monotonic() - start, set(), 0
    for number in range(200):
        if number >= 6 and hit >= 4 and (victim == "worker" or len(held) > 2):
            break
        site, cache = make_site(tmp_path / f"{number}", tmp_path / f"{number}" / "cache"), tmp_path / f"{number}/cache"
        any_time, enough = takes * chance.random(), 1 + number % 7
        written = lambda cache=cache, enough=enough: len(list(cache.rglob("*.attnviz"))) >= enough  # noqa: E731
        moments = [lambda: time.sleep(any_time), lambda: _wait(written, "no entry was written")]  # noqa: B023
        broken, workers = shot(warm, site, victim, moments[number % 2])
        kept = entries(cache)  # each whole
        held.add(len(kept))
        hit += bool(workers)
        if victim == "worker":
            assert broken.returncode == 0, broken.log
        again = warm.build(site)
        assert_right(again, right)
        assert again.log.count("computed (") == 8 - len(kept), f"what was kept is used: {broken.log}{again.log}"
        assert entries(cache).keys() >= kept.keys()
        _wait(lambda workers=workers: all(map(gone, workers)), "no worker outlives its build")
    assert hit >= 4
    assert victim == "worker" or len(held) > 2, f"kills fell before, within and after the writing: {held}"


def _wait(condition, what, every=0.0002):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(every)


def test_the_command_line_killed_at_any_moment(warm, right, tmp_path):
    """`mkdocs build` is killed at 2 moments of its imports, and its worker at one of its own, on one cache."""
    chance, cache = random.Random(1), tmp_path / "cache"
    sites = [make_site(tmp_path / f"{number}", cache) for number in range(3)]
    commands = [site.command() for site in sites]

    def run(number):
        build, workers = subprocess.Popen(commands[number], stderr=subprocess.DEVNULL), []
        if number % 2:
            _wait(lambda: workers.extend(children(build.pid)) or workers, "no worker was started", every=0.05)
        time.sleep(chance.uniform(0.1, 1))
        for victim in workers or [build.pid]:
            kill(victim)
        build.wait(timeout=600)
        return entries(cache)

    with ThreadPoolExecutor(2) as both:
        kept = list(both.map(run, range(3)))
    for site in sites:
        assert_right(warm.build(site), right)
    assert all(entries(cache).keys() >= some.keys() for some in kept), "no entry is lost"


# ---- many at once


def test_builds_at_once_into_one_cache_and_one_lock_file(warm, right, tmp_path):
    cache, lock = tmp_path / "cache", tmp_path / "attnviz.lock"
    sites = [make_site(tmp_path / f"{number}", cache) for number in range(8)]
    for number, site in enumerate(sites):
        (site.folder / "models" / "mine").rename(site.folder / "models" / f"mine-{number}")
        site.settings |= {"lock_file": str(lock), "models": {"mine": f"models/mine-{number}"}}
    running = [warm.start(site) for site in sites]
    for site, pid in zip(sites, running, strict=True):
        built = warm.wait(site, pid)
        assert_right(built, right)
        assert "not used" not in built.log
        assert "cannot be" not in built.log
    assert len(entries(cache)) == 8
    assert leftovers(tmp_path) == []
    locked = yaml.safe_load(lock.read_text())["models"]
    assert set(locked) == {f"models/mine-{number}" for number in range(8)}
    assert len({about["identity"] for about in locked.values()}) == 1


# ---- the clock


@pytest.mark.parametrize("epoch", [0, 4_102_444_800], ids=["1970", "2100"])
def test_a_wrong_clock_changes_nothing(warm, right, tmp_path, epoch):
    site = make_site(tmp_path, tmp_path / "cache")
    first = warm.build(site)
    before = first.files()
    for path in tmp_path.rglob("*"):
        os.utime(path, (epoch, epoch))
    again = warm.build(site)
    assert_right(again, right)
    assert again.log.count("cached (") == 8
    assert {name: content for name, content in again.files().items() if name != "sitemap.xml.gz"} == {
        name: content for name, content in before.items() if name != "sitemap.xml.gz"
    }


def test_weights_that_changed_while_the_clock_stood_still(tmp_path, monkeypatch):
    """Some tools give every file the same time: neither that nor the size tells that a large file is another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    model = tmp_path / "mine"
    shutil.copytree(INDUCTION, model)
    file = model / "model.safetensors"

    def identity(last):
        file.write_bytes(bytes(2_000_000) + last)
        os.utime(file, (0, 0))
        return resolve("mine", None, Settings(), tmp_path).identity

    first = identity(b"a")
    assert list((tmp_path / "xdg").rglob("*.json")), "it is remembered"
    assert identity(b"b") != first
    assert identity(b"a") == first
    assert reference.digest(model, resolve("mine", None, Settings(), tmp_path)) == first.removeprefix("sha256:")


# ---- the disk


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """`folder` on a disk of its own; yields a function that makes it larger, or None where mounting is forbidden."""
    folder.mkdir()
    mounted = mount(f"size={kilobytes}k", folder)
    try:
        yield (lambda more: mount(f"remount,size={more}k", folder)) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


def mount(options, folder):
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_full_disk(warm, right, tmp_path):
    cache = tmp_path / "cache"
    site = make_site(tmp_path / "site", cache)
    with small_disk(cache, 24) as enlarge:
        built = warm.build(site) if enlarge else _limited(site)
        assert built.returncode == 0, built.log
        assert built.log.count(f"The cache {cache} cannot be written (") == 1
        if enlarge:
            assert_right(built, right)
            shutil.rmtree(tmp_path / "site" / "site")
        kept = entries(cache)
        assert len(kept) < 8
        assert leftovers(cache) == []
        if enlarge:
            assert kept
            enlarge(4096)
        again = warm.build(site)
        assert_right(again, right)
        assert entries(cache).keys() >= kept.keys()
        assert len(entries(cache)) == 8
        assert warm.build(site).log.count("cached (") == 8


def _limited(site):
    """Files may not grow, for machines where nothing may be mounted. The command writes the cache, and the page to a
    pipe."""
    site.configure()
    command = [sys.executable, "-m", "mkdocs_attnviz", "export", "-v", "docs/index.md"]
    run = subprocess.run(
        command,
        cwd=site.folder,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert run.stdout.count("<attn-viz ") == 4
    return Built(site.folder, run.returncode, run.stderr)


def test_a_cache_that_may_only_be_read(right, warm, tmp_path):
    """The cache has some entries, one of them damaged: what is there is used, the rest is drawn and not kept."""
    cache = tmp_path / "cache"
    assert warm.build(make_site(tmp_path / "first", cache)).returncode == 0
    lacking, damaged, *others = sorted(cache.rglob("*.attnviz"))
    lacking.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = [path.read_bytes() for path in [damaged, *others]]
    folders = [cache, *(path for path in cache.iterdir() if path.is_dir())]
    site = make_site(tmp_path / "second", cache)
    for folder in folders:
        folder.chmod(0o555)
    try:
        built = warm.build(site, obeys=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert_right(built, right)
    assert built.log.count("cached (") == 6
    assert built.log.count("computed (") == 2
    assert built.log.count(f"The cache {cache} cannot be written (Permission denied)") == 1
    assert not lacking.exists()
    assert [path.read_bytes() for path in [damaged, *others]] == before
    assert_right(warm.build(site), right)
    assert len(entries(cache)) == 8


# ---- the store


def test_a_store_that_fails_every_third_call(warm, right, tmp_path):
    """All entries go there, and all come back, between machines that know the filesystem as a Python package."""
    url = f"flaky://{tmp_path}/store"
    here = make_site(tmp_path / "here", tmp_path / "here" / "cache")
    here.settings |= {"cache_url": url, "cache_push": True}
    built = warm.build(here)
    assert_right(built, right)
    assert "shared cache" not in built.log
    assert len(entries(tmp_path / "store")) == 8

    there = make_site(tmp_path / "there", tmp_path / "there" / "cache")
    there.settings |= {"cache_url": url, "on_missing": "error"}
    built = warm.build(there)
    assert_right(built, right)
    assert built.log.count("fetched (") == 8
    assert entries(tmp_path / "there" / "cache") == entries(tmp_path / "store")


def test_a_store_that_always_fails(warm, right, tmp_path):
    site = make_site(tmp_path / "site", tmp_path / "cache")
    site.settings |= {"cache_url": f"flaky://{tmp_path}/store", "cache_push": True}
    built = warm.build(site, store_fails=1)
    assert_right(built, right)
    assert len(entries(tmp_path / "cache")) == 8
    assert built.log.count("WARNING") == built.log.count("The shared cache flaky://") == 2, "reading and writing"
    full = warm.build(site, store_fails=1)
    assert_right(full, right)
    assert "WARNING" not in full.log, "a full folder needs no store"


def test_a_store_that_holds_what_it_should_not(warm, right, tmp_path):
    store = tmp_path / "store"
    assert warm.build(make_site(tmp_path / "first", store)).returncode == 0
    truncated, foreign, swapped, other, *_ = sorted(store.rglob("*.attnviz"))
    truncated.write_bytes(truncated.read_bytes()[:100])
    foreign.write_bytes(b"<html>Moved</html>")
    swapped.write_bytes(other.read_bytes())
    site = make_site(tmp_path / "second", tmp_path / "cache")
    site.settings |= {"cache_url": store.as_uri(), "cache_push": True}
    built = warm.build(site)
    assert_right(built, right)
    assert built.log.count("of the shared cache is not used") == 3
    assert (built.log.count("fetched ("), built.log.count("computed (")) == (5, 3)
    assert len(entries(store)) == 8, "replaced"


def test_damage_in_the_folder_is_mended_from_the_store(warm, right, tmp_path):
    """Also where no model may run."""
    store, cache = tmp_path / "store", tmp_path / "cache"
    assert warm.build(make_site(tmp_path / "first", store)).returncode == 0
    shutil.copytree(store, cache)
    for path in cache.rglob("*.attnviz"):
        path.write_bytes(path.read_bytes()[:-1])
    site = make_site(tmp_path / "second", cache)
    site.settings |= {"cache_url": store.as_uri(), "on_missing": "error"}
    assert_right(warm.build(site), right)
    assert len(entries(cache)) == 8
