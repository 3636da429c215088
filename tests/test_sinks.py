"""Attention sinks: which tokens they are, their share as a measure, and figures that fade them or leave them out.

Expected numbers are computed with NumPy from the stored weights, or are those of transformers.
"""

import re

import numpy as np
import pytest
from test_views import TOKENS, block, draw, pair, random, seen, softmax  # noqa: F401 — `pair` and `random` are fixtures

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.options import select
from mkdocs_attnviz.views.attention.overview import with_sink
from mkdocs_attnviz.views.claims import check_grammar, judge

SPECIAL = [0, 5, 8]


@pytest.fixture(scope="module")
def decoder():
    """An entry of a causal model of ten tokens, two layers of three heads, and its weights as they are stored."""
    scores = np.random.default_rng(8).normal(0, 1, (2, 3, 10, 10))
    scores[..., 0] += 3
    given = softmax(np.where(np.tril(np.ones((10, 10))), scores, -1e9)).astype(np.float32)
    stored = (np.round(255 * np.sqrt(given)) / 255) ** 2
    layers = {n: LayerTensors(layer) for n, layer in enumerate(given)}
    return entry({"self": layers}, {"text": TokenRow([f"t{n}" for n in range(10)])}), stored


def renormalised(weights, without):
    rest = np.delete(weights, without, -1)
    sums = rest.sum(-1, keepdims=True)
    return np.divide(rest, sums, out=np.zeros_like(rest), where=sums > 0)


# ---- which tokens


def sinks(given, **keys):
    made = block(**keys)
    return select(made, made.options, given).sinks["self"]


def two(tokens, weights, **more):
    return entry({"self": {0: LayerTensors(np.array([weights], np.float32))}}, {"text": TokenRow(tokens, **more)})


def test_the_sink_of_a_causal_model_is_its_first_token_whether_special_or_not(decoder):
    assert sinks(decoder[0]) == [0]
    causal = [[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]
    assert sinks(two(["The", "cat", "</s>"], causal, special=[2])) == [0]


def test_the_sinks_of_another_model_are_its_special_tokens(pair):  # noqa: F811
    assert sinks(pair) == SPECIAL
    even = [[1 / 3] * 3] * 3
    assert sinks(two(["[CLS]", "[MASK]", "[SEP]"], even, special=[0, 1, 2])) == [0, 2], "a mask stands for a word"
    assert sinks(two(["a", "b", "c"], even)) == [0]


def test_an_author_says_which(pair):  # noqa: F811
    assert sinks(pair, sink_tokens="[SEP]") == [5, 8]
    assert sinks(pair, sink_tokens=["0", "x"]) == [0, 4]
    with pytest.raises(BlockError, match="`sink_tokens` is 'nowhere', which the text does not have"):
        draw(pair, sink_tokens="nowhere")


@pytest.mark.parametrize("view", ["head", "matrix", "model"])
def test_a_sink_that_is_all_there_is_cannot_be_left_out(view):
    given = two(["[CLS]", "[SEP]"], [[0.5, 0.5]] * 2, special=[0, 1])
    with pytest.raises(BlockError, match="`sink` is leave_out, but there are no other tokens to show"):
        draw(given, view=view, sink="leave_out")


# ---- figures


def test_a_sink_that_is_left_out_leaves_rows_that_sum_to_one(decoder):
    given, stored = decoder
    first, found = seen(given, layer=1, sink="leave_out")
    assert first.cols.texts == [f"t{n}" for n in range(1, 10)]
    assert np.allclose(found, renormalised(stored[1], [0]), atol=1e-6)
    assert np.allclose(found.sum(-1), [0] + [1] * 9), "the first token has nothing else to attend to"


@pytest.mark.parametrize(
    "keys",
    [
        {"across_heads": "mean"},
        {"across_layers": "max"},
        {"value_weighted": True},
        {"merge_words": True},
        {"special_tokens": False, "sink_tokens": "0"},
        {"filter": "ab"},
        {"across_layers": "rollout"},
    ],
    ids=str,
)
def test_renormalising_comes_before_what_else_is_done(pair, random, keys):  # noqa: F811
    stored, norms, _ = random
    without = [0] if "sink_tokens" in keys else SPECIAL
    weights = stored * norms[:, :, None] if "value_weighted" in keys else stored
    if keys.get("across_layers") == "rollout":
        total = np.eye(9)
        for layer in stored:
            mean = layer.mean(0)
            total = (mean / mean.sum(-1, keepdims=True) / 2 + np.eye(9) / 2) @ total
        weights = total[None, None]
    kept = [n for n in range(9) if n not in without]
    rest = renormalised(weights, without)
    expected = rest.max(0) if keys.get("across_layers") == "max" else rest[0]
    if "across_heads" in keys:
        expected = expected.mean(0, keepdims=True)
    if "merge_words" in keys:
        cols = np.stack(
            [expected[..., [kept.index(n) for n in group]].sum(-1) for group in ([1, 2, 3], [4], [6, 7])], -1
        )
        rows = [[0], [1, 2, 3], [4], [5], [6, 7], [8]]
        expected = np.stack([cols[..., group, :].mean(-2) for group in rows], -2)
    if "special_tokens" in keys:
        expected = np.delete(np.delete(expected, [n for n, at in enumerate(kept) if at in SPECIAL], -1), SPECIAL, -2)
    if "filter" in keys:
        expected = expected[:, :6, [n for n, at in enumerate(kept) if at >= 6]]
    _, found = seen(pair, sink="leave_out", **keys)
    assert np.allclose(found, expected, atol=0.01 if keys.get("across_layers") == "rollout" else 1e-4)


def test_a_faded_sink_keeps_its_numbers_and_leaves_the_scale_to_others(decoder):
    given, stored = decoder
    first, found = seen(given, sink="fade")
    assert np.allclose(found, stored[0], atol=1e-6)
    assert first.faded == {0}
    plain, faded = (draw(given, view="matrix", sink=how).picture.svg for how in ("show", "fade"))
    numbers = re.compile(r'class="v [^>]+>(\d\.\d\d)<')
    assert numbers.findall(plain) == numbers.findall(faded) != []
    assert 'class="v i15"' in faded, "the largest of the others has the full colour"
    assert 'opacity="0.13"' in faded, "the first column: a level of 2 in 15"
    lines = draw(given, sink="fade", head=0).picture.svg
    assert min(float(alpha) for alpha in re.findall(r'opacity="([\d.]+)"', lines)) < 0.1


@pytest.mark.parametrize("view", ["head", "matrix", "model"])
def test_the_sentence_says_what_became_of_the_sink(decoder, view):
    assert "sink" not in draw(decoder[0], view=view).sentence
    assert "the sink “t0” faded" in draw(decoder[0], view=view, sink="fade").sentence
    left_out = draw(decoder[0], view=view, sink="leave_out")
    rest = "scaled to its largest weight" if view == "model" else "the rest renormalised"
    assert f"without the sink “t0”, {rest}" in left_out.sentence
    assert left_out.data["stacks"]["self"]["sink"] == [0]


def test_the_strongest_weight_is_that_of_the_rest(decoder):
    sentence = draw(decoder[0], head=1, sink="leave_out").sentence
    rest = renormalised(decoder[1][0, 1], [0])[2:]
    row, col = np.unravel_index(rest.argmax(), rest.shape)
    assert f"The strongest weight is {rest.max():.2f}, from “t{row + 2}” to “t{col + 1}” in head 1." in sentence


def test_small_pictures_are_scaled_to_what_is_left():
    grid = [bytes([15, 3, 0]), bytes([12, 6, 2])]
    assert with_sink(grid, [0], 3, "leave_out") == [bytes([0, 8, 0]), bytes([0, 15, 5])]
    assert with_sink(grid, [0], 3, "fade") == [bytes([2, 3, 0]), bytes([2, 6, 2])]
    assert with_sink(grid, [3], 9, "leave_out") == [bytes([15, 0, 0]), bytes([12, 0, 2])], "tokens 3 to 5 are part 1"
    assert with_sink(grid, [0], 3, "show") == grid


# ---- the measure


def told(given, claim, **keys):
    """Return the verdict on a claim about a figure."""
    made = block(expect=[claim], **keys)
    check_grammar(made, VIEWS[made.view])
    return judge(made, VIEWS[made.view], [given])[0]


def test_the_share_of_the_sink_is_the_mean_over_all_tokens(decoder, pair, random):  # noqa: F811
    given, stored = decoder
    share = float(stored[1, 2, :, 0].mean())
    where = {"measure": "sink", "layer": 1, "head": 2}
    assert told(given, where | {"between": [share - 0.001, share + 0.001]}).holds
    false = told(given, where | {"at_most": round(share - 0.05, 3)})
    assert not false.holds
    assert "the share of the attention that goes to the sink in head 2 of layer 1 is at most" in false.problem.message
    row = float(stored[1, 2, 4, 0])
    assert told(given, where | {"from": "t4", "between": [row - 0.001, row + 0.001]}).holds
    of_pair = float(random[0][0, 3][:, SPECIAL].sum(-1).mean())
    assert told(pair, {"measure": "sink", "head": 3, "between": [of_pair - 0.001, of_pair + 0.001]}).holds
    of_sep = float(random[0][0, 3][:, [5, 8]].sum(-1).mean())
    claim = {"measure": "sink", "head": 3, "between": [of_sep - 0.001, of_sep + 0.001]}
    assert told(pair, claim, sink_tokens="[SEP]").holds


def test_the_head_whose_sink_is_largest(decoder):
    given, stored = decoder
    shares = stored[..., 0].mean(-1)
    layer, head = np.unravel_index(shares.argmax(), shares.shape)
    assert told(given, {"strongest": {"measure": "sink"}, "is": f"{layer}·{head}"}).holds
    assert told(given, {"strongest": {"measure": "sink", "layer": 1}, "is": str(shares[1].argmax())}).holds
    assert not told(given, {"strongest": {"measure": "sink"}, "is": f"{layer}·{(head + 1) % 3}"}).holds


def test_a_claim_names_the_measure(decoder):
    """Selectors of a head alone say nothing of a sink."""
    with pytest.raises(BlockError, match="names no measure"):
        told(decoder[0], {"layer": 1, "head": 2, "at_least": 0.1})
