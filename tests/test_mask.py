"""Masks are those that attention really has: a token that is changed changes exactly the rows that see it."""

import inspect
from functools import cache

import pytest

from mkdocs_attnviz import views
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.mask_groups import spans
from mkdocs_attnviz.views.attention.mask_kinds import kind_of
from mkdocs_attnviz.views.attention.masks import Mask, read_mask

LENGTHS = {"big_bird": 60, "bigbird_pegasus": 60, "longformer": 24}
"""Numbers of tokens; of all others 18."""
SETTINGS = {
    "gemma3_text": {"num_hidden_layers": 6, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]},
    "llama4_text": {
        "attention_chunk_size": 4,
        "num_hidden_layers": 4,
        "layer_types": ["chunked_attention"] * 3 + ["full_attention"],
        "no_rope_layers": [1, 1, 1, 0],
    },
    "cohere2": {"layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {"sliding_window": 5},
    "longformer": {"attention_window": [4, 8]},
}
"""Settings besides those of `tiny_models`, so that layers differ."""
CAUSAL, ALL = "causal: all tokens before", "bidirectional: all tokens"
CROSS = "cross-attention to all tokens of the text"
WINDOW = "sliding window of 4 tokens"
KINDS = {
    "llama": {"self": [CAUSAL] * 2},
    "mistral": {"self": [WINDOW] * 2},
    "gemma2": {"self": [WINDOW, CAUSAL]},
    "gemma3_text": {"self": [WINDOW] * 5 + [CAUSAL]},
    "qwen2": {"self": [CAUSAL, WINDOW]},
    "llama4_text": {"self": ["chunks of 4 tokens, causal within each"] * 3 + [CAUSAL]},
    "cohere2": {"self": [WINDOW, CAUSAL]},
    "phi3": {"self": ["sliding window of 5 tokens"] * 2},
    "gpt_oss": {"self": [WINDOW, CAUSAL]},
    "gpt_neo": {"self": [CAUSAL, WINDOW]},
    "bloom": {"self": [CAUSAL] * 2},
    "bert": {"self": [ALL] * 2},
    "modernbert": {"self": [ALL, "window of 5 tokens in both directions, 2 before and after"]},
    "t5": {"encoder": [ALL] * 2, "decoder": [CAUSAL] * 2, "cross": [CROSS] * 2},
    "longformer": {
        "self": [f"window of {n} tokens in both directions, {n // 2} before and after" for n in (5, 9)],
    },
    "led": {"encoder": ["window of 13 tokens in both directions, 6 before and after"] * 2},
    "longt5": {"encoder": ["window of 7 tokens in both directions, 3 before and after"] * 2},
    "big_bird": {},
}
"""The kinds that the configurations ask for, by stack and layer. BigBird's random blocks leave them open."""


@cache
def masks_of(model_type):
    """Return a tiny model in double precision, in which hardly a weight is rounded to zero, its text, and its masks."""
    import tiny_models

    from mkdocs_attnviz.models.probing.attention_masks import find_masks

    with pytest.MonkeyPatch.context() as patch:
        more = tiny_models.OVERRIDES.get(model_type, {}) | SETTINGS.get(model_type, {})
        patch.setitem(tiny_models.OVERRIDES, model_type, more)
        loaded = tiny_models.tiny(model_type, narrow=True)
    if model_type != "gpt_oss":  # its experts know no doubles
        loaded.model.double()
    example = tiny_models.example(loaded, text=LENGTHS.get(model_type, 18), target=7)
    return loaded, example, find_masks(loaded, [example])[0]


def kind(allowed, one_sequence=True):
    from mkdocs_attnviz.models.mask_runs import runs_blob

    return kind_of(read_mask(runs_blob(allowed), *allowed.shape), one_sequence=one_sequence)


@pytest.mark.parametrize("model_type", KINDS)
def test_kinds_are_those_of_the_configuration(model_type):
    _, _, masks = masks_of(model_type)
    found = {
        name: [kind(layer.allowed, stack.rows == stack.cols).words for layer in stack.layers]
        for name, stack in masks.items()
    }
    assert {name: found[name] for name in KINDS[model_type]} == KINDS[model_type]
    assert not any(layer.heads_differ for stack in masks.values() for layer in stack.layers)


@pytest.mark.parametrize("model_type", KINDS)
def test_a_changed_token_changes_the_rows_that_may_attend_to_it(model_type):
    import numpy as np

    loaded, example, masks = masks_of(model_type)
    compared = 0
    for stack in masks.values():
        for layer in stack.layers:
            if layer.name:
                seen = perturbed(loaded, example, layer.name, layer.allowed.shape, across=stack.rows != stack.cols)
                same = np.eye(*seen.shape, dtype=bool) if stack.rows == stack.cols else np.zeros_like(seen)
                assert (seen | same == layer.allowed | same).all(), (stack, layer.layer)
                compared += 1
    assert compared or model_type == "big_bird"


def perturbed(loaded, example, name, shape, *, across):
    """Return which rows of an attention module's output change with one token of its input.

    Each row reads its own query, so that nothing is said of a token and itself.
    """
    import numpy as np
    import torch

    from mkdocs_attnviz.models.inputs.examples import collate

    module = loaded.model.get_submodule(name)
    calls = []
    hook = module.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    with torch.inference_mode():
        loaded.model(**collate(loaded, [example]), use_cache=False)
        hook.remove()
        (args, kwargs) = calls[-1]
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        many = bound.pop("kwargs", {})
        key = next(each for each in ("key_value_states", "encoder_hidden_states") if each in bound) if across else None
        key = key or next(iter(bound))
        states = bound[key]
        plain = first(module(**bound, **many))
        rows = np.zeros(shape, bool)
        for col in range(shape[1]):
            changed = states.clone()
            changed[:, col] += torch.randn(states.shape[-1], generator=torch.Generator().manual_seed(col)).to(states)
            after = first(module(**bound | {key: changed}, **many))
            rows[:, col] = (after != plain).flatten(2).any(-1)[0, : shape[0]].numpy()
    return rows


def first(output):
    return output[0] if isinstance(output, tuple) else output


def test_big_bird_sees_its_neighbours_the_ends_and_what_its_gradients_tell():
    """Its first and last blocks see all and are seen by all (Zaheer et al. 2020), others see their neighbours."""
    _, _, masks = masks_of("big_bird")
    for layer in masks["self"].layers:
        allowed, block = layer.allowed, 4
        for ends in (allowed[:block], allowed[-block:], allowed[:, :block], allowed[:, -block:]):
            assert ends.all()
        inner = allowed.reshape(15, 4, 15, 4)[1:-1, :, 1:-1]
        for row in range(13):
            near = [col for col in (row - 1, row, row + 1) if 0 <= col < 13]
            assert inner[row][:, near].all()
        assert not allowed.all()


def test_an_allowed_weight_that_is_rounded_to_zero_is_allowed():
    """ALiBi's bias makes weights of far tokens zero in 32 bits; a mask is something else."""
    import tiny_models
    import torch

    from mkdocs_attnviz.models.probing.attention_masks import find_masks

    loaded = tiny_models.tiny("mistral")
    with torch.no_grad():
        for layer in loaded.model.layers:
            layer.self_attn.q_proj.weight.mul_(1e4)
    example = tiny_models.example(loaded, text=12)
    loaded.model.config.sliding_window = 100
    weights = loaded.model(torch.tensor([example.text.ids]), output_attentions=True).attentions[1]
    below = torch.ones(12, 12, dtype=bool).tril()
    assert (weights[0].amax(0)[below] == 0).any(), "some weights are rounded to zero in all heads"
    (stack,) = find_masks(loaded, [example])[0].values()
    assert [kind(layer.allowed).name for layer in stack.layers] == ["causal", "causal"]


def drawn(rule, count=24):
    """Return the mask of a rule of two numbers."""
    runs = []
    for row in range(count):
        cols = [col for col in range(count) if rule(row, col)]
        edges = [col for col in cols if col - 1 not in cols], [col + 1 for col in cols if col + 1 not in cols]
        runs.append(tuple(zip(*edges, strict=True)))
    return Mask(tuple(runs), count)


IMAGE = range(6, 12)
RULES = {
    "causal: all tokens before": lambda row, col: col <= row,
    "bidirectional: all tokens": lambda row, col: True,
    "only itself": lambda row, col: col == row,
    "sliding window of 5 tokens": lambda row, col: row - 5 < col <= row,
    "window of 7 tokens in both directions, 3 before and after": lambda row, col: abs(row - col) <= 3,
    "chunks of 5 tokens, causal within each": lambda row, col: col <= row and row // 5 == col // 5,
    "blocks of 6 tokens, each in both directions": lambda row, col: row // 6 == col // 6,
    "blocks of 4 tokens, each with the blocks beside it": lambda row, col: abs(row // 4 - col // 4) <= 1,
    "prefix of 6 tokens in both directions, causal after it": lambda row, col: col <= row or col < 6,
    "causal, with a stretch of 6 tokens in both directions": lambda row, col: col <= row or {row, col} <= {*IMAGE},
    "sliding window of 5 tokens, with a stretch of 6 tokens in both directions": (
        lambda row, col: row - 5 < col <= row or {row, col} <= {*IMAGE}
    ),
    "2 parts that do not see each other, each causal": lambda row, col: col <= row and (row < 9) == (col < 9),
    "2 parts that do not see each other, each in both directions": lambda row, col: (row < 9) == (col < 9),
    "window of 5 tokens in both directions, and 1 global token": (
        lambda row, col: abs(row - col) <= 2 or 0 in (row, col)
    ),
    "sliding window of 4 tokens, and 2 global tokens": lambda row, col: col <= row and (row - col < 4 or col < 2),
    "causal: all tokens before, 2 tokens never attended to": lambda row, col: col <= row and col not in (7, 20),
    "bidirectional: all tokens, 4 tokens never attended to": lambda row, col: col < 20,
    "no token may attend to any": lambda row, col: False,
    "a pattern of its own, 288 of 576 pairs": lambda row, col: (row + col) % 2 == 0,
}


@pytest.mark.parametrize("words", RULES)
def test_a_kind_is_read_from_the_mask_itself(words):
    mask = drawn(RULES[words])
    assert kind_of(mask, one_sequence=True).words == words
    assert all(mask.allows(row, col) == RULES[words](row, col) for row in range(24) for col in range(24))
    assert mask.pairs == sum(RULES[words](row, col) for row in range(24) for col in range(24))


def test_a_part_of_a_text_is_a_kind_of_cross_attention():
    runs = (((0, 9),), ((0, 9),), ((0, 4),))
    assert kind_of(Mask(runs, 9), one_sequence=False).words == "cross-attention to a part of the text, 22 of 27 pairs"


def test_layers_with_one_mask_are_named_together():
    every = list(range(12))
    assert spans([0, 1, 2, 3, 4, 6, 7, 8, 9, 10], every) == "layers 0–4, 6–10"
    assert spans([5, 11], every) == "layers 5, 11"
    assert spans([3], every) == "layer 3"
    assert spans([0, 2, 4], [0, 2, 4, 5]) == "layers 0–4", "layers that are neighbours among those shown"


def test_masks_take_a_few_bytes_and_a_damaged_one_is_noticed():
    import zlib

    np = pytest.importorskip("numpy")
    from mkdocs_attnviz.models.mask_runs import runs_blob

    causal = np.tri(2048, dtype=bool)
    window = causal & ~np.tri(2048, k=-64, dtype=bool)
    assert max(len(runs_blob(causal)), len(runs_blob(window))) < 150
    assert read_mask(runs_blob(window), 2048, 2048).counts[:100] == [*range(1, 65), *[64] * 36]
    for damaged in (b"", np.array([1, -1, 2], "<i4").tobytes(), np.array([1, 0, 9], "<i4").tobytes()):
        with pytest.raises(ValueError, match="A part of the entry holds no mask"):
            read_mask(zlib.compress(damaged), 1, 4)


def test_a_pair_more_is_another_mask():
    from mkdocs_attnviz.models.comparison import difference
    from mkdocs_attnviz.models.mask_runs import runs_blob

    np = pytest.importorskip("numpy")
    whole = entry()
    other = np.tri(8, dtype=bool)
    other[2, 3] = True
    assert difference(whole, entry()) == ""
    changed = Entry(whole.meta, dict(whole.blobs) | {"self/1": runs_blob(other)})
    assert difference(changed, whole) == "self/1 has other pairs of tokens"


def entry():
    """An entry of four layers with a window, and two that see everything."""
    from mkdocs_attnviz.models.mask_runs import runs_blob

    np = pytest.importorskip("numpy")
    tokens = ["the", "cat", "sat", "on", "the", "mat", "and", "slept"]
    causal = np.tri(8, dtype=bool)
    layers = [{"layer": n, "mask": int(n in (2, 5)), "name": f"layers.{n}.self_attn", "window": 3} for n in range(6)]
    for layer in (layers[2], layers[5]):
        del layer["window"]
    sequence = {"tokens": tokens, "pretty": tokens, "special": [], "words": list(range(8)), "sentence_b_start": None}
    masks = {"self": {"rows": "text", "cols": "text", "how": "masks", "layers": layers}}
    blobs = {"self/0": runs_blob(causal & ~np.tri(8, k=-3, dtype=bool)), "self/1": runs_blob(causal)}
    return Entry({"sequences": {"text": sequence}, "masks": masks}, blobs)


def block_of(more=""):
    return views.block_of(Source(f"model: m\ntext: x\nview: mask\n{more}"))


def test_the_sentence_names_the_layers_of_each_mask():
    from mkdocs_attnviz.views.mask import VIEW

    drawing = VIEW.drawing(block_of("layer: 2\n"), entry())
    assert drawing.sentence == (
        "What each token of m may attend to, over 8 tokens. Layers 0, 1, 3, 4: sliding window of 3 tokens; "
        "layers 2, 5: causal: all tokens before."
    )
    assert drawing.data["initial"]["layer"] == 2
    assert [layer["mask"] for layer in drawing.data["masks"]["self"]["layers"]] == [0, 0, 1, 0, 0, 1]


def test_included_layers_alone_are_shown():
    from mkdocs_attnviz.views.mask import VIEW

    drawing = VIEW.drawing(block_of("include_layers: [2, 5]\n"), entry())
    assert drawing.data["masks"]["self"]["groups"] == ["all layers: causal: all tokens before"]
    assert [mask["blob"] for mask in drawing.data["masks"]["self"]["masks"]] == ["self/1"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("layer: 6\n", "`layer` is 6; model 'm' has layers 0 to 5."),
        ("include_layers: [9]\n", "`include_layers` is 9; model 'm' has layers 0 to 5."),
        ("stack: cross\n", "`stack` is 'cross'; model 'm' has self."),
        ("layer: 1\ninclude_layers: [2, 5]\n", "`layer` is 1, which is not among `include_layers`."),
    ],
)
def test_options_that_do_not_fit(more, message):
    from mkdocs_attnviz.block.problem import BlockError
    from mkdocs_attnviz.views.mask import VIEW

    with pytest.raises(BlockError) as error:
        VIEW.drawing(block_of(more), entry())
    assert error.value.message == message


@pytest.mark.parametrize(
    ("claim", "holds", "value"),
    [
        ("measure: allowed, layer: 0, from: on, to: cat, is: true", True, "true"),
        ("measure: allowed, layer: 0, from: mat, to: cat, is: true", False, "false"),
        ("measure: allowed, layer: 5, from: mat, to: cat, is: true", True, "true"),
        ("measure: allowed, layer: 5, from: cat, to: mat, is: false", True, "false"),
        ("measure: window, layer: 3, is: 3", True, "3"),
        ("measure: window, layer: 3, is: 4", False, "3"),
        (
            "measure: window, layer: 2, is: 3",
            False,
            "The mask of layer 2 has no window; it is causal: all tokens before",
        ),
        ("from: slept, is: 3", True, "3"),
        ("from: slept, layer: 2, at_most: 7", False, "8"),
        ("measure: allowed_count, layer: 2, is: 36", True, "36"),
    ],
)
def test_claims(claim, holds, value):
    from mkdocs_attnviz.views.claims import judge
    from mkdocs_attnviz.views.mask import VIEW

    block = block_of(f"expect:\n  - {{{claim}}}\n")
    (verdict,) = judge(block, VIEW, [entry()])
    assert (verdict.holds, verdict.value) == (holds, value)
