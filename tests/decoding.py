"""Entries read back, as the browser reads them."""

import zlib

import numpy as np


def weights(entry, stack, layer):
    """(heads, rows, cols)"""
    heads, rows, cols = shape(entry, stack, layer)
    steps = np.frombuffer(zlib.decompress(entry.blobs[f"{stack}/{layer}"]), np.uint8)
    return (steps.reshape(heads, cols, rows).transpose(0, 2, 1) / 255.0) ** 2


def shape(entry, stack, layer):
    found = entry.meta["stacks"][stack]
    rows, cols = (len(entry.meta["sequences"][found[side]]["tokens"]) for side in ("rows", "cols"))
    return meta(entry, stack, layer)["heads"], rows, cols


def meta(entry, stack, layer):
    return next(each for each in entry.meta["stacks"][stack]["layers"] if each["layer"] == layer)


def scaled(blob, groups):
    """(groups, N); what is masked is −∞."""
    raw = zlib.decompress(blob)
    scales = np.frombuffer(raw[: 4 * groups], "<f4").astype(np.float64)
    values = np.frombuffer(raw[4 * groups :], "<i2").reshape(groups, -1)
    return np.where(values == -32768, -np.inf, values * scales[:, None])


def recomputed(entry, stack, layer):
    """The weights that queries, keys and terms give, (heads, rows, cols)."""
    heads, rows, cols = shape(entry, stack, layer)
    neurons = meta(entry, stack, layer)["neurons"]
    d, kv_heads = neurons["d"], neurons["kv_heads"]
    query = scaled(entry.blobs[f"{stack}/{layer}/q"], heads * d).reshape(heads, d, rows)
    key = scaled(entry.blobs[f"{stack}/{layer}/k"], kv_heads * d).reshape(kv_heads, d, cols)
    key = key[np.arange(heads) * kv_heads // heads]
    scores = np.einsum("hdi,hdj->hij", query, key) * neurons["scale"]
    for number in range(len(neurons["terms"])):
        scores = scores + scaled(entry.blobs[f"{stack}/{layer}/term/{number}"], heads).reshape(heads, rows, cols)
    if entry.meta["stacks"][stack]["causal"]:
        above = np.triu(np.ones((rows, cols), bool), 1)
        if entry.meta["stacks"][stack]["cols"].endswith("+sink"):
            above[:, -1] = False
        scores = np.where(above, -np.inf, scores)
    largest = scores.max(-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    return powers / np.maximum(powers.sum(-1, keepdims=True), 1e-300)
