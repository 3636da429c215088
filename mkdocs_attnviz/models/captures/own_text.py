"""Entries of the text view from an author's own `.safetensors` file of attention weights (`tensors`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mkdocs_attnviz.block.defaults import ENTRY_SIZE
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.own_arrays import SIDES, TokenRow, entry
from mkdocs_attnviz.models.captures.tensors import read_layers
from mkdocs_attnviz.models.captures.text import Marks, Pending, stack_of, wanted_of
from mkdocs_attnviz.models.inputs.marked_text import marked_text
from mkdocs_attnviz.models.inputs.tokens import Tokens
from mkdocs_attnviz.models.probing.attention_map import AttentionMap, Layer, Stack


def capture_file(path: Path, parameters: Mapping[str, Any], _: int = ENTRY_SIZE) -> Entry:
    """Return the entry of a `.safetensors` file; `parameters` are those of the capture of a text.

    Raises:
        ValueError: it is no such file, its names, shapes and tokens do not fit, or it has no such layer or head.
    """
    tensors, metadata = read_layers(path)
    rows = metadata.sequences()
    whole = entry(tensors, rows)  # checks shapes, tokens and weights
    stacks = {
        name: Stack(
            *SIDES[name],
            [Layer(number, number, len(layer.weights), len(layer.weights)) for number, layer in layers.items()],
            all(not torch.triu(torch.from_numpy(layer.weights), 1).any() for layer in layers.values())
            and len(set(SIDES[name])) == 1,
        )
        for name, layers in tensors.items()
    }
    name = stack_of(path.name, AttentionMap("outputs", stacks, 0), parameters)
    stack = stacks[name]
    names = [side for side in ("text", "target") if side in (stack.rows, stack.cols)]
    marks = Marks(names, {side: marked_text(_tokens(rows[side])) for side in names})
    pending = Pending(stack, wanted_of(path.name, stack, parameters), marks)
    for number, layer in tensors[name].items():
        pending.add(number, torch.from_numpy(layer.weights))
    sequences = {side: whole.meta["sequences"][side] for side in names}
    return Entry({"sequences": sequences, "turns": None, "stack": name, **pending.meta()}, pending.blobs())


def _tokens(row: TokenRow) -> Tokens:
    """Return the tokens of a sequence as those of a model are."""
    meta = row.meta()
    texts = meta.get("texts")
    return Tokens(
        ids=[0] * len(meta["tokens"]),
        type_ids=None,
        tokens=meta["tokens"],
        pretty=meta["pretty"],
        special=meta["special"],
        sentence_b_start=meta["sentence_b_start"],
        words=meta["words"],
        texts=None if texts is None else [texts.get(str(n), one) for n, one in enumerate(meta["pretty"])],
    )
