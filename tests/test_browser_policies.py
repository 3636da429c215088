"""Pages with strict policies (CSP, Trusted Types), and pages with markup or files that strangers have written."""

from __future__ import annotations

import json
import os
import re
import shutil
import time

import pytest
from bs4 import BeautifulSoup
from conftest import draw_all, served, settle

BLOCK = "```attention\nmodel: minilm\ntext: {}\nid: figure\n```\n"
SHORT, LONG = BLOCK.format("The cat sat on the mat"), BLOCK.format("many words " * 60)
STYLE = "element => [element.offsetHeight, getComputedStyle(element).minHeight]"
SQUARE = """element => {
  const square = element.shadowRoot.querySelector('.heads button, [role=checkbox], button[aria-pressed]');
  return getComputedStyle(square).backgroundColor;
}"""
FIRST = "element => element.weights({layer: 0, head: 0}).then(() => 'loaded', error => error.message)"
SETTLES = "element => element.ready.then(() => 'drawn', error => error.message)"


@pytest.fixture
def long_site(site, share, tmp_path):
    """A built page with one figure whose data are in files; a test may change it."""
    site.write("index.md", LONG)
    return shutil.copytree(share(site).folder / "site", tmp_path / "copy")


def change_page(folder, change):
    file = folder / "index.html"
    file.write_text(change(file.read_text()))


def change_figure(folder, change):
    """Rewrite what a page says of its figure, as somebody may who can write HTML there."""

    def rewritten(match):
        figure = json.loads(
            match[1].replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        )
        change(figure["stacks"]["self"]["layers"])
        return "data-figure='" + json.dumps(figure).replace("&", "&amp;").replace("'", "&#39;") + "'"

    change_page(folder, lambda text: re.sub("data-figure='([^']*)'", rewritten, text))


@pytest.mark.parametrize("names", [["currentScript"], ["baseURI", "head"]])
def test_markup_does_not_say_where_data_come_from(long_site, open_page, names):
    images = "".join(f'<img name="{name}" src="/elsewhere/x.png">' for name in names)
    change_page(long_site, lambda text: text.replace("<figure", f"{images}<figure", 1))
    (long_site / "elsewhere").mkdir()
    (long_site / "elsewhere" / "x.png").write_bytes(b"")
    with served(long_site) as url:
        page = open_page("about:blank")
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/index.html")
        draw_all(page)
        settle(page)
        # Two images of one address may be asked for once or twice.
        assert {each for each in requests if "/elsewhere/" in each} == {f"{url}/elsewhere/x.png"}


NOT_OURS = ("data:text/javascript,window.foreign=1", "//127.0.0.1:9/x.js", "../foreign.js", "foreign.js")
NOT_OURS += (f"{'0' * 64}.js?x",)


def test_only_data_files_of_ours_are_loaded(long_site, open_page):
    """A figure for each file that is none of ours; all data come from it."""
    for folder in (long_site, long_site / "assets" / "attnviz"):
        (folder / "foreign.js").write_text("window.foreign = 1")

    def change(layers):
        for layer in layers:
            layer.pop("preview", None)
            layer |= {"file": "FILE"}

    change_figure(long_site, change)

    def repeated(text):
        figure = re.search("<figure.*?</figure>", text, re.DOTALL)[0]
        return text.replace(figure, "".join(figure.replace("FILE", file) for file in NOT_OURS))

    change_page(long_site, repeated)
    with served(long_site) as url:
        page = open_page(f"{url}/index.html")
        for figure, file in zip(page.locator("attn-viz").all(), NOT_OURS, strict=True):
            figure.scroll_into_view_if_needed()
            assert "is not the name of a data file" in figure.evaluate(SETTLES), file
        assert page.evaluate("window.foreign") is None


def test_a_data_file_that_was_changed_is_not_run(long_site, open_page):
    page = BeautifulSoup((long_site / "index.html").read_text(), "html5lib")
    layer = json.loads(page.select_one("attn-viz")["data-figure"])["stacks"]["self"]["layers"][0]
    data = long_site / "assets" / "attnviz" / layer["file"]
    os.utime(data, (time.time() + 3600,) * 2)  # a browser keeps a file for a tenth of its age: not at all
    with served(long_site) as url:
        page = open_page("about:blank").context.new_page()  # where the browser may complain
        page.goto(f"{url}/index.html")
        figure = page.locator("attn-viz")
        assert figure.evaluate(FIRST) == "loaded"
        data.write_bytes(b"window.foreign = 1;" + data.read_bytes())
        os.utime(data, (time.time() + 7200,) * 2)
        page.goto(f"{url}/index.html?again")
        assert "could not be loaded" in figure.evaluate(FIRST)
        assert page.evaluate("window.foreign") is None


@pytest.mark.parametrize(
    ("csp", "charset", "told"),
    [
        (None, "utf-8", "loaded"),  # as GitHub Pages serve scripts
        ("connect-src 'none'", None, "loaded"),
        ("connect-src 'none'", "utf-8", "must allow it (connect-src)"),
    ],
)
def test_data_files_where_fetching_is_forbidden_or_a_charset_declared(long_site, open_page, csp, charset, told):
    with served(long_site, csp=csp, charset=charset) as url:
        page = open_page("about:blank").context.new_page()  # where the browser may complain of what it forbids
        page.goto(f"{url}/index.html")
        assert told in page.locator("attn-viz").evaluate(FIRST)


def test_ready_tells_that_the_first_data_failed_and_holds_again_after_a_new_try(long_site, open_page):
    change_figure(long_site, lambda layers: [layer.pop("preview", None) for layer in layers])
    page = open_page("about:blank").context.new_page()  # where the browser may complain of the empty file
    page.route(re.compile(r"/[0-9a-f]{64}\.js$"), lambda route: route.fulfill(body="", content_type="text/javascript"))
    with served(long_site) as url:
        page.goto(url)
        figure = page.locator("attn-viz")
        assert "could not be loaded" in figure.evaluate(SETTLES)
        page.unroute_all()
        page.get_by_role("button", name="Try again").click()
        assert figure.evaluate(SETTLES) == "drawn"


def test_trusted_types(long_site, open_page):
    policy = "require-trusted-types-for 'script'; trusted-types attnviz lit-html"
    change_page(long_site, lambda text: re.sub(r"<script(?![^>]*attnviz)[^>]*>.*?</script>", "", text, flags=re.DOTALL))
    with served(long_site, csp=policy) as url:
        page = open_page(url)
        draw_all(page)
        settle(page)
        values = page.locator("attn-viz").evaluate("element => element.weights({layer: 3, head: 0})")["values"]
        assert abs(sum(values[0]) - 1) < 0.1


def test_without_styles_in_attributes_a_figure_looks_the_same(site, open_page):
    site.write("index.md", SHORT)
    folder = site.build().folder / "site"
    seen = []
    for policy in (None, "style-src 'self'"):
        with served(folder, csp=policy) as url:
            page = open_page("about:blank").context.new_page()  # where the theme may complain
            page.goto(url)
            draw_all(page)
            settle(page)
            figure = page.locator("attn-viz")
            seen.append((figure.evaluate(STYLE), figure.evaluate(SQUARE), page.locator("figure").evaluate(STYLE)))
    assert seen[0] == seen[1]
