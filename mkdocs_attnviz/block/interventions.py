"""The changes to a model that a block asks for: as it writes them, as a request has them, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, model_validator

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Index, Indices, Part, key


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


def combined(interventions: Iterable[Intervention]) -> list[dict[str, Any]]:
    """Return what these change, in plain JSON that is the same for all that change the same.

    Their order means nothing, nor which heads stand together; what is named twice is scaled twice. `stack: self` is
    left out: a model that has this stack has no other.
    """
    factors: dict[tuple[str, int, str, int], float] = {}
    for each in interventions:
        stack = "" if each.stack in (None, "self") else str(each.stack)
        for what in ("heads", "neurons"):
            for number in getattr(each, what) or ():
                place = (stack, each.layer, what, number)
                factors[place] = factors.get(place, 1.0) * each.scale + 0.0  # −0 is 0
    changes: dict[tuple[str, int, float], dict[str, Any]] = {}
    for (stack, layer, what, number), scale in sorted(factors.items()):
        change = changes.setdefault((stack, layer, scale), {"stack": stack, "layer": layer, "scale": scale})
        change.setdefault(what, []).append(number)
    return [{name: value for name, value in change.items() if value != ""} for change in changes.values()]


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
