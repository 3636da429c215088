"""The measures of a head, by the names that blocks use, and the kinds of heads that thresholds of them tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from typing_extensions import NotRequired, TypedDict

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.attention.shared_keys import KeyGroup, common_groups

Values = Sequence[float | None]
"""A number for each head, layer by layer; None if the texts do not tell it."""

NAMES: Mapping[str, tuple[str, str]] = {
    "layer": ("layer", ""),
    "self": ("attention to itself", "share"),
    "previous": ("attention to the previous token", "share"),
    "next": ("attention to the next token", "share"),
    "first": ("attention to the first token", "share"),
    "special": ("attention to special tokens", "share"),
    "sink": ("attention to the sink", "share"),
    "cls": ("attention to [CLS]", "share"),
    "sep": ("attention to [SEP]", "share"),
    "punctuation": ("attention to punctuation", "share"),
    "entropy": ("entropy", "nats"),
    "entropy_cls": ("entropy of [CLS]", "nats"),
    "distance": ("mean distance", "tokens"),
    "induction": ("induction score", "score"),
    "duplicate": ("duplicate-token score", "score"),
    "previous_token": ("previous-token score", "score"),
}
"""Each measure's name for readers, and its unit."""
RELATION = "accuracy"
"""The unit of the measures that relations are."""
LABELS = {"next": 0.5, "previous": 0.5, "cls": 0.6, "sep": 0.6, "punctuation": 0.6, "first": 0.6, "entropy": 3.8}
"""The value above which a head has its label (Clark et al. 2019, their notebook); of several, the first one counts. A
decoder has no [CLS], and the same threshold is used for its first token."""
SINK = 0.3
"""The value above which a head has a sink, ε in Gu et al. (2025), "When Attention Sink Emerges in Language Models".

It is what their code passes for texts of 64 tokens (sail-sg/Attention-Sink, `eval_sink_open_source.py`). They count
heads in single texts; here it is compared with a head's mean over all texts.
"""
KINDS = ("next token", "previous token", "[CLS]", "[SEP]", "punctuation", "first token", "broad", "other")
"""The labels in the order of `LABELS`, and the kind of all other heads."""
OTHER = len(KINDS) - 1


class Measure(TypedDict):
    """A number that every head has."""

    name: str
    title: str
    unit: str


class Reference(NamedTuple):
    """A value that a measure is compared with, and its name."""

    value: float
    name: str


class Direction(TypedDict):
    """The accuracy of every head in one direction, with the ends of a 95% interval."""

    accuracy: list[float]
    low: list[float]
    high: list[float]


class Relation(TypedDict):
    """A grammatical relation, and how often each head finds the other word."""

    name: str
    count: int
    offset: int
    baseline: float
    """The accuracy of always choosing the word at `offset`, the best of the fixed offsets."""
    forward: Direction
    """The accuracy from the dependent to its head."""
    backward: Direction
    """The accuracy from the head to the dependent."""


class Probe(TypedDict):
    """The accuracy of a parser that sees nothing but attention, beside that of the best fixed rule."""

    uas: float
    baseline: float
    sentences: NotRequired[int]


class HeadIndex:
    """The measures of all heads of one stack, as an entry has them. Heads are counted layer by layer."""

    def __init__(self, entry: Entry, stack: str) -> None:
        self._meta: Mapping[str, Any] = entry.meta["heads"]["stacks"][stack]
        self._names = _special_tokens(entry)
        self.layers: list[int] = self._meta["layers"]
        self.heads: list[int] = self._meta["heads"]
        self.uniform_entropy: float = self._meta["uniform_entropy"]
        self.map: list[list[float]] | None = self._meta.get("map")
        self.stress: float | None = self._meta.get("stress")
        self.probe: Probe | None = self._meta.get("probe")
        self.telling: list[list[int]] = _flat(self._meta["telling"])
        self.kv_heads: list[int] | None = self._meta.get("kv_heads")
        """The number of heads of keys of each layer; None if no heads share keys, or if the entry does not tell."""

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """The layer and the head of each head."""
        return [(layer, head) for layer, heads in zip(self.layers, self.heads, strict=True) for head in range(heads)]

    @cached_property
    def groups(self) -> list[KeyGroup]:
        """The heads that share keys, if they do so alike in all layers."""
        layers = zip(self.heads, self.kv_heads or self.heads, strict=True)
        shapes = [{"heads": heads, "kv_heads": shared} for heads, shared in layers]
        return common_groups(shapes, range(max(self.heads)))

    @cached_property
    def values(self) -> Mapping[str, Values]:
        """Every measure's values. A relation's value is a head's accuracy in the better direction."""
        stored = self._meta["measures"]
        measured: dict[str, Values] = {name: _flat(stored[name]) for name in NAMES if name in stored}
        if (sink := self._sink(measured)) is not None:
            measured["sink"] = sink
        better = {relation["name"]: _better(relation) for relation in self.relations}
        return {"layer": [layer for layer, _ in self.places], **measured, **better}

    def _sink(self, measured: Mapping[str, Values]) -> Values | None:
        """Return the attention to the sink (`views/attention/sinks.py`): the first token in a causal model, special
        tokens in another. Entries of earlier versions do not tell which it is; then a model with [CLS] is not causal.

        A learned sink is no token of the texts, so its share is not known.
        """
        if self._meta.get("learned_sink"):
            return None
        causal = self._meta.get("causal", "cls" not in measured)
        return measured.get("first") if causal else measured.get("special", measured.get("first"))

    @cached_property
    def measures(self) -> list[Measure]:
        """The measures that this model and these texts have."""
        named: list[Measure] = [
            {"name": name, "title": self._titled(NAMES[name][0]), "unit": NAMES[name][1]}
            for name in NAMES
            if name in self.values
        ]
        return named + [_measure_of(relation) for relation in self.relations]

    def measure(self, name: str) -> Measure:
        """Return the measure of this name."""
        return next(measure for measure in self.measures if measure["name"] == name)

    @cached_property
    def relations(self) -> list[Relation]:
        """The relations of the annotated texts, the most frequent one first."""
        found: Mapping[str, Any] = self._meta.get("relations") or {}
        named = [_relation(name, about) for name, about in found.items()]
        return sorted(named, key=lambda relation: -relation["count"])

    @cached_property
    def kinds(self) -> list[str]:
        """The names of the kinds that heads can be of."""
        return [self._titled(name) for name in KINDS]

    @cached_property
    def kind(self) -> list[int]:
        """The kind of each head, an index of `kinds`."""
        return [self._kind(head) for head in range(len(self.places))]

    def _kind(self, head: int) -> int:
        for number, (name, threshold) in enumerate(LABELS.items()):
            value = self.values[name][head] if name in self.values else None
            if value is not None and value > threshold and not (name == "first" and "cls" in self.values):
                return number
        return OTHER

    @cached_property
    def references(self) -> dict[str, Reference]:
        """The value that each measure is compared with, if there is one."""
        lines = {
            name: Reference(threshold, f"{self.kinds[number]} above {threshold}")
            for number, (name, threshold) in enumerate(LABELS.items())
        }
        lines["sink"] = Reference(SINK, f"a sink above {SINK}")
        lines["entropy"] = lines["entropy_cls"] = Reference(self.uniform_entropy, "ln n: even attention")
        lines |= {
            relation["name"]: Reference(relation["baseline"], f"always the word at {relation['offset']:+d}")
            for relation in self.relations
        }
        return {name: line for name, line in lines.items() if name in self.values}

    def best(self, relation: Relation) -> tuple[int, str]:
        """Return the head that finds most words of a relation, and the direction in which it does."""
        found = [(value, -head, way) for way in ("forward", "backward") for head, value in _accuracies(relation, way)]
        _, head, way = max(found)
        return -head, way

    def _titled(self, title: str) -> str:
        """Return a title with the special tokens' own names in place of BERT's."""
        for token, name in zip(("[CLS]", "[SEP]"), self._names, strict=True):
            title = title.replace(token, name)
        return title


def direction(relation: Relation, way: str) -> Direction:
    """Return the direction of a relation that is called `forward` or `backward`."""
    return relation["forward"] if way == "forward" else relation["backward"]


def _accuracies(relation: Relation, way: str) -> Iterator[tuple[int, float]]:
    """Yield each head and its accuracy in one direction."""
    return enumerate(direction(relation, way)["accuracy"])


def _relation(name: str, about: Mapping[str, Any]) -> Relation:
    """Return a relation as an entry has it, its numbers counted layer by layer."""
    return {
        "name": name,
        "count": about["count"],
        "offset": about["offset"],
        "baseline": about["baseline"],
        "forward": _direction(about["forward"]),
        "backward": _direction(about["backward"]),
    }


def _direction(about: Mapping[str, Any]) -> Direction:
    """Return one direction of a relation as an entry has it."""
    return {"accuracy": _flat(about["accuracy"]), "low": _flat(about["low"]), "high": _flat(about["high"])}


def _measure_of(relation: Relation) -> Measure:
    """Return the measure that a relation is."""
    return {"name": relation["name"], "title": f"finds {relation['name']}", "unit": RELATION}


def _better(relation: Relation) -> list[float]:
    """Return each head's accuracy in the direction in which it is better."""
    return list(map(max, relation["forward"]["accuracy"], relation["backward"]["accuracy"]))


def _flat(layers: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the values of all layers as one list."""
    return [value for layer in layers for value in layer]


def _special_tokens(entry: Entry) -> tuple[str, str]:
    """Return the tokens that begin and end a text, as the model calls them; BERT's if there are none."""
    for example in entry.meta.get("examples", []):
        for sequence in example["sequences"].values():
            tokens, special = sequence["tokens"], sequence["special"]
            if special and special[0] == 0 and special[-1] == len(tokens) - 1:
                return tokens[0], tokens[-1]
    return "[CLS]", "[SEP]"
