"""The activations view: the neurons of a layer's feed-forward network, and how active each one is at each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.values import Flag, Index, Indices, key, listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.attention.options import Side, shared, side
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.drawing import Drawing, Picture
from mkdocs_attnviz.views.figure_data import Blob, TextFigure
from mkdocs_attnviz.views.measures.activations import MEASURES
from mkdocs_attnviz.views.svg.document import capped, document, escape, palette, styles
from mkdocs_attnviz.views.svg.legend import Scale, with_legend
from mkdocs_attnviz.views.svg.token_flow import LIST, PANEL, json_of, sequences
from mkdocs_attnviz.views.view import View, own_script
from mkdocs_attnviz.views.visible_tokens import called

ACTIVATIONS = Capture(
    "activations",
    1,
    run="mkdocs_attnviz.models.captures.activations:capture",
    attention=False,
    stored="activations in 16 bits, scaled by neuron",
)
WIDTH, SIDE, ROW = 680, 120, 20
SATURATED = 0.1
"""The fraction of the neurons whose largest activation gets the full colour. Without it, one very active neuron would
make all others pale."""
ROWS = 24
"""The number of tokens that the static picture shows, and the interactive one without scrolling."""
COLUMNS = 128
"""The number of neurons that the static picture shows, the strongest ones. More would be narrower than 4 px and need a
megabyte."""


class Options(BlockOptions):
    """The block keys of the activations view."""

    stack: Side | None = side()
    layer: Index | None = shared("layer")
    include_layers: Indices | None = shared("include_layers")
    neurons: int = key(
        "a number from 1 to 1000",
        "How many neurons of each layer are kept: those with the largest |activation| at any token.",
        default=64,
        ge=1,
        le=1000,
    )
    order: Literal["cluster", "strength", "number"] = key(
        "cluster, strength or number",
        "How the neurons stand at first: neurons that are active at the same tokens together, the strongest first, or "
        "by number.",
        default="cluster",
    )
    prettify_tokens: Flag = shared("prettify_tokens")

    def parameters(self) -> dict[str, Any]:
        return {"neurons": self.neurons}


class LayerOfNeurons(TypedDict):
    """A layer's feed-forward neurons."""

    stack: str
    layer: int
    neurons: int
    kept: int
    sequence: str
    """The name of its tokens among the sequences."""
    values: Blob
    """Scaled, (kept, T)."""
    lists: Blob


class ActivationsState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    stack: str
    layer: int
    order: Literal["cluster", "strength", "number"]
    token: int | None
    """The token that is held, and maybe a neuron."""
    neuron: int | None


class ActivationsFigure(TextFigure):
    """A layer's neurons, and how active each is at each token."""

    layers: list[LayerOfNeurons]
    initial: ActivationsState


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of activations.

    Raises:
        BlockError: if the model has no such stack or layer.
    """
    layers, shown = _chosen(block, options, entry)
    tokens = sequences(entry, pretty=options.prettify_tokens)
    texts = {layer["stack"]: "target" if layer["stack"] == "decoder" else "text" for layer in layers}
    data: ActivationsFigure = {
        "view": "activations",
        "theme": block.theme,
        "sequences": tokens,
        "layers": [
            {
                "stack": layer["stack"],
                "layer": layer["layer"],
                "neurons": layer["neurons"],
                "kept": layer["kept"],
                "sequence": texts[layer["stack"]],
                "values": {"blob": _name(layer)},
                "lists": {"blob": f"{_name(layer)}.lists"},
            }
            for layer in layers
        ],
        "initial": {
            "stack": shown["stack"],
            "layer": shown["layer"],
            "order": options.order,
            "token": None,
            "neuron": None,
        },
    }
    words = tokens[texts[shown["stack"]]]["tokens"]
    lists = json_of(entry.blobs[f"{_name(shown)}.lists"])
    order = ordered(lists, options.order)
    values = scaled(entry.blobs[_name(shown)], shown["kept"], len(words))
    first = [values[at] for at in order if at < COLUMNS]
    picture = with_legend(
        _picture(words, first, block.theme),
        block.theme,
        f"Activation · columns are neurons, {len(first)} of {shown['neurons']} · rows are tokens",
        _scale(first),
    )
    sentence = _sentence(block, shown, words, lists)
    height = f"{capped(ROW * min(len(words), ROWS))} + {LIST}px"
    return Drawing(data, picture, sentence, height, PANEL)


def ordered(lists: Mapping[str, Any], order: str) -> list[int]:
    """Return the indices of the stored neurons in the chosen order."""
    if order == "cluster":
        cluster: list[int] = lists["cluster"]
        return cluster
    strongest = range(len(lists["neurons"]))
    return list(strongest) if order == "strength" else sorted(strongest, key=lists["neurons"].__getitem__)


def _name(layer: Mapping[str, Any]) -> str:
    """Return the name of a layer's blob."""
    return f"{layer['stack']}.{layer['layer']}"


def _chosen(block: Block, options: Options, entry: Entry) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the layers that a reader can choose from, and the layer that is shown first.

    Raises:
        BlockError: if the model has no such stack or layer.
    """
    layers: list[dict[str, Any]] = entry.meta["layers"]
    stacks = list(dict.fromkeys(layer["stack"] for layer in layers))
    stack = options.stack or stacks[0]
    if stack not in stacks:
        raise block.wrong("stack", f"`stack` is {stack}; the neurons of {block.subject} are in {' and '.join(stacks)}.")
    known = [layer["layer"] for layer in layers if layer["stack"] == stack]
    wanted = known if options.include_layers is None else options.include_layers
    for number in wanted:
        if number not in known:
            raise _no_layer(block, "include_layers", number, known)
    offered = [layer for layer in layers if options.include_layers is None or layer["layer"] in wanted]
    first = wanted[0] if options.layer is None else options.layer
    if first not in wanted:
        raise _no_layer(block, "layer", first, list(wanted))
    return offered, next(layer for layer in offered if layer["layer"] == first and layer["stack"] == stack)


def _no_layer(block: Block, name: str, number: int, known: list[int]) -> Exception:
    """Return the error for a layer that the model does not have."""
    available = f"the layers of {block.subject} with neurons are {listed(known)}"
    return block.wrong(name, f"`{name}` has layer {number}; {available}.")


def _picture(words: list[str], values: list[list[float]], theme: str) -> Picture:
    """Return a picture with a row for each token and a column for each neuron. `values` has shape (neurons, tokens)."""
    shown = words[:ROWS]
    most, _ = _most(values)
    wide = (WIDTH - SIDE) / len(values)
    body = [
        f'<text x="{SIDE - 8}" y="{row * ROW + 14}" text-anchor="end">{escape(word[:16]) or "∅"}</text>'
        for row, word in enumerate(shown)
    ]
    for column, neuron in enumerate(values):
        for row in range(len(shown)):
            share = neuron[row] / most
            if abs(share) >= 0.02:
                place = f'x="{SIDE + column * wide:.1f}" y="{row * ROW}" width="{wide:.1f}" height="{ROW}"'
                body.append(
                    f'<rect class="{"n" if share < 0 else "f"}" {place} opacity="{min(1.0, abs(share)) ** 0.75:.2f}"/>'
                )
    height = ROW * len(shown)
    style = "text{font:12px system-ui,sans-serif}" + styles(palette(theme), _rules)
    return Picture(document(WIDTH, height, style, body), WIDTH, height)


def _most(values: Sequence[Sequence[float]]) -> tuple[float, bool]:
    """Return the activation of full colour, and whether some are larger."""
    largest = sorted((max(map(abs, row)) for row in values), reverse=True)
    most = largest[int(len(largest) * SATURATED)] or 1.0
    return most, largest[0] > most


def _scale(values: Sequence[Sequence[float]]) -> Scale:
    """Return the scale of the colours."""
    most, exceeded = _most(values)
    low, high = ("≤ ", "≥ ") if exceeded else ("", "")
    return Scale(f"{low}−{most:.3g}", f"{high}{most:.3g}", power=0.75, signed=True)


def _rules(scheme: dict[str, Any]) -> str:
    """Return the CSS colours of a scheme."""
    negative, positive = scheme["signed"]
    return f"text{{fill:{scheme['text']}}}.f{{fill:{positive}}}.n{{fill:{negative}}}"


def _sentence(block: Block, layer: Mapping[str, Any], words: list[str], lists: Mapping[str, Any]) -> str:
    """Return a sentence that names the strongest activation."""
    stack = "" if layer["stack"] == "self" else f", {layer['stack']}"
    _, value, neuron, token = max(
        (abs(values[0]), values[0], neurons[0], at)
        for at, (neurons, values) in enumerate(zip(lists["top"], lists["values"], strict=True))
    )
    return (
        f"Activations of the {layer['kept']} most active of {layer['neurons']} feed-forward neurons of {block.model}, "
        f"layer {layer['layer']}{stack}, at {len(words)} tokens. The strongest is neuron {neuron} at "
        f"“{called(words[token])}”, {value:.3g}."
    )


VIEW = View(
    "activations",
    Options,
    ACTIVATIONS,
    draw,
    script=own_script("activations"),
    data=ActivationsFigure,
    state=("stack", "layer", "order", "token", "neuron"),
    checks={"token": state_checks.position, "neuron": state_checks.number},
    measures=MEASURES,
)
