"""Firefox, as Debian has it, driven by Puppeteer over WebDriver BiDi: Playwright only drives builds of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import layouts
from conftest import ROOT

SCRIPT = ROOT / "frontend" / "test" / "firefox.mjs"


def look_at(browser: str, pages: list[Path]) -> dict[str, Any]:
    """Return for each page the number of figures drawn, the errors logged, and what is wrong with the layout.

    Nothing is drawn around the pages' articles.
    """
    command = ["node", SCRIPT, browser, layouts.AUDIT_FILE, layouts.ARTICLE, *(page.as_uri() for page in pages)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    return {str(page): found[page.as_uri()] for page in pages}
