"""WebKitGTK, as Debian has it, driven by Selenium: the engine of Safari and of every browser on an iPhone."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from conftest import PATIENCE
from selenium import webdriver
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

DRAW = """
const done = arguments[0];
window.problems = [];
addEventListener("error", event => problems.push(event.message));
addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
(async () => {
  await customElements.whenDefined("attn-viz");
  const figures = [...document.querySelectorAll("attn-viz")].filter(figure => figure.checkVisibility());
  for (const figure of figures) {
    figure.scrollIntoView();
    await figure.ready;
    await figure.updateComplete;
  }
  return figures.length;
})().then(done, error => done(String(error)));
"""
"""Draws every figure of the page and gives their number, or what went wrong; notes later errors in `problems`."""
CHEAP = {"WEBKIT_DISABLE_COMPOSITING_MODE": "1", "JSC_useDFGJIT": "0"}
"""Variables by which WebKit neither draws layers by a graphics library, which has no graphics card here, nor optimises
code that runs for a second: a third of what a page costs. Layout, styles and scripts are the same."""


@contextlib.contextmanager
def display() -> Iterator[str]:
    """Start an X server that nobody looks at, and yield its name: it picks a free number itself."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp", "-screen", "0", "1400x1200x24"]
    with os.fdopen(reading) as told, subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        try:
            yield f":{told.readline().strip()}"
        finally:
            server.terminate()


@contextlib.contextmanager
def browser(driver: str) -> Iterator[webdriver.WebKitGTK]:
    """Yield a WebKitGTK whose window is as wide as a desk's."""
    with display() as name:
        service = Service(driver, log_output=subprocess.DEVNULL, env=os.environ | CHEAP | {"DISPLAY": name})
        webkit = webdriver.WebKitGTK(options=Options(), service=service)
        try:
            webkit.set_script_timeout(PATIENCE)
            webkit.set_window_size(1280, 1000)
            yield webkit
        finally:
            webkit.quit()
