"""The texts of a corpus, streamed through a model in batches.

A capture that reads many texts declares `corpus=True` and gets a `Corpus` as `context.corpus`. It hands `stream` a
function of one batch, and adds up what that function returns:

    def capture(context):
        total = 0.0
        for loss in context.corpus.stream(lambda batch: loss_of(context.loaded, batch)):
            total += loss
        return [Entry({"loss": total, **context.corpus.told()}, {})]

Only these results stay in memory. A batch is a list of `Reading`s of similar length; `collate(loaded, [reading.example
for reading in batch])` makes the model's input of it. If memory runs out, the function is called again with smaller
batches, so it must not change anything itself. A text that the model cannot read is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.errors import Unusable, costs_a_text, error_message
from mkdocs_attnviz.models.inputs.batches import batches
from mkdocs_attnviz.models.inputs.corpus_text import CorpusText
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading import memory
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.padding import padding_matters

T = TypeVar("T")
WINDOW = 1024
"""The number of texts that are tokenized together, so that texts of similar length can share a batch."""
LISTED = 20
"""The number of left-out texts that an entry lists; it counts all."""


@dataclass(frozen=True)
class Reading:
    """One text of a corpus as the model reads it."""

    number: int
    """Its place among the texts of the corpus, counted from 0."""
    source: CorpusText
    example: Example


@dataclass(frozen=True)
class _Failed:
    """The reason why a batch failed. The exception is not stored, since its frames hold tensors."""

    why: str
    memory: bool = False


class Corpus:
    """The texts of one request, and those of them that were left out.

    A request with a `text` is a corpus of one, which is never left out: its mistakes are raised. `tell` is called with
    the number of texts done and of all texts. `free_others` frees the memory of other models and returns whether there
    were any. `attention` tells whether the capture looks at attention weights.
    """

    def __init__(
        self,
        loaded: Loaded,
        inputs: Mapping[str, Any],
        max_tokens: int,
        batch_size: int,
        *,
        other: Loaded | None = None,
        attention: bool = True,
        tell: Callable[[int, int], None] = lambda done, texts: None,  # noqa: ARG005
        free_others: Callable[[], bool] = lambda: False,
    ) -> None:
        self.loaded, self.other, self.max_tokens, self.batch_size = loaded, other, max_tokens, batch_size
        self.attention, self.tell, self.free_others = attention, tell, free_others
        self.single = "corpus" not in inputs
        """True if there is one text, which stands in the block."""
        self._inputs = {name: value for name, value in inputs.items() if name != "corpus"}
        self.texts = (
            [CorpusText(inputs.get("text") or "")]
            if self.single
            else [CorpusText.from_json(text) for text in inputs["corpus"]["texts"]]
        )
        self.left_out: dict[int, str] = {}
        """The reasons why texts were left out, by their numbers."""

    @property
    def annotated(self) -> bool:
        """True if the words' heads and relations are known."""
        return self.texts[0].parse is not None

    def stream(self, measure: Callable[[Sequence[Reading]], T], numbers: Sequence[int] | None = None) -> Iterator[T]:
        """Yield what `measure` returns for each batch, of all texts or of those with these `numbers`.

        Raises:
            Unusable: the model cannot be used at all.
            WrongValue: none of the texts could be read, or the model fails on one in an unforeseen way.
        """
        wanted = range(len(self.texts)) if numbers is None else numbers
        done = 0
        for start in range(0, len(wanted), WINDOW):
            window = wanted[start : start + WINDOW]
            examples = self._read(window)
            done += len(window) - len(examples)
            for batch in batches(examples, self.batch_size, self.loaded):
                yield from self._measured(measure, batch)
                done += len(batch)
                self.tell(done, len(wanted))
        if wanted and all(number in self.left_out for number in wanted):
            first = self.left_out[wanted[0]]
            message = f"None of the corpus's {len(wanted)} texts could be read. The first: {first}"
            raise WrongValue("corpus", message)

    def told(self) -> dict[str, Any]:
        """Return the number of texts that were read, and those that were left out, for an entry's `meta`."""
        listed = sorted(self.left_out.items())[:LISTED]
        return {
            "texts": len(self.texts) - len(self.left_out),
            "left_out": [{"line": self.texts[number].line, "why": why} for number, why in listed],
            "left_out_count": len(self.left_out),
        }

    def _read(self, numbers: Sequence[int]) -> dict[int, Example]:
        """Return the tokens of texts by their numbers, without those that the model cannot read.

        Raises:
            WrongValue: a single text cannot be read, or the tokenizer fails on a text in an unforeseen way.
        """
        examples = {}
        for number in numbers:
            if number in self.left_out:
                continue
            inputs = self._inputs if self.single else self._inputs | {"text": self.texts[number].text}
            try:
                examples[number] = example(self.loaded, inputs, self.max_tokens, self.other)
            except WrongValue as error:
                self._leave_out(number, str(error), error)
            except BaseException as error:
                if not costs_a_text(error):
                    raise
                raise self._unforeseen(number, error) from error
        return examples

    def _leave_out(self, number: int, why: str, error: Exception | None = None) -> None:
        """Note why a text is left out.

        Raises:
            WrongValue: it is the only text.
        """
        if self.single:
            raise error or WrongValue("text", why)
        self.left_out[number] = why

    def _unforeseen(self, number: int, error: BaseException) -> WrongValue:
        """Return the error of a text on which the model or its tokenizer fails, with the text's line."""
        place = "this text" if self.single else f"the text in line {self.texts[number].line} of the corpus"
        key = "text" if self.single else "corpus"
        return WrongValue(key, f"The model failed on {place}: {error_message(error)}")

    def _measured(self, measure: Callable[[Sequence[Reading]], T], batch: dict[int, Example]) -> Iterator[T]:
        """Yield the results of one batch, which is split if the model must not see padding, or if the batch fails."""
        loaded = self.loaded
        if loaded.isolation.varies:
            loaded.batches = False
        if len(batch) > 1 and self._one_by_one(batch):
            for number in batch:
                yield from self._measured(measure, {number: batch[number]})
            return
        readings = [Reading(number, self.texts[number], example) for number, example in batch.items()]
        outcome = self._attempt(measure, readings)
        if isinstance(outcome, _Failed):
            yield from self._less(measure, batch, outcome)
        elif len(batch) > 1 and loaded.isolation.varies:  # it was found while the batch ran
            yield from self._measured(measure, batch)
        else:
            yield outcome

    def _one_by_one(self, batch: dict[int, Example]) -> bool:
        """Return whether the texts must run one by one, since padding changes what the model makes of them.

        Raises:
            Unusable: the model cannot be used at all.
        """
        if self.loaded.batches is None:
            try:
                matters = padding_matters(self.loaded, list(batch.values()), attention=self.attention)
            except Unusable:
                raise
            except Exception as error:  # if it is a text's fault, that text is found by running them one by one
                return not memory.ran_out(error)
            self.loaded.batches = None if matters is None else not matters
        return self.loaded.batches is False

    def _attempt(self, measure: Callable[[Sequence[Reading]], T], readings: Sequence[Reading]) -> T | _Failed:
        """Return the result of a batch, or why it failed.

        Raises:
            Unusable: the model cannot be used at all.
            WrongValue: it fails on a single text in an unforeseen way.
        """
        last = readings[-1]
        try:
            return measure(readings)
        except Unusable:
            raise
        except BaseException as error:
            if not costs_a_text(error):
                raise
            if isinstance(error, Exception) and memory.ran_out(error):
                return _Failed(memory.too_long(self.loaded, last.example, error), memory=True)
            if isinstance(error, WrongValue) or len(readings) > 1:
                return _Failed(str(error))
            raise self._unforeseen(last.number, error) from error

    def _less(
        self, measure: Callable[[Sequence[Reading]], T], batch: dict[int, Example], failed: _Failed
    ) -> Iterator[T]:
        """Yield the results of a failed batch in parts: halves if memory ran out, otherwise text by text."""
        if failed.memory:
            memory.free()
            if self.free_others():  # the same batch may fit into the freed memory
                yield from self._measured(measure, batch)
                return
        if len(batch) == 1:
            self._leave_out(next(iter(batch)), failed.why)
            return
        size = 1
        if failed.memory:
            size = (len(batch) + 1) // 2
            longest = max(len(example.text.ids) for example in batch.values())
            self.loaded.fits = min(size * longest**2, self.loaded.fits or size * longest**2)
        for part in batches(batch, size, self.loaded):
            yield from self._measured(measure, part)
