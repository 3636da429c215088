"""Pages that the tests of a file visit one after the other.

Opening a page costs several times what its figures cost: a theme, and our scripts. A page that stays open gets new
figures for each test instead, from the same HTML, as instant navigation would bring them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Error, Page

FIGURE = re.compile(r"<attn-viz\b.*?</attn-viz>", re.DOTALL)
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
KEEP = """figures => {
  const roots = [document.documentElement, document.body];
  window.asItCame = { figures, roots: roots.map(root => [root, root.cloneNode(false)]) };
}"""
RENEW = """([within, state]) => {
  const there = [...document.querySelectorAll("attn-viz")];
  if (there.length !== asItCame.figures.length) throw new Error("the page has other figures");
  for (const [root, before] of asItCame.roots) {
    for (const name of root.getAttributeNames()) if (!before.hasAttribute(name)) root.removeAttribute(name);
    for (const { name, value } of before.attributes)
      if (root.getAttribute(name) !== value) root.setAttribute(name, value);
  }
  history.replaceState(null, "", location.href.split("#")[0] + state);
  there.forEach((element, at) => { if (element.closest(within)) element.outerHTML = asItCame.figures[at] });
  getSelection().removeAllRanges();
  scrollTo(0, 0);
}"""
"""A script that replaces the figures within a selector by new ones, which begin as a link says if there is one. Themes
are switched by attributes of the page, which get their values back."""
REPLACE = """html => {
  history.replaceState(null, "", location.href.split("#")[0]);
  document.querySelector("main").innerHTML = html;
  getSelection().removeAllRanges();
  scrollTo(0, 0);
}"""


class Reader(NamedTuple):
    """The reader that a page is told of."""

    dark: bool = False
    forced_colors: bool = False
    touch: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The options of a browser's context: those of `open_page`, where these can have the same one."""
        size, scheme = {"width": 1280, "height": 900}, "dark" if self.dark else "light"
        options = {"viewport": size, "color_scheme": scheme, "java_script_enabled": True}
        return options | ({"has_touch": True} if self.touch else {})


class Visits:
    """The pages of a test file that are open."""

    def __init__(self, contexts: Any, folder: Path) -> None:
        """Have no page yet. Contexts are `browser_contexts.Contexts`; HTML that is no file is written to the folder."""
        self.contexts, self.folder = contexts, folder
        self.problems: list[str] = []
        """The errors that consoles have told."""
        self._pages: dict[object, Page] = {}
        self._contexts: dict[Reader, Any] = {}

    def page(
        self,
        address: Path,
        *,
        state: str = "",
        within: str = "body",
        width: int = 1280,
        height: int = 900,
        **reader: bool,
    ) -> Page:
        """Return a page whose figures within a selector are new, and begin in the state of a link, like `#id~layer=1`.

        A test that changes more of a page than its figures opens it by `open_page`.
        """
        name = (address, Reader(**reader))
        if page := self._changed(name, width, height, RENEW, [within, state]):
            return page
        page = self._open(name, Reader(**reader), width, height, f"{address.as_uri()}{state}")
        page.evaluate(KEEP, FIGURE.findall(address.read_text("utf-8")))
        return page

    def fragment(self, head: str, html: str, *, width: int = 1280, height: int = 900, **reader: bool) -> Page:
        """Return a page that begins with `head` and has some HTML, whose scripts run only the first time."""
        name = (head, Reader(**reader), *SCRIPT.findall(html))
        if page := self._changed(name, width, height, REPLACE, SCRIPT.sub("", html)):
            return page
        file = self.folder / f"{len(self._pages)}.html"
        file.write_text(f"{head}<main>{html}</main>", "utf-8")
        return self._open(name, Reader(**reader), width, height, file.as_uri())

    def close(self) -> None:
        """Close all pages."""
        for reader, context in self._contexts.items():
            self.contexts.give_back(context, **reader.options)

    def _changed(self, name: object, width: int, height: int, script: str, given: Any) -> Page | None:
        """Return a page that is open, after a script has changed it: none if this fails, since a test has left it."""
        if name not in self._pages:
            return None
        page = self._pages[name]
        try:
            if page.viewport_size != {"width": width, "height": height}:
                page.set_viewport_size({"width": width, "height": height})
            page.mouse.move(0, 0)
            page.evaluate(script, given)
        except Error:
            page.close()
            return None
        return page

    def _open(self, name: object, reader: Reader, width: int, height: int, url: str) -> Page:
        if reader not in self._contexts:
            self._contexts[reader] = self.contexts.take(**reader.options)
        page = self._contexts[reader].new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        if (width, height) != (1280, 900):
            page.set_viewport_size({"width": width, "height": height})
        if reader.forced_colors:
            page.emulate_media(forced_colors="active")
        page.goto(url)
        self._pages[name] = page
        return page
