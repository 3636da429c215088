"""The sublayers of a model in running order; if asked for, how the loss changes when one is left out or two neighbours
change places.

Press, Smith & Levy 2020, "Improving Transformer Models by Reordering their Sublayers"
(https://aclanthology.org/2020.acl-main.270/), train models whose sublayers stand in other orders. Of a model that
somebody else has trained, the change of its loss is an honest analogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus, Reading
from mkdocs_attnviz.models.encoding import round_digits
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.residual_changes import Elsewhere, Notes, exchanged, noting, without
from mkdocs_attnviz.models.probing.sublayers import Place, Sublayer, Sublayers, Unit, find_sublayers, run
from mkdocs_attnviz.models.probing.token_loss import Batch, batches

DIGITS = 6


def capture(context: Context) -> list[Entry]:
    """Return one entry for all texts; `parameters` may have `ablate`, a list of `zero` and `swap`.

    Raises:
        Unusable: the model's sublayers cannot be told, or it predicts no tokens.
    """
    loaded, corpus = context.loaded, context.corpus
    if corpus is None:
        raise ValueError("this capture reads a corpus")
    read = next(corpus.stream(_first))
    sublayers = find_sublayers(loaded, read)
    stacks = {
        name: [{"sublayers": [_described(sublayer) for sublayer in unit.sublayers]} for unit in units]
        for name, units in sublayers.units.items()
    }
    meta: dict[str, Any] = {
        "strips": stacks,
        "skips": sublayers.skips,
        "between": sublayers.between,
        "post_norm": sublayers.post_norm,
        "loss": None,
    }
    if corpus.single:
        meta["sequences"] = read.sequences()
    if ablate := context.parameters.get("ablate"):
        losses = _losses(loaded, corpus, sublayers, ablate)
        meta["loss"] = {"value": round_digits(losses.loss, DIGITS), "tokens": losses.tokens, "task": loaded.task}
        _add_changes(sublayers, losses, stacks)
        if not corpus.single:
            meta["loss"] |= corpus.told()
    return [Entry(meta, {})]


def _first(readings: Sequence[Reading]) -> Example:
    return readings[0].example


def _losses(loaded: Loaded, corpus: Corpus, sublayers: Sublayers, ablate: Sequence[str]) -> Losses:
    """Return the losses over all texts; only sums are kept."""

    def measure(readings: Sequence[Reading]) -> Losses:
        losses = Losses(loaded, sublayers, ablate)
        with torch.inference_mode():
            for batch in batches(loaded, [reading.example for reading in readings]):
                losses.add(batch)
        return losses

    whole = Losses(loaded, sublayers, ablate)
    for losses in corpus.stream(measure):
        whole.merge(losses)
    return whole


def _described(sublayer: Sublayer) -> dict[str, Any]:
    return {
        "kind": sublayer.kind,
        "layer": sublayer.layer,
        "names": sublayer.names,
        "parameters": sublayer.parameters,
        "shared": sublayer.shared,
    }


def _add_changes(sublayers: Sublayers, losses: Losses, stacks: dict[str, list[dict[str, Any]]]) -> None:
    """Add the changes of the loss to the described units and sublayers."""
    for stack, units in sublayers.units.items():
        for unit, described in zip(units, stacks[stack], strict=True):
            for sublayer, its in zip(unit.sublayers, described["sublayers"], strict=True):
                if sublayer.place in losses.zero:
                    its["zero"] = round_digits(losses.change(losses.zero[sublayer.place]), DIGITS)
    for (stack, number), total in losses.swap.items():
        change = None if total is None else round_digits(losses.change(total), DIGITS)
        stacks[stack][number]["swap"] = change


class Losses:
    """Running sums of the losses of a model with all its sublayers, without each, and with each two exchanged."""

    def __init__(self, loaded: Loaded, sublayers: Sublayers, ablate: Sequence[str]) -> None:
        self.loaded, self.sublayers, self.ablate = loaded, sublayers, ablate
        self.tokens, self.plain = 0, 0.0
        self.zero: dict[Place, float] = {}
        self.swap: dict[tuple[str, int], float | None] = {}
        """The losses by the stack and the number of the first of two units; None if they cannot be exchanged."""

    @property
    def loss(self) -> float:
        """The loss of the unchanged model, in nats for a token."""
        return self.plain / self.tokens

    def change(self, total: float) -> float:
        """Return how far a sum of losses is from that of the unchanged model, in nats for a token."""
        return (total - self.plain) / self.tokens

    def add(self, batch: Batch) -> None:
        """Run the model on a batch: once as it is, and once for each change.

        Raises:
            Unusable: it computes this text in another way than a short one.
        """
        outer = self.sublayers.outer
        self.tokens += batch.tokens
        noted = noting(outer) if "swap" in self.ablate else nullcontext(Notes())
        with noted as notes:
            self.plain += self._loss(batch)
        if "zero" in self.ablate:
            for _, _, sublayer in self.sublayers:
                place = sublayer.place
                self.zero[place] = self.zero.get(place, 0.0) + self._changed(batch, without(outer, place))
        if "swap" in self.ablate:
            for stack, number, first, second in self._neighbours():
                before = self.swap.setdefault((stack, number), 0.0)
                loss = None if before is None else self._exchanged(batch, notes, first, second)
                self.swap[stack, number] = None if before is None or loss is None else before + loss

    def merge(self, other: Losses) -> None:
        """Add the sums over other texts."""
        self.tokens += other.tokens
        self.plain += other.plain
        for place, total in other.zero.items():
            self.zero[place] = self.zero.get(place, 0.0) + total
        for pair, exchanged_total in other.swap.items():
            before = self.swap.setdefault(pair, 0.0)
            known = before is not None and exchanged_total is not None
            self.swap[pair] = (before or 0.0) + (exchanged_total or 0.0) if known else None

    def _neighbours(self) -> Iterator[tuple[str, int, Unit, Unit]]:
        for stack, units in self.sublayers.units.items():
            for number, (first, second) in enumerate(pairwise(units)):
                yield stack, number, first, second

    def _exchanged(self, batch: Batch, notes: Notes, first: Unit, second: Unit) -> float | None:
        try:
            with exchanged(self.sublayers.outer, notes, first, second):
                return self._loss(batch)
        except Exception:  # units of other widths, or code that reads its text a second time in another way
            return None

    def _changed(self, batch: Batch, change: AbstractContextManager[None]) -> float:
        try:
            with change:
                return self._loss(batch)
        except Elsewhere:
            ref, kind = self.loaded.ref, self.loaded.model.config.model_type
            raise Unusable(
                f"Model {ref.name!r} ({kind}) computes this text in another way than a short one, so that its "
                "sublayers cannot be left out.",
                "ablate",
            ) from None

    def _loss(self, batch: Batch) -> float:
        return batch.loss(run(self.loaded, batch.inputs))
