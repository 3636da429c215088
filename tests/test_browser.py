"""The figure in a real browser: right numbers, BertViz's interactions, every way a page may come to be shown."""

import base64
import re
import shutil

import markdown
import numpy as np
import pytest
from conftest import MINILM, ROOT, Site, becomes, draw_all, in_no_time, served, settle, there_and_back
from playwright.sync_api import expect

from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.svg.legend import BELOW, DOWN, LINE

CAT = "```attention\nmodel: minilm\ntext: The cat sat on the mat\n```\n"
PAIR = "```attention\nmodel: minilm\ntext: the rabbit quickly hopped\ntext_pair: The turtle slowly crawled\n```\n"
TEXTS = {
    5: "Attention is all",
    17: "The animal did not cross the street because it was too tired to move.",
    50: "When the turtle finally reached the gate, the rabbit, which had slept under a tree for most of the "
    "afternoon, woke up, rubbed its eyes and saw with some dismay that the race was over and lost, "
    "and that nobody had waited.",
    122: "Transformers replaced recurrence by attention. " * 15,
    198: " ".join(f"Sentence number {n} says that dogs chase cats, and cats chase mice." for n in range(14)),
}


# None of them may ask another host for fonts or scripts.
PALETTE = [{"scheme": "default", "toggle": {"icon": "material/weather-sunny", "name": "Dark"}}]
PALETTE += [{"scheme": "slate", "toggle": {"icon": "material/weather-night", "name": "Light"}}]
THEMES = {
    "material": {"name": "material", "font": False, "palette": PALETTE},
    "mkdocs": {"name": "mkdocs", "highlightjs": False},
    "readthedocs": {"name": "readthedocs", "highlightjs": False},
}


def block(text, **options):
    lines = "".join(f"{key}: {value}\n" for key, value in options.items())
    return f"```attention\nmodel: minilm\ntext: {text}\n{lines}```\n\n"


def indented(text):
    return text.rstrip().replace("\n", "\n    ")


WIDE = CAT + "\n" + PAIR + "\n" + block("Sentence with an extraordinarilylongwordwithoutanyspaces and more. " * 8)
MANY = block("many words " * 60)
PAGES = {
    "mkdocs": {
        "cat": CAT,
        "pair": PAIR,
        "texts": "".join(block(text) for text in TEXTS.values()),
        "head": block("The cat sat on the mat", layer=2, head=8),
        "wide": WIDE,
        "dark": CAT.replace("text:", "theme: dark\ntext:"),
        "details": f'??? note "Open"\n\n    {indented(CAT)}\n',
        "many": MANY,
        "far": "line\n\n" * 300 + MANY,
        "held": "```attention\nmodel: induction\ntext: one red two\nview: tokens\nid: held\n```\n",
    },
    "material": {
        "cat": CAT,
        "wide": WIDE,
        "tabs": f'=== "One"\n\n    {indented(CAT)}\n\n=== "Two"\n\n    {indented(CAT.replace("cat", "dog"))}\n',
        "three": f"{PAIR}\n\nBelow.\n\n{CAT}\n\nEnd.",
    },
    "readthedocs": {"cat": CAT, "wide": WIDE, "many": MANY},
}
"""The pages of a site in each theme."""


@pytest.fixture
def built(tmp_path_factory, shared_cache, share):
    """`built(theme, …)` → the folder of a site in a theme, with all its pages."""

    def built(theme, **config):
        site = Site(tmp_path_factory.mktemp(theme), shared_cache)
        site.config |= {"theme": THEMES[theme], **config}
        site.config["markdown_extensions"] += ["pymdownx.details", {"pymdownx.tabbed": {"alternate_style": True}}]
        for name, text in PAGES[theme].items():
            site.write(f"{name}.md", f"# Page\n\n{text}")
        return share(site, "--strict").folder / "site"

    return built


@pytest.fixture
def show(built, visits, open_page):
    """`show(name, …)` returns a page, its first figures drawn; an `own` page may be changed, with the figures."""

    def show(name, theme="mkdocs", own=False, **options):
        address = built(theme) / name / "index.html"
        page = open_page(address, **options) if own else visits.page(address, **options)
        if options.get("javascript", True) and page.locator("attn-viz:visible").count():
            draw_all(page)
            settle(page)
        return page

    return show


def state(page):
    settle(page)
    return page.eval_on_selector("attn-viz", "element => element.state")


def locked(side, *positions):
    return {"side": side, "index": positions[0], "indices": list(positions)}


def readout(page):
    settle(page)
    return page.locator("attn-viz .readout").first.inner_text()


def token(page, side, position):
    return page.locator(f'attn-viz .column.{side} [role="option"]').nth(position)


def select(page, label):
    return page.get_by_role("combobox", name=re.compile(f"^{label}"))


def square(page, head):
    return page.get_by_role("button", name=f"Head {head}", exact=True)


# ---- numbers

EVERY_HEAD = """async (element, [layers, heads]) => {
  const names = [], values = [];
  for (let layer = 0; layer < layers; layer++)
    for (let head = 0; head < heads; head++) {
      const found = await element.weights({layer, head});
      names.push(found.rows, found.cols);
      for (const row of found.values) values.push(...row);
    }
  const bytes = new Uint8Array(new Float32Array(values).buffer);
  const parts = [];
  for (let at = 0; at < bytes.length; at += 32768) parts.push(String.fromCharCode(...bytes.subarray(at, at + 32768)));
  return [names, btoa(parts.join(""))];
}"""
"""Rows, columns and weights of each head; the numbers as bytes, which is a hundred times faster than one by one."""


def test_weights_equal_output_attentions(show):
    import torch
    import transformers

    folder = resolve(MINILM, None, Settings(), ROOT).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    page = show("texts")
    worst = 0.0
    for figure, text in zip(page.locator("attn-viz").all(), TEXTS.values(), strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            attentions = model(**inputs, output_attentions=True).attentions
        expected = torch.cat(attentions).numpy()  # (layers, heads, Tq, Tk)
        tokens = tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
        names, values = figure.evaluate(EVERY_HEAD, expected.shape[:2])
        assert names == [tokens] * 2 * expected.shape[0] * expected.shape[1]
        found = np.frombuffer(base64.b64decode(values), np.float32).reshape(expected.shape)
        worst = max(worst, float(np.abs(found - expected).max()))
    print(f"maximum absolute error {worst:.5f}")
    assert 0 < worst <= 0.004


# ---- what a reader does


def test_hover_previews_and_click_locks(show):
    page = show("head")
    token(page, "left", 1).hover()
    assert "the" in readout(page)
    assert token(page, "right", 2).inner_text().split() == ["cat", "0.75"]
    assert state(page)["selected"] is None
    page.mouse.move(5, 5)
    assert "Point at a token" in readout(page)
    token(page, "left", 1).click()
    assert state(page)["selected"] == locked("left", 1)
    token(page, "right", 2).hover()
    assert re.search(r"the → cat.*0\.75", readout(page))
    page.keyboard.press("Escape")
    assert state(page)["selected"] is None


def test_a_right_token_shows_who_looks_at_it(show):
    page = show("head")
    token(page, "right", 2).hover()
    settle(page)
    assert token(page, "left", 1).inner_text().split() == ["the", "0.75"]
    assert token(page, "right", 1).inner_text().split() == ["the"]


def test_head_squares(show):
    page = show("cat")
    assert state(page)["heads"] == list(range(12))
    assert page.get_by_text("Heads", exact=True).is_visible()
    assert page.get_by_role("group", name="Heads", exact=True).get_by_role("button").count() == 12
    square(page, 3).click()
    assert 3 not in state(page)["heads"]
    assert square(page, 3).get_attribute("aria-pressed") == "false"
    square(page, 5).dblclick()
    assert state(page)["heads"] == [5]
    square(page, 5).click()
    assert state(page)["heads"] == [5], "the last one stays on"
    square(page, 5).dblclick()
    assert state(page)["heads"] == list(range(12))


def test_the_layer_and_the_changed_event(show):
    page = show("cat")
    page.evaluate("document.addEventListener('attnviz-change', event => { window.told = event.target.state })")
    select(page, "Layer").select_option("4")
    assert state(page)["layer"] == 4
    assert page.evaluate("window.told.layer") == 4


def test_sentence_pairs(show):
    page = show("pair")
    tokens = lambda side: page.locator(f"attn-viz .column.{side} [role=option]").count()  # noqa: E731
    assert (tokens("left"), tokens("right")) == (11, 11)
    for value, left, right in (("aa", 6, 6), ("ab", 6, 5), ("ba", 5, 6), ("bb", 5, 5), ("all", 11, 11)):
        select(page, "Pairs").select_option(value)
        settle(page)
        assert (tokens("left"), tokens("right")) == (left, right), value
    select(page, "Pairs").select_option("ab")
    settle(page)
    assert token(page, "left", 0).inner_text().strip() == "[CLS]"
    assert token(page, "right", 0).inner_text().strip() == "the"


def test_a_single_text_has_no_pair_filter(show):
    assert select(show("cat"), "Pairs").count() == 0


def test_the_keyboard_alone(show):
    page = show("pair")
    select(page, "Layer").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    focused = "document.querySelector('attn-viz').shadowRoot.activeElement"
    assert page.evaluate(f"{focused}.getAttribute('aria-label')") == "Head 0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert 1 not in state(page)["heads"]
    page.keyboard.press("Shift+Enter")
    assert state(page)["heads"] == [1]
    page.keyboard.press("Tab")  # the options
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert state(page)["selected"] == locked("left", 2)
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"
    page.keyboard.press("ArrowRight")
    assert "rabbit →" in readout(page)
    page.keyboard.press("]")
    assert state(page)["layer"] == 1
    expect(page.locator("attn-viz [aria-live]")).to_contain_text("Layer 1, head 1, locked")
    page.keyboard.press("Escape")
    assert state(page)["selected"] is None


def test_state_can_be_set_and_is_checked(show):
    page = show("cat")
    figure = page.locator("attn-viz")
    figure.evaluate("element => { element.state = {layer: 3, heads: [2], selected: {side: 'left', index: 2}} }")
    expected = {"stack": "self", "layer": 3, "heads": [2], "filter": "all", "selected": locked("left", 2)}
    expected |= {
        "across_layers": None,
        "across_heads": None,
        "value_weighted": False,
        "merge_words": False,
        "beside": None,
    }
    assert state(page) == expected | {
        "special_tokens": True,
        "sink": "show",
        "contrast": 1,
        "min_weight": None,
        "mass": None,
    }
    for bad in (
        {"layer": 9},
        {"heads": []},
        {"heads": [12]},
        {"filter": "ab"},
        {"selected": {"side": "up", "index": 0}},
        {"x": 1},
    ):
        name = figure.evaluate(
            "(element, bad) => { try { element.state = bad } catch (error) { return error.name } }", bad
        )
        assert name == "RangeError", bad


# ---- looks


def pixels(page):
    """Mean red, green and blue of what is drawn on the canvas, by opacity."""
    settle(page)
    return page.locator("attn-viz canvas").first.evaluate(
        """canvas => {
          const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let sum = [0, 0, 0], weight = 0;
          for (let i = 0; i < data.length; i += 4) {
            for (let c = 0; c < 3; c++) sum[c] += data[i + c] * data[i + 3];
            weight += data[i + 3];
          }
          return sum.map(value => value / weight);
        }"""
    )


SWITCHES = {
    "material": "document.querySelector('label[title=Dark]').click()",
    "mkdocs": "document.documentElement.setAttribute('data-bs-theme', 'dark')",
    # It has no dark mode of its own; a site's style sheet may have.
    "readthedocs": "document.querySelector('.wy-nav-content').style.background = '#111',"
    "document.body.style.color = '#eee'",
}


@pytest.mark.parametrize("theme", SWITCHES)
def test_the_theme_s_switch_is_followed_at_once(show, theme):
    page = show("cat", theme, own=True)
    light = pixels(page)
    assert page.locator("attn-viz .figure.light").count() == 1
    page.evaluate(SWITCHES[theme])
    page.locator("attn-viz .figure.dark").wait_for()
    assert sum(pixels(page)) > sum(light) + 60, "head colours are brighter on dark"


def test_a_forced_theme_stays(show):
    page = show("dark")
    assert page.locator("attn-viz .figure.dark").count() == 1


def test_the_system_s_dark_mode_and_a_page_that_holds_everything(open_page, tmp_path, shared_cache):
    settings = {"cache_dir": str(shared_cache), "lock_file": str(tmp_path / "attnviz.lock")}
    settings |= {"models": {"minilm": MINILM}}
    fragment = markdown.markdown(CAT, extensions=["mkdocs_attnviz"], extension_configs={"mkdocs_attnviz": settings})
    head = "<!doctype html><meta charset=utf-8><style>:root { color-scheme: light dark }</style>"
    (tmp_path / "page.html").write_text(head + fragment, "utf-8")
    page = open_page(tmp_path / "page.html", dark=True)
    draw_all(page)
    assert page.locator("attn-viz .figure.dark").count() == 1
    page.emulate_media(color_scheme="light")
    page.locator("attn-viz .figure.light").wait_for()


@pytest.mark.parametrize("theme", ["material", "mkdocs", "readthedocs"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits(show, theme, width):
    page = show("wide", theme, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for figure in page.locator("attn-viz").all():
        box, parent = figure.bounding_box(), figure.locator("xpath=..").bounding_box()
        assert box["x"] >= parent["x"] - 1
        assert box["x"] + box["width"] <= parent["x"] + parent["width"] + 1


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_moves_when_it_draws(built, open_page, width):
    page = open_page("about:blank", width=width)
    page.add_init_script(
        "window.shifts = [];"
        "const observer = new PerformanceObserver(list => shifts.push(...list.getEntries()));"
        "observer.observe({type: 'layout-shift', buffered: true});"
        "window.shifted = () => { shifts.push(...observer.takeRecords()); return shifts.map(entry => entry.value) }"
    )
    page.goto((built("material") / "three" / "index.html").as_uri())
    draw_all(page)
    in_no_time(page)
    assert page.evaluate("shifted()") == []


def test_without_javascript(show):
    page = show("cat", own=True, javascript=False)
    image = page.locator("attn-viz img")
    assert image.is_visible()
    assert image.evaluate("image => image.naturalHeight") == 8 * 24 + DOWN + LINE + BELOW  # tokens, and two lines below
    assert page.locator("attn-viz noscript p").is_visible()


def test_in_print(show):
    page = show("cat", own=True)
    assert not page.locator("attn-viz img").is_visible()
    page.emulate_media(media="print")
    assert page.locator("attn-viz img").is_visible()
    assert not page.locator("attn-viz canvas").first.is_visible()
    assert page.get_by_text("Attention of minilm, layer 0, 12 heads").first.is_visible()


def test_a_page_saved_as_one_file_has_the_static_picture(show, browser, tmp_path):
    """Such a file has what is in the shadow tree and is not `hidden`, without its style sheets, and no script runs."""
    page = show("cat")
    saved = page.context.new_cdp_session(page).send("Page.captureSnapshot", {"format": "mhtml"})["data"]
    (tmp_path / "page.mhtml").write_text(saved)
    copy = browser.new_page()  # that no script runs is told as an error
    copy.goto((tmp_path / "page.mhtml").as_uri())
    assert copy.locator("attn-viz img").is_visible()
    assert not copy.locator("attn-viz .figure").is_visible()
    assert not copy.locator("attn-viz .static > p").is_visible()
    copy.context.close()


def test_the_static_picture_follows_the_page_and_not_the_system(site, share, open_page):
    """It has no script to tell it; its own style sheet sees the colour scheme of the element it stands in."""
    site.config["theme"] = {"name": "mkdocs", "color_mode": "dark", "highlightjs": False}
    themes = ("light", "dark", "auto")
    for theme in themes:
        site.write(f"{theme}.md", CAT.replace("text:", f"theme: {theme}\ntext:"))
    folder = share(site, "--strict").folder / "site"
    pages = (open_page(folder / theme / "index.html", javascript=False) for theme in themes)
    light, dark, auto = (page.locator("attn-viz img").screenshot() for page in pages)
    assert light != dark
    assert auto == dark


# ---- how a page comes to be shown


def test_hidden_figures_draw_when_they_are_opened(show):
    page = show("details", own=True)
    assert (
        page.eval_on_selector("attn-viz", "element => element.weights({layer: 1, head: 0}).then(w => w.values.length)")
        == 8
    )
    page.locator("summary").click()
    draw_all(page)
    assert sum(pixels(page)) > 0


def test_figures_in_tabs(show):
    page = show("tabs", "material", own=True)
    page.get_by_text("Two", exact=True).click()
    page.locator("attn-viz").nth(1).wait_for()
    draw_all(page)
    assert page.locator("attn-viz:visible [role=option]").nth(2).inner_text().strip() == "dog"


@pytest.fixture(scope="module")
def instant(tmp_path_factory, shared_cache):
    """The URL of a site with instant navigation. Its first page has the scripts of a head view alone."""
    site = Site(tmp_path_factory.mktemp("instant"), shared_cache)
    site.config |= {"theme": {"name": "material", "font": False, "features": ["navigation.instant"]}}
    others = {view: f"```attention\nmodel: induction\ntext: one red two\nview: {view}\n```" for view in WITH_SCRIPTS}
    pages = {"there": MANY} | others
    site.write("index.md", f"# Start\n\n{CAT}\n" + "\n".join(f"[{name}]({name}/page.md)\n" for name in pages))
    for name, other in pages.items():
        site.write(f"{name}/page.md", f"# {name.title()}\n\n{CAT}\n{other}\n\n[back](../index.md)\n")
    with served(site.folder / "site") as url:
        site.config["site_url"] = f"{url}/"
        assert site.build("--strict").returncode == 0
        yield url


WITH_SCRIPTS = ("tokens", "similarity")
"""Views whose scripts the first page does not have."""


def test_instant_navigation(instant, open_page):
    page = open_page(instant)
    there_and_back(page)
    page.go_forward()
    page.get_by_role("heading", name="There").wait_for()
    draw_all(page)
    assert page.evaluate("window.same"), "navigation was instant"


@pytest.mark.parametrize("view", WITH_SCRIPTS)
def test_a_view_may_come_with_another_page_s_script(instant, open_page, view):
    """The first page's script has defined the element without that view, if navigation is instant."""
    page = open_page(instant)
    there_and_back(page, view)
    assert page.evaluate("window.same"), "navigation was instant"


def data_files(requests):
    return sum(bool(re.search(r"/[0-9a-f]{64}\.js$", request)) for request in requests)


@pytest.mark.parametrize("directory_urls", [True, False])
def test_under_a_sub_path_with_a_strict_policy(built, tmp_path, open_page, directory_urls):
    shutil.copytree(built("readthedocs", use_directory_urls=directory_urls), tmp_path / "www" / "docs")
    with served(tmp_path / "www", csp="script-src 'self' 'unsafe-inline'") as url:
        page = open_page("about:blank")
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/docs/many/" if directory_urls else f"{url}/docs/many.html")
        draw_all(page)
        becomes(page, lambda: data_files(requests), 1)
        settle(page)
        assert data_files(requests) == 1, "only the layer that is shown"
        assert all(request.startswith((url, "data:")) for request in requests)
        select(page, "Layer").select_option("3")
        assert sum(pixels(page)) > 0


def test_a_layer_that_cannot_be_loaded(built, open_page):
    page = open_page("about:blank").context.new_page()  # where the browser may complain of the empty file
    page.route(
        re.compile(r"/[0-9a-f]{64}\.js$"),
        lambda route: route.fulfill(status=200, body="", content_type="text/javascript"),
    )
    with served(built("mkdocs")) as url:
        page.goto(f"{url}/many/")
        page.get_by_text("Layer 0 could not be loaded.").wait_for()
        page.unroute_all()
        page.get_by_role("button", name="Try again").click()
        page.locator("attn-viz .readout", has_text="Point at a token").wait_for()


@pytest.fixture
def cat_page(built, tmp_path):
    """The page of a built site that a test may change."""
    return shutil.copytree(built("mkdocs"), tmp_path / "copy") / "cat" / "index.html"


def test_damaged_data_leave_the_static_picture(cat_page, open_page):
    cat_page.write_text(cat_page.read_text().replace('"options":', '"opinions":'))
    page = open_page(cat_page)
    assert page.locator("attn-viz img").is_visible()
    assert "cannot be shown" in page.locator("attn-viz [role=alert]").inner_text()


def test_a_figure_whose_view_has_not_come_keeps_its_static_picture(cat_page, open_page):
    cat_page.write_text(cat_page.read_text().replace('"view":"head"', '"view":"heed"'))
    page = open_page(cat_page)
    assert page.locator("attn-viz img").is_visible()
    assert page.locator("attn-viz [role=alert]").count() == 0


def test_a_link_brings_the_token_that_is_held(built, open_page):
    page = open_page((built("mkdocs") / "held" / "index.html").as_uri() + "#held~shade=rank&selected=2")
    draw_all(page)
    assert page.evaluate("document.querySelector('attn-viz').state") == {"shade": "rank", "selected": 2}


def test_figures_far_away_load_nothing(built, open_page):
    with served(built("mkdocs")) as url:
        page = open_page("about:blank")
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/far/")
        in_no_time(page)
        assert data_files(requests) == 0
        draw_all(page)
        becomes(page, lambda: data_files(requests), 1)  # the first picture does not wait for its layer
        settle(page)
        assert data_files(requests) == 1
