"""The columns of a stack that are attention sinks.

A sink takes attention that has nowhere else to go. In a causal model it is the first token, whether or not that begins
every text (Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks"). In other models it is the
special tokens, such as [CLS] and [SEP] (Clark et al. 2019, section 3.2), and in a model that has learned a sink of its
own (gpt-oss), the column of that sink. An author can name other tokens (`sink_tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.measure import Untestable
from mkdocs_attnviz.views.token_places import places

FADED = 0.15
"""The opacity of what is drawn of a faded sink, as a share of its usual one; `attention/scene.ts` has the same."""
LEARNED = "+sink"
"""The end of the name of a sequence whose last token is a learned sink."""
IN_PLACE_OF_WORDS = ("mask", "unk")
"""The parts of the names of special tokens that stand for words of the text."""


def sink_columns(block: Block, names: Sequence[str] | None, entry: Entry, stack: str) -> list[int]:
    """Return the positions of a stack's sink tokens, in ascending order. `names` are those of `sink_tokens`.

    Raises:
        BlockError: no stack has one of the tokens that the author names.
    """
    if names is not None:
        return sorted({at for name in names for at in _named(block, name, entry, stack)})
    meta = entry.meta["stacks"][stack]
    cols = entry.meta["sequences"][meta["cols"]]
    if meta["cols"].endswith(LEARNED):
        return [len(cols["tokens"]) - 1]
    special = [] if meta["causal"] else cols.get("special") or []
    return [at for at in special if not _stands_for_a_word(cols["tokens"][at])] or [0]


def _stands_for_a_word(token: str) -> bool:
    """Return whether a special token is a mask or an unknown word."""
    return any(part in token.lower() for part in IN_PLACE_OF_WORDS)


def _named(block: Block, name: str, entry: Entry, stack: str) -> list[int]:
    """Return the positions of a token that an author names; none if only another stack has it.

    Raises:
        BlockError: no stack has it.
    """
    found: dict[str, list[int]] = {}
    fault = ""
    for other, meta in entry.meta["stacks"].items():
        try:
            occurrences = places(entry.meta["sequences"][meta["cols"]], name, "sink_tokens")
            found[other] = [at for place in occurrences for at in place.positions]
        except Untestable as error:
            fault = fault or str(error)
    if not found:
        raise block.wrong("sink_tokens", fault)
    return found.get(stack, [])
