"""What the pages of the example site say about their figures, each a check of the drawn figure's own numbers."""

from collections.abc import Callable, Iterator

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
    for (page, figure), claims in CLAIMS.items():
        for claim in claims if page == name else ():
            yield figure, f"weight {claim[:4]}", lambda element, claim=claim: check_weight(element, *claim)
    for (page, figure, layer, head, to), expected in LOOKED_AT.items():
        if page == name:
            check = lambda element, where=(layer, head, to), expected=expected: check_looks(element, *where, *expected)  # noqa: E731
            yield figure, f"who looks at {to}", check
    for (page, figure), claims in PREDICTIONS.items():
        for claim in claims if page == name else ():
            yield figure, f"prediction at {claim[0]}", lambda element, claim=claim: check_likely(element, *claim)
    for (page, figure), (most, little) in ATTRIBUTIONS.items():
        if page == name:
            yield figure, "attribution", lambda element, most=most, little=little: check_rests(element, most, little)
    for (page, figure), functions in SAID.items():
        for function in functions if page == name else ():
            yield figure, function.__name__.replace("_", " "), function


def weights_of(element, layer, head):
    where = {"stack": element.evaluate("element => element.state.stack"), "layer": layer, "head": head}
    return element.evaluate("(element, where) => element.weights(where)", where)


def check_weight(element, layer, head, start, end, least, most):
    weights = weights_of(element, layer, head)
    rows = [position for position, token in enumerate(weights["rows"]) if token.strip() == start]
    cols = [position for position, token in enumerate(weights["cols"]) if token.strip() == end]
    assert least <= max(weights["values"][row][col] for row in rows for col in cols) <= most


def check_looks(element, layer, head, to, looking, most):
    weights = weights_of(element, layer, head)
    col = [token.strip() for token in weights["cols"]].index(to)
    given = [(token.strip(), row[col]) for token, row in zip(weights["rows"], weights["values"], strict=True)]
    others = max(weight for token, weight in given if token not in looking)
    assert others <= most < min(weight for token, weight in given if token in looking)


def check_likely(element, position, token, least, most):
    found = element.evaluate("(element, where) => element.values(where)", {"position": position})
    top = (found[position] if isinstance(found, list) else found)["top"]
    assert token in (None, top["tokens"][0].strip())
    assert least <= top["probabilities"][0] <= most


def check_rests(element, most, little):
    found = element.evaluate("element => element.values({})")
    row = dict(zip([token.strip() for token in found["inputs"]], found["values"][0], strict=True))
    ordered = sorted(row, key=row.get, reverse=True)
    assert set(ordered[: len(most)]) == set(most)
    assert all(abs(row[token]) < 0.1 * row[ordered[0]] for token in little)


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
    assert row["[MASK]"] < -2


@says("guide/views/tokens.md", "mistake")
def a_mistake_is_unlikely(element):
    found = {each["token"].strip(): each for each in element.evaluate("element => element.values()")}
    assert found["keys"]["probability"] < 0.01
    assert found["is"]["probability"] < 0.001
    assert 0.015 < found["cabinet"]["probability"] < 0.025


@says("guide/views/predict.md", "verdict")
def a_review_with_a_word_of_praise_is_blame(element):
    top = element.evaluate("element => element.values({})")["top"]
    assert top["tokens"][0] == "negative"
    assert top["probabilities"][0] > 0.99


@says("guide/views/tokens.md", "tokens")
def the_induction_model_writes_the_list_on(element):
    found = element.evaluate("element => element.values()")
    assert [each["token"].strip() for each in found][9:] == ["blue", "three", "green", "one"]
    assert found[3]["rank"] == 45


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
def the_strongest_neurons_are_358_and_318(element):
    found = element.evaluate("element => element.values({layer: 3})")
    strongest = [max(range(17), key=lambda token: abs(row[token])) for row in found["activations"][:2]]
    assert [found["tokens"][token] for token in strongest] == ["[CLS]", "not"]
    assert found["neurons"][:2] == [358, 318]
    assert found["activations"][0][strongest[0]] > 2 * found["activations"][1][strongest[1]] > 0


@says("guide/views/activations.md", "activations-decoder")
def no_neuron_of_the_decoder_is_negative(element):
    assert min(map(min, element.evaluate("element => element.values({})")["activations"])) == 0


@says("guide/views/factors.md", "factors")
def factors_are_articles_nouns_prepositions_and_verbs(element):
    found, (articles, first, _, nouns, prepositions, _, verbs, _) = peaks(element, 4)
    assert round(100 * found["explained"]) == 73
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
