"""The measures of the activations view: how active a neuron is at a token, and the strongest neuron or token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.measure import STRONGEST, Answer, Measure, Measured, Other, Untestable
from mkdocs_attnviz.views.measures.rounding import around, in_row
from mkdocs_attnviz.views.svg.token_flow import json_of
from mkdocs_attnviz.views.token_places import places, token


class LayerOfNeurons:
    """The stored neurons of one layer."""

    def __init__(self, block: Block, options: Any, entry: Entry, chosen: Selectors) -> None:
        """Find the layer.

        Raises:
            WrongValue: the model has no such stack or layer, or the layer has no such neuron.
        """
        layers = entry.meta["layers"]
        stack = chosen.stack or options.stack or layers[0]["stack"]
        known = [layer["layer"] for layer in layers if layer["stack"] == stack]
        if not known:
            stacks = " and ".join(dict.fromkeys(layer["stack"] for layer in layers))
            raise WrongValue("expect", f"`stack` is {stack}; the neurons of {block.subject} are in {stacks}.")
        shown = options.layer if options.layer is not None else (options.include_layers or known)[0]
        self.number = shown if chosen.layer is None else chosen.layer
        if self.number not in known:
            available = f"the layers of {block.subject} with neurons are {listed(known)}"
            raise WrongValue("expect", f"`layer` is {self.number}; {available}.")
        self.about = next(each for each in layers if (each["stack"], each["layer"]) == (stack, self.number))
        if chosen.neuron is not None and chosen.neuron >= self.about["neurons"]:
            last = self.about["neurons"] - 1
            raise WrongValue("expect", f"`neuron` is {chosen.neuron}; layer {self.number} has neurons 0 to {last}.")
        self.sequence = entry.meta["sequences"]["target" if stack == "decoder" else "text"]
        name = f"{stack}.{self.number}"
        self.values = scaled(entry.blobs[name], self.about["kept"], len(self.sequence["tokens"]))
        self.lists: dict[str, Any] = json_of(entry.blobs[f"{name}.lists"])
        self.where = f"layer {self.number}" if stack == "self" else f"{stack} layer {self.number}"

    def row(self, neuron: int) -> list[float]:
        """Return the activations of a neuron, of shape (T,).

        Raises:
            Untestable: they are not stored.
        """
        if neuron not in self.lists["neurons"]:
            kept = f"neuron {neuron} is not among the {self.about['kept']} of {self.where} that are stored"
            raise Untestable(f"{kept}; a larger `neurons` stores more.")
        return self.values[self.lists["neurons"].index(neuron)]


def _activation(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the activation of a neuron at a token."""
    layer = LayerOfNeurons(block, options, entry, chosen)
    assert chosen.neuron is not None, "the measure needs a neuron"  # noqa: S101
    at, name = token(layer.sequence, chosen.token or "", "token")
    subject = f"the activation of neuron {chosen.neuron} of {layer.where} at {name}"
    if chosen.neuron not in layer.lists["neurons"] and chosen.neuron in layer.lists["top"][at]:
        value = layer.lists["values"][at][layer.lists["top"][at].index(chosen.neuron)]
        return Measured(subject, value, *around(value))
    row = layer.row(chosen.neuron)

    def others() -> Iterator[Other]:
        for neuron, values in zip(layer.lists["neurons"], layer.values, strict=True):
            if neuron != chosen.neuron:
                yield Other(f"neuron {neuron}", values[at], 1)
        for other, value in enumerate(row):
            if other != at:
                yield Other(f"the same neuron at {places(layer.sequence, str(other), 'token')[0].name}", value, 2)

    return Measured(subject, row[at], *in_row(row[at], row), others=others)


def _strongest(block: Block, options: Any, entry: Entry, chosen: Selectors) -> Measured:
    """Return the neuron with the largest |activation| at a token or at all, or the token at which a neuron has it.

    Raises:
        WrongValue: the claim names both.
    """
    layer = LayerOfNeurons(block, options, entry, chosen)
    if chosen.neuron is not None and chosen.token is not None:
        raise WrongValue("expect", "`strongest` names `neuron` or `token`: what is looked for is the other one.")
    if chosen.neuron is not None:
        row = layer.row(chosen.neuron)
        best = max(range(len(row)), key=lambda at: abs(row[at]))
        is_named = lambda written: any(best in each.positions for each in places(layer.sequence, written, "is"))  # noqa: E731
        answer = Answer(places(layer.sequence, str(best), "is")[0].name, is_named, row[best])
        return Measured(f"the token at which neuron {chosen.neuron} of {layer.where} is most active", answer)
    if chosen.token is None:
        neuron, place = layer.lists["neurons"][0], "at any token"
        value = max(layer.values[0], key=abs)
    else:
        at, name = token(layer.sequence, chosen.token, "token")
        neuron, place, value = layer.lists["top"][at][0], f"at {name}", layer.lists["values"][at][0]
    answer = Answer(f"neuron {neuron}", lambda written: written == str(neuron), value)
    return Measured(f"the most active neuron of {layer.where} {place}", answer)


PLACE = ("stack", "layer")
MEASURES: dict[str, Measure[Any]] = {
    "activation": Measure(
        "The activation of `neuron` at `token`.", _activation, needs=("neuron", "token"), takes=PLACE
    ),
    STRONGEST: Measure(
        "With `token`, the neuron that is most active there; with `neuron`, the token at which it is most active; with "
        "neither, the most active neuron of the layer. Signs do not count.",
        _strongest,
        takes=("neuron", "token", *PLACE),
        answers=True,
    ),
}
"""The measures of the activations view."""
