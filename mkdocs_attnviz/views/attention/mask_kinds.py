"""The kind of a mask, read from the mask itself: causal, a sliding window, chunks, a prefix, global tokens and so on.

The patterns have the names that papers and transformers give them: sliding windows (Beltagy et al. 2020, Longformer;
Jiang et al. 2023, Mistral), chunks (Llama 4), a prefix that is read in both directions (Raffel et al. 2020, T5), tokens
that all others see (global tokens, Longformer and BigBird).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from mkdocs_attnviz.views.attention.masks import Mask, Run

Rule = Callable[[int], Run]
"""A function from a row to the run of columns that it may attend to."""


@dataclass(frozen=True)
class Kind:
    """The kind of a mask."""

    name: str
    """A word for programs: `causal`, `sliding`, `chunked`, `bidirectional` and so on."""
    words: str
    """The kind in words, as they follow "layer 3: "."""
    window: int | None = None
    """The number of tokens of a window or a chunk, the token itself included."""


def kind_of(mask: Mask, *, one_sequence: bool) -> Kind:
    """Return the kind of a mask; `one_sequence` if a text attends to itself."""
    if not mask.pairs:
        return Kind("none", "no token may attend to any")
    never = _never(mask)
    if not one_sequence:
        return _cross(mask, never)
    note = "" if not never else f", {_tokens(len(never))} never attended to"
    for found in (_plain, _spans, _with_global):
        kind = found(mask, never)
        if kind is not None:
            return Kind(kind.name, kind.words + note, kind.window)
    return Kind("other", f"a pattern of its own, {mask.pairs:,} of {mask.rows * mask.cols:,} pairs")


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _never(mask: Mask) -> set[int]:
    """Return the columns that no row may attend to: padding, for example."""
    changes = [0] * (mask.cols + 1)
    for row in mask.runs:
        for start, end in row:
            changes[start] += 1
            changes[end] -= 1
    never, depth = set(), 0
    for col in range(mask.cols):
        depth += changes[col]
        if not depth:
            never.add(col)
    return never


def _cross(mask: Mask, never: set[int]) -> Kind:
    """Return the kind of a mask between two sequences."""
    full = [row for row in mask.runs if sum(end - start for start, end in row) == mask.cols - len(never)]
    note = f", {_tokens(len(never))} of the text never attended to" if never else ""
    if len(full) == mask.rows:
        return Kind("cross", f"cross-attention to all tokens of the text{note}")
    return Kind("other", f"cross-attention to a part of the text, {mask.pairs:,} of {mask.rows * mask.cols:,} pairs")


def _fits(mask: Mask, never: set[int], rule: Rule) -> bool:
    """Return whether each row may attend to the columns of its run, except those that none may attend to."""
    return all(row == _without(rule(number), never) for number, row in enumerate(mask.runs))


def _without(run: Run, never: set[int]) -> tuple[Run, ...]:
    """Return a run as the runs that remain without some columns."""
    start, end = run
    if not never:
        return ((start, end),) if start < end else ()
    kept: list[Run] = []
    for col in range(start, end):
        if col in never:
            continue
        if kept and kept[-1][1] == col:
            kept[-1] = kept[-1][0], col + 1
        else:
            kept.append((col, col + 1))
    return tuple(kept)


def _rules(count: int, first: list[Run], last: list[Run]) -> Iterator[tuple[Kind, Rule]]:
    """Yield the kinds that are one run a row, with their rules. The `first` and the `last` row tell sizes."""
    yield Kind("causal", "causal: all tokens before"), lambda row: (0, row + 1)
    yield Kind("bidirectional", "bidirectional: all tokens"), lambda _: (0, count)
    back, ahead = count - 1 - last[0][0], first[-1][1] - 1
    window = back + 1
    if 0 <= back < count - 1:
        words = "only itself" if window == 1 else f"sliding window of {_tokens(window)}"
        yield Kind("sliding", words, window), lambda row: (max(0, row - back), row + 1)
    if 0 <= back < count - 1 and 0 < ahead < count - 1:
        both = f"{back} before" if back == ahead else f"{back} before and {ahead} after"
        both = f"{back} before and after" if back == ahead else both
        yield (
            Kind("window", f"window of {_tokens(back + ahead + 1)} in both directions, {both}", back + ahead + 1),
            lambda row: (max(0, row - back), min(count, row + ahead + 1)),
        )


def _plain(mask: Mask, never: set[int]) -> Kind | None:
    """Return the kind of a mask that is one run a row, the same at each place: causal, a window, chunks."""
    first = next((list(row) for row in mask.runs if row), [])
    last = next((list(row) for row in reversed(mask.runs) if row), [])
    for kind, rule in _rules(mask.rows, first, last):
        if _fits(mask, never, rule):
            return kind
    size = _chunk(mask)
    if size is None or not 1 < size < mask.rows:
        return None

    def start(row: int) -> int:
        return row // size * size

    if _fits(mask, never, lambda row: (start(row), row + 1)):
        return Kind("chunked", f"chunks of {_tokens(size)}, causal within each", size)
    if _fits(mask, never, lambda row: (start(row), min(mask.rows, start(row) + size))):
        return Kind("blocks", f"blocks of {_tokens(size)}, each in both directions", size)
    if _fits(mask, never, partial(_blocks, size, mask.rows)):
        return Kind("blocks", f"blocks of {_tokens(size)}, each with the blocks beside it", size)
    return None


def _chunk(mask: Mask) -> int | None:
    """Return the number of rows until the first change of where rows begin or end, if not each row changes it."""
    starts = [row[0][0] if row else 0 for row in mask.runs]
    ends = [row[-1][1] if row else 0 for row in mask.runs]
    changes = [
        next((row for row, (one, other) in enumerate(pairwise(edges), 1) if one != other), 0)
        for edges in (starts, ends)
    ]
    return min((row for row in changes if row > 1), default=None)


def _spans(mask: Mask, never: set[int]) -> Kind | None:
    """Return the kind of a mask with stretches that are read in both directions: a prefix, pictures, several texts."""
    if any(len(row) != 1 for row in mask.runs) or never:
        return None
    rows = [row[0] for row in mask.runs]
    spans: list[Run] = []
    row = 0
    while row < len(rows):
        end = max(row + 1, rows[row][1])
        if any(rows[inside][1] != end for inside in range(row, min(end, len(rows)))):
            return None
        if end > row + 1:
            spans.append((row, end))
        row = end
    starts = [start for start, _ in rows]
    if not any(starts):
        return _prefix(spans)
    own = all(starts[row] == start for start, end in spans for row in range(start, end))
    if own and sum(end - start for start, end in spans) + _alone(rows) == len(rows):
        several = len(spans) + _alone(rows)
        return Kind("blocks", f"{several} parts that do not see each other, each in both directions")
    causal = not spans and [row for row, start in enumerate(starts) if start == row]
    if causal and all(start == max(each for each in causal if each <= row) for row, start in enumerate(starts)):
        return Kind("blocks", f"{len(causal)} parts that do not see each other, each causal")
    first = {inside: start for start, end in spans for inside in range(start, end)}
    back = max((row - start for row, start in enumerate(starts) if row not in first), default=0)
    if spans and all(
        start in (max(0, row - back), min(max(0, row - back), first.get(row, row))) for row, start in enumerate(starts)
    ):
        return Kind("spans", f"sliding window of {_tokens(back + 1)}, with {_directions(spans)}", back + 1)
    return None


def _alone(rows: list[Run]) -> int:
    return sum(1 for row, run in enumerate(rows) if run == (row, row + 1))


def _prefix(spans: list[Run]) -> Kind | None:
    """Return the kind of a causal mask with stretches that are read in both directions."""
    if len(spans) == 1 and spans[0][0] == 0:
        return Kind("prefix", f"prefix of {_tokens(spans[0][1])} in both directions, causal after it", spans[0][1])
    return Kind("spans", f"causal, with {_directions(spans)}") if spans else None


def _directions(spans: list[Run]) -> str:
    size = sum(end - start for start, end in spans)
    stretches = "a stretch" if len(spans) == 1 else f"{len(spans)} stretches"
    return f"{stretches} of {_tokens(size)} in both directions"


def _with_global(mask: Mask, never: set[int]) -> Kind | None:
    """Return the kind of a mask with tokens that all others may attend to, and perhaps tokens that see all."""
    free = mask.cols - len(never)
    seeing = {row for row, count in enumerate(mask.counts) if count == free}
    rest = [row for row in range(mask.rows) if row not in seeing]
    if not rest:
        return None
    for ahead in (True, False):
        seen = _seen_by_all(mask, rest, ahead=ahead)
        if not seen:
            continue
        local = Mask(
            tuple(() if row in seeing else _minus(mask.runs[row], seen) for row in range(mask.rows)), mask.cols
        )
        kind = _banded(local, [row for row in rest if row not in seen], seen | never, causal=not ahead)
        if kind is not None:
            tokens = "1 global token" if len(seen) == 1 else f"{len(seen)} global tokens"
            return Kind("global", f"{kind.words}, and {tokens}", kind.window)
    return None


def _seen_by_all(mask: Mask, rows: list[int], *, ahead: bool) -> set[int]:
    """Return the columns that all of some rows may attend to, or if not `ahead` all rows from the column on."""
    seen: set[int] = set()
    window = mask.runs[rows[-1]][-1:] if not ahead else ()  # the last row's own window tells nothing of global tokens
    for col in range(window[0][0] if window else mask.cols):
        readers = rows if ahead else [row for row in rows if row >= col]
        if len(readers) > 1 and all(mask.allows(row, col) for row in readers[:1] + readers[-1:] + readers):
            seen.add(col)
    return seen if len(seen) < mask.cols else set()


def _minus(row: tuple[Run, ...], cols: set[int]) -> tuple[Run, ...]:
    return tuple(part for run in row for part in _without(run, cols))


def _banded(mask: Mask, rows: list[int], without: set[int], *, causal: bool) -> Kind | None:
    """Return the kind of the band that remains in some rows without global tokens: a window, or blocks."""
    if not rows:
        return None
    reach = [(row - mask.runs[row][0][0], mask.runs[row][-1][1] - 1 - row) for row in rows if mask.runs[row]]
    back = max((before for before, _ in reach), default=0)
    ahead = 0 if causal else max((after for _, after in reach), default=0)
    count = mask.rows

    def fits(rule: Rule) -> bool:
        return all(mask.runs[row] == _without(rule(row), without) for row in rows)

    if fits(lambda row: (max(0, row - back), min(count, row + ahead + 1))):
        if not ahead:
            return Kind("sliding", f"sliding window of {_tokens(back + 1)}", back + 1)
        return Kind("window", f"window of {_tokens(back + ahead + 1)} in both directions", back + ahead + 1)
    for size in range(2, (count + 1) // 2 + 1):
        if fits(partial(_blocks, size, count)):
            return Kind("blocks", f"blocks of {_tokens(size)} with the blocks beside it", size)
    return None


def _blocks(size: int, count: int, row: int) -> Run:
    """Return the columns of a row's block and of the blocks beside it."""
    start = row // size * size
    return max(0, start - size), min(count, start + 2 * size)
