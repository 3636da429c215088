"""The example site as `make site` built it: accessible, within its page, and true to what its text claims."""

import html
import json
import re
from pathlib import Path

import claims
import layouts
import pytest
import yaml
from conftest import ROOT, draw_all, settle

from mkdocs_attnviz import views

SITE = ROOT / "example_site" / "site"
DOCS = ROOT / "example_site" / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


def built(page):
    path = (SITE / page).with_suffix(".html")
    assert path.exists(), "run `make site` first"
    return path


@pytest.mark.parametrize("name", PAGES)
def test_a_page(open_page, name):
    """One visit by readers in all situations; and what the page says."""
    wrong, requests = {}, []
    page = open_page("about:blank", width=320, height=225)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(built(name).as_uri())
    page.add_style_tag(content=STILL)
    draw_all(page)
    wrong["layout, zoom-400"] = layouts.problems(page)
    if name not in WHOLE:
        layouts.leave_the_article(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    draw_all(page)
    settle(page)
    wrong["layout, desk"] = layouts.problems(page)
    page.add_script_tag(url=AXE.as_uri())
    wrong["axe"] = inaccessible(page, name)
    page.emulate_media(color_scheme="dark")
    settle(page)
    wrong["layout, dark"] = layouts.problems(page)
    wrong["axe in the dark"] = inaccessible(page, name, "color-contrast", "link-in-text-block")
    page.emulate_media(color_scheme="dark", forced_colors="active")
    settle(page)
    wrong["layout, forced-colors"] = layouts.problems(page)
    wrong["grounds in forced colours"] = repainted(page, name)
    page.emulate_media(color_scheme="light", forced_colors="none")
    for situation in SITUATIONS if name in VIEWS else ("phone",):
        layouts.enter(page, layouts.SITUATIONS[situation])
        wrong[f"layout, {situation}"] = layouts.problems(page)
        if situation == "right-to-left":  # what stands out of a figure on the left makes the page wider there
            layouts.open_options(page)
            wrong[f"layout, {situation}, opened"] = layouts.problems(page)
    wrong["wider than a phone"] = wide(page)
    wrong["keys that are broken"] = page.locator(".keys td:first-child > code").evaluate_all(BROKEN)
    wrong["what the text says"] = claims.wrong(page, name)
    wrong["requests that leave the site"] = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert {check: found for check, found in wrong.items() if found} == {}


VIEWS = [f"guide/views/{name}.md" for name in views.VIEWS]
VIEWS += ["index.md", "guide/long-inputs.md", "guide/own-tensors.md", "guide/interventions.md"]
"""Pages whose figures are drawn in every situation."""
VISITED = ("zoom-400", "desk", "dark", "forced-colors")
"""Situations that figures follow: they are drawn in the first one."""
SITUATIONS = [*sorted(layouts.SITUATIONS.keys() - {*VISITED, "phone"}), "phone"]
"""The others: in each, figures are drawn afresh."""
STILL = "*, ::before, ::after { transition: none !important }"
"""A style without Material's changes of colour over time, in the midst of which axe would measure contrast."""
BROKEN = "all => all.filter(each => each.getClientRects().length > 1).map(each => each.textContent)"


WHOLE = ("index.md", "guide/first-block.md")
"""A page with the site's front, and one with the navigation that all others have: they are looked at as a whole."""


def wide(page):
    """Return the figures that are wider than their place, or the page's width if it is wider than the window."""
    width = page.evaluate("document.documentElement.scrollWidth")
    found = page.locator("figure.attnviz:visible").evaluate_all(OVERFLOWING)
    return found + [f"{width} px"] * (width > 360)


OVERFLOWING = """figures => figures.filter(figure =>
  [...figure.querySelectorAll('attn-viz')].some(each => each.scrollWidth > each.clientWidth)).map(({ id }) => id)"""


def inaccessible(page, name, *rules):
    """Return the serious violations of these rules that axe finds, by rule; of all that it has by default, if none.

    What the theme puts around an article is the same on all pages: axe looks at it on those of `WHOLE` alone.
    """
    # Material's own search dialog has no name.
    part = {"exclude": [".md-search"]} if name in WHOLE else {"include": ["article"]}
    return page.evaluate(SERIOUS, [part, rules])


SERIOUS = (ROOT / "tests" / "axe.js").read_text("utf-8")
PAINTED = {
    "tokens": ".flow .painted[style*=background]",
    "saliency": ".flow .painted[style*=background]",
    "factors": ".flow .painted[style*=background]",
    "lens": "td[style*=background]",
    "similarity": ".similar > span:not(.label)",
    "heads": ".head-stage circle",
}
"""Elements of a view whose ground is what the figure says."""


def repainted(page, name):
    """Return how the first figure of a view's page leaves its painted elements to a browser that forces colours, which
    would paint them in one colour, or put its own below letters."""
    painted = PAINTED.get(Path(name).stem)
    if not (painted and name in VIEWS):
        return []
    adjusted = page.locator("attn-viz").first.locator(painted).evaluate_all(ADJUSTED)
    return [value for value in adjusted if value != "none"] or ["too few"] * (len(adjusted) <= 3)


ADJUSTED = "all => all.map(each => getComputedStyle(each).forcedColorAdjust)"


def test_every_claim_has_its_page():
    tables = (claims.LOOKED_AT, claims.SAID)
    assert {place[0] for table in tables for place in table} <= {*PAGES}


def test_what_the_blocks_claim_holds():
    """The site is built with `--strict`, which a claim that does not hold would fail; here is seen that they were
    tested."""
    figures = [figure for page in PAGES for figure in FIGURE.findall(built(page).read_text("utf-8"))]
    tested = [claim for figure in figures for claim in json.loads(html.unescape(figure)).get("claims", ())]
    assert len(tested) >= 80
    assert [claim for claim in tested if not claim["holds"]] == []


FIGURE = re.compile("data-figure='([^']*)'")


def test_the_site_works_from_disk(open_page):
    page = open_page(built("index.md"))
    page.locator("article").get_by_role("link", name="Inner workings").click()
    page.get_by_role("heading", name="Inner workings").first.wait_for()
    page.locator("[data-md-component=search-query]").click()
    page.keyboard.type("induction")
    page.locator(".md-search-result__item", has_text="Induction heads").first.wait_for()


# ---- what the pages say of models


def test_the_induction_model_says_what_comes_next():
    import torch
    import transformers
    from conftest import INDUCTION

    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    model = transformers.AutoModelForCausalLM.from_pretrained(INDUCTION).eval()
    text = (DOCS / "learn" / "induction-heads.md").read_text()
    says = {"list": ("river", 0.85, 0.95), "rabbit": ("hopped", 0.975, 0.985)}
    for figure, (word, least, most) in says.items():
        prompt = re.search(rf"text: ([^\n]+)\nlayer: \d\nhead: \d\n(?:state: [^\n]+\n)?id: {figure}\n", text)[1]
        with torch.no_grad():
            probabilities = model(**tokenizer(prompt, return_tensors="pt")).logits[0, -1].softmax(-1)
        assert least <= probabilities[tokenizer.convert_tokens_to_ids(word)] <= most


def test_the_masked_model_says_whose_horse_is_fed():
    import torch
    import transformers

    folder = ROOT / "example_site" / "models" / "agreement"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    for text, word, least, most in [
        ("the queen behind the king feeds [MASK] horse.", "her", 0.945, 0.955),
        ("the king behind the queen feeds [MASK] horse.", "his", 0.98, 0.99),
    ]:
        inputs = tokenizer(text, return_tensors="pt")
        where = inputs.input_ids[0].tolist().index(tokenizer.mask_token_id)
        with torch.no_grad():
            probabilities = model(**inputs).logits[0, where].softmax(-1)
        assert least <= probabilities[tokenizer.convert_tokens_to_ids(word)] <= most


@pytest.mark.parametrize("page", PAGES)
def test_every_page_describes_itself(page):
    head = yaml.safe_load((DOCS / page).read_text().split("---")[1])
    assert 20 <= len(head["description"]) <= 160
