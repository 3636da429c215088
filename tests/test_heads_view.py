"""The heads view without a model: what it draws of an entry, what it tells an author, what can be claimed of it."""

import json
import zlib
from xml.etree import ElementTree

import pytest

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views import VIEWS, block_of, claims
from mkdocs_attnviz.views.head_index.measures import HeadIndex
from mkdocs_attnviz.views.head_index.picture import ticks

LAYERS, HEADS = [0, 2], [2, 3]
"""A model of which one layer has no attention, and whose layers differ."""


def by_layer(*values):
    """Return the values of five heads as an entry has them."""
    return [list(values[:2]), list(values[2:])]


def found(*values):
    """Return accuracies with an interval of 0.1 to both sides."""
    low, high = ([min(1.0, max(0.0, value + by)) for value in values] for by in (-0.1, 0.1))
    return {"accuracy": by_layer(*values), "low": by_layer(*low), "high": by_layer(*high)}


def sequence(*tokens):
    return {
        "tokens": list(tokens),
        "pretty": list(tokens),
        "special": [0, len(tokens) - 1],
        "sentence_b_start": None,
        "words": [None, *range(len(tokens) - 2), None],
    }


@pytest.fixture
def entry():
    measures = {
        "next": by_layer(0.51, 0.5, 0.1, 0.0, 0.2),
        "previous": by_layer(0.1, 0.2, 0.9, 0.0, 0.3),
        "first": by_layer(0.1, 0.2, 0.0, 0.7, 0.2),
        "cls": by_layer(0.1, 0.2, 0.0, 0.7, 0.2),
        "entropy": by_layer(1.0, 2.0, 0.25, 1.5, 3.9),
        "induction": by_layer(None, None, None, None, None),
    }
    relations = {
        "obj": {"count": 30, "offset": -2, "baseline": 0.4, "forward": found(0.1, 0.2, 0.3, 0.8, 0.4)}
        | {"backward": found(0.1, 0.9, 0.3, 0.1, 0.4)},
        "det": {"count": 50, "offset": 1, "baseline": 0.7, "forward": found(0.6, 0.2, 0.3, 0.1, 0.4)}
        | {"backward": found(0.1, 0.2, 0.65, 0.1, 0.4)},
    }
    stack = {
        "layers": LAYERS,
        "heads": HEADS,
        "measures": measures,
        "uniform_entropy": 4.1,
        "map": [[0, 0], [1, 0], [0, 1], [1, 1], [2, 2]],
        "stress": 0.5,
        "relations": relations,
        "probe": {"uas": 0.4, "baseline": 0.3, "sentences": 10},
        "telling": by_layer([0], [1, 0], [0], [], [1]),
    }
    heads = {"texts": 12, "tokens": 1234, "left_out": [{"line": 7, "why": "it has 900 tokens"}], "left_out_count": 1}
    examples = [
        {"line": 3, "sequences": {"text": sequence("<s>", "a", "b", "</s>")}},
        {"line": 5, "sequences": {"text": sequence("<s>", "c", "</s>")}},
    ]
    sizes = {0: 16 + 9 + 16, 2: 16 + 9}
    blobs = {f"telling/self/{layer}": zlib.compress(bytes(range(size))) for layer, size in sizes.items()}
    return Entry({"heads": heads | {"stacks": {"self": stack}}, "examples": examples}, blobs)


def drawn(entry, *lines):
    block = block_of(Source("\n".join(["model: minilm", "text: a b", "view: heads", *lines]), {}))
    return VIEWS["heads"].drawing(block, entry)


def test_heads_are_named_after_what_they_do_by_the_thresholds_of_the_paper(entry):
    index = HeadIndex(entry, "self")
    assert [index.kinds[kind] for kind in index.kind] == ["next token", "other", "previous token", "<s>", "broad"]
    del entry.meta["heads"]["stacks"]["self"]["measures"]["cls"]
    index = HeadIndex(entry, "self")
    assert [index.kinds[kind] for kind in index.kind][3] == "first token"


def test_the_sink_is_the_first_token_of_a_causal_model_and_special_tokens_of_others(entry):
    stack = entry.meta["heads"]["stacks"]["self"]
    stack["measures"]["special"] = by_layer(0.2, 0.4, 0.1, 0.8, 0.3)
    first, special = [0.1, 0.2, 0.0, 0.7, 0.2], [0.2, 0.4, 0.1, 0.8, 0.3]
    assert HeadIndex(entry, "self").values["sink"] == special, "a model with [CLS]"
    assert HeadIndex(entry, "self").references["sink"] == (0.3, "a sink above 0.3")
    stack["causal"] = True
    assert HeadIndex(entry, "self").values["sink"] == first
    stack["causal"] = False
    assert HeadIndex(entry, "self").values["sink"] == special
    del stack["causal"], stack["measures"]["cls"]
    assert HeadIndex(entry, "self").values["sink"] == first, "an entry of an earlier version, without [CLS]"
    for bound, holds in (("is: 0.7", True), ("at_least: 0.8", False)):
        lines = [
            "model: minilm",
            "text: a b",
            "view: heads",
            f"expect: [{{measure: sink, layer: 2, head: 1, {bound}}}]",
        ]
        block = block_of(Source("\n".join(lines), {}))
        assert claims.judge(block, VIEWS["heads"], [entry])[0].holds == holds
    stack["learned_sink"] = True
    assert "sink" not in HeadIndex(entry, "self").values, "it is no token of the texts"


def test_a_grid_names_the_keys_that_heads_share(entry):
    stack = entry.meta["heads"]["stacks"]["self"]
    stack["kv_heads"] = [1, 1]
    made = drawn(entry, "show: grid")
    assert made.data["stacks"]["self"]["kv_heads"] == [1, 1]
    assert ">k" not in made.picture.svg, "layers of two and three heads have no groups in common"
    alike = {**entry.meta, "heads": {**entry.meta["heads"], "stacks": {"self": {**stack, "heads": [2, 2]}}}}
    alike["heads"]["stacks"]["self"]["measures"] = {"entropy": [[1.0, 2.0], [3.0, 1.0]], "first": [[0.1, 0.2]] * 2}
    alike["heads"]["stacks"]["self"] |= {"relations": {}, "telling": [[[], []]] * 2, "map": None}
    grid = drawn(Entry(alike, entry.blobs), "show: grid")
    assert ">keys 0<" in grid.picture.svg
    assert grid.height.startswith("106px"), "34 + 2 · 26 + 20"


def test_the_script_gets_every_number(entry):
    data = drawn(entry).data
    index = json.loads(zlib.decompress(data["index"]["content"]))
    stack = index["stacks"]["self"]
    assert stack["values"]["layer"] == [0, 0, 2, 2, 2]
    assert stack["values"]["entropy"] == [1.0, 2.0, 0.25, 1.5, 3.9]
    assert stack["values"]["obj"] == [0.1, 0.9, 0.3, 0.8, 0.4]
    assert [measure["name"] for measure in stack["measures"]][-2:] == ["det", "obj"]  # the most frequent first
    assert stack["relations"][1]["forward"]["low"] == pytest.approx([0.0, 0.1, 0.2, 0.7, 0.3])
    assert stack["telling"] == [[0], [1, 0], [0], [], [1]]
    assert index["examples"][1] == {
        "line": 5,
        "sequences": {
            "text": {
                "tokens": ["<s>", "c", "</s>"],
                "special": [0, 2],
                "sentence_b_start": None,
                "words": [None, 0, None],
            }
        },
    }
    assert [blob["blob"] for blob in data["stacks"]["self"]["telling"]] == list(entry.blobs)


def test_the_sentence_and_the_notes(entry):
    drawing = drawn(entry)
    assert drawing.sentence == (
        "5 heads of minilm over 12 texts, 1,234 tokens. Heads that attend mostly to one thing: 1 to the next token, "
        "1 to the previous token, 1 to <s>. Broad heads: 1. Best heads for relations: obj layer 0, head 1, 90% of "
        "30 words (offset -2: 40%). A parser of attention alone: 40% of heads of words found."
    )
    assert "left out: 1, the first one because line 7: it has 900 tokens" in drawing.data["notes"]


@pytest.mark.parametrize("show", ["scatter", "map", "grid", "table", "relations"])
def test_static_pictures(entry, show):
    picture = drawn(entry, f"show: {show}", "sort: entropy").picture
    root = ElementTree.fromstring(picture.svg)
    assert root.get("width") == str(picture.width)
    name = "{http://www.w3.org/2000/svg}"
    marks = {"scatter": "circle", "map": "circle", "grid": "rect", "table": "rect", "relations": "circle"}[show]
    shown = [mark for mark in root.iter(name + marks) if mark.get("r") != "0"]
    kinds = 5 if show in ("scatter", "map") else 0  # each kind has a dot in the line below
    assert len(shown) == (2 if show == "relations" else 5 + kinds)
    texts = [text.text for text in root.iter(name + "text")]
    if show == "scatter":
        assert "ln n: even attention" in texts
        circles = [float(mark.get("cy")) for mark in shown[:5]]
        assert sorted(range(5), key=lambda head: -circles[head]) == [2, 0, 3, 1, 4]  # by entropy, upwards
    if show == "relations":
        assert {"det 50", "obj 30"} <= set(texts)
        assert "0·1 90%" in texts


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x: entropi"], "`x` is 'entropi' (did you mean 'entropy'?); these heads have layer, previous"),
        (["color: nsubj"], "`color` is 'nsubj'"),
        (["layer: 1", "head: 0"], "`layer` is 1; model 'minilm' has layers 0, 2."),
        (["layer: 2", "head: 3"], "`head` is 3; layer 2 of model 'minilm' has heads 0 to 2."),
        (["head: 1"], "`head` is 1, but the block has no `layer`."),
        (["stack: cross"], "`stack` is 'cross'; model 'minilm' has self."),
    ],
)
def test_what_is_not_there_is_named(entry, lines, message):
    with pytest.raises(BlockError) as error:
        drawn(entry, *lines)
    assert message in error.value.message


def test_a_picture_of_what_the_texts_do_not_have_is_refused(entry):
    stack = entry.meta["heads"]["stacks"]["self"]
    stack["relations"], stack["map"] = {}, None
    with pytest.raises(BlockError, match="read from CoNLL-U"):
        drawn(entry, "show: relations")
    with pytest.raises(BlockError, match="no map"):
        drawn(entry, "show: map")
    assert "relations" not in drawn(entry).sentence


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 3.2, [0, 1, 2, 3, 4]), (0.03, 0.27, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]), (-0.2, 0.9, [-0.5, 0, 0.5, 1])],
)
def test_numbers_of_an_axis_are_those_of_the_browser(low, high, expected):
    assert ticks(low, high, 4 if low < 0 else 5) == expected  # frontend/test/heads.test.ts has the same


CLAIMS = [
    ("{layer: 2, head: 0, measure: entropy, at_most: 0.3}", True, "0.25"),
    ("{layer: 2, head: 0, measure: entropy, at_least: 0.3}", False, "head 2 of layer 2 has 3.9"),
    ("{relation: obj, layer: 0, head: 1, beats_baseline_by: 0.4}", True, "0.90"),
    ("{relation: det, layer: 0, head: 0, beats_baseline_by: 0.1}", False, "0.60"),
    ("{measure: forward, relation: obj, layer: 0, head: 1, is: 0.2}", True, "0.20"),
    ("{measure: count, relation: det, is: 50}", True, "50"),
    ("{measure: baseline, relation: det, is: 0.7}", True, "0.70"),
    ("{measure: uas, beats_baseline_by: 0.05}", True, "0.40"),
    ("{strongest: {relation: obj}, is: 0·1}", True, "head 1 of layer 0"),
    ("{strongest: {measure: entropy, layer: 0}, is: 1}", True, "head 1"),
    ("{strongest: {measure: entropy}, is: 0·1}", False, "head 2 of layer 2"),
]


@pytest.mark.parametrize(("claim", "holds", "told"), CLAIMS)
def test_claims(entry, claim, holds, told):
    block = block_of(Source(f"model: minilm\ntext: a b\nview: heads\nexpect:\n  - {claim}", {}))
    claims.check_grammar(block, VIEWS["heads"])
    (verdict,) = claims.judge(block, VIEWS["heads"], [entry])
    assert verdict.holds is holds
    assert told in (verdict.value if holds else verdict.problem.message)


def test_a_claim_about_what_is_not_measured_says_what_is(entry):
    for claim, message in [
        ("{relation: nsubj, layer: 0, head: 0, at_least: 0}", "the texts have det, obj"),
        ("{measure: entropy, layer: 1, head: 0, at_least: 0}", "`layer` is 1; model 'minilm' has layers 0, 2."),
        ("{measure: induction, layer: 0, head: 0, at_least: 0}", "is not known from these texts"),
        ("{measure: entropy, at_least: 0}", "names its `layer` and its `head`"),
    ]:
        block = block_of(Source(f"model: minilm\ntext: a b\nview: heads\nexpect:\n  - {claim}", {}))
        with pytest.raises(BlockError) as error:
            claims.judge(block, VIEWS["heads"], [entry])
        assert message in error.value.message
