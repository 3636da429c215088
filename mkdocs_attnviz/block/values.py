"""The kinds of values that keys of a block have beside plain words and numbers: indices, messages, …"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.block.defaults import IMPLIED
from mkdocs_attnviz.block.problem import WrongValue


def key(expects: str, description: str, **more: Any) -> Any:
    """Declare a key of the block, or of a part of it: `expects` completes the sentence "it must be …"."""
    more.pop("strict", None)  # values come as texts, of which a strict number or boolean would take none
    return Field(description=description, json_schema_extra=Expects(expects), **more)


def expected(info: FieldInfo) -> str:
    """Return what completes the sentence "it must be …" of a key."""
    return str(info.json_schema_extra) if isinstance(info.json_schema_extra, Expects) else "something else"


class Expects(str):
    """A description of the values that a key accepts, kept where pydantic keeps an application's data of a field."""

    __slots__ = ()

    def __call__(self, schema: dict[str, Any]) -> None:
        """Leave the key's JSON Schema as it is."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _unique(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))


def _flag(value: object) -> object:
    return FLAGS.get(value.lower(), value) if isinstance(value, str) else value


FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""The words of YAML's for true and false."""
Flag = Annotated[bool, Strict(), BeforeValidator(_flag)]
"""True or false."""
Index = Annotated[int, Field(ge=0, le=10**6)]
Indices = Annotated[
    tuple[Index, ...],
    BeforeValidator(_as_tuple),
    AfterValidator(_unique),
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
SIZES = "a size like 10 MB or 500 kB, or unlimited"


def _size(value: object) -> int:
    size = None if isinstance(value, bool) else byte_sizes.read(value)
    if size is None:
        raise PydanticCustomError("size", "it must be " + SIZES)
    return size


Size = Annotated[
    int, BeforeValidator(_size), WithJsonSchema({"type": ["string", "number"], "pattern": r"^(\d|\.\d|unlimited)"})
]
"""A number of bytes, written as a text with a unit."""
TEXT = ["string", "number", "boolean"]
"""The JSON Schema types of a text in YAML: 12 and true are texts, too."""
Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": TEXT},
                {"type": "array", "items": {"type": TEXT}, "minItems": 1},
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


Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": TEXT, "format": "date"})]
"""A day of the calendar, as ISO 8601 writes it."""


class Part(BaseModel):
    """A mapping within a block."""

    called: ClassVar[str] = ""
    """The name of the part in a sentence; by default it is made of the name of the class."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, of what is given or has a default."""
        return self.model_dump(mode="json", exclude_none=True)


SAMPLING = ("temperature", "top_k", "top_p", "seed")
"""The settings of sampling, which have no effect without `do_sample`."""


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
    do_sample: Flag = key(
        "true or false",
        "Draw each token by its probability; otherwise take the most likely one.",
        default=False,
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, without what is implied anyway: equal requests are to have equal keys."""
        return {name: value for name, value in super().to_dict().items() if IMPLIED.get(name) != value}

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


def listed(numbers: Iterable[int]) -> str:
    """[0, 1, 2] → `0 to 2`; [0, 2] → `0, 2`."""
    known = sorted(numbers)
    if len(known) > 1 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]} to {known[-1]}"
    return ", ".join(map(str, known))
