"""Browser contexts that tests take one after the other: a new one costs half of what a page costs to open.

Each keeps an empty page, in whose process all of its pages then live (`chromium.FLAGS`): a new process costs a third.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Error


class Contexts:
    """The contexts of one browser that no test has at the moment, by their options."""

    def __init__(self, browser: Browser, script: str, timeout: float) -> None:
        """Have no contexts yet. Each will run `script` in every page, and wait up to `timeout` ms."""
        self.browser, self.script, self.timeout = browser, script, timeout
        self._free: dict[str, list[BrowserContext]] = defaultdict(list)

    def take(self, **options: Any) -> BrowserContext:
        """Return a context in which no page is open and nothing is stored."""
        free = self._free[repr(options)]
        return free.pop() if free else self._new(options)

    def give_back(self, context: BrowserContext, **options: Any) -> None:
        """Close the pages of a context, and have it forget what they have stored and what they were allowed."""
        try:
            for page in context.pages[1:]:
                with contextlib.suppress(Error):  # a page without an origin stores nothing
                    page.evaluate("localStorage.clear()")
                page.close()
            context.clear_cookies()
            context.clear_permissions()
        except Error:  # it has been closed, or its page does not answer
            return
        self._free[repr(options)].append(context)

    def _new(self, options: dict[str, Any]) -> BrowserContext:
        context = self.browser.new_context(**options)
        context.set_default_timeout(self.timeout)
        context.add_init_script(self.script)
        context.new_page()
        return context
