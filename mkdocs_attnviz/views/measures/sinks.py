"""The measure of attention sinks: the share of a head's attention that its sink takes.

It is the mean over all tokens that attend. For the first token that is the importance score of Gu et al. (2025), "When
Attention Sink Emerges in Language Models: An Empirical View", section 3, and of their code (sail-sg/Attention-Sink,
`compute_attention_sink`): α₁ = 1/T · Σᵢ Aᵢ,₁. In a causal model this includes the first token, which can only attend to
itself. The heads view's measure of the first token is the same mean. Their score of a later token k is a mean over the
tokens from k on; the share of a sink of several tokens is their sum, and always a mean over all tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mkdocs_attnviz.block.claims import Selectors
from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.options import AttentionOptions
from mkdocs_attnviz.views.measure import Answer, Measure, Measured, Other
from mkdocs_attnviz.views.measures.stored_weights import Weights
from mkdocs_attnviz.views.token_places import places

SINK = "sink"
"""The name of the measure."""
TWO_NUMBERS = re.compile(r"\s*(\d+)\s*[·,.\-]\s*(\d+)\s*")


def _share(block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors) -> Measured:
    """Return the sink's share of a head's attention, or of the attention of the token `from`.

    Raises:
        WrongValue: the claim names no head and the figure shows several.
    """
    weights = Weights(block, options, entry, chosen, "weight")
    head = weights.head
    if head is None:
        raise WrongValue("expect", "A claim about a sink names a `head`, unless the figure shows only one.")
    rows, of_whom = [*range(len(weights.rows["tokens"]))], ""
    if chosen.from_ is not None:
        start = max(
            places(weights.rows, chosen.from_, "from"),
            key=lambda place: weights.sink_share(weights.layer, head, place.positions).value,
        )
        rows, of_whom = [*start.positions], f" of {start.name}"
    found = weights.sink_share(weights.layer, head, rows)

    def others() -> Iterator[Other]:
        """Yield the share of the sink in other heads."""
        for layer, other, distance in weights.everywhere():
            yield Other(weights.where(layer, other), weights.sink_share(layer, other, rows).value, distance)

    subject = f"the share of the attention{of_whom} that goes to the sink in {weights.where(weights.layer, head)}"
    return Measured(subject, found.value, found.low, found.high, others=others)


def strongest_sink(block: Block, options: AttentionOptions, entry: Entry, chosen: Selectors) -> Measured:
    """Return the head whose sink has the largest share, of a layer or of all.

    Raises:
        WrongValue: the claim names a token or a head.
    """
    if chosen.from_ is not None or chosen.to is not None or chosen.head is not None:
        raise WrongValue("expect", "`strongest` with `measure: sink` looks for a head; it takes `stack` and `layer`.")
    weights = Weights(block, options, entry, chosen, "weight")
    rows = range(len(weights.rows["tokens"]))

    def answer(layers: list[int]) -> Answer:
        """Return the head with the largest share. Heads whose stored shares are equal are all accepted."""
        shares = {
            (layer, head): weights.sink_share(layer, head, rows).value
            for layer in layers
            for head in range(weights.layers[layer]["heads"])
        }
        most = max(shares.values())
        best = [place for place, share in shares.items() if share == most]
        layer, head = best[0]

        def is_named(text: str) -> bool:
            if both := TWO_NUMBERS.fullmatch(text):
                return (int(both[1]), int(both[2])) in best
            return len(layers) == 1 and text.isdecimal() and (layers[0], int(text)) in best

        return Answer(f"head {head}" if len(layers) == 1 else f"head {head} of layer {layer}", is_named, most)

    def others() -> Iterator[Other]:
        for layer in weights.layers:
            if layer != chosen.layer:
                yield Other(f"in {weights.where(layer, None)}", answer([layer]), 1)

    layers = [*weights.layers] if chosen.layer is None else [weights.layer]
    where = "" if chosen.layer is None else f" of {weights.where(weights.layer, None)}"
    return Measured(f"the head{where} whose sink has the largest share", answer(layers), others=others)


SINK_MEASURE: Measure[Any] = Measure(
    "The share of a head's attention that goes to the sink (`sink_tokens`): the mean over all tokens, as in Gu et al. "
    "2025; with `from`, that of one token. A claim names it: `measure: sink`.",
    _share,
    takes=("stack", "layer", "head", "from"),
    must_be_named=True,
)
