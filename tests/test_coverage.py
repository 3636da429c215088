"""Every text model type that transformers knows: what is captured of it is right, or a sentence says why it is not.

`python tests/test_coverage.py` writes the table of what is found into the documentation; a test fails where the
committed table says something else.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent))
import decoding
import tiny_models

from mkdocs_attnviz.models.captures import attention, scores
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.inputs.examples import accepted_arguments, collate
from mkdocs_attnviz.models.loading.attention_limits import limit
from mkdocs_attnviz.models.loading.load import NO_ATTENTION, Unusable

SITE = Path(__file__).parent.parent / "example_site"
TABLE = SITE / "includes" / "coverage.json"
PAGE = SITE / "includes" / "coverage.md"
TYPES = tiny_models.text_model_types()
ORDER = ["self", "encoder", "decoder", "cross"]
EXACT = 190
"""The least number of types with exact attention, queries and keys."""
QUANTISATION = 0.00392
IDENTITY = 1e-3


@functools.cache
def found(model_type):
    """Return the table's row of a type; its capture is checked on the way."""
    if model_type in NO_ATTENTION:
        return {"why": f"It has no attention to show: {NO_ATTENTION[model_type]}."}
    if model_type in tiny_models.NOT_BUILT:
        return {"why": tiny_models.NOT_BUILT[model_type]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = tiny_models.tiny(model_type)
        try:
            return checked(loaded, tiny_models.example(loaded))
        except Unusable as error:
            return {"why": said(error)}


def said(error):
    return str(error).split(") ", 1)[-1]


def checked(loaded, example):
    truth = expected(loaded, example)
    with outputs_of(loaded.model) as seen:
        entry = attention.capture(Context(loaded, [example]))[0]
    bare = run(loaded, example)
    assert all(
        torch.allclose(one, other, atol=1e-6) for one, other in zip(floats(bare), floats(seen[-1]), strict=False)
    )
    row = {"way": loaded.attention_map.way, "segments": segments(loaded), "stacks": {}}
    if known := limit(loaded.model.config):
        row["limit"] = known.words
    for name, stack in entry.meta["stacks"].items():
        row["stacks"][name] = {
            "layers": [layer["layer"] for layer in stack["layers"]],
            "causal": stack["causal"],
            "sink": stack["cols"].endswith("+sink"),
            "values": all(layer.get("values") for layer in stack["layers"]),
        }
        if stack["rows"] == stack["cols"].removesuffix("+sink"):
            assert stack["causal"] == is_causal(loaded, example, stack["rows"]), name
    exact = check_weights(entry, truth)
    try:
        terms = check_scores(scores.capture(Context(loaded, [example]))[0], truth)
        return row | {"compared": exact, "terms": terms}
    except Unusable as error:
        return row | {"compared": exact, "why": said(error)}


def segments(loaded):
    """Return the way in which a model tells two sentences apart: token types, or else separators."""
    types = getattr(loaded.model.config.get_text_config(), "type_vocab_size", 0) or 0
    return types > 1 and "token_type_ids" in accepted_arguments(loaded.model)


def check_weights(entry, truth):
    """Compare weights with transformers' own; return whether there was anything to compare with."""
    compared = False
    for name, stack in entry.meta["stacks"].items():
        for layer in stack["layers"]:
            weights = decoding.weights(entry, name, layer["layer"])
            assert np.abs(weights.sum(-1) - 1).max() < 0.05, f"rows of {name}/{layer['layer']} do not sum to one"
            known = truth.get((name, layer["layer"]))
            if known is not None:
                compared = True
                assert np.abs(weights[..., : known.shape[-1]] - known).max() <= QUANTISATION, f"{name}/{layer['layer']}"
    return compared


def check_scores(entry, truth):
    terms = {}
    for name, stack in entry.meta["stacks"].items():
        for layer in stack["layers"]:
            number = layer["layer"]
            made = decoding.recomputed(entry, name, number)
            known = truth.get((name, number))
            if known is not None:
                assert np.abs(made[..., : known.shape[-1]] - known).max() <= IDENTITY, f"{name}/{number}"
            assert np.abs(made - decoding.weights(entry, name, number)).max() <= IDENTITY + QUANTISATION
            terms.setdefault(name, set()).update(layer["neurons"]["terms"])
    return {name: sorted(each) for name, each in terms.items()}


def expected(loaded, example):
    """Return transformers' own `output_attentions` by stack and layer, where they are weights of tokens by tokens."""
    outputs = run(loaded, example, output_attentions=True)
    rows, cols = len(example.text.ids), len(example.target.ids) if example.target else 0
    shapes = {"attentions": (rows, rows), "encoder_attentions": (rows, rows)}
    shapes |= {"decoder_attentions": (cols, cols), "cross_attentions": (cols, rows)}
    names = {"attentions": "self", "encoder_attentions": "encoder", "decoder_attentions": "decoder"}
    names |= {"cross_attentions": "cross"}
    truth = {}
    stacks = attention.find_attention_map(loaded, example).stacks
    for field, name in names.items():
        slots = [slot for slot in outputs.get(field) or () if isinstance(slot, torch.Tensor)]
        slots = [slot for slot in slots if slot.ndim == 4 and slot.shape[2:] == shapes[field]]
        right = [slot for slot in slots if bool((slot >= 0).all() and (slot.sum(-1) <= 1.001).all())]
        layers = stacks[name].layers if name in stacks else []
        if len(right) == len(layers):
            truth |= {(name, layer.layer): slot[0].float().numpy() for layer, slot in zip(layers, right, strict=True)}
    return truth


def run(loaded, example, **options):
    with torch.inference_mode():
        return loaded.model(**collate(loaded, [example]), **options, return_dict=True)


def floats(outputs):
    return [v for v in outputs.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]


class outputs_of:
    """A recorder of the model's outputs while something else runs it."""

    def __init__(self, model):
        self.model, self.seen = model, []

    def __enter__(self):
        self.hook = self.model.register_forward_hook(lambda *args: self.seen.append(args[-1]))
        return self.seen

    def __exit__(self, *_):
        self.hook.remove()


def is_causal(loaded, example, sequence):
    """Return whether the output at a token stays the same when a later token changes."""
    inputs = collate(loaded, [example])
    name = "decoder_input_ids" if sequence == "target" else "input_ids"
    changed = dict(inputs)
    changed[name] = inputs[name].clone()
    changed[name][0, -1] = 70
    model = loaded.model.get_encoder() if loaded.encoder_decoder and sequence == "text" else loaded.model
    if model is not loaded.model:
        kept = ("input_ids", "attention_mask")
        inputs, changed = ({key: each[key] for key in kept} for each in (inputs, changed))
    with torch.inference_mode():
        one, other = (states(model(**each, return_dict=True)) for each in (inputs, changed))
    return torch.allclose(one[:, :-1], other[:, :-1], atol=1e-5)


def states(outputs):
    return next(v for v in floats(outputs) if v.ndim == 3)


def markdown(types):
    """Return the table as readers see it, `includes/coverage.md` of the example site."""
    lines = ["| Model type | Attention | Beside q·k in the scores | Pairs by | Value norms |", "|---|---|---|---|---|"]
    for name, row in sorted(types.items()):
        if "stacks" not in row:
            lines.append(f"| `{name}` | no: {row['why'].removeprefix('It has no attention to show: ')} | | | |")
            continue
        stacks = "yes" if list(row["stacks"]) == ["self"] else ", ".join(sorted(row["stacks"], key=ORDER.index))
        stacks += f", {row['limit']}" if "limit" in row else ""
        terms = sorted({term for each in row.get("terms", {}).values() for term in each})
        beside = (", ".join(terms) or "nothing") if "terms" in row else "no queries and keys"
        values = "yes" if all(stack["values"] for stack in row["stacks"].values()) else "no"
        pairs = "token types" if row["segments"] else "separators"
        lines.append(f"| `{name}` | {stacks} | {beside} | {pairs} | {values} |")
    return "\n".join(lines) + "\n"


@pytest.mark.architectures
@pytest.mark.parametrize("model_type", TYPES)
def test_captured(model_type):
    committed = json.loads(TABLE.read_text())["types"].get(model_type)
    assert found(model_type) == committed, "run `python tests/test_coverage.py` and look at what has changed"


def test_most_types_are_exact():
    types = json.loads(TABLE.read_text())["types"]
    assert set(types) == set(TYPES)
    assert sum("terms" in row and row["compared"] for row in types.values()) >= EXACT


def test_the_page_shows_the_table():
    assert PAGE.read_text("utf-8") == markdown(json.loads(TABLE.read_text())["types"])


def write():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    rows, failed = {}, []
    for model_type in sys.argv[1:] or TYPES:
        try:
            rows[model_type] = found(model_type)
        except Exception as error:
            failed.append(f"{model_type}: {type(error).__name__}: {str(error)[:200]}")
            print(failed[-1], flush=True)
    print(f"{sum('terms' in row for row in rows.values())} of {len(TYPES)} exact, {len(failed)} failed")
    if not failed and not sys.argv[1:]:
        table = {"transformers": transformers.__version__, "types": rows}
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        PAGE.write_text(markdown(rows), "utf-8")
    elif sys.argv[1:]:
        print(json.dumps(rows))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    write()
