"""Situations in which figures are read, and what is wrong with their layout there: `layout.js` looks at a page.

Run as a script, it tells of every figure of the example site, and takes pictures into `screenshots/layout/`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chromium
from conftest import DRAWN, ROOT, SETTLED, draw_all, in_time, settle
from playwright.sync_api import sync_playwright

SITE = ROOT / "example_site" / "site"
OUT = ROOT / "screenshots" / "layout"
AUDIT_FILE = Path(__file__).parent / "layout.js"
AUDIT = AUDIT_FILE.read_text("utf-8")
CARD = """figure.attnviz {
    box-sizing: border-box; width: 300px !important; padding: 0; overflow: visible;
    hyphens: auto; text-align-last: justify; text-indent: 2em; white-space: pre-wrap; word-break: break-all;
}"""
"""A narrow place on a page whose own running text is set as in a book."""


@dataclass(frozen=True)
class Situation:
    """A reader's window and settings; `style` and `direction` are the page's before its figures draw."""

    width: int = 1280
    height: int = 900
    style: str = ""
    direction: str = "ltr"
    options: dict[str, Any] = field(default_factory=dict)


SITUATIONS = {
    "desk": Situation(),
    "dark": Situation(options={"color_scheme": "dark"}),
    "phone": Situation(360, 740, options={"has_touch": True, "is_mobile": True}),
    "zoom-400": Situation(320, 225),
    "card": Situation(style=CARD),
    "right-to-left": Situation(direction="rtl"),
    "forced-colors": Situation(options={"forced_colors": "active", "color_scheme": "dark"}),
    "large-type": Situation(style="html { font-size: 30px !important }"),
}
"""Material's root has 20 px where the reader's own size is 16 px: 30 px are a reader's 24 px."""


def reader(browser, situation: Situation):
    """Return the tab of a browser in which this reader goes from page to page."""
    viewport = {"width": situation.width, "height": situation.height}
    return browser.new_context(viewport=viewport, **situation.options).new_page()


ARTICLE = """:is(.md-header__inner, .md-tabs__list, .md-sidebar__inner, .md-footer__inner, .md-footer-meta) {
  display: none
}"""
"""A style that hides what Material puts around every article: half of a page's elements, in places that stay."""


def leave_the_article(page) -> None:
    """Have the browser draw nothing around the article, which is a fifth of what a visit costs."""
    page.add_style_tag(content=ARTICLE)


def read(page, path: Path, situation: Situation) -> None:
    """Go to a page as this reader sees it, and have all of its figures drawn; only the site's front stays whole."""
    page.goto(path.as_uri())
    if path != SITE / "index.html":
        leave_the_article(page)
    page.evaluate(CHANGE, [situation.style, situation.direction])
    draw_all(page)
    settle(page)


CHANGE = """([style, direction]) => {
  document.querySelector('#situation')?.remove();
  document.head.insertAdjacentHTML('beforeend', `<style id="situation">${style}</style>`);
  document.body.dir = direction;
}"""
AFRESH = f"""async (figures, change) => {{
  ({CHANGE})(change);
  const fresh = figures.map(figure => figure.cloneNode(true));
  figures.forEach((figure, i) => figure.replaceWith(fresh[i]));
  await ({DRAWN})(fresh.filter(figure => figure.checkVisibility({{ visibilityProperty: true }})));
  await ({SETTLED})();
}}"""
"""Puts new elements in the place of figures: these draw for the first time, from what has been loaded."""


def enter(page, situation: Situation) -> None:
    """Turn an open page into what this reader sees, with figures that are drawn afresh.

    Colours stay as they are unless the situation has its own. A page never ceases to be a phone's: Chromium goes on to
    tell it that nothing can hover.
    """
    colors = {name: value for name, value in situation.options.items() if name in ("color_scheme", "forced_colors")}
    size = {"width": situation.width, "height": situation.height}
    if "is_mobile" in situation.options:
        touch(page, size)
    elif page.viewport_size != size:
        page.set_viewport_size(size)
    if colors:
        page.emulate_media(**colors)
    work = in_time(AFRESH, "a figure is not drawn")
    page.locator("attn-viz").evaluate_all(work, [situation.style, situation.direction])


def touch(page, size: dict[str, int]) -> None:
    """Make an open page a phone's, by what Playwright sends for contexts with `is_mobile` and `has_touch`."""
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    session.send("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1, "mobile": True})


def open_options(page) -> None:
    """Open what the button of each figure hides."""
    page.eval_on_selector_all("attn-viz", "all => all.map(each => each.shadowRoot.querySelector('.more')?.click())")
    settle(page)


def problems(page) -> dict[str, list[str]]:
    """Return what is wrong, by the figure's id."""
    return page.evaluate(AUDIT)


def pages() -> list[Path]:
    return sorted(path for path in SITE.rglob("*.html") if '<figure class="attnviz"' in path.read_text("utf-8"))


def main(wanted: list[str]) -> None:
    names = [name for name in SITUATIONS if name in wanted] or list(SITUATIONS)
    words = [word for word in wanted if word not in SITUATIONS and word != "--pictures"]
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        readers = {name: reader(browser, SITUATIONS[name]) for name in names}
        for path in pages():
            place = path.relative_to(SITE).with_suffix("").as_posix()
            if words and not any(word in place for word in words):
                continue
            for name, page in readers.items():
                read(page, path, SITUATIONS[name])
                for figure, found in problems(page).items():
                    print(f"{place}#{figure} · {name} · " + "; ".join(found), flush=True)
                if "--pictures" in wanted:
                    take(page, OUT / name / place.replace("/", "-"))
        browser.close()


def take(page, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for figure in page.locator("figure.attnviz:visible").all():
        figure.screenshot(path=folder / f"{figure.get_attribute('id')}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
