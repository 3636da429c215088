"""Generators of npm, with the module and the configuration that the documentation gives, by their own command lines."""

import pytest
from conftest import Built, draw_all, served
from hosts import GENERATORS
from test_hosts import CAT, LONG, tokens

BAD = f"{CAT}\nlayr: 3"


@pytest.fixture(scope="module", params=GENERATORS)
def built(request, once, shared_cache):
    """Return the host of a built site with a page of two blocks, one of words, and one with a bad block."""

    def make(folder):
        host = GENERATORS[request.param](folder, shared_cache)
        write(host)
        built = host.build()
        assert built.returncode == 0, built.log
        (folder / "log").write_text(built.log)

    return GENERATORS[request.param](once(f"generator-{request.param}", make), shared_cache)


def write(host):
    host.write("index", f"{CAT}\ncaption: Cats <3 & {{mats}}.\nid: cats", LONG)
    host.write("words")
    host.write("guide/bad", CAT, BAD)
    path = host.source / "guide" / "bad.md"
    path.write_text(f"---\ntitle: Bad\n---\n\n{path.read_text()}")


def page(host, name):
    return Built(host.folder, 0, "").page(host.page_of(name))


def test_figures_stand_where_their_blocks_stood(built):
    html = page(built, "index")
    assert [figure["id"] for figure in html.select("figure.attnviz")] == ["cats", "attnviz-2"]
    assert tokens(html)[0] == "[CLS] the cat sat on the mat [SEP]"
    assert html.figcaption.get_text() == "Cats <3 & {mats}."
    assert len(html.select('script[src^="/attnviz/"]')) == 1
    assert "model: minilm" not in html.get_text()
    assert not page(built, "words").select("script[src*=attnviz]")


def test_a_bad_block_is_an_alert_and_a_line_in_the_log(built, tmp_path, shared_cache):
    html = page(built, "guide/bad")
    assert "layr" in html.select_one("[role=alert]").get_text()
    assert tokens(html) == ["[CLS] the cat sat on the mat [SEP]"]
    path = built.source.relative_to(built.folder) / "guide" / "bad.md"
    message = f"{path}:{(built.folder / path).read_text().splitlines().index('layr: 3') + 1}: `layr` is not a key"
    assert message in (built.folder / "log").read_text()

    host = type(built)(tmp_path, shared_cache)
    write(host)
    strict = host.build(strict=True)
    assert strict.returncode != 0
    assert message in strict.log


def test_figures_draw_in_the_browser(built, open_page):
    with served(built.folder / "site", csp="script-src 'self'") as url:
        opened = open_page(f"{url}/{built.page_of('index')}", width=360, dark=True)
        draw_all(opened)
        rows = "element => element.weights({layer: 3, head: 5}).then(weights => weights.rows.length)"
        assert [figure.evaluate(rows) for figure in opened.locator("attn-viz").all()] == [8, 80]
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
