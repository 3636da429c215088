"""The quick run, `pytest --quick` (`make quick`): all tests that need no browser, no other process and no torch.

No test is marked for it. A test that starts a process or imports what runs models is stopped there and left out; the
same holds for a file that does so while it is imported. So what is quick stays quick, and new tests join by themselves.
"""

from __future__ import annotations

import os
import sys

import pytest

MODULES = {"torch", "transformers", "captum", "sklearn", "ray", "moto", "sphinx", "nbconvert"}
"""Packages whose import takes seconds."""
EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
"""The names that Python's audit hooks have for the start of a process."""


class Quick:
    """A plugin of pytest that leaves out each test that reaches for something slow."""

    def __init__(self) -> None:
        self.reached = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self):
        """Begin to refuse when tests are imported; before that, pytest-xdist starts a process itself."""
        sys.addaudithook(self.refuse)

    def refuse(self, event: str, arguments: tuple) -> None:
        if event in EVENTS:
            self.reached = "it starts a process"
        elif event == "import" and arguments[0] in MODULES:
            self.reached = f"it imports {arguments[0]}"
        else:
            return
        raise pytest.skip.Exception(self.reached, allow_module_level=True)

    def pytest_collection_modifyitems(self, config, items):
        slow = {item for item in items if "browser" in getattr(item, "fixturenames", ())}
        config.hook.pytest_deselected(items=list(slow))
        items[:] = [item for item in items if item not in slow]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Report a test as left out, too, if the code that it tests has caught the refusal and gone on."""
        report = yield
        if self.reached and not report.skipped and report.when != "teardown":
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1], f"Skipped: {self.reached}")
        if report.when == "teardown":
            self.reached = ""
        return report


def runs_tests(config: pytest.Config) -> bool:
    """Tell whether tests run in this process, rather than in workers that it starts."""
    return "PYTEST_XDIST_WORKER" in os.environ or config.getoption("dist", "no") == "no"
