"""The sublayers view: a model as a strip of its sublayers in running order, as wide as their parameters.

It follows Press, Smith & Levy 2020, "Improving Transformer Models by Reordering their Sublayers". If asked for, it
shows how the loss changes when a sublayer is left out or two neighbours change places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.block.fields import Block
from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.orders import Orders
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import key
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.views import state_checks
from mkdocs_attnviz.views.drawing import Drawing
from mkdocs_attnviz.views.figure_data import Drawn
from mkdocs_attnviz.views.measures.sublayers import CALLED, MEASURES
from mkdocs_attnviz.views.svg.strips import height, picture, signed
from mkdocs_attnviz.views.svg.token_flow import PANEL
from mkdocs_attnviz.views.view import View, own_script

SUBLAYERS = Capture(
    "sublayers",
    1,
    run="mkdocs_attnviz.models.captures.sublayers:capture",
    attention=False,
    corpus=True,
    head_for=("ablate",),
    stored="losses to six digits",
)

Kind = Literal["s", "f", "c", "m", "e", "o"]
Change = Literal["zero", "swap"]
CHANGES: tuple[Change, ...] = ("zero", "swap")
ORDER = ("self", "encoder", "decoder")
"""The stacks, in the order in which they are drawn."""
SIZES = {"s": 4, "f": 8, "c": 4, "m": 6, "e": 8}
"""The parameters of a sublayer in an order that is written down, in units of d²: Press et al. for s, f and c, Mamba's
for m, and one expert of a mixture."""


def _unique(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in CHANGES if change in changes)


Changes = Annotated[
    tuple[Change, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else (value,)),
    AfterValidator(_unique),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(CHANGES)},
                {"type": "array", "items": {"enum": list(CHANGES)}, "minItems": 1},
            ]
        }
    ),
]


class Options(BlockOptions):
    """The block keys of the sublayers view."""

    sources: ClassVar[tuple[str, ...]] = ("sublayers",)

    sublayers: Orders | None = key(
        "letters like sfsf (s, f, c, m, e, and | between those side by side), or a list of such orders",
        "An order of sublayers, or a list of orders, in place of `model` and `text`. An order may be a mapping with "
        "`order`, `name` and `losses`, those of models that were trained with it.",
        default=None,
    )
    ablate: Changes | None = key(
        "zero, swap or a list of both",
        "How the loss changes when a sublayer is left out (`zero`: zeros in place of what it adds to the residual "
        "stream), or when it changes places with the next one (`swap`).",
        default=None,
    )
    loss_label: str | None = key(
        "a text",
        "What the `losses` of `sublayers` are, and their unit. Default: loss.",
        default=None,
        min_length=1,
        max_length=100,
    )

    @model_validator(mode="after")
    def _check_source(self) -> Options:
        if self.sublayers is not None and self.ablate is not None:
            raise WrongValue("ablate", "`ablate` needs a model; `sublayers` only names an order.")
        if self.loss_label is not None and not any(order.losses for order in self.sublayers or ()):
            raise WrongValue("loss_label", "`loss_label` belongs to `losses`, which no order of `sublayers` has.")
        return self

    def source(self) -> str | None:
        if self.sublayers is None:
            return None
        first = self.sublayers[0].name or self.sublayers[0].order
        more = len(self.sublayers) - 1
        return f"sublayers {first[:60]}" + (f" and {more} more" if more else "")

    def parameters(self) -> dict[str, Any]:
        return {} if self.ablate is None else {"ablate": list(self.ablate)}


class SublayerData(TypedDict):
    """One sublayer."""

    kind: Kind
    layer: int | None
    names: list[str]
    """The names of its modules in the model, those with most parameters first."""
    parameters: int
    shared: bool
    """True if an earlier sublayer has the same weights."""
    zero: NotRequired[float]
    """The change of the loss without it, in nats for a token."""


class UnitData(TypedDict):
    """Sublayers that stand side by side."""

    sublayers: list[SublayerData]
    swap: NotRequired[float | None]
    """The change of the loss if it changes places with the next unit; null if the two cannot."""


class StripData(TypedDict):
    """The sublayers of a model, of one of its stacks, or of an order that an author has written down."""

    name: str
    units: list[UnitData]
    losses: NotRequired[list[float]]
    """The losses of models that were trained with this order."""


class LossData(TypedDict):
    """The loss of the unchanged model."""

    value: float
    """Nats for a token."""
    tokens: int
    task: Literal["next", "masked", "target"]
    texts: NotRequired[int]
    """The number of texts of a corpus that were read."""
    left_out_count: NotRequired[int]
    """The number of texts that the model could not read."""


class SublayersState(TypedDict):
    """The part of the figure's state that a reader chooses."""

    selected: int | None
    """The sublayer that is held, counted over all strips."""
    change: Change


class SublayersFigure(Drawn):
    """Strips of sublayers."""

    strips: list[StripData]
    symbolic: bool
    """True if parameters are in units of d², since there is no model."""
    loss: LossData | None
    loss_label: str
    changes: list[Change]
    notes: list[str]
    initial: SublayersState


def entry_of(options: Options) -> Entry:
    """Return the entry of orders that stand in the block."""
    strips = [
        {
            "name": order.name or "",
            "units": [{"sublayers": [_written(kind) for kind in unit]} for unit in order.units()],
            **({} if order.losses is None else {"losses": list(order.losses)}),
        }
        for order in options.sublayers or ()
    ]
    return Entry({"written": strips}, {})


def _written(kind: str) -> SublayerData:
    return {"kind": kind, "layer": None, "names": [], "parameters": SIZES[kind], "shared": False}  # type: ignore[typeddict-item]


def draw(block: Block, options: Options, entry: Entry) -> Drawing:
    """Return the drawing of an entry of sublayers."""
    written, found = entry.meta.get("written"), entry.meta.get("strips", {})
    stacks = {name: found[name] for name in ORDER if name in found}
    named = len(stacks) > 1
    strips: list[StripData] = written or [
        {"name": name if named else "", "units": units} for name, units in stacks.items()
    ]
    data: SublayersFigure = {
        "view": "sublayers",
        "theme": block.theme,
        "strips": strips,
        "symbolic": written is not None,
        "loss": _loss(entry.meta.get("loss")),
        "loss_label": options.loss_label or "loss",
        "changes": list(options.ablate or ()),
        "notes": [] if written else list(_notes(entry.meta, strips)),
        "initial": {"selected": None, "change": (options.ablate or CHANGES)[0]},
    }
    room = height(strips, bars=bool(data["changes"]))
    return Drawing(data, picture(data, CALLED, block.theme), _sentence(block, data), room, PANEL, wraps=False)


def _loss(loss: Mapping[str, Any] | None) -> LossData | None:
    """Return the loss of an entry without the list of texts that were left out."""
    return None if loss is None else cast(LossData, {name: loss[name] for name in loss if name != "left_out"})


def _notes(meta: Mapping[str, Any], strips: Sequence[StripData]) -> Iterator[str]:
    """Yield sentences about what the strips do not show."""
    every = list(_sublayers(strips))
    if any(sublayer["kind"] == "o" for sublayer in every):
        yield "o: a sublayer that is none of these, as far as its modules tell"
    if any(sublayer["shared"] for sublayer in every):
        yield "layers share weights; each use is drawn"
    if meta["skips"]:
        yield "a connection that leads around several sublayers is not drawn"
    if meta["between"]:
        yield "matrices between two sublayers are not drawn"
    if meta["post_norm"] and meta["loss"]:
        yield "a norm follows each addition: without a sublayer it reads the stream alone"
    if meta["loss"]:
        if out := meta["loss"].get("left_out_count"):
            yield f"texts of the corpus that the model cannot read, and that are left out: {out:,}"
        yield {
            "next": "loss: cross entropy of each next token",
            "masked": "loss: pseudo-loss, each token masked in turn and predicted from all others",
            "target": "loss: cross entropy of each token of the target",
        }[meta["loss"]["task"]]


def _sublayers(strips: Sequence[StripData]) -> Iterator[SublayerData]:
    for strip in strips:
        for unit in strip["units"]:
            yield from unit["sublayers"]


def _letters(strip: StripData) -> str:
    """Return a strip as letters, with | between those side by side."""
    return "".join("|".join(sublayer["kind"] for sublayer in unit["sublayers"]) for unit in strip["units"])


def _sentence(block: Block, data: SublayersFigure) -> str:
    """Return a sentence that describes the strips, and the change of the loss that is largest."""
    strips = data["strips"]
    texts = [f"{strip['name']} {_letters(strip)}".strip() for strip in strips]
    shown = ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
    kinds = {sublayer["kind"] for sublayer in _sublayers(strips)}
    key_to_letters = ", ".join(f"{kind}: {CALLED[kind]}" for kind in CALLED if kind in kinds)
    whose = "" if data["symbolic"] else f" of {block.model}"
    return f"Sublayers{whose} in running order: {shown} ({key_to_letters}).{_effect(data)}{_runs(data)}"


def _effect(data: SublayersFigure) -> str:
    """Return a sentence about the sublayer without which the loss rises most, or an empty text."""
    known = [sublayer for sublayer in _sublayers(data["strips"]) if "zero" in sublayer]
    if data["loss"] is None:
        return ""
    texts = f" of {data['loss']['texts']:,} texts" if "texts" in data["loss"] else ""
    start = f" The loss over {data['loss']['tokens']:,} tokens{texts} is {data['loss']['value']:.3g} nats a token"
    if not known:
        return f"{start}."
    most = max(known, key=lambda sublayer: sublayer["zero"])
    layer = "" if most["layer"] is None else f" of layer {most['layer']}"
    return f"{start}; it changes most, by {signed(most['zero'])}, without the {CALLED[most['kind']]}{layer}."


def _runs(data: SublayersFigure) -> str:
    """Return a sentence about the lowest mean of the losses that the author gives, or an empty text."""
    means = [
        (sum(strip["losses"]) / len(strip["losses"]), strip["name"] or _letters(strip))
        for strip in data["strips"]
        if strip.get("losses")
    ]
    if not means:
        return ""
    mean, name = min(means)
    return f" The lowest mean {data['loss_label']} is {mean:.4g}, of {name}."


VIEW = View(
    "sublayers",
    Options,
    SUBLAYERS,
    draw,
    own_script("sublayers"),
    SublayersFigure,
    state=("selected", "change"),
    checks={"selected": state_checks.number, "change": state_checks.one_of(*CHANGES)},
    entry=entry_of,
    measures=MEASURES,
)
