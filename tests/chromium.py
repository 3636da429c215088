"""The tests' browsers: Firefox for a look at each view, else Chromium: the system's, Debian's, or Playwright's own.

Run as a script, it installs what is missing.
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
]


def system() -> str | None:
    """Path of an installed Chromium or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    return str(mac) if mac.exists() else None


def firefox() -> str | None:
    """Path of an installed Firefox."""
    for name in ("firefox-esr", "firefox"):
        if path := shutil.which(name):
            return path
    mac = Path("/Applications/Firefox.app/Contents/MacOS/firefox")
    return str(mac) if mac.exists() else None


def launch(playwright):
    """A headless browser."""
    path = system()
    return playwright.chromium.launch(executable_path=path, args=FLAGS) if path else playwright.chromium.launch()


def install() -> None:
    if system() and firefox():
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "chromium", "firefox-esr", "fonts-noto-core"],
        ):
            if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
                break
        if system():
            return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    install()
    print(system() or "Playwright's Chromium")
