"""The tests' browsers: Firefox and WebKit for a look at each view, else Chromium: the system's or Playwright's own.

Chromium's headless shell is preferred: the same engine without the windows and menus of the desktop's browser, which
cost twice as much to open as a page of ours. Run as a script, this module installs what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",
]
SHORT_LIVED = "--js-flags=--no-opt"
"""A flag for pages that are closed after a second: the last optimisations of V8 come too late for them, and cost a
seventh of all that Chromium does. The benchmarks go without."""
PACKAGES = [
    "chromium-headless-shell",
    "firefox-esr",
    "webkit2gtk-driver",
    "xvfb",
    "fonts-noto-core",
    "fonts-droid-fallback",
    "pandoc",
]
"""Debian's packages of the browsers and of what they need, and Pandoc, which the test of Quarto's extension runs."""


def shell() -> str | None:
    """Return the path of an installed headless shell."""
    return shutil.which("chromium-headless-shell") or shutil.which("chrome-headless-shell")


def system() -> str | None:
    """Return the path of an installed headless shell, Chromium or Chrome."""
    if path := shell():
        return path
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    return str(mac) if mac.exists() else None


def firefox() -> str | None:
    """Return the path of an installed Firefox."""
    for name in ("firefox-esr", "firefox"):
        if path := shutil.which(name):
            return path
    mac = Path("/Applications/Firefox.app/Contents/MacOS/firefox")
    return str(mac) if mac.exists() else None


def webkit() -> str | None:
    """Return the path of WebKitGTK's WebDriver, where there is a display for it that nobody looks at."""
    return shutil.which("WebKitWebDriver") if shutil.which("Xvfb") else None


def launch(playwright, *flags: str):
    """Start a headless browser, with more flags if need be."""
    return playwright.chromium.launch(executable_path=system(), args=[*FLAGS, *flags])


def install() -> None:
    missing = None in (shell(), firefox(), webkit(), shutil.which("pandoc"))
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], *(["install", "-y", package] for package in PACKAGES)):  # one may be lacking
            subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL)
        if not system():
            subprocess.run(["apt-get", "-qq", "install", "-y", "chromium"], env=environment, stdout=subprocess.DEVNULL)
    if not system():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    install()
    print(system() or "Playwright's Chromium")
