"""Statements of the example site's pages about their figures that the blocks cannot claim themselves (`expect`).

Each is a check of the drawn figure's own numbers.
"""

from collections.abc import Callable, Iterator

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

SAID: dict[tuple[str, str], list[Callable]] = {}
"""Page, figure → what else its text says, as functions of the figure's element."""


def says(page, figure):
    """Note that the text about a figure says what the decorated function checks."""

    def note(check):
        SAID.setdefault((page, figure), []).append(check)
        return check

    return note


def wrong(page, name) -> dict[str, str]:
    """Return what a page says and its figures do not show, by figure and sentence; its folded parts are opened."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    found = {}
    for figure, sentence, check in checks(name):
        element = page.locator(f"#{figure} attn-viz")
        element.scroll_into_view_if_needed()
        element.evaluate("element => element.ready")
        try:
            check(element)
        except (AssertionError, ValueError, LookupError) as error:
            found[f"{figure}: {sentence}"] = str(error)
    return found


def checks(name) -> Iterator[tuple[str, str, Callable]]:
    """Yield the figure, the sentence and the check of all that a page says."""
    for (page, figure, layer, head, to), expected in LOOKED_AT.items():
        if page == name:
            check = lambda element, where=(layer, head, to), expected=expected: check_looks(element, *where, *expected)  # noqa: E731
            yield figure, f"who looks at {to}", check
    for (page, figure), functions in SAID.items():
        for function in functions if page == name else ():
            yield figure, function.__name__.replace("_", " "), function


def weights_of(element, layer, head):
    where = {"stack": element.evaluate("element => element.state.stack"), "layer": layer, "head": head}
    return element.evaluate("(element, where) => element.weights(where)", where)


def check_looks(element, layer, head, to, looking, most):
    weights = weights_of(element, layer, head)
    col = [token.strip() for token in weights["cols"]].index(to)
    given = [(token.strip(), row[col]) for token, row in zip(weights["rows"], weights["values"], strict=True)]
    others = max(weight for token, weight in given if token not in looking)
    assert others <= most < min(weight for token, weight in given if token in looking)


@says("learn/inner-workings.md", "pair")
def in_the_last_layer_every_token_looks_at_rabbit(element):
    values = element.evaluate("element => element.weights({layer: 5, head: 11})")["values"]
    assert 0.44 < min(row[2] for row in values) < max(row[2] for row in values) < 0.73


@says("learn/induction-heads.md", "list")
def all_heads_of_the_last_layer_are_induction_heads(element):
    least = []
    for head in range(4):
        values = element.evaluate("(element, head) => element.weights({layer: 1, head})", head)["values"]
        least.append(min(values[again][again - 5] for again in range(6, 11)))
    assert min(least) > 0.6
    assert min(least[1], least[3]) > 0.9


@says("guide/views/predict.md", "masked")
def a_verb_is_expected_in_the_past(element):
    top = element.evaluate("element => element.values({})")["top"]
    past = {"barked", "mooed", "slept", "sang", "meowed", "quacked", "ran", "howled", "neighed", "roared"}
    assert set(top["tokens"][:8]) <= past
    present = [p for token, p in zip(top["tokens"], top["probabilities"], strict=True) if token not in past]
    assert sum(present) < 0.03


@says("learn/agreement.md", "rests")
def the_mask_itself_speaks_against_are(element):
    found = element.evaluate("element => element.values({})")
    row = dict(zip(found["inputs"], found["values"][0], strict=True))
    assert min(row, key=row.get) == "[MASK]"


@says("guide/views/predict.md", "next")
def nothing_is_likely_after_the_first_word(element):
    assert element.evaluate("element => element.values({position: 1})")["top"]["probabilities"][0] <= 0.02


@says("guide/views/tokens.md", "tokens")
def the_induction_model_writes_the_list_on(element):
    found = element.evaluate("element => element.values()")
    assert [each["token"].strip() for each in found][9:] == ["blue", "three", "green", "one"]


@says("learn/inner-workings.md", "previous")
def head_2_looks_at_the_previous_token(element):
    assert min(to_previous(element, 0, 2)) > 0.995


@says("learn/induction-heads.md", "previous-token")
def head_1_looks_at_the_previous_token(element):
    assert min(to_previous(element, 0, 1)) > 0.9


def to_previous(element, layer, head):
    """Return the weight that each token gives the one before."""
    values = weights_of(element, layer, head)["values"]
    return [values[position][position - 1] for position in range(1, len(values))]


@says("guide/views/activations.md", "activations")
def neuron_358_is_twice_as_active_as_318(element):
    found = element.evaluate("element => element.values({layer: 3})")
    first, second = (max(map(abs, row)) for row in found["activations"][:2])
    assert found["neurons"][:2] == [358, 318]
    assert first > 2 * second > 0


@says("guide/views/activations.md", "activations-decoder")
def no_neuron_of_the_decoder_is_negative(element):
    assert min(map(min, element.evaluate("element => element.values({})")["activations"])) == 0


@says("guide/views/factors.md", "factors")
def factors_are_articles_nouns_prepositions_and_verbs(element):
    _, (articles, first, _, nouns, prepositions, _, verbs, _) = peaks(element, 4)
    assert set(articles) == {"the"}
    assert first == ["[CLS]"]
    assert set(nouns) == {"money", "bank"}
    assert set(prepositions[:3]) == {"on", "in", "of"}
    assert set(verbs) == {"put", "was", "lent", "lay"}


@says("guide/views/factors.md", "factors-late")
def late_factors_tell_two_banks_apart(element):
    _, late = peaks(element, 5)
    assert set(late[3]) == {"money", "lent"}
    assert set(late[4]) == {"bank", "boat", "river"}


def peaks(element, count):
    """Return the values, and for each factor the tokens at which it is the strongest one, the strongest first."""
    found = element.evaluate("element => element.values({})")
    strengths, tokens = found["strengths"], found["tokens"]
    best = [max(range(8), key=lambda factor: strengths[factor][at]) for at in range(len(tokens))]
    where = lambda row: sorted(range(len(tokens)), key=lambda at: -row[at])  # noqa: E731
    return found, [[tokens[at] for at in where(row)[:count] if best[at] == n] for n, row in enumerate(strengths)]
