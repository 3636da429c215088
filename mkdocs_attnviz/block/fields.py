"""Every key of a block, declared once, and the block as everything after `parse` sees it: frozen and valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from mkdocs_attnviz.block.claims import Claim
from mkdocs_attnviz.block.defaults import TODAY
from mkdocs_attnviz.block.interventions import Intervention, combined
from mkdocs_attnviz.block.problem import BlockError, Problem
from mkdocs_attnviz.block.values import SIZES, Day, Generate, Message, Part, Size, key
from mkdocs_attnviz.publishing import printable

MAX_ID = 100  # characters
ID = r"^[A-Za-z][A-Za-z0-9_.-]*$"
BY_MODEL = (
    "model",
    "revision",
    "text",
    "text_pair",
    "text_target",
    "src_lang",
    "tgt_lang",
    "chat",
    "chat_date",
    "generate",
    "interventions",
    "corpus",
    "corpus_split",
    "max_texts",
)
"""The keys that say which model reads what, and how it is run."""
EITHER = {
    "chat": ("text", "text_pair", "text_target"),
    "chat_date": ("text",),
    "generate": ("text_pair", "text_target"),
    "corpus": ("text", "text_pair", "text_target", "chat", "chat_date", "generate"),
    "other": ("chat", "generate"),  # each model would read a template of its own, or what it has written itself
}
"""Keys that others exclude."""
BESIDE = {"corpus_split": "corpus", "max_texts": "corpus"}
"""Keys that have a meaning only beside another."""


class Named(NamedTuple):
    """A model as a block names it."""

    key: str
    """The block key that names this model: `model`, `tensors` or `other`."""
    name: str
    revision: str | None = None

    @property
    def revision_key(self) -> str:
        return "revision" if self.key == "model" else f"{self.key}_revision"


class Options(BaseModel):
    """The keys that one view adds to the block. Each view declares a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    sources: ClassVar[tuple[str, ...]] = ()
    """The keys that stand in place of a model and a text: the figure is drawn from their value alone."""

    def source(self) -> str | None:
        """Return what the figure is called that is drawn from such a key, or None if the block has none."""
        return None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the capture, as plain JSON. They become a part of the cache key."""
        return {}

    def inputs(self) -> dict[str, Any]:
        """Return the inputs of the model beside the block's own texts, as plain JSON."""
        return {}

    def second(self) -> Named | None:
        """A model beside the block's own, which the capture is to have in memory with it; it is named by `other`."""
        return None


class Block(BaseModel):
    """One valid block. Numbers of layers and heads count from 0, as in BertViz and transformers."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = key(
        "an alias of the site, a directory, a Hugging Face model id or package:NAME/dir",
        "The model: an alias from the site's `models` setting, a local directory (relative to the site's configuration "
        "file), a Hugging Face model id, or a directory inside an installed Python package (`package:NAME/dir`).",
        default="",
        min_length=1,
        max_length=500,
    )
    revision: str | None = key(
        "a branch, a tag or a commit of the model on the hub",
        "Branch, tag or commit of a model on the hub. Default: `main`.",
        default=None,
        min_length=1,
        max_length=200,
    )
    text: str = key("the text the model reads", "The text the model reads.", default="", pattern=r"\S")
    text_pair: str | None = key(
        "the second text of a sentence pair",
        "Second text of a sentence pair; the figure then gets a filter A→A, A→B, B→A, B→B.",
        default=None,
        pattern=r"\S",
    )
    text_target: str | None = key(
        "what an encoder–decoder model is to produce",
        "What an encoder–decoder model is made to produce (teacher forcing). Default: its own greedy output.",
        default=None,
        pattern=r"\S",
    )
    src_lang: str | None = key(
        "a language's code as the model's tokenizer has it, like deu_Latn or de_DE",
        "The language of `text`, for a model that translates between many (NLLB, mBART, M2M100). Default: what the "
        "model's files say.",
        default=None,
        pattern=r"^\w+$",
        max_length=40,
    )
    tgt_lang: str | None = key(
        "a language's code as the model's tokenizer has it, like eng_Latn or en_XX",
        "The language that such a model translates into. Default: what the model's files say.",
        default=None,
        pattern=r"^\w+$",
        max_length=40,
    )
    chat: tuple[Message, ...] | None = key(
        "a list of messages, each with `role` and `content`",
        "A conversation in place of `text`, written as the model's own chat template has it.",
        default=None,
        min_length=1,
        max_length=1000,
    )
    chat_date: Day | None = key(
        "a day like 2024-07-26",
        "The day that a chat template is given for today. Default: 2024-07-26, so that every build reads the same.",
        default=None,
    )
    generate: Generate | None = key(
        "what the model is to write, like {max_new_tokens: 20}",
        "The model continues the text, and the figure includes what it has written.",
        default=None,
    )
    interventions: tuple[Intervention, ...] | None = key(
        "a list of interventions, each with `layer` and `heads` or `neurons`",
        "Changes to the model while it runs; the figure shows the model with and without them.",
        default=None,
        min_length=1,
        max_length=1000,
    )
    corpus: str | None = key(
        "a .txt or .conllu file",
        "Many texts in place of `text`, for a view of many texts: a `.txt` file, or a `.conllu` file with the head and "
        "the relation of each word; relative to the site's configuration file.",
        default=None,
        pattern=r"\.(txt|conllu)$",
        max_length=500,
    )
    corpus_split: Literal["lines", "paragraphs"] | None = key(
        "lines or paragraphs",
        "What is one text of a `.txt` file: each line, or what stands between blank lines. Default: `lines`.",
        default=None,
    )
    max_texts: int | None = key(
        "a number from 1",
        "How many texts of the corpus are read, from its beginning. Default: all.",
        default=None,
        ge=1,
        le=10**7,
    )
    tensors: str | None = key(
        "a .safetensors file with weights of your own",
        "Own weights in place of `model` and `text`: a `.safetensors` file, relative to the site's configuration file.",
        default=None,
        pattern=r"\.safetensors$",
        max_length=500,
    )
    view: str = key("the name of a view", "How the tensors are drawn.", default="head")
    theme: Literal["auto", "light", "dark"] = key(
        "auto, light or dark",
        "`auto` follows the light/dark switch of the page.",
        default="auto",
    )
    state: str | None = key(
        "what a link to the figure has after `~`, like selected=left,2",
        "What is selected at first, as a link to the figure says it after `~`: `selected=left,2`.",
        default=None,
        pattern=r"^[a-z_]+=[^\s&]*(&[a-z_]+=[^\s&]*)*$",
        max_length=1000,
    )
    size: Size | None = key(
        SIZES,
        "How much the figure may add to the site. Beyond it, weights are reduced, those that the block names last, and "
        "the figure says so. Default: the setting `max_figure_size`.",
        default=None,
    )
    caption: Annotated[str, AfterValidator(printable)] | None = key(
        "a text", "Caption under the figure, as plain text.", default=None, min_length=1
    )
    id: str | None = key(
        "a letter followed by letters, digits, '-', '_' or '.'",
        "The figure's `id` in the page, to link to it. Default: `attnviz-1`, `attnviz-2`, … in page order.",
        default=None,
        pattern=ID,
        max_length=MAX_ID,
    )
    expect: tuple[Claim, ...] | None = key(
        "a list of claims, like [{layer: 2, head: 8, from: the, to: cat, at_least: 0.5}]",
        "Claims about the figure. Each build tests them; one that does not hold is a warning.",
        default=None,
        min_length=1,
        max_length=1000,
    )
    options: Options = Field(exclude=True)
    lines: Mapping[str, int] = Field(default_factory=dict, exclude=True)
    """The line of each key and of each mapping in a list (`expect.0`), counted from 0 within the body, for mistakes
    that are found later."""
    room: float | None = Field(default=None, exclude=True)
    """The number of deflated bytes of data for which `size` has room, or None if nobody has set it."""

    @property
    def subject(self) -> str:
        """The model or file that the figure is drawn from, as messages name it: `model 'minilm'`."""
        source = self.options.source()
        if source is not None:
            return source
        return f"model {self.model!r}" if self.tensors is None else f"file {self.tensors!r}"

    @property
    def models(self) -> list[Named]:
        """The models that the figure is drawn from: one, or one and the model it is compared with; or a file; or none,
        if the block's own key is drawn."""
        if self.options.source() is not None:
            return []
        if self.tensors is not None:
            return [Named("tensors", self.tensors)]
        second = self.options.second()
        return [Named("model", self.model, self.revision), *([] if second is None else [second])]

    @property
    def names(self) -> str:
        """The names of the models, as a part of a sentence."""
        return " and ".join(each.name for each in self.models) or self.subject

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs of the model and its settings of generation, as plain JSON, without those that are implied."""
        inputs = {
            "text": self.text if self.chat is None else None,
            "text_pair": self.text_pair,
            "text_target": self.text_target,
            "src_lang": self.src_lang,
            "tgt_lang": self.tgt_lang,
            "chat_date": None if self.chat_date == TODAY else self.chat_date,
            "chat": self.chat and [message.to_dict() for message in self.chat],
            "generate": self.generate and self.generate.to_dict(),
        }
        return {name: value for name, value in inputs.items() if value is not None} | self.options.inputs()

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The changes of the model, as plain JSON, in one form for all interventions that change the same."""
        return combined(self.interventions or ())

    def wrong(self, name: str, message: str) -> BlockError:
        """Return the error of a mistake in the value of key `name` that only the model could tell."""
        return self.told(Problem("block", name, message))

    def told(self, problem: Problem, number: int | None = None) -> BlockError:
        """Return the error of a problem, with the line of the key that is at fault, or of one `number` in its list."""
        line = self.lines.get(problem.key)
        return BlockError(problem, line if number is None else self.lines.get(f"{problem.key}.{number}", line))


def is_id(text: str) -> bool:
    """Return whether a figure may have this id."""
    return re.match(ID, text) is not None and len(text) <= MAX_ID


@cache
def fields_of(options: type[Options]) -> Mapping[str, FieldInfo]:
    """Return every key that a block of a view may have, by its name in the block."""
    common = {name: info for name, info in Block.model_fields.items() if not info.exclude}
    return common | dict(options.model_fields)


def wants_text(annotation: Any) -> bool:
    """Return whether a value of this type is a text, or may be one of several."""
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return False
    return annotation is str or origin is Literal or any(map(wants_text, get_args(annotation)))


def keys_of(part: type[Part]) -> dict[str, FieldInfo]:
    """Return the keys of a part of the block, by the names that an author writes."""
    return {info.alias or name: info for name, info in part.model_fields.items()}


def part_of(annotation: Any) -> type[Part] | None:
    """Return the part of the block that a value of this type is, or is a list of."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, Part):
        return annotation
    return next(filter(None, map(part_of, get_args(annotation))), None)
