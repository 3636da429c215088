"""A script of another package in a page: `attnviz.define` and what else `static/attnviz.d.ts` promises it."""

import re

import pytest
from conftest import draw_all, settle

BLOCK = "```attention\nmodel: minilm\ntext: the cat sat on the mat\n```\n"
SCRIPT = """
(() => {
  const { html, svg, nothing } = attnviz;
  class Mine {
    static styles = ".mine-view { color: rgb(1, 2, 3) }";
    state = { turned: false };
    constructor(host, figure) { Object.assign(this, { host, figure }); }
    choose() {
      this.state = { turned: !this.state.turned };
      this.host.changed();
      this.host.requestUpdate();
    }
    render() {
      const layer = this.figure.stacks.self.layers[0];
      const bytes = this.host.blob(layer, (bytes) => bytes.length);
      if (!bytes) return this.host.notice("weights", [layer]);
      this.host.drawn();
      const { background } = attnviz.tint(1, this.host.scheme);
      return html`<button class="mine-view" @click=${() => this.choose()}>${bytes} bytes</button>
        ${this.state.turned ? html`<i .style=${`background:${background}`}>turned</i>` : nothing}
        <svg>${svg`<circle r="2"></circle>`}</svg>`;
    }
    async values() { return { label: this.figure.label }; }
  }
  attnviz.define({ mine: Mine });
})();
"""
NODE = """
customElements.whenDefined("attn-viz").then(() => attnviz.define({
  mine: class {
    state = {};
    constructor(host) { this.host = host; }
    render() {
      this.host.drawn();
      return Object.assign(document.createElement("b"), { textContent: "a node" });
    }
  },
}));
"""
SCRIPTS = r"(<script [^>]*/attnviz-\w+\.js[^>]*></script>)\n((?:<script [^>]*/attnviz-\w+-\w+\.js[^>]*></script>\n?)+)"
BAD = "attnviz.define({ mine: class { state = {}; render() { throw new Error('no such cell'); } } });"


@pytest.fixture(scope="module")
def page_with(once, shared_cache, tmp_path_factory):
    """`page_with(before, after)` → a file: a page whose figure has the view `mine`, with HTML around our script."""
    from conftest import Built, Site

    def make(folder):
        site = Site(folder, shared_cache)
        site.write("index.md", BLOCK)
        built = site.build()
        assert built.returncode == 0, built.log

    folder = once("own-script", make)

    def page_with(before: str = "", after: str = ""):
        text = Built(folder, 0, "").text().replace('"view":"head"', '"view":"mine"')
        # Without the scripts of the head view, as a page with the other package's view alone.
        before_ours, ours, _, after_ours = re.split(SCRIPTS, text)
        file = folder / "site" / f"{tmp_path_factory.mktemp('page').name}.html"
        file.write_text("".join((before_ours, before, ours, after, after_ours)))
        return file

    def deferred(script: str) -> str:
        path = folder / "site" / f"{tmp_path_factory.mktemp('script').name}.js"
        path.write_text(script)
        return f'<script defer src="{path.name}"></script>'

    page_with.deferred = deferred
    return page_with


def test_a_script_brings_a_view(page_with, open_page):
    """It runs twice, as with instant navigation, on a page whose author did not write all of its markup."""
    script = page_with.deferred(SCRIPT)
    page = open_page(page_with('<img name="attnviz" alt=""><form id="attnviz"></form>', script + script))
    draw_all(page)
    button = page.locator("attn-viz button.mine-view")
    assert button.inner_text() == f"{12 * 8 * 8} bytes"  # heads, and tokens with [CLS] and [SEP]
    assert button.evaluate("each => getComputedStyle(each).color") == "rgb(1, 2, 3)"
    assert page.locator("attn-viz circle").evaluate("each => each instanceof SVGCircleElement")
    page.evaluate("addEventListener('attnviz-change', (event) => { window.told = event.detail; })")
    button.click()
    settle(page)
    assert page.locator("attn-viz i").inner_text() == "turned"
    assert page.locator("attn-viz i").evaluate("each => getComputedStyle(each).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert page.evaluate("told") == {"turned": True}
    about = page.locator("attn-viz .figure > .about")
    about.get_by_text("About this figure").click()
    assert "minilm" in about.locator("dl").inner_text(), "the element tells it, where a view has no menu for it"
    page.keyboard.press("Escape")
    assert not about.locator("dl").is_visible()
    read = "each => each.values().then(({ label }) => label === JSON.parse(each.dataset.figure).label)"
    assert page.locator("attn-viz").evaluate(read)


def test_a_script_that_may_be_first_waits_for_the_element(page_with, open_page):
    page = open_page(page_with(f"<script>{NODE}</script>"))
    draw_all(page)
    assert page.locator("attn-viz b").inner_text() == "a node"


def test_a_view_that_fails_leaves_the_static_picture(page_with, open_page):
    page = open_page(page_with(after=page_with.deferred(BAD)))
    assert page.locator("attn-viz img").is_visible()
    assert "cannot be shown" in page.locator("attn-viz [role=alert]").inner_text()
    assert page.evaluate("document.querySelector('attn-viz').ready.catch(String)") == "Error: no such cell"
