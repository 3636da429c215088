"""Views draw an entry: options held against it, static pictures, sentences. No model runs here."""

import json
import re
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from conftest import ROOT

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.encoding import quantised, weights
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.attention.options import select
from mkdocs_attnviz.views.attention.preview import preview
from mkdocs_attnviz.views.attention.weights import Layer
from mkdocs_attnviz.views.attention.window import window
from mkdocs_attnviz.views.svg.heatmap import levels
from mkdocs_attnviz.views.visible_tokens import STEERING, visible

TOKENS = ["[CLS]", "em", "##bed", "##ding", "x", "[SEP]", "un", "##tie", "[SEP]"]
WORDS = [[0], [1, 2, 3], [4], [5], [6, 7], [8]]  # positions of the pieces
LAYERS, HEADS = 3, 4


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def random():
    """Weights as they are stored, (layers, heads, rows, cols), and norms, (layers, heads, cols)."""
    generator = np.random.default_rng(3)
    given = softmax(generator.normal(0, 2, (LAYERS, HEADS, 9, 9))).astype(np.float32)
    norms = generator.uniform(0.5, 3, (LAYERS, HEADS, 9)).astype(np.float32)
    return np.stack([weights(quantised(layer)) for layer in given]), norms, given


@pytest.fixture(scope="module")
def pair(random):
    """An entry of two sentences."""
    _, norms, given = random
    layers = {n: LayerTensors(given[n], norms[n]) for n in range(LAYERS)}
    return entry({"self": layers}, {"text": TokenRow(TOKENS, sentence_b_start=6)})


def translation():
    """An entry of an encoder–decoder of 2 and 3 layers, 4 and 2 heads, 5 and 3 tokens."""
    generator = np.random.default_rng(4)

    def layers(count, heads, rows, cols):
        return {n: LayerTensors(softmax(generator.normal(size=(heads, rows, cols)))) for n in range(count)}

    stacks = {"encoder": layers(2, 4, 5, 5), "decoder": layers(3, 2, 3, 3), "cross": layers(3, 2, 3, 5)}
    return entry(stacks, {"text": TokenRow(list("abcde")), "target": TokenRow(list("xyz"))})


@pytest.mark.parametrize("view", ["head", "model", "matrix"])
def test_heads_that_only_some_stacks_have(view):
    """`include_heads` of which a layer has none lets all of its heads in."""
    made = draw(translation(), view=view, stack="cross", include_heads=[3])
    assert ET.fromstring(made.picture.svg) is not None


def test_value_vectors_of_some_layers_are_not_enough(random):
    _, norms, given = random
    some = entry({"self": {0: LayerTensors(given[0], norms[0]), 1: LayerTensors(given[1])}}, {"text": TokenRow(TOKENS)})
    with pytest.raises(BlockError, match="are not known"):
        draw(some, value_weighted=True)


@pytest.mark.parametrize("view", ["head", "matrix"])
def test_nothing_but_special_tokens(view):
    given = entry(
        {"self": {0: LayerTensors(np.full((1, 2, 2), 0.5, np.float32))}}, {"text": TokenRow(["[CLS]", "[SEP]"])}
    )
    with pytest.raises(BlockError, match="there are no other tokens"):
        draw(given, view=view, special_tokens=False)


def test_readers_find_the_encoder_first():
    """Names stand in the order of the alphabet in a stored entry."""
    stored = Entry.from_bytes(translation().to_bytes())
    made = draw(stored)
    assert list(made.data["stacks"]) == ["encoder", "decoder", "cross"]
    assert made.data["options"]["stack"] == "encoder"


def block(**keys):
    return parse(Source(json.dumps({"model": "m", "text": "t"} | keys)), OPTIONS)


def draw(given, **keys):
    made = block(**keys)
    return VIEWS[made.view].drawing(made, given)


MISTAKES = [
    ({"layer": 3}, "`layer` is 3; model 'm' has layers 0 to 2."),
    ({"heads": [4]}, "`heads` is 4; model 'm' has heads 0 to 3."),
    ({"include_layers": [1, 9]}, "`include_layers` is 9; model 'm' has layers 0 to 2."),
    ({"include_layers": [1], "layer": 2}, "`layer` is 2, which is not among `include_layers`."),
    ({"include_heads": [1], "head": 2}, "`head` names a head that is not among `include_heads`."),
    ({"stack": "cross"}, "`stack` is 'cross'; model 'm' has self."),
    ({"across_layers": "rollout", "value_weighted": True}, "but rollout follows attention alone."),
    (
        {"view": "matrix", "across_heads": "mean", "heads": [0, 1]},
        "`heads` selects heads, but `across_heads` combines all of `include_heads`; remove one of the two keys.",
    ),
    ({"view": "neuron"}, "The neuron view needs queries and keys, and model 'm' has none."),
]


@pytest.mark.parametrize(("keys", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_options_that_the_model_does_not_have(pair, keys, message):
    with pytest.raises(BlockError, match=re.escape(message)):
        draw(pair, **keys)


MISTAKES_IN_TRANSLATIONS = [
    ({"filter": "ab"}, "`filter` is 'ab', but there is no pair of sentences to filter."),
    ({"layer": 2}, "`layer` is 2; model 'm' has layers 0 to 1."),
    ({"stack": "encoder", "include_layers": [2]}, "`stack` is 'encoder', which has none of `include_layers`."),
    ({"stack": "cross", "across_layers": "rollout"}, "which needs attention of a sequence to itself."),
    ({"value_weighted": True}, "`value_weighted` is true, but the value vectors of model 'm' are not known."),
]


@pytest.mark.parametrize(("keys", "message"), MISTAKES_IN_TRANSLATIONS, ids=[m for _, m in MISTAKES_IN_TRANSLATIONS])
def test_options_that_a_translation_does_not_have(keys, message):
    with pytest.raises(BlockError, match=re.escape(message)):
        draw(translation(), **keys)


def test_stacks_of_different_shape():
    made = draw(translation(), stack="cross", layer=2, head=1)
    assert {name: [layer["layer"] for layer in stack["layers"]] for name, stack in made.data["stacks"].items()} == {
        "encoder": [0, 1],
        "decoder": [0, 1, 2],
        "cross": [0, 1, 2],
    }
    assert "Cross attention of m, layer 2, head 1, from 3 tokens to 5." in made.sentence


# ---- the first tokens, as the block wants them read; against the formulas written down with NumPy


def seen(given, **keys):
    made = block(**keys)
    first = window(made, given, select(made, made.options, given))
    return first, np.array(first.weights)


def merged(matrix):
    """Sum over the pieces attended to, mean over those attending."""
    cols = np.stack([matrix[..., group].sum(-1) for group in WORDS], -1)
    return np.stack([cols[..., group, :].mean(-2) for group in WORDS], -2)


def test_plain(pair, random):
    first, found = seen(pair, layer=1)
    assert np.allclose(found, random[0][1], atol=1e-6)
    assert first.rows.texts == TOKENS


@pytest.mark.parametrize("how", ["mean", "max"])
def test_across_heads(pair, random, how):
    _, found = seen(pair, heads=[1, 2], across_heads=how)
    assert np.allclose(found[0], getattr(random[0][0, 1:3], how)(0), atol=1e-6)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_across_layers(pair, random, how):
    _, found = seen(pair, across_layers=how)
    assert np.allclose(found, getattr(random[0], how)(0), atol=1e-6)


def test_the_largest_of_words_is_a_weight(pair, random):
    """First words, then the maximum over layers: a sum of maxima could exceed one."""
    _, found = seen(pair, across_layers="max", merge_words=True)
    assert np.allclose(found, np.stack([merged(layer) for layer in random[0]]).max(0), atol=1e-6)


def test_value_weighted(pair, random):
    stored, norms, _ = random
    expected = stored[2] * norms[2][:, None]
    _, found = seen(pair, layer=2, value_weighted=True)
    assert np.allclose(found, expected / expected.sum(-1, keepdims=True), atol=1e-4)


def test_words_in_place_of_pieces(pair, random):
    first, found = seen(pair, merge_words=True)
    assert np.allclose(found, merged(random[0][0]), atol=1e-6)
    assert first.rows.texts == ["[CLS]", "embedding", "x", "[SEP]", "untie", "[SEP]"]
    assert np.allclose(found.sum(-1), random[0][0].sum(-1).mean(), atol=0.05)


def test_without_special_tokens(pair, random):
    first, found = seen(pair, special_tokens=False)
    kept = [1, 2, 3, 4, 6, 7]
    assert np.allclose(found, random[0][0][:, kept][:, :, kept], atol=1e-6)
    assert first.cols.texts == [TOKENS[n] for n in kept]


@pytest.mark.parametrize(
    ("name", "rows", "cols"), [("ab", (0, 6), (6, 9)), ("ba", (6, 9), (0, 6)), ("bb", (6, 9), (6, 9))]
)
def test_filter(pair, random, name, rows, cols):
    _, found = seen(pair, filter=name)
    assert np.allclose(found, random[0][0][:, slice(*rows), slice(*cols)], atol=1e-6)


def test_rollout_begins_with_all_layers(pair, random):
    mixed = [0.5 * layer.mean(0) + 0.5 * np.eye(9) for layer in random[0]]
    _, found = seen(pair, across_layers="rollout")
    assert np.abs(found[0] - mixed[2] @ mixed[1] @ mixed[0]).max() < 0.01
    assert "rollout up to layer 2, all heads" in draw(pair, across_layers="rollout").sentence


# ---- pictures


@pytest.mark.parametrize(
    "keys",
    [
        {"view": "head"},
        {"view": "head", "across_heads": "mean", "merge_words": True},
        {"view": "model"},
        {"view": "model", "include_heads": [1, 3], "include_layers": [0, 2]},
        {"view": "matrix", "head": 2},
        {"view": "matrix", "across_layers": "rollout", "special_tokens": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("theme", ["auto", "dark"])
def test_pictures_are_well_formed_and_small(pair, keys, theme):
    made = draw(pair, theme=theme, **keys)
    assert ET.fromstring(made.picture.svg).tag.endswith("svg")
    assert len(made.picture.svg) < 40_000
    assert ("prefers-color-scheme" in made.picture.svg) == (theme == "auto")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("keys", [{"head": 2}, {"across_heads": "mean"}], ids=str)
def test_a_heat_map_says_its_weights_in_inks_that_can_be_read(pair, random, theme, keys):
    weights = random[0][0, 2] if "head" in keys else random[0][0].mean(axis=0)
    svg = draw(pair, view="matrix", theme=theme, **keys).picture.svg
    values = re.findall(r'class="v i(\d+)" x="\S+" y="\d+">(\d\.\d\d)<', svg)
    assert [text for _, text in values] == [text for each in weights.ravel() if (text := f"{each:.2f}") != "0.00"]
    assert re.findall(r">(from ↓|attends to →)<", svg) == ["from ↓", "attends to →"]
    inks = {level: ink for rule, ink in re.findall(r"((?:\.i\d+,?)+)\{fill:(\S+?)\}", svg) for level in rule.split(",")}
    fill, ground = (re.search(rf"{name}\{{\w+:#(\w+)", svg)[1] for name in (r"\.f", "svg"))
    shade, page = (np.array([int(each[at : at + 2], 16) for at in (0, 2, 4)]) for each in (fill, ground))
    for level, _ in values:
        cell = luminance(page + int(level) / 15 * (shade - page))
        ink = luminance({"#000": [0] * 3, "#fff": [255] * 3}[inks[f".i{level}"]])
        assert (max(cell, ink) + 0.05) / (min(cell, ink) + 0.05) >= 4.5


def test_the_scale_of_a_heat_map_ends_where_the_interactive_one_does():
    """The scale ends at the largest weight, however small; of more than 24 rows, where nine of ten have no larger
    one."""
    assert levels([[0.06, 0.03], [0.015, 0.0]]) == [bytes([15, 9]), bytes([5, 0])]
    many = [[0.9]] * 2 + [[0.2]] * 20 + [[0.05]] * 3
    assert [row[0] for row in levels(many)] == [15] * 22 + [5] * 3
    assert levels([[0.0]]) == [bytes([0])]
    assert levels([[0.06, 0.03]], contrast=2) == [bytes([15, 5])]


def luminance(colour):
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in np.array(colour) / 255]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_values_are_not_written_where_cells_are_small():
    given = entry(
        {"self": {0: LayerTensors(softmax(np.random.default_rng(1).normal(size=(1, 30, 30))))}},
        {"text": TokenRow([f"token{n}" for n in range(30)])},
    )
    assert 'class="v' not in draw(given, view="matrix").picture.svg


def test_evil_tokens_stay_texts():
    evil = ["</text><script>", '"><b>', "&", "\x00", "\ud800", "]]>"]
    given = entry({"self": {0: LayerTensors(softmax(np.zeros((1, 6, 6), np.float32)))}}, {"text": TokenRow(evil)})
    for view in ("head", "matrix", "model"):
        root = ET.fromstring(draw(given, view=view).picture.svg)
        assert not [node for node in root.iter() if node.tag.endswith(("script", "b"))]


def test_a_picture_of_a_thousand_heads_is_small():
    layers = {n: LayerTensors(softmax(np.random.default_rng(n).normal(0, 3, (32, 60, 60)))) for n in range(32)}
    given = entry({"self": layers}, {"text": TokenRow([f"t{n}" for n in range(60)])})
    made = draw(given, view="model")
    assert len(made.picture.svg) < 80_000
    assert len(made.data["stacks"]["self"]["overview"]["content"]) < 400_000


# ---- the first picture's lines


@pytest.mark.parametrize("tokens", [40, 300])
def test_the_preview_has_the_strongest_lines_in_view(tokens):
    """The strongest is that of all weights from or to the first 25 tokens."""
    given = quantised(softmax(np.random.default_rng(5).normal(0, 3, (6, tokens, tokens))).astype(np.float32))
    layer = Layer(zlib.compress(np.ascontiguousarray(given).tobytes()), tokens, tokens)
    content = zlib.decompress(preview(layer, range(6))[0])
    count = int.from_bytes(content[:4], "little")
    offsets = np.frombuffer(content[4 : 4 + 4 * count], "<u4")
    values = np.frombuffer(content[4 + 4 * count :], np.uint8)
    flat = np.ascontiguousarray(given).ravel()
    assert (flat[offsets] == values).all()
    assert len(set(offsets)) == count <= 1300
    in_view = np.zeros(given.shape, bool)
    in_view[:, :25] = in_view[:, :, :25] = True
    left_out = np.setdiff1d(np.flatnonzero(in_view.ravel()), offsets)
    assert flat[left_out].max() <= values.min()


def test_what_is_ahead_goes_only_where_layers_are_files(tmp_path, pair):
    from mkdocs_attnviz.figure.assets import AssetFolder, Assets
    from mkdocs_attnviz.figure.figure import Figure

    made = block()
    figure = Figure(made, VIEWS["head"].drawing(made, pair), pair)
    assert "preview" not in figure.html("x", Assets())
    assert "preview" not in figure.html("x", AssetFolder(tmp_path, "a"))
    generator = np.random.default_rng(6)
    layers = {n: LayerTensors(softmax(generator.normal(0, 2, (8, 90, 90)))) for n in range(2)}
    long = entry({"self": layers}, {"text": TokenRow(["t"] * 90)})
    figure = Figure(made, VIEWS["head"].drawing(made, long), long)
    assert figure.html("x", AssetFolder(tmp_path, "a")).count("preview") == 1
    assert "preview" not in figure.html("x", Assets())


def causal(given, more):
    """An entry of one head over the tokens a, b, c … of a causal model."""
    weights = np.array([given], np.float32)
    return entry({"self": {0: LayerTensors(weights)}}, {"text": TokenRow([*"abcdef"[: len(given)]], **more)})


FIRST_IS_FORCED = [[1, 0, 0, 0], [0.4, 0.6, 0, 0], [0.1, 0.1, 0.8, 0], [0.2, 0.4, 0.3, 0.1]]
STRONGEST = [
    (FIRST_IS_FORCED, {}, {}, "The strongest weight is 0.80, from “c” to “c” in head 0."),
    # a and b are one word, which can only attend to itself
    (FIRST_IS_FORCED, {"words": [0, 0, 1, 2]}, {"merge_words": True}, "is 0.80, from “c” to “c” in head 0."),
    (FIRST_IS_FORCED, {"special": [0]}, {"special_tokens": False}, "is 0.80, from “c” to “c” in head 0."),
    ([[1, 0], [0.9, 0.1]], {}, {}, "The strongest weight is 0.90, from “b” to “a” in head 0."),
    ([[0.9, 0.1], [0.3, 0.7]], {}, {}, "The strongest weight is 0.90, from “a” to “a” in head 0."),  # not causal
    ([[1]], {}, {}, None),
]


@pytest.mark.parametrize(("given", "row", "options", "said"), STRONGEST)
@pytest.mark.parametrize("view", ["head", "matrix"])
def test_the_strongest_weight_is_none_that_the_mask_forces(view, given, row, options, said):
    sentence = draw(causal(given, row), view=view, **options).sentence
    assert (said in sentence) if said else ("strongest" not in sentence)


SIGNS = json.loads((ROOT / "frontend" / "test" / "signs.json").read_text("utf-8"))
STEERED = ["\u202eevil", "a\u00a0b", "\u200b", "\ufeff", "\u2067x", "c"]


@pytest.mark.parametrize(("token", "signs"), SIGNS)
def test_signs_of_what_cannot_be_seen_are_those_of_the_browser(token, signs):
    assert visible(token) == signs


@pytest.mark.parametrize("view", ["head", "matrix"])
def test_nothing_in_a_token_steers_the_text_around_it(view):
    """Any token may have the strongest weight, in static pictures and in sentences, which are alternative texts."""
    for strongest in range(len(STEERED)):
        weights = np.full((1, 6, 6), 0.1, np.float32)
        weights[0, strongest, (strongest + 1) % 6] = 0.5
        given = entry({"self": {0: LayerTensors(weights)}}, {"text": TokenRow(STEERED)})
        made = draw(given, view=view)
        assert not STEERING.search(made.sentence.replace(" ", ""))
        texts = "".join(ET.fromstring(made.picture.svg).itertext())
        assert not re.search("[\u200b\ufeff\u00a0\u202a-\u202e\u2066-\u2069]", texts)
        assert f"from “{visible(STEERED[strongest])}” to" in made.sentence
