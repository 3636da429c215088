"""Own tensors are shown as they are, from a file or by BertViz's functions."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
import transformers
from bs4 import BeautifulSoup
from conftest import MINILM, ROOT
from safetensors.numpy import save_file

import mkdocs_attnviz
from mkdocs_attnviz.models.captures.tensors import capture_file
from mkdocs_attnviz.models.encoding import Rollout, joined_overview, pooled, quantised
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.marks import guess_marks
from mkdocs_attnviz.settings import Settings

QUANTISATION = 0.00392
TOKENS = ["[CLS]", "The", "em", "##bed", "##ding", "[SEP]"]


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def attention(layers=2, heads=3, rows=6, cols=6, seed=0):
    """Return weights as transformers does, (1, heads, rows, cols) per layer."""
    return [*softmax(np.random.default_rng(seed).normal(0, 2, (layers, 1, heads, rows, cols)))]


@pytest.fixture
def file(tmp_path):
    """`file(tensors, **metadata)` → a safetensors file."""

    def file(tensors, **metadata):
        path = tmp_path / "own.safetensors"
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
        save_file(arrays, path, {name: json.dumps(value) for name, value in metadata.items()})
        return path

    return file


def figure(html):
    """Return the data that the browser gets."""
    return json.loads(BeautifulSoup(html.data, "html5lib").select_one("attn-viz")["data-figure"])


def weights(layer, rows, cols):
    """Return a layer's weights, (heads, rows, cols), from the shipped data."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8)
    return (steps.reshape(-1, cols, rows).transpose(0, 2, 1) / 255) ** 2


@pytest.mark.parametrize("view", ["head", "model", "matrix"])
def test_a_notebook_changes_one_import(view):
    """Transformers' own output, handed over as BertViz's README does."""
    folder = resolve(MINILM, None, Settings(), ROOT).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = tokenizer("The cat sat on the mat", "The cat lay on the rug", return_tensors="pt")
    with torch.no_grad():
        given = model(**inputs, output_attentions=True).attentions
    tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    start = inputs["token_type_ids"][0].tolist().index(1)
    call = getattr(mkdocs_attnviz, f"{view}_view")
    shown = figure(call(given, tokens, start, html_action="return"))
    assert shown["sequences"]["text"]["tokens"] == tokens
    assert shown["sequences"]["text"]["sentence_b_start"] == start
    for layer, expected in zip(shown["stacks"]["self"]["layers"], given, strict=True):
        assert np.abs(weights(layer, 15, 15) - expected[0].numpy()).max() <= QUANTISATION


def test_the_neuron_view_of_a_model_in_hand():
    """The call is that of BertViz's `show` with transformers' own model, which is restored afterwards."""
    folder = resolve(MINILM, None, Settings(), ROOT).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).train()
    before = model.config._attn_implementation
    html = mkdocs_attnviz.neuron_view(
        model, "bert", tokenizer, "The cat sat", "It lay", display_mode="dark", layer=2, head=3, html_action="return"
    )
    assert (model.config._attn_implementation, model.training) == (before, True)
    shown = figure(html)
    assert (shown["theme"], shown["options"]["layer"], shown["options"]["heads"]) == ("dark", 2, [3])
    eager = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = eager(**tokenizer("The cat sat", "It lay", return_tensors="pt"), output_attentions=True).attentions
    assert np.abs(weights(shown["stacks"]["self"]["layers"][2], 8, 8) - expected[2][0].numpy()).max() <= QUANTISATION


def test_encoder_and_decoder_of_different_depth():
    stacks = {
        "encoder_attention": attention(2, 4, 6, 6),
        "decoder_attention": attention(3, 2, 4, 4),
        "cross_attention": attention(3, 2, 4, 6),
    }
    html = mkdocs_attnviz.head_view(
        **stacks, encoder_tokens=TOKENS, decoder_tokens=list("abcd"), stack="cross", html_action="return"
    )
    shown = figure(html)
    assert {name: len(stack["layers"]) for name, stack in shown["stacks"].items()} == {
        "encoder": 2,
        "decoder": 3,
        "cross": 3,
    }
    cross = shown["stacks"]["cross"]
    assert (cross["rows"], cross["cols"]) == ("target", "text")
    assert np.abs(weights(cross["layers"][2], 4, 6) - stacks["cross_attention"][2][0]).max() <= QUANTISATION
    assert shown["options"]["stack"] == "cross"


def test_include_layers_ships_those_alone():
    shown = figure(mkdocs_attnviz.head_view(attention(4), TOKENS, include_layers=[1, 3], html_action="return"))
    assert [layer["layer"] for layer in shown["stacks"]["self"]["layers"]] == [1, 3]


def test_a_layer_without_attention_keeps_its_number():
    given = attention(3)
    given[1] = None
    shown = figure(mkdocs_attnviz.model_view(given, TOKENS, html_action="return"))
    assert [layer["layer"] for layer in shown["stacks"]["self"]["layers"]] == [0, 2]


MISTAKES = [
    ({"attention": attention()}, "`tokens` is missing"),
    ({}, "Give either `attention`, or `encoder_attention`"),
    ({"attention": None, "tokens": TOKENS}, "a model was called without `output_attentions=True`."),
    # What a model of transformers returns where it computes its attention by SDPA.
    (
        {"attention": (), "tokens": TOKENS},
        "`attention` holds no weights: a model that computes its attention by SDPA or",
    ),
    ({"attention": (None, None), "tokens": TOKENS}, 'Load it with `attn_implementation="eager"` and call it with'),
    ({"encoder_attention": (), "encoder_tokens": TOKENS}, "`encoder_attention` holds no weights"),
    (
        {"attention": {"attentions": ()}, "tokens": TOKENS},
        "`attention` is a dict; it must be a sequence with one array",
    ),
    ({"attention": ["a"], "tokens": TOKENS}, "Layer 0 of `attention` is 'a', which is no array of numbers."),
    (
        {"attention": [np.zeros((3, 6, 6))], "tokens": TOKENS},
        "must have the shape (1, heads, rows, cols); it has (3, 6",
    ),
    ({"attention": attention(rows=5, cols=5), "tokens": TOKENS}, "is 5 × 5, but there are 6 and 6 tokens."),
    ({"attention": attention(), "tokens": TOKENS, "layer": 2}, "`layer` is 2; model 'own tensors' has layers 0 to 1."),
    ({"attention": attention(), "tokens": TOKENS, "layer": 1, "include_layers": [0]}, "is not among `include_layers`."),
    ({"attention": attention(), "tokens": TOKENS, "heads": [3]}, "`heads` is 3; model 'own tensors' has heads 0 to 2."),
    (
        {"attention": attention(), "tokens": TOKENS, "hedas": [3]},
        "`hedas` is not a key of the block (did you mean `heads`?)",
    ),
    ({"attention": [3 * a for a in attention()], "tokens": TOKENS}, "must be numbers between 0 and 1"),
    ({"cross_attention": attention(), "encoder_tokens": TOKENS}, "no tokens of the output (`decoder_tokens`)."),
    ({"attention": [np.zeros((1, 2, 0, 0))], "tokens": []}, "There are no tokens."),
    (
        {"attention": attention(), "tokens": TOKENS, "sentence_b_start": 9},
        "`sentence_b_start` is 9; it must be from 1 to 5.",
    ),
    ({"attention": attention(), "tokens": TOKENS, "html_action": "show"}, "it must be 'view' or 'return'."),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        mkdocs_attnviz.head_view(**{"html_action": "return"} | arguments)


def test_no_token_gets_out_of_its_place():
    evil = ['</script><script>alert("x")</script>', "<img onerror=alert(1) src=x>", '"', "'", "&amp;", "-->"]
    html = mkdocs_attnviz.head_view(attention(), evil, caption="<b>", html_action="return").data
    page = BeautifulSoup(html, "html5lib")
    assert len(page.select("script")) == 3
    assert page.select("[onerror], b") == []
    assert json.loads(page.select_one("attn-viz")["data-figure"])["sequences"]["text"]["tokens"] == evil


def test_a_file_in_a_page(cold_site, file):
    given = attention()
    path = file({"self.0": given[0], "self.5": given[1][0]}, tokens=TOKENS, special=["[CLS]"])
    path.rename(cold_site.folder / "own.safetensors")
    cold_site.write("index.md", "```attention\ntensors: own.safetensors\nview: matrix\nlayer: 5\n```\n")
    built = cold_site.build("--strict")
    assert built.returncode == 0, built.log
    shown = json.loads(built.page().select_one("attn-viz")["data-figure"])
    assert [layer["layer"] for layer in shown["stacks"]["self"]["layers"]] == [0, 5]
    assert shown["sequences"]["text"]["special"] == [0]
    assert np.abs(weights(shown["stacks"]["self"]["layers"][1], 6, 6) - given[1][0]).max() <= QUANTISATION
    (cold_site.folder / "own.safetensors").write_bytes(b"changed")
    assert "is no whole safetensors file" in cold_site.build().alerts()[0]
    (cold_site.folder / "own.safetensors").unlink()
    drawn = cold_site.build()
    assert drawn.alerts() == [], "the lock file knows which entry it was"
    assert json.loads(drawn.page().select_one("attn-viz")["data-figure"]) == shown
    (cold_site.folder / "attnviz.lock").unlink()
    assert "there is no such file" in cold_site.build().alerts()[0]


BAD_FILES = [
    ({"weights": attention()[0]}, {"tokens": TOKENS}, "The file has a tensor 'weights'; names are like self.0,"),
    ({"self.0": attention()[0]}, {}, "has no `tokens` in its metadata"),
    ({"self.0": attention()[0]}, {"tokens": "abc"}, "The metadata `tokens` of own.safetensors must be JSON, a list."),
    ({"self.0.query": np.zeros((3, 6, 4))}, {"tokens": TOKENS}, "The file has self.0.query, but no weights self.0."),
    ({"self.0": attention()[0]}, {"tokens": TOKENS, "words": [0]}, "There are 1 `words` for 6 tokens"),
    (
        {"self.0": attention()[0], "self.0.norms": np.full((3, 6), np.nan)},
        {"tokens": TOKENS},
        "The norms of self layer 0 must be numbers from 0; some are not.",
    ),
    (
        {"self.0": attention()[0], "self.0.query": np.zeros((3, 6, 4)), "self.0.key": np.zeros((3, 6, 4))},
        {"tokens": TOKENS, "scale": float("nan")},
        "Queries, keys and scale of self/0 must be finite numbers; some are not.",
    ),
    (
        {"self.0": 0.5 * attention()[0], "self.0.query": np.zeros((3, 6, 4)), "self.0.key": np.zeros((3, 6, 4))},
        {"tokens": TOKENS},
        "Each row of self/0 must add up to one",
    ),
    (
        {"self.0": attention()[0], "self.0.query": np.zeros((3, 6, 4))},
        {"tokens": TOKENS},
        "must have both self.0.query and self.0.key",
    ),
]


@pytest.mark.parametrize(("tensors", "metadata", "message"), BAD_FILES, ids=[message for _, _, message in BAD_FILES])
def test_bad_files(file, tensors, metadata, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        capture_file(file(tensors, **metadata))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("bias", [0, 3])
def test_queries_and_keys_explain_the_weights(file, kv_heads, bias):
    """Softmax of q·k·scale and the further terms is the weights, whatever else has entered them."""
    random = np.random.default_rng(1)
    query, key = random.normal(size=(4, 6, 8)), random.normal(size=(kv_heads, 6, 8))
    scores = query @ np.repeat(key, 4 // kv_heads, 0).transpose(0, 2, 1) / np.sqrt(8)
    given = softmax(scores + bias * random.normal(size=scores.shape))
    entry = capture_file(file({"self.0": given, "self.0.query": query, "self.0.key": key}, tokens=TOKENS))
    neurons = entry.meta["stacks"]["self"]["layers"][0]["neurons"]
    assert neurons == {"d": 8, "kv_heads": kv_heads, "scale": 1 / np.sqrt(8), "terms": ["other"] if bias else []}
    stored_query = scaled(entry.blobs["self/0/q"], 4 * 8).reshape(4, 8, 6).transpose(0, 2, 1)
    stored_key = scaled(entry.blobs["self/0/k"], kv_heads * 8).reshape(kv_heads, 8, 6)
    shown = stored_query @ np.repeat(stored_key, 4 // kv_heads, 0) * neurons["scale"]
    if bias:
        shown = shown + scaled(entry.blobs["self/0/term/0"], 4).reshape(4, 6, 6)
    assert np.abs(softmax(shown) - given).max() < 1e-3


def scaled(blob, groups):
    content = zlib.decompress(blob)
    scales = np.frombuffer(content[: 4 * groups], "<f4")[:, None]
    return np.frombuffer(content[4 * groups :], "<i2").reshape(groups, -1) * scales


def test_rollout_is_abnar_and_zuidemas():
    """The reference is their formula, computed plainly with full precision."""
    given = [layer[0] for layer in attention(5, 4, 9, 9)]
    expected = np.eye(9)
    rollout = Rollout()
    for layer in given:
        found = rollout.add(quantised(layer))
        expected = (0.5 * layer.mean(0) + 0.5 * np.eye(9)) @ expected
        stored = (found[0].T / 255) ** 2
        assert np.abs(stored - expected).max() < 2 * QUANTISATION


def test_the_overview_keeps_the_largest_weight_of_each_part():
    layer = attention(1, 2, 50, 31)[0][0]
    grid = np.frombuffer(zlib.decompress(joined_overview([pooled(quantised(layer))])), np.uint8).reshape(2, 24, 24)
    starts = [[n * tokens // 24 for n in range(25)] for tokens in (50, 31)]
    for row in range(24):
        for col in range(24):
            part = layer[:, starts[0][row] : starts[0][row + 1], starts[1][col] : starts[1][col + 1]]
            assert np.abs(grid[:, col, row] - 15 * np.sqrt(part.max((1, 2)))).max() <= 0.53


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["[CLS]", "em", "##bed", "x", "[SEP]"], [None, 0, 0, 1, None]),
        (["The", "Ġem", "bed", "Ġx"], [0, 1, 1, 2]),
        (["▁em", "bed", "</s>", "▁x"], [0, 0, None, 1]),
        (["a", "b"], [None, None]),
    ],
)
def test_words_by_the_marks_of_vocabularies(tokens, words):
    assert guess_marks(tokens).words(tokens, [n for n, token in enumerate(tokens) if token[0] in "[<"]) == words
