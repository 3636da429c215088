"""The sentences that say what a figure ships where it cannot ship everything, and how an author ships more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.block.values import listed
from mkdocs_attnviz.models.reduction import GROUPS
from mkdocs_attnviz.views.attention.stored_layer import WHOLE, HeadsOfLayer, Way

WITHOUT = {
    "values": "It cannot weigh by values; “value_weighted: true” in the block ships what that needs.",
    "rollout": "It has no rollout; “across_layers: rollout” in the block ships it.",
    "other neurons": "It has queries and keys of the first layer alone; the block's key layer chooses another one.",
    "neurons": "It has no queries and keys; the block's key size ships them.",
}
"""The sentences about further data of layers that are left out."""


@dataclass
class Group:
    """Heads that are shipped in the same way."""

    heads: list[HeadsOfLayer]
    is_named: bool
    """True if the block names them."""
    way: Way = WHOLE
    missing: list[HeadsOfLayer] = field(default_factory=list)
    """The heads that are not shipped."""

    @property
    def is_limited(self) -> bool:
        """True if less is shipped than the entry has."""
        return bool(self.missing) or self.way != WHOLE

    @property
    def cost(self) -> int:
        """The number of deflated bytes that are shipped."""
        return sum(each.cost(self.way) for each in self.heads)


def words(size: int, first: Group, better: Group, rest: Group, without: Sequence[str], entry_size: int | None) -> str:
    """Return the sentences about the heads that are shown first or named, about those of other layers that are shipped
    in a better way than the rest, about the rest, and about the data that are left out, beginning with a space.
    `entry_size` is the size to which the entry was reduced, or None."""
    is_limited = first.is_limited or rest.is_limited or bool(without)
    other = "all other heads" if first.heads or better.heads else "all heads"
    if rest.missing:
        other = f"other heads of layers {listed({each.layer.number for each in rest.heads})}"
    told = [_told(first, _where(first.heads)), _told(better, _layers(better.heads, first)), _told(rest, other)]
    held = "; ".join(filter(None, told)) or "no head"
    limit = f"To keep to {byte_sizes.shown(size)}, the" if is_limited else "The"
    sentences = [f" {limit} page has {held}."]
    if entry_size is not None:
        sentences.append(f"Its cache entry was reduced to at most {byte_sizes.shown(entry_size)} (max_entry_size).")
    missing = [*first.missing, *rest.missing]
    if missing:
        numbers = listed({each.layer.number for each in missing})
        plural = "s" if len(missing) > 1 else ""
        sentences.append(f"Of layer{plural} {numbers} it has the overview alone.")
    sentences += [WITHOUT[name] for name in without]
    if is_limited:
        sentences.append("The block's keys layer and heads ship heads whole; size ships more.")
    return " ".join(sentences)


def _where(heads: Sequence[HeadsOfLayer]) -> str:
    """Return the names of heads: `head 3 of layer 5`."""
    if not heads:
        return ""
    layers = listed({each.layer.number for each in heads})
    numbers = {head for each in heads for head in each.heads}
    which = f"head{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
    return f"{which} of layer{'s' if len(heads) > 1 else ''} {layers}"


def _layers(heads: Sequence[HeadsOfLayer], first: Group) -> str:
    """Return the names of layers: `other heads of layers 0 to 7`."""
    numbers = {each.layer.number for each in heads}
    return f"{'other ' if first.heads else ''}heads of layer{'s' if len(numbers) > 1 else ''} {listed(numbers)}"


def _told(group: Group, which: str) -> str:
    """Return the phrase about a group of heads."""
    if not group.heads:
        return ""
    way = group.way
    shares = [share for each in group.heads for share in each.kept(way)]
    share = f"{100 * fmean(shares):.0f}% of their weight"
    for each in group.heads:
        each.forget()
    stored = [each.layer for each in group.heads]
    if (way.groups is not None and stored[0].groups) or not any(layer.is_dense for layer in stored):
        count = sum(GROUPS[: min(len(layer.groups) for layer in stored)][: way.groups])
        return (
            f"of {which} the {count} strongest weights of each row ({share})"
            if count > 1
            else (f"of {which} the strongest weight of each row ({share})")
        )
    table = HeadsOfLayer.table(way)
    if table is None:
        return f"{which} whole" if min(shares) == 1 else f"{which} as the cache has them ({share})"
    return f"{which} with {table.words} ({share})"
