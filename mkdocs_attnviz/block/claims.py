"""The grammar of `expect`: claims about a figure, each with selectors that name one measure of its view, and one bound.

A view says which measures it has, and which selectors each takes (`views/measure.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, WithJsonSchema, model_validator

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import TEXT, Flag, Index, Part, key

EMBEDDINGS = "embeddings"
"""The word for the input of the first layer, in place of a layer's number."""
NUMBER = re.compile(r"([-−+]?)((?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(%?)", re.IGNORECASE)


def number_of(text: str) -> float | None:
    """Return the number that a text is, such as 0.5 or 50%; None if it is none."""
    found = NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    sign, digits, percent = found.groups()
    return (-1 if sign in ("-", "−") else 1) * float(digits) / (100 if percent else 1)


def precision_of(text: str) -> float:
    """Return half a step of the last digit of a number, such as 0.005 for 0.75: what a rounded value may differ by."""
    found = NUMBER.fullmatch(text.strip())
    assert found is not None, "only numbers have digits"  # noqa: S101
    digits, _, exponent = found[2].lower().partition("e")
    decimals = len(digits.partition(".")[2]) - int(exponent or 0) + 2 * bool(found[3])
    return 0.5 * 10.0**-decimals


def _number(value: object) -> object:
    found = number_of(value) if isinstance(value, str) else None
    return value if found is None else found


PERCENT: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[-−+]?[0-9.]+ ?%$"}]}
Number = Annotated[float, BeforeValidator(_number), WithJsonSchema(PERCENT)]
"""A number, or a percentage of 1."""
Layer = Annotated[
    Index | Literal["embeddings"],
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": EMBEDDINGS}]}),
]
Name = Annotated[str, WithJsonSchema({"type": TEXT, "pattern": r"\S"})]
"""A token or a place, as an author writes it."""
NUMBERED = "a layer's number, counted from 0, or embeddings"
NAMING = "a token: its text, its number, or text#2 for the second of several"


class Selectors(Part):
    """The selectors of a claim. Together they name one number or one token of the figure."""

    called: ClassVar[str] = "`strongest`"

    measure: str | None = key(
        "the name of a measure of the view", "What is measured, where the other keys leave it open.", default=None
    )
    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "For an encoder–decoder model: in which attention or stack. Default: the one shown at first.",
        default=None,
    )
    layer: Layer | None = key(NUMBERED, "The layer. Default: the one shown at first.", default=None)
    other_layer: Layer | None = key(NUMBERED, "The layer that `layer` is compared with.", default=None)
    head: Index | None = key("a head's number, counted from 0", "The head. Default: the one shown.", default=None)
    from_: Name | None = key(NAMING, "The token that attends.", default=None, alias="from")
    to: Name | None = key(NAMING, "The token that is attended to.", default=None)
    token: Name | None = key(
        NAMING,
        "The token that is predicted, that speaks for an output, or at which a neuron or a unit is active.",
        default=None,
    )
    position: Name | None = key(
        "a position, counted from 0, a token of the text, or last",
        "The place at which something is predicted, or the output that is explained. Default: as the figure begins.",
        default=None,
    )
    neuron: Index | None = key("a neuron's number, counted from 0", "The neuron.", default=None)
    part: Name | None = key(
        "a part of a layer, like cell or forget",
        "The part of the layer. Default: the one shown at first.",
        default=None,
    )
    unit: Index | None = key("a unit's number, counted from 0", "The unit. Default: the one shown.", default=None)
    sublayer: Literal["s", "f", "c", "m", "e", "o"] | None = key(
        "s, f, c, m, e or o", "The kind of a sublayer, by its letter in the figure.", default=None
    )
    expert: Index | None = key(
        "an expert's number, counted from 0",
        "The expert. Default: the one shown, or the one with most tokens.",
        default=None,
    )
    factor: int | None = key("a factor's number, counted from 1 as in the figure", "The factor.", default=None, ge=1)
    method: Name | None = key(
        "a method of the figure, or random",
        "The method of a figure that compares several; `random` stands for random orders.",
        default=None,
    )
    other_method: Name | None = key(
        "a method of the figure", "The method that `method` is compared with.", default=None
    )
    relation: str | None = key("the name of a relation, like det", "The grammatical relation.", default=None)
    unchanged: Flag = key(
        "true or false", "With `interventions`: measured in the model as it is, not as it is changed.", default=False
    )

    def given(self) -> dict[str, Any]:
        """Return the selectors that narrow a measure down, by the names that an author writes."""
        named = self.model_dump(by_alias=True, exclude_none=True, include=set(Selectors.model_fields))
        return {name: value for name, value in named.items() if name not in ("measure", "unchanged")}


BOUNDS = ("at_least", "at_most", "between", "is", "rank", "beats_baseline_by")


class Claim(Selectors):
    """A statement about the figure that every build tests: selectors and one bound."""

    called: ClassVar[str] = "a claim"
    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in BOUNDS]})

    strongest: Selectors | None = key(
        "a mapping of selectors, like {layer: 2, head: 8, from: mat}",
        "In place of selectors: the token, head, layer, neuron, unit, expert or factor with the largest value. What it "
        "is stands in `is`.",
        default=None,
    )
    at_least: Number | None = key("a number, or a percentage like 50%", "The least value.", default=None)
    at_most: Number | None = key("a number, or a percentage like 50%", "The largest value.", default=None)
    between: tuple[Number, Number] | None = key(
        "a list of two numbers, like [0.4, 0.5]", "The least and the largest value.", default=None
    )
    is_: Name | None = key(
        "a number, or with `strongest` a token or a number",
        "The value, rounded to as many digits as are written; with `strongest`, what is the strongest.",
        default=None,
        alias="is",
    )
    rank: int | None = key(
        "a number from 1", "The place among all, the largest first: `rank: 1` is the largest.", default=None, ge=1
    )
    beats_baseline_by: Number | None = key(
        "a number, or a percentage like 20%",
        "By how much the value exceeds that of the measure's baseline.",
        default=None,
    )

    @model_validator(mode="after")
    def _check(self) -> Claim:
        bounds = [name for name in BOUNDS if getattr(self, FIELDS.get(name, name)) is not None]
        if len(bounds) != 1:
            have = " and ".join(f"`{name}`" for name in bounds) or "none"
            raise WrongValue("expect", f"A claim has one of {', '.join(BOUNDS)}; this one has {have}.")
        if self.between is not None and self.between[0] > self.between[1]:
            least, most = self.between
            raise WrongValue("expect", f"`between` is [{least:g}, {most:g}]; the least value comes first.")
        if self.strongest is not None and bounds != ["is"]:
            raise WrongValue("expect", f"A claim with `strongest` says with `is` what is; this one has `{bounds[0]}`.")
        beside = [*self.given(), *(["measure"] if self.measure else [])]
        if self.strongest is not None and beside:
            raise WrongValue("expect", f"`{beside[0]}` stands beside `strongest`; it belongs into it.")
        return self

    @property
    def selectors(self) -> Selectors:
        """The selectors, wherever they stand."""
        return self if self.strongest is None else self.strongest

    @property
    def bound(self) -> str:
        """The name of the claim's bound."""
        return next(name for name in BOUNDS if getattr(self, FIELDS.get(name, name)) is not None)

    @property
    def written(self) -> str:
        """The claim in the author's own words: `{layer: 2, head: 8, from: the, to: cat, at_least: 0.5}`."""
        return _written(self.model_dump(by_alias=True, exclude_defaults=True))


FIELDS: Mapping[str, str] = {"is": "is_", "from": "from_"}
"""The fields of keys that are words of Python."""


def _written(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
