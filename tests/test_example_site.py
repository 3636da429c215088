"""The example site as `make site` built it: accessible, within its page, and true to what its text claims."""

import re

import pytest
import yaml
from conftest import ROOT, draw_all

SITE = ROOT / "example_site" / "site"
DOCS = ROOT / "example_site" / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


def built(page):
    path = (SITE / page).with_suffix(".html")
    assert path.exists(), "run `make site` first"
    return path


def open_drawn(open_page, page, **options):
    page = open_page(built(page), **options)
    draw_all(page)
    return page


def figure_of(open_page, page, figure):
    """A figure's element on a page, whose folded parts are opened: what is hidden is not drawn."""
    page = open_page(built(page))
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    return page.locator(f"#{figure} attn-viz")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_serious(open_page, page, dark):
    page = open_drawn(open_page, page, dark=dark)
    page.add_script_tag(path=AXE)
    # Material's own search dialog has no name.
    found = page.evaluate("axe.run({exclude: ['.md-search']}, {resultTypes: ['violations'], preload: false})")[
        "violations"
    ]
    serious = {
        rule["id"]: [node["html"] for node in rule["nodes"]]
        for rule in found
        if rule["impact"] in ("serious", "critical")
    }
    assert serious == {}


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_needs_no_sideways_scrolling(open_page, page):
    page = open_drawn(open_page, page, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for figure in page.locator("attn-viz:visible").all():
        assert figure.evaluate("element => element.scrollWidth <= element.clientWidth")


@pytest.mark.parametrize("page", PAGES)
def test_no_request_leaves_the_site(open_page, page):
    requests = []
    browser_page = open_page("about:blank")
    browser_page.on("request", lambda request: requests.append(request.url))
    browser_page.goto(built(page).as_uri())
    draw_all(browser_page)
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_site_works_from_disk(open_page):
    page = open_page(built("index.md"))
    page.locator("article").get_by_role("link", name="Inner workings").click()
    page.get_by_role("heading", name="Inner workings").first.wait_for()
    page.locator("[data-md-component=search-query]").click()
    page.keyboard.type("induction")
    page.locator(".md-search-result__item", has_text="Induction heads").first.wait_for()


# ---- what the pages say

CLAIMS = {
    ("index.md", "first"): [
        (2, 8, "the", "cat", 0.70, 0.80),
        (2, 8, "the", "mat", 0.80, 0.90),
        (2, 11, "on", "sat", 0.7, 0.8),
    ],
    ("learn/inner-workings.md", "noun"): [
        (2, 8, "the", "cat", 0.70, 0.80),
        (2, 8, "the", "mat", 0.80, 0.90),
        (2, 8, "cat", "[CLS]", 0.5, 1),
        (2, 8, "mat", "[CLS]", 0.5, 1),
        (2, 8, "on", "mat", 0.45, 0.55),
    ],
    ("learn/inner-workings.md", "pair"): [
        (2, 7, "rabbit", "turtle", 0.145, 0.155),
        (2, 7, "turtle", "rabbit", 0.125, 0.135),
        (2, 9, "quickly", "slowly", 0.075, 0.085),
        (2, 9, "slowly", "quickly", 0.115, 0.125),
        (5, 11, "turtle", "rabbit", 0.6, 0.62),
        (5, 11, "rabbit", "rabbit", 0.71, 0.73),
    ],
    ("learn/notebook.md", "step-4-cross"): [
        (1, 0, "<pad>", "She", 0.95, 1),
        (1, 0, "sieht", "the", 0.95, 1),
        (1, 2, "sieht", "elephant", 0.965, 0.975),
        (1, 2, "den", "elephant", 0.905, 0.915),
        (1, 2, "<pad>", "She", 0.9, 1),
        (1, 2, "Sie", "sees", 0.9, 1),
    ],
    ("learn/notebook.md", "crossing"): [(1, 0, "en", "seen", 0.95, 1)],
    ("guide/views/matrix.md", "matrix"): [(1, 8, "cross", "the", 0.7, 1), (1, 8, "tired", "to", 0.5, 1)],
    ("guide/encoder-decoder.md", "dates"): [(1, 1, "<pad>", "2", 0.9, 1)],
    ("learn/agreement.md", "subject"): [(2, 1, "[MASK]", "keys", 0.99, 1)],
    ("learn/agreement.md", "inside"): [(2, 1, "[MASK]", "key", 0.99, 1)],
    ("learn/agreement.md", "queen"): [(2, 3, "[MASK]", "queen", 0.955, 0.965)],
    ("learn/dates.md", "letters"): [(1, 1, "<pad>", "1", 0.97, 1)],
    ("learn/induction-heads.md", "list"): [
        (1, 1, "seven", "rabbit", 0.95, 1),
        (1, 1, "rabbit", "cold", 0.95, 1),
        (1, 1, "cold", "river", 0.95, 1),
    ],
    ("learn/induction-heads.md", "rabbit"): [
        (1, 2, "the", "rabbit", 0.9, 1),
        (1, 2, "rabbit", "quickly", 0.9, 1),
        (1, 2, "quickly", "hopped", 0.9, 1),
    ],
    ("learn/induction-heads.md", "nothing"): [(1, 2, word, "a", 0.85, 1) for word in ("fox", "near", "old", "barn")],
}
"""Page, figure → layer, head, from, to, and bounds of the weight; the last occurrence of *from*, the first of *to*."""


@pytest.mark.parametrize(("page", "figure"), CLAIMS, ids=lambda name: name)
def test_what_the_text_says_is_so(open_page, page, figure):
    element = figure_of(open_page, page, figure)
    for layer, head, start, end, least, most in CLAIMS[page, figure]:
        where = {"stack": element.evaluate("element => element.state.stack"), "layer": layer, "head": head}
        weights = element.evaluate("(element, where) => element.weights(where)", where)
        rows = [position for position, token in enumerate(weights["rows"]) if token.strip() == start]
        cols = [position for position, token in enumerate(weights["cols"]) if token.strip() == end]
        found = max(weights["values"][row][col] for row in rows for col in cols)
        assert least <= found <= most, (layer, head, start, end, found)


LOOKED_AT = {
    ("learn/inner-workings.md", "pair", 2, 7, "turtle"): ({"rabbit"}, 0.02),
    ("learn/inner-workings.md", "pair", 2, 7, "rabbit"): ({"turtle"}, 0.02),
    ("learn/agreement.md", "subject", 2, 1, "keys"): ({"[MASK]", "to"}, 0.4),
    ("learn/agreement.md", "inside", 2, 1, "key"): ({"[MASK]", "to"}, 0.1),
    ("learn/agreement.md", "queen", 2, 3, "queen"): ({"[MASK]", "[SEP]"}, 0.2),
    ("learn/notebook.md", "step-4-cross", 1, 2, "elephant"): ({"sieht", "den", "kleinen"}, 0.1),
}
"""Page, figure, layer, head, token → the tokens that look at it, and what no other gives it.

A line that every token has says nothing about one of them."""


@pytest.mark.parametrize(("page", "figure", "layer", "head", "to"), LOOKED_AT, ids=str)
def test_who_looks_at_a_token_is_whom_the_text_names(open_page, page, figure, layer, head, to):
    element = figure_of(open_page, page, figure)
    where = {"stack": element.evaluate("element => element.state.stack"), "layer": layer, "head": head}
    weights = element.evaluate("(element, where) => element.weights(where)", where)
    col = [token.strip() for token in weights["cols"]].index(to)
    given = [(token.strip(), row[col]) for token, row in zip(weights["rows"], weights["values"], strict=True)]
    looking, most = LOOKED_AT[page, figure, layer, head, to]
    others = max(weight for token, weight in given if token not in looking)
    assert others <= most < min(weight for token, weight in given if token in looking)


def test_in_the_last_layer_every_token_looks_at_rabbit(open_page):
    element = figure_of(open_page, "learn/inner-workings.md", "pair")
    values = element.evaluate("element => element.weights({layer: 5, head: 11})")["values"]
    assert 0.44 < min(row[2] for row in values) < max(row[2] for row in values) < 0.73


def test_all_heads_of_the_last_layer_are_induction_heads(open_page):
    element = figure_of(open_page, "learn/induction-heads.md", "list")
    least = []
    for head in range(4):
        values = element.evaluate("(element, head) => element.weights({layer: 1, head})", head)["values"]
        least.append(min(values[again][again - 5] for again in range(6, 11)))
    assert min(least) > 0.6
    assert min(least[1], least[3]) > 0.9


PREDICTIONS = {
    ("index.md", "next"): [(10, "hopped", 0.985, 0.995)],
    ("learn/induction-heads.md", "two-ways"): [(10, "seven", 0.825, 0.835)],
    ("guide/views/predict.md", "next"): [(1, None, 0, 0.02), (10, "hopped", 0.985, 0.995)],
    ("guide/views/predict.md", "article"): [(3, "den", 0.99, 1)],
    ("guide/views/predict.md", "masked"): [(7, "barked", 0.455, 0.465)],
    ("guide/views/tokens.md", "mistake"): [(2, "key", 0.6, 0.7), (6, "are", 0.9975, 0.9985)],
    ("learn/agreement.md", "keys"): [(6, "are", 0.9975, 0.9985)],
    ("learn/agreement.md", "key"): [(6, "is", 0.9975, 0.9985)],
    ("learn/agreement.md", "without"): [(6, "is", 0.525, 0.535)],
    ("learn/agreement.md", "past-tense"): [(7, "are", 0.9965, 0.9975)],
    ("guide/views/tokens.md", "tokens"): [(7, "red", 0.925, 0.935)],
    ("guide/views/tokens.md", "corrected"): [(5, "Elefant", 0.99, 1)],
}
"""Position, the likeliest token there, its probability."""


@pytest.mark.parametrize(("page", "figure"), PREDICTIONS, ids=lambda name: name)
def test_what_the_text_says_is_likely_is_so(open_page, page, figure):
    element = figure_of(open_page, page, figure)
    element.scroll_into_view_if_needed()
    element.evaluate("element => element.ready")
    for position, token, least, most in PREDICTIONS[page, figure]:
        found = element.evaluate("(element, where) => element.values(where)", {"position": position})
        top = (found[position] if isinstance(found, list) else found)["top"]
        assert token in (None, top["tokens"][0].strip())
        assert least <= top["probabilities"][0] <= most


ATTRIBUTIONS = {
    ("index.md", "why"): (["not", "bad"], ["film"]),
    ("guide/views/saliency.md", "masked"): (["keys"], ["cabinet"]),
    ("guide/views/saliency.md", "tense"): (["yesterday"], ["cabinet"]),
    ("guide/views/saliency.md", "review"): (["not", "bad"], ["film"]),
    ("guide/views/saliency.md", "at-all"): (["bad"], ["not"]),
    ("guide/views/saliency.md", "at-all-gradients"): (["not", "bad"], ["at", "all"]),
    ("guide/views/saliency.md", "but"): (["superb"], ["but"]),
    ("guide/views/saliency.md", "although"): (["although"], []),
    ("learn/agreement.md", "rests"): (["keys"], ["cabinet"]),
}
"""Page, figure → the tokens that speak for the output most, and some that have less than a tenth of the first one's."""


@pytest.mark.parametrize(("page", "figure"), ATTRIBUTIONS, ids=lambda name: name)
def test_what_the_text_says_an_output_rests_on_is_so(open_page, page, figure):
    element = figure_of(open_page, page, figure)
    element.scroll_into_view_if_needed()
    found = element.evaluate("element => element.ready.then(() => element.values({}))")
    row = dict(zip([token.strip() for token in found["inputs"]], found["values"][0], strict=True))
    most, little = ATTRIBUTIONS[page, figure]
    ordered = sorted(row, key=row.get, reverse=True)
    assert set(ordered[: len(most)]) == set(most)
    assert all(abs(row[token]) < 0.1 * row[ordered[0]] for token in little)


def test_a_verb_is_expected_in_the_past(open_page):
    element = figure_of(open_page, "guide/views/predict.md", "masked")
    element.scroll_into_view_if_needed()
    top = element.evaluate("element => element.ready.then(() => element.values({}))")["top"]
    past = {"barked", "mooed", "slept", "sang", "meowed", "quacked", "ran", "howled", "neighed", "roared"}
    assert set(top["tokens"][:8]) <= past
    present = [p for token, p in zip(top["tokens"], top["probabilities"], strict=True) if token not in past]
    assert sum(present) < 0.03


def test_the_mask_itself_speaks_against_are(open_page):
    element = figure_of(open_page, "learn/agreement.md", "rests")
    element.scroll_into_view_if_needed()
    found = element.evaluate("element => element.ready.then(() => element.values({}))")
    row = dict(zip(found["inputs"], found["values"][0], strict=True))
    assert min(row, key=row.get) == "[MASK]"
    assert row["[MASK]"] < -2


def test_what_is_said_of_a_mistake(open_page):
    element = figure_of(open_page, "guide/views/tokens.md", "mistake")
    element.scroll_into_view_if_needed()
    found = {
        each["token"].strip(): each
        for each in element.evaluate("element => element.ready.then(() => element.values())")
    }
    assert found["keys"]["probability"] < 0.01
    assert found["is"]["probability"] < 0.001
    assert 0.015 < found["cabinet"]["probability"] < 0.025


def test_a_review_with_a_word_of_praise_is_blame(open_page):
    element = figure_of(open_page, "guide/views/predict.md", "verdict")
    element.scroll_into_view_if_needed()
    top = element.evaluate("element => element.ready.then(() => element.values({}))")["top"]
    assert top["tokens"][0] == "negative"
    assert top["probabilities"][0] > 0.99


def test_the_induction_model_writes_the_list_on(open_page):
    element = figure_of(open_page, "guide/views/tokens.md", "tokens")
    element.scroll_into_view_if_needed()
    element.evaluate("element => element.ready")
    found = element.evaluate("element => element.values()")
    assert [each["token"].strip() for each in found][9:] == ["blue", "three", "green", "one"]
    assert found[3]["rank"] == 45


@pytest.mark.parametrize(("page", "figure", "layer", "head"), [
    ("learn/inner-workings.md", "previous", 0, 2),
    ("learn/induction-heads.md", "previous-token", 0, 1),
])  # fmt: skip
def test_previous_token_heads(open_page, page, figure, layer, head):
    element = figure_of(open_page, page, figure)
    values = element.evaluate("(element, where) => element.weights(where)", {"layer": layer, "head": head})["values"]
    weights = [values[position][position - 1] for position in range(1, len(values))]
    assert min(weights) > (0.995 if page.endswith("workings.md") else 0.9)


def test_the_neurons_that_the_text_names(open_page):
    element = figure_of(open_page, "guide/views/activations.md", "activations")
    found = element.evaluate("element => element.values({layer: 3})")
    strongest = [max(range(17), key=lambda token: abs(row[token])) for row in found["activations"][:2]]
    assert [found["tokens"][token] for token in strongest] == ["[CLS]", "not"]
    assert found["neurons"][:2] == [358, 318]
    assert found["activations"][0][strongest[0]] > 2 * found["activations"][1][strongest[1]] > 0
    element = figure_of(open_page, "guide/views/activations.md", "activations-decoder")
    assert min(map(min, element.evaluate("element => element.values({})")["activations"])) == 0


def test_the_factors_that_the_text_names(open_page):
    page = open_page(built("guide/views/factors.md"))

    def peaks(figure, count):
        """Of each factor the tokens at which it is the strongest one, the strongest first."""
        found = page.locator(f"#{figure} attn-viz").evaluate("element => element.values({})")
        strengths, tokens = found["strengths"], found["tokens"]
        best = [max(range(8), key=lambda factor: strengths[factor][at]) for at in range(len(tokens))]
        where = lambda row: sorted(range(len(tokens)), key=lambda at: -row[at])  # noqa: E731
        return found, [[tokens[at] for at in where(row)[:count] if best[at] == n] for n, row in enumerate(strengths)]

    found, (articles, first, _, nouns, prepositions, _, verbs, _) = peaks("factors", 4)
    assert round(100 * found["explained"]) == 73
    assert set(articles) == {"the"}
    assert first == ["[CLS]"]
    assert set(nouns) == {"money", "bank"}
    assert set(prepositions[:3]) == {"on", "in", "of"}
    assert set(verbs) == {"put", "was", "lent", "lay"}
    _, late = peaks("factors-late", 5)
    assert set(late[3]) == {"money", "lent"}
    assert set(late[4]) == {"bank", "boat", "river"}


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


# ---- what the pages list


def test_every_key_and_setting_is_documented():
    from mkdocs_attnviz.block.fields import fields_of
    from mkdocs_attnviz.block.parse import _fields_within
    from mkdocs_attnviz.settings import Settings
    from mkdocs_attnviz.views import OPTIONS

    def listed(page):
        return re.findall(r"^\| `(\w+)` \|", (DOCS / "guide" / page).read_text(), re.MULTILINE)

    fields = {key: field for options in OPTIONS.values() for key, field in fields_of(options).items()}
    keys = set(fields)
    within = {f"{key}.{name}" for key, field in fields.items() for name in _fields_within(field.annotation)}
    listed_within = re.findall(r"^\| `(\w+\.\w+)` \|", (DOCS / "guide" / "block.md").read_text(), re.MULTILINE)
    assert sorted(listed_within) == sorted(within)
    assert sorted(listed("block.md")) == sorted(keys)
    assert sorted(listed("settings.md")) == sorted(Settings.model_fields)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_describes_itself(page):
    head = yaml.safe_load((DOCS / page).read_text().split("---")[1])
    assert 20 <= len(head["description"]) <= 160
