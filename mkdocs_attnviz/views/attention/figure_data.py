"""The data of a figure of attention, as `views/figure_data.py` declares those of all views."""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.views.figure_data import Blob, TextFigure

Filter = Literal["all", "aa", "ab", "ba", "bb"]
AcrossLayers = Literal["mean", "max", "rollout"] | None
AcrossHeads = Literal["mean", "max"] | None
Sink = Literal["show", "fade", "leave_out"]


class Preview(Blob):
    """The lines of the first picture, deflated: a count as uint32, that many offsets as uint32, that many bytes."""

    share: float
    """The share of the weight in view that they hold."""


class Term(Blob):
    """A term of the scores, scaled, (heads, rows · cols)."""

    name: str


class Neurons(TypedDict):
    """Queries (heads · d, rows) and keys (kv_heads · d, cols), both scaled, and what else enters the scores."""

    d: int
    kv_heads: int
    scale: float
    q: Blob
    k: Blob
    terms: list[Term]


class LayerPart(Blob):
    """The weights of some heads of a layer, or the strongest weights of all of them."""

    heads: NotRequired[list[int]]
    """The heads, in their order; absent if all of them are in it."""
    count: NotRequired[int]
    """The number of weights of each row, coded as `models/reduction.py` says; absent if all are in it."""


class LayerSource(Blob):
    """The blob of a layer's weights, and those that belong to it."""

    layer: int
    heads: int
    kv_heads: NotRequired[int]
    """The number of heads of keys and values, if heads share them: successive heads have the same."""
    values: NotRequired[Blob]
    """Scaled, (heads, cols): the norm of what a token's value adds through a head (Kobayashi et al. 2020)."""
    rollout: NotRequired[Blob]
    """Weights of one head: attention rollout up to this layer."""
    neurons: NotRequired[Neurons]
    mask: NotRequired[int]
    """The number of the layer's mask among those of its stack; absent if it is no more than causal."""
    parts: NotRequired[list[LayerPart]]
    """The weights in place of the blob, where not all of them are shipped; a head may be in several."""
    kept: NotRequired[list[float]]
    """The share of each head's weight that is shipped; 0 if the head is not."""
    preview: NotRequired[Preview]
    """The lines of the first picture of a layer that is in a file."""


class Stack(TypedDict):
    """The attention of one set of layers: tokens of `rows` attend to tokens of `cols`."""

    rows: str
    cols: str
    causal: NotRequired[bool]
    """True if no token can attend to a later one."""
    layers: list[LayerSource]
    sink: NotRequired[list[int]]
    """The columns that are attention sinks; in views that can leave them out."""
    masks: NotRequired[list[Blob]]
    """The masks that are more than causal, as runs of columns (`models/mask_runs.py`), in views that shade them."""
    overview: NotRequired[Blob]
    """The largest weights of every head on a coarse grid."""
    patterns: NotRequired[Blob]
    """The pattern of each head, nine bytes a head (`views/attention/patterns.py`)."""


class HeadOfLayer(TypedDict):
    """One head."""

    layer: int
    head: int


class FirstState(TypedDict):
    """The first state, and what the author has fixed."""

    stack: str
    layer: int
    heads: list[int]
    include_heads: list[int] | None
    filter: Filter
    across_layers: NotRequired[AcrossLayers]
    """This and what follows: of views in which a reader may look at weights in more than one way."""
    across_heads: NotRequired[AcrossHeads]
    value_weighted: NotRequired[bool]
    merge_words: NotRequired[bool]
    special_tokens: NotRequired[bool]
    """Shown, or left out."""
    sink: NotRequired[Sink]
    contrast: NotRequired[float]
    min_weight: NotRequired[float | None]
    """The least weight that is drawn. Of this and `mass` at most one is set."""
    mass: NotRequired[float | None]
    """The share that the strongest weights of each row together hold."""
    open: NotRequired[HeadOfLayer | None]
    """Model view: the cell whose detail is open."""
    order: NotRequired[Literal["layer", "pattern"]]
    """Model view: heads in rows of layers, or in groups by their patterns."""
    zoom: NotRequired[Literal["fit", "cells"]]
    """Matrix: all cells in the width there is, or cells large enough to read."""
    expanded: NotRequired[int | None]
    """Neuron: the token whose weights are taken apart at first."""


class AttentionFigure(TextFigure):
    """The data of a view of attention in `data-figure`."""

    stacks: dict[str, Stack]
    options: FirstState
