"""The kinds of values that keys of a block have beside plain words and numbers: indices, messages, interventions, …"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    WithJsonSchema,
    model_validator,
)

from mkdocs_attnviz.block.problem import WrongValue


def key(expects: str, description: str, **more: Any) -> Any:
    """A key of the block, or of a part of it: `expects` completes the sentence "it must be …"."""
    return Field(description=description, json_schema_extra={"expects": expects}, **more)


def _unique(value: object) -> object:
    """`3` → `(3,)`, `[5, 3, 5]` → `(3, 5)`: order and repetition of numbers mean nothing."""
    numbers = value if isinstance(value, list) else [value]
    if all(type(number) is int for number in numbers):
        return tuple(sorted(set(numbers)))
    return tuple(numbers)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


Index = Annotated[StrictInt, Field(ge=0, le=10**6)]
Indices = Annotated[
    tuple[Index, ...],
    BeforeValidator(_unique),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            ]
        }
    ),
]
Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
            ]
        }
    ),
]
"""One text or several."""


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise WrongValue("chat_date", f"`chat_date` is {value!r:.60}; it must be a day like 2024-07-26.") from None


Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A day of the calendar, as ISO 8601 writes it."""


class Part(BaseModel):
    """A mapping within a block."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, of what is given or has a default."""
        return self.model_dump(mode="json", exclude_none=True)


SAMPLING = ("temperature", "top_k", "top_p", "seed")
"""What says how tokens are drawn, which nothing does without `do_sample`."""


class Generate(Part):
    """The way a model continues a text, by the names of transformers' `generate`."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentSchemas": {
                name: {"required": ["do_sample"], "properties": {"do_sample": {"const": True}}} for name in SAMPLING
            }
        }
    )

    max_new_tokens: int = key(
        "a number from 1 to 1000",
        "How many tokens, at most; fewer if the model ends, or can read no more.",
        default=20,
        ge=1,
        le=1000,
    )
    min_new_tokens: int | None = key(
        "a number from 1 to 1000", "How many tokens, at least.", default=None, ge=1, le=1000
    )
    do_sample: bool = key(
        "true or false",
        "Draw each token by its probability; otherwise take the most likely one.",
        default=False,
        strict=True,
    )
    temperature: float | None = key(
        "a number above 0",
        "With `do_sample`: below 1, likely tokens become even likelier. Default: 1.",
        default=None,
        gt=0,
        le=100,
    )
    top_k: int | None = key(
        "a number from 1",
        "With `do_sample`: choose among this many of the likeliest tokens. Default: 50.",
        default=None,
        ge=1,
    )
    top_p: float | None = key(
        "a number above 0, up to 1",
        "With `do_sample`: choose among the likeliest tokens that together have this probability. Default: 1.",
        default=None,
        gt=0,
        le=1,
    )
    num_beams: int | None = key(
        "a number from 1 to 64", "Beam search with this many beams. Default: 1.", default=None, ge=1, le=64
    )
    repetition_penalty: float | None = key(
        "a number above 0",
        "Above 1, tokens that have already occurred become less likely. Default: 1.",
        default=None,
        gt=0,
        le=100,
    )
    seed: int | None = key(
        "a whole number",
        "With `do_sample`: the same seed draws the same tokens. Default: 0.",
        default=None,
        ge=0,
        lt=2**63,
    )

    @model_validator(mode="after")
    def _sampling(self) -> Generate:
        for name in SAMPLING:
            if getattr(self, name) is not None and not self.do_sample:
                raise WrongValue(
                    "generate", f"`generate` has `{name}`, which only has an effect with `do_sample: true`."
                )
        if self.min_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            raise WrongValue(
                "generate",
                f"`generate` has `min_new_tokens: {self.min_new_tokens}`, which is more than `max_new_tokens`, "
                f"{self.max_new_tokens}.",
            )
        return self


class Message(Part):
    """One message of a conversation."""

    role: str = key("a role that the model's chat template knows, like user", "Who speaks.", min_length=1)
    content: str = key("a text", "What is said.")


class Intervention(Part):
    """A change of some heads, or some neurons, of one layer."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["heads"]}, {"required": ["neurons"]}]})

    stack: Literal["self", "encoder", "decoder", "cross"] | None = key(
        "self, encoder, decoder or cross",
        "For an encoder–decoder model: in which attention the heads are, or in which stack the neurons.",
        default=None,
    )
    layer: Index = key("a layer's number, counted from 0", "The layer that is changed.")
    heads: Indices | None = key(
        "a list of heads' numbers, counted from 0", "The heads whose output is scaled.", default=None
    )
    neurons: Indices | None = key(
        "a list of neurons' numbers, counted from 0",
        "The neurons of the feed-forward layer whose activation is scaled.",
        default=None,
    )
    scale: float = key(
        "a number",
        "The factor: 0 takes them out of the model, 1 changes nothing, 2 doubles, −1 reverses the sign.",
        default=0.0,
        ge=-1000,
        le=1000,
    )

    @model_validator(mode="after")
    def _something(self) -> Intervention:
        if self.heads is None and self.neurons is None:
            raise WrongValue(
                "interventions", "An intervention names `heads`, `neurons`, or both; one of these has none."
            )
        if self.neurons is not None and self.stack == "cross":
            why = "An intervention names `neurons` of `stack: cross`, which has none; encoder and decoder have some."
            raise WrongValue("interventions", why)
        return self

    @property
    def words(self) -> str:
        """The change as it follows "the model".

        For example `without heads 0–3 of layer 1`, `with head 2 of layer 1 scaled by 2`.
        """
        changed = [
            _counted(what, numbers)
            for what, numbers in (("head", self.heads), ("neuron", self.neurons))
            if numbers is not None
        ]
        stack = "" if self.stack is None else f"{self.stack} "
        named = f"{' and '.join(changed)} of {stack}layer {self.layer}"
        return f"with {named} scaled by {self.scale:g}".replace("-", "−") if self.scale else f"without {named}"


def listed(numbers: Iterable[int]) -> str:
    """[0, 1, 2] → `0 to 2`; [0, 2] → `0, 2`."""
    known = sorted(numbers)
    if len(known) > 1 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]} to {known[-1]}"
    return ", ".join(map(str, known))


MOST_NAMED = 4


def words(interventions: Sequence[Intervention]) -> str:
    """Return what is changed in a model, as it follows "the model": `without head 1 of layer 0; 2 more changes`."""
    said = [each.words for each in interventions[:MOST_NAMED]]
    more = len(interventions) - len(said)
    return "; ".join([*said, f"{more} more change{'s' * (more > 1)}"] if more else said)


def _counted(what: str, numbers: Sequence[int]) -> str:
    """Return `head 3`, `heads 0–3 and 7`, or where that would be long `12 heads`."""
    if len(numbers) == 1:
        return f"{what} {numbers[0]}"
    runs = _runs(sorted(set(numbers)))
    if len(runs) > MOST_NAMED:
        return f"{len(numbers)} {what}s"
    return f"{what}s {' and '.join(filter(None, [', '.join(runs[:-1]), runs[-1]]))}"


def _runs(numbers: Sequence[int]) -> list[str]:
    """[0, 1, 2, 5, 6] → `0–2`, `5`, `6`: a dash stands for at least one number that is not written."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return [text for run in found for text in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run))]
