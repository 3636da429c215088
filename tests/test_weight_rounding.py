"""Small weights of long texts are rounded: within the declared error, to half the bytes, and not in silence."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
import transformers
from conftest import MINILM, ROOT

import mkdocs_attnviz
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cache.entry_schema import fault
from mkdocs_attnviz.figure.data_file import data_file
from mkdocs_attnviz.models import encoding
from mkdocs_attnviz.models.captures import attention, scores
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow
from mkdocs_attnviz.models.captures.own_arrays import entry as entry_of_arrays
from mkdocs_attnviz.models.comparison import difference
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import load
from mkdocs_attnviz.models.reduction import LADDER
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.measures.stored_weights import stored_as
from mkdocs_attnviz.weight_rounding import UNIT, intervals, rounded_steps, rounding

LENGTHS = [1, 7, 256, 257, 270, 300, 512, 1000, 2048, 5000, 100_000]
TEXT = "many words of a text that is long enough and speaks of a cat , a dog and the rain " * 15


def peaked(heads, tokens, seed=0):
    """Return causal weights (heads, rows, cols) of random scores, between soft and sharp, half of the heads with a
    sink."""
    random = np.random.default_rng(seed)
    weights = np.zeros((heads, tokens, tokens), np.float32)
    for number, head in enumerate(weights):
        score = random.normal(0, random.uniform(2, 4), (tokens, tokens)).astype(np.float32)
        score[:, 0] += 5 * (number % 2)
        powers = np.tril(np.exp(score - score.max(1, keepdims=True)))
        head[:] = powers / powers.sum(1, keepdims=True)
    return weights


def old_bytes(steps):
    """Return the size of a layer in a file before weights were rounded and files held bytes."""
    return len(base64.b64encode(encoding.weights_blob(steps)))


@pytest.mark.parametrize("tokens", LENGTHS)
def test_a_weight_is_within_the_declared_error(tokens):
    every = np.linspace(0, 1, 400_001) ** 2
    steps = np.minimum(255 * np.sqrt(every) + 0.5, 255).astype(np.uint8)
    rounded = np.frombuffer(steps.tobytes().translate(rounded_steps(rounding(tokens))), np.uint8)
    error = np.abs(np.square(rounded / 255) - every)
    own = np.abs(np.square(steps / 255) - every)
    declared = rounding(tokens) / UNIT
    assert (error <= np.maximum(own, declared) + 1e-9).all()
    assert declared <= 0.5 / tokens
    if tokens <= 256:
        assert (rounded == steps).all()
    low, high = np.array(intervals(rounding(tokens))).T
    root = 255 * np.sqrt(every)
    assert (low[rounded] - 1e-6 <= root).all()
    assert (root <= high[rounded] + 1e-6).all()


@pytest.mark.parametrize(("heads", "tokens"), [(8, 512), (2, 2048)])
def test_a_long_text_takes_half_the_bytes(heads, tokens):
    weights = peaked(heads, tokens)
    steps = encoding.quantised(weights)
    blob = encoding.weights_blob(steps, rounding(tokens))
    assert 2 * len(data_file([blob])) <= old_bytes(steps)
    content = zlib.decompress(blob)
    assert content == steps.tobytes().translate(rounded_steps(rounding(tokens)))
    decoded = encoding.weights(np.frombuffer(content, np.uint8).reshape(steps.shape))
    half_step = np.abs(encoding.weights(steps) - weights)
    assert (np.abs(decoded - weights) <= np.maximum(half_step, rounding(tokens) / UNIT) + 1e-7).all()
    assert np.abs(decoded.sum(2) - 1).max() < 0.1


@pytest.fixture(scope="module")
def long_text():
    """Transformers' own attentions of a long text, and both captures of it."""
    found = resolve(MINILM, None, Settings(), ROOT)
    loaded = load(found, "cpu")
    read = example(loaded, {"text": TEXT}, 999)
    model = transformers.AutoModel.from_pretrained(found.path, attn_implementation="eager").eval()
    with torch.no_grad():
        truth = model(input_ids=torch.tensor([read.text.ids]), output_attentions=True).attentions
    entries = [module.capture(Context(loaded, [read]))[0] for module in (attention, scores)]
    return [layer[0].numpy() for layer in truth], entries


def test_what_is_captured_of_a_long_text(long_text):
    truth, entries = long_text
    tokens = truth[0].shape[-1]
    assert tokens > 256
    for entry in entries:
        assert not fault(entry.meta, entry.blobs)
        for layer in entry.meta["stacks"]["self"]["layers"]:
            assert layer["rounding"] == rounding(tokens)
            content = zlib.decompress(entry.blobs[f"self/{layer['layer']}"])
            steps = np.frombuffer(content, np.uint8).reshape(-1, tokens, tokens)
            weights = truth[layer["layer"]].transpose(0, 2, 1)
            low, high = np.array([(each.low, each.high) for each in stored_as(layer["rounding"])]).T
            assert (low[steps] <= weights + 1e-5).all()  # so a claim is judged by the interval that its weight is in
            assert (weights <= high[steps] + 1e-5).all()


def test_the_shares_of_tables_are_those_of_the_models_own_weights(long_text):
    """They are summed from all of transformers' weights; those of the entry, from the bytes and some rows."""
    truth, entries = long_text
    tokens = truth[0].shape[-1]
    for entry in entries:
        for layer in stack_of(entry)["layers"]:
            weights = truth[layer["layer"]].astype(np.float64)
            content = zlib.decompress(entry.blobs[f"self/{layer['layer']}"])
            for reduction, shares in zip(LADDER, layer["tables"], strict=True):
                left = np.frombuffer(content.translate(reduction.table(tokens)), np.uint8)
                is_kept = left.reshape(-1, tokens, tokens).transpose(0, 2, 1) > 0
                assert shares == pytest.approx((weights * is_kept).sum((1, 2)) / tokens, abs=0.002)


def test_an_entry_of_an_earlier_version_agrees_with_its_new_computation(long_text):
    truth, (entry, _) = long_text
    layers = [
        {name: part for name, part in layer.items() if name not in ("rounding", "tables")}
        for layer in stack_of(entry)["layers"]
    ]
    meta = {**entry.meta, "stacks": {"self": {**stack_of(entry), "layers": layers}}}
    steps = [encoding.quantised(layer) for layer in truth]
    blobs = {f"self/{number}": encoding.weights_blob(layer) for number, layer in enumerate(steps)}
    rollout = encoding.Rollout()
    blobs |= {f"self/{number}/rollout": encoding.weights_blob(rollout.add(layer)) for number, layer in enumerate(steps)}
    assert difference(Entry(meta, {**entry.blobs, **blobs}), entry) == ""
    other = np.where(steps[0] > 60, steps[0] - 5, steps[0]).astype(np.uint8)
    found = difference(Entry(meta, {**entry.blobs, **blobs, "self/0": encoding.weights_blob(other)}), entry)
    assert found == "self/0 has weights that are off by up to 5 of 255 steps"


def stack_of(entry):
    return entry.meta["stacks"]["self"]


@pytest.mark.parametrize("wrong", [-1, UNIT + 1, 2.0, True, "9"])
def test_a_rounding_that_cannot_be(wrong):
    row = TokenRow(["a", "b"])
    entry = entry_of_arrays({"self": {0: LayerTensors(np.full((1, 2, 2), 0.5, np.float32))}}, {"text": row})
    assert not fault(entry.meta, entry.blobs)
    stack_of(entry)["layers"][0]["rounding"] = wrong
    assert "rounding" in fault(entry.meta, entry.blobs)


@pytest.mark.parametrize(
    ("tokens", "told"), [(256, "within 0.004"), (512, "within 0.004; small weights within 0.0007")]
)
def test_a_figure_says_how_its_small_weights_are_stored(tokens, told):
    page = mkdocs_attnviz.head_view([peaked(1, tokens)[None]], [f"t{n}" for n in range(tokens)], html_action="return")
    data = json.loads(re.search(r"data-figure='([^']*)'", page.data)[1])
    assert data["provenance"]["stored"].endswith(told)


def test_claims_about_rounded_weights_are_not_told_as_false(recwarn):
    weights = peaked(2, 400)
    cells = [(1, 399, col) for col in range(0, 399, 15)]
    claims = [
        {"head": head, "from": row, "to": col, bound: float(weights[head, row, col])}
        for head, row, col in cells
        for bound in ("at_least", "at_most")
    ]
    tokens = [f"t{n}" for n in range(400)]
    page = mkdocs_attnviz.head_view([weights[None]], tokens, html_action="return", expect=claims)
    assert not [each for each in recwarn if "claim" in str(each.message).lower()]
    data = json.loads(re.search(r"data-figure='([^']*)'", page.data)[1])
    assert len(data["claims"]) == len(claims)
