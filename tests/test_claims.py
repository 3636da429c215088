"""Claims about figures (`expect`): their grammar, what they are compared with, and what an author is told."""

import json
import re
import warnings

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import mkdocs_attnviz
from mkdocs_attnviz.block.claims import Claim, Selectors, number_of, precision_of
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.schema import json_schema
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.views import OPTIONS, VIEWS, token_places
from mkdocs_attnviz.views.claims import check_grammar
from mkdocs_attnviz.views.measure import Untestable

BLOCK = "model: m\ntext: t\nexpect:\n"


def wrong(claim, view="head", first="{from: a, to: b, head: 0, at_least: 0}"):
    """Return the line and the sentence of what is wrong with a claim, which is the second of its block."""
    body = f"view: {view}\n{BLOCK}  - {first}\n  - {claim}"
    with pytest.raises(BlockError) as caught:
        check_grammar(parse(Source(body), OPTIONS), VIEWS[view])
    assert caught.value.problem.kind == "block"
    return caught.value.line, caught.value.message


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("{layer: 2, hed: 8, at_least: 0.5}", "`hed` is not a key of a claim (did you mean `head`?)."),
        ("{strongest: {laye: 2}, is: the}", "`laye` is not a key of `strongest` (did you mean `layer`?)."),
        ("{layer: two, is: 1}", "`expect.layer` is 'two'; it must be a layer's number, counted from 0, or embeddings."),
        ("{head: 1, at_least: much}", "`expect.at_least` is 'much'; it must be a number, or a percentage like 50%."),
        ("{head: 1, head: 2, is: 1}", "`head` stands twice in a claim."),
        ("{from: a, to: b}", "A claim has one of at_least, at_most, between, is, rank, beats_baseline_by; this"),
        ("{from: a, to: b, is: 1, rank: 1}", "this one has `is` and `rank`."),
        ("{between: [0.5, 0.4]}", "`between` is [0.5, 0.4]; the least value comes first."),
        ("{strongest: {from: a}, at_least: 1}", "A claim with `strongest` says with `is` what is; this"),
        ("{strongest: {from: a}, head: 1, is: b}", "`head` stands beside `strongest`; it belongs into it."),
        ("{token: a, at_least: 1}", "A claim with `token` names no measure of the head view; it has weight (from,"),
        ("{measure: wieght, from: a, is: 1}", "`wieght` is no measure of the head view (did you mean `weight`?)"),
        ("{measure: rollout, head: 1, is: 1}", "`rollout` of the head view is selected by from, to; perhaps stack,"),
        ("{from: a, to: b, is: much}", "`is` is 'much'; `weight` is a number. Did you mean `strongest`?"),
        ("{from: a, to: b, beats_baseline_by: 0.1}", "`beats_baseline_by` does not fit `weight`, which has no"),
        ("{measure: weight, from: a, to: b, rank: 1}", "`rank` is the value of the measure rank, not of `weight`."),
        ("{from: a, to: b, unchanged: true, is: 1}", "`unchanged` needs a block with `interventions`; this"),
    ],
)  # fmt: skip
def test_what_is_no_claim_is_told_with_its_line(claim, message):
    line, told = wrong(claim)
    assert message in told
    assert line == 5


def test_the_strongest_has_a_measure_only_where_there_are_several():
    _, told = wrong("{strongest: {measure: probability}, is: a}", "predict", first="{token: a, is: 1}")
    assert told == "`strongest` of the predict view is selected by perhaps position; the claim has `measure`."


def test_the_schema_knows_the_grammar():
    schema = Draft202012Validator(json_schema(OPTIONS))
    block = {"model": "m", "text": "t"}
    for good in (
        {"layer": 2, "head": 8, "from": "the", "to": "cat", "at_least": 0.5},
        {"strongest": {"layer": 2, "head": 8, "from": "mat"}, "is": "the"},
        {"token": "river", "rank": 1, "position": "last"},
        {"relation": "det", "head": 8, "layer": 2, "beats_baseline_by": "20%"},
        {"token": 12, "layer": "embeddings", "between": [0, "5%"]},
    ):
        assert schema.is_valid(block | {"expect": [good]}), good
        assert parse(Source(json.dumps(block | {"expect": [good]})), OPTIONS).expect
    for bad in (
        {"layer": "two", "is": 1},
        {"hed": 1, "is": 1},
        {"from": "a", "is": 1, "at_least": 1},
        {"from": "a"},
        {"at_least": "much"},
        {"strongest": {"hed": 1}, "is": "a"},
    ):
        assert not schema.is_valid(block | {"expect": [bad]}), bad
    assert not schema.is_valid(block | {"expect": []})


def test_a_claim_is_repeated_as_it_was_written():
    claims = [
        "{layer: 2, head: 8, from: the, to: cat, at_least: 0.5}",
        "{strongest: {layer: 2, head: 8, from: mat}, is: the}",
        "{token: river, position: last, rank: 1}",
        "{layer: 2, head: 8, relation: det, beats_baseline_by: 0.2}",
    ]
    block = parse(Source(BLOCK + "".join(f"  - {claim}\n" for claim in claims)), OPTIONS)
    assert [claim.written for claim in block.expect] == claims
    assert block.lines["expect.2"] == 5


def test_numbers_are_read_with_their_digits():
    assert (number_of("50%"), number_of("-1.5e-2"), number_of("−2"), number_of("the")) == (0.5, -0.015, -2, None)
    assert [precision_of(text) for text in ("0.75", "75%", "75.5 %", "3", "1.0e-3")] == pytest.approx(
        [0.005, 0.005, 0.0005, 0.5, 0.00005]
    )


def test_selectors_are_those_that_a_claim_may_have():
    assert set(Selectors.model_fields) < set(Claim.model_fields)


TOKENS = ["the", "cat", "saw", "the", "dog"]
NINE, SIX, HALF, FOUR = (0.9, 0.1, 0, 0, 0), (0.1, 0.6, 0.3, 0, 0), (0.1, 0.1, 0.1, 0.2, 0.5), (0.2, 0.2, 0.2, 0.4, 0)
FIRST = [NINE, (0.75, 0.25, 0, 0, 0), SIX, FOUR, HALF]
SECOND = [(0.5, 0.5, 0, 0, 0), (0.05, 0.95, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 0, 1), (0, 0.8, 0, 0.2, 0)]
WEIGHTS = np.array([FIRST, SECOND])
"""The weights of two heads between five tokens."""


def told(*claims, **options):
    """Return what is told of claims about a head view of these weights, and the figure's claims."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        html = mkdocs_attnviz.head_view([WEIGHTS[None]], TOKENS, html_action="return", expect=list(claims), **options)
    data = json.loads(re.search(r"data-figure='([^']*)'", html.data.replace("&#39;", "’"))[1])
    return [str(each.message) for each in caught], data["claims"], html.sentence


def test_a_claim_that_holds_is_shown_and_not_told():
    warned, claims, sentence = told(
        {"head": 1, "from": "dog", "to": "cat", "at_least": 0.8},
        {"head": 1, "from": "dog", "to": "cat", "is": 0.8},
        {"head": 1, "from": "dog", "to": "cat", "between": ["75%", "85%"]},
        {"head": 0, "from": 1, "to": "the#1", "is": 0.75},
        {"head": 1, "from": "the#2", "to": "dog", "is": 1},
        {"head": 1, "from": "the", "to": "dog", "at_least": 0.99},
        {"strongest": {"head": 1, "from": "dog"}, "is": "cat"},
        {"strongest": {"head": 1, "from": "dog"}, "is": 1},
        {"strongest": {"head": 0, "to": "cat"}, "is": "saw"},
        {"strongest": {"from": "cat", "to": "cat"}, "is": 1},
        {"head": 0, "from": "dog", "to": "the#2", "rank": 2},
        {"measure": "rank", "head": 0, "from": "dog", "to": "cat", "between": [3, 5]},
        {"head": 0, "from": "dog", "to": "cat", "rank": 5},
    )
    assert warned == []
    assert all(claim["holds"] for claim in claims)
    assert claims[0] == {
        "text": "The weight from “dog” to “cat” in head 1 of layer 0 is at least 0.8",
        "holds": True,
        "value": "0.80",
    }
    assert "Claimed" not in sentence


def test_a_claim_that_does_not_hold_is_told_with_what_does():
    warned, claims, sentence = told(
        {"head": 0, "from": "dog", "to": "cat", "at_least": 0.5},
        {"head": 0, "from": "the", "to": "the", "at_most": 0.3},
        {"head": 1, "from": "saw", "to": "cat", "is": 0.75},
        {"strongest": {"head": 0, "from": "dog"}, "is": "cat"},
        {"strongest": {"head": 0, "from": "dog"}, "is": "horse"},
        {"strongest": {"from": "cat", "to": "cat"}, "is": 0},
        {"head": 0, "from": "horse", "to": "cat", "at_least": 0},
        {"head": 0, "from": "the#3", "to": "cat", "at_least": 0},
        {"head": 0, "from": 5, "to": "cat", "at_least": 0},
    )
    assert [each.removeprefix("`expect` claims ").rstrip(".") for each in warned] == [
        "that the weight from “dog” to “cat” in head 0 of layer 0 is at least 0.5; it is 0.10; head 1 of layer 0 has "
        "0.80",
        "that the weight from “the” (0) to “the” (0) in head 0 of layer 0 is at most 0.3; it is 0.90; head 0 of layer "
        "0 from “the” (0) to “saw” has 0",
        "that the weight from “saw” to “cat” in head 1 of layer 0 is 0.75; it is 0; nothing fits, the nearest is "
        "head 0 of layer 0 with 0.60",
        "that what “dog” attends to most in head 0 of layer 0 is “cat”; it is “dog” (0.50); in head 1 of layer 0 it is "
        "“cat” (0.80)",
        "that what “dog” attends to most in head 0 of layer 0 is “horse”; it is “dog” (0.50). `is` is 'horse', which "
        "the text does not have",
        "that the head of layer 0 with the largest weight from “cat” to “cat” is 0; it is head 1 (0.95)",
        "{head: 0, from: horse, to: cat, at_least: 0}, which cannot be tested: `from` is 'horse', which the text does "
        "not have",
        "{head: 0, from: the#3, to: cat, at_least: 0}, which cannot be tested: `from` is 'the#3'; the text has “the” "
        "twice",
        "{head: 0, from: 5, to: cat, at_least: 0}, which cannot be tested: `from` is 5; the tokens are 0 to 4",
    ]  # fmt: skip
    assert not any(claim["holds"] for claim in claims)
    assert "Claimed: The weight from “dog” to “cat” in head 0 of layer 0 is at least 0.5; it is 0.10." in sentence


def test_a_claim_is_compared_with_all_weights_that_are_stored_as_this_one():
    """The byte of 0.8 stands for weights from 0.797 to 0.804: what may be true is not told as untrue."""
    step = round(255 * 0.8**0.5)
    low, high = ((step - 0.5) / 255) ** 2, ((step + 0.5) / 255) ** 2
    claims = [
        {"head": 1, "from": "dog", "to": "cat", bound: limit}
        for bound, limit in (
            ("at_least", high - 1e-4),
            ("at_most", low + 1e-4),
            ("at_least", high + 1e-4),
            ("at_most", low - 1e-4),
        )
    ]
    assert [claim["holds"] for claim in told(*claims)[1]] == [True, True, False, False]


def test_a_model_without_the_layer_or_the_head_has_no_such_claim():
    for claim, message in (
        ({"layer": 1, "head": 0}, "`layer` is 1; model 'own tensors' has one layer, 0."),
        ({"head": 2}, "`head` is 2; layer 0 has heads 0 to 1."),
        ({}, "A claim about a weight names a `head`, unless the figure shows only one."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            told({"from": "dog", "to": "cat", "at_least": 0} | claim)
    assert told({"from": "dog", "to": "cat", "at_least": 0.8}, heads=[1])[0] == []


# ---- tokens as an author names them

PIECES = {
    "tokens": ["<s>", "Ġthe", "Ġele", "phant", "Ġsaw", "Ġthe", "Ele", "phant", "Ġthe", "##s", "2", "Ġcafé", "</s>"],
    "pretty": ["<s>", " the", " ele", "phant", " saw", " the", "Ele", "phant", " the", "##s", "2", " café", "</s>"],
    "words": [None, 0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 7, None],
    "special": [0, 12],
    "sentence_b_start": None,
}


@pytest.mark.parametrize(
    ("written", "positions"),
    [
        ("saw", [(4,)]),
        ("Ġsaw", [(4,)]),
        (" saw", [(4,)]),
        ("Saw", [(4,)]),  # capitals count only where they make a difference
        ("cafe", [(11,)]),
        ("the", [(1,), (5,)]),  # a piece of a word is none of them
        ("the#2", [(5,)]),
        ("elephant", [(2, 3)]),
        ("Elephant", [(6, 7)]),
        ("phant", [(3,), (7,)]),
        ("phant#2", [(7,)]),
        ("thes", [(8, 9)]),
        ("##s", [(9,)]),
        ("2", [(2,)]),
        ("2#1", [(10,)]),
        ("</s>", [(12,)]),
    ],
)
def test_a_token_is_named_by_text_or_number(written, positions):
    assert [place.positions for place in token_places.places(PIECES, written, "to")] == positions


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("horse", "`token` is 'horse', which the text does not have."),
        ("13", "`token` is 13; the tokens are 0 to 12."),
        ("the#3", "`token` is 'the#3'; the text has “the” twice."),
        ("the", "`token` is 'the', which the text has twice: the#1 at 1, the#2 at 5."),
        ("elephant", "`token` is 'elephant', a word of several tokens; write the number of one: 2, 3."),
    ],
)
def test_a_token_that_is_none_or_not_one(written, told):
    with pytest.raises(Untestable, match=f"^{re.escape(told)}$"):
        token_places.token(PIECES, written, "token")


def test_a_word_s_weight_is_that_of_its_pieces_together():
    """A word is read as `merge_words` reads it: the mean over pieces that attend, the sum over those attended to."""
    weights = np.array([[[0.1, 0.2, 0.7], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4]]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mkdocs_attnviz.head_view(
            [weights[None]],
            ["ele", "##phant", "saw"],
            html_action="return",
            expect=[
                {"from": "elephant", "to": "saw", "is": 0.55},
                {"from": "saw", "to": "elephant", "is": 0.6},
                {"from": "elephant", "to": "elephant", "at_most": 0.4},
            ],
        )
    assert [str(each.message) for each in caught] == [
        "`expect` claims that the weight from “elephant” to “elephant” in head 0 of layer 0 is at most 0.4; it is "
        "0.45; head 0 of layer 0 from “elephant” to “##phant” has 0.15."
    ]
