"""Orders of sublayers that an author writes down: `sfsf`, or several with names and the losses of their models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import TEXT, Part, key

LETTERS = "sfcme"
"""Self-attention, feed-forward, cross-attention, state space, mixture of experts."""
ORDER = re.compile(rf"[{LETTERS}](\|?[{LETTERS}])*")
MOST = 1000
"""The largest number of sublayers in one order."""


def _order(value: str) -> str:
    if not ORDER.fullmatch(value) or len(value) > 2 * MOST:
        raise WrongValue(
            "sublayers",
            f"`sublayers` has the order {value[:60]!r}; its letters are {', '.join(LETTERS)}, at most {MOST:,}, with | "
            "between those that stand side by side.",
        )
    return value


def _as_orders(value: object) -> object:
    several = value if isinstance(value, list) else [value]
    return tuple({"order": order} if isinstance(order, str) else order for order in several)


class Order(Part):
    """One order of sublayers."""

    order: Annotated[str, AfterValidator(_order)] = key(
        "letters like sfsf: s, f, c, m and e, with | between those side by side", "The sublayers in running order."
    )
    name: str | None = key("a text", "How the strip is called.", default=None, min_length=1, max_length=100)
    losses: tuple[float, ...] | None = key(
        "a list of numbers",
        "The losses of models with this order, one for each run.",
        default=None,
        min_length=1,
        max_length=100,
    )

    def units(self) -> list[Sequence[str]]:
        """Return the letters in running order, those that stand side by side together: `s|fs` → [sf, s]."""
        return [unit.replace("|", "") for unit in re.findall(r"\w(?:\|\w)*", self.order)]


_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{ORDER.pattern}$"}
_MAPPING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "order": _SCHEMA,
        "name": {"type": TEXT},
        "losses": {"type": "array", "items": {"type": "number"}, "minItems": 1},
    },
    "required": ["order"],
    "additionalProperties": False,
}
Orders = Annotated[
    tuple[Order, ...],
    BeforeValidator(_as_orders),
    Field(min_length=1, max_length=100),
    WithJsonSchema({"anyOf": [_SCHEMA, {"type": "array", "items": {"anyOf": [_SCHEMA, _MAPPING]}, "minItems": 1}]}),
]
"""One order or several, each a text or a mapping."""
