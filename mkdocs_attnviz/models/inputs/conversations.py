"""The text that a model's chat template makes of a conversation, independent of today's date."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any, NamedTuple

from transformers.utils import chat_template_utils

from mkdocs_attnviz.block.defaults import TODAY

MARK = "\N{ASTERISM}"
"""The content of a system message whose place in a text is looked for."""


class Turn(NamedTuple):
    """The turn of one speaker in the text of a conversation."""

    role: str
    start: int
    """The character at which it begins; the template's own markup of a turn belongs to it."""


def apply_chat_template(tokenizer: Any, inputs: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the text, and the date that the template got, or None if it did not ask for today's.

    Raises:
        Exception: the template raised it.
    """
    day = inputs.get("chat_date") or TODAY
    with _on(day) as asked:
        text = tokenizer.apply_chat_template(inputs["chat"], tokenize=False, add_generation_prompt="generate" in inputs)
    return str(text), day if asked else None


@contextmanager
def _on(day: str) -> Iterator[list[str]]:
    """Run templates on a fixed date inside the `with` block; Jinja's `random` and `lipsum` draw the same each time.

    It yields a list that gets the date once a template asks for it. Transformers gives templates a function of its own
    that no caller can replace, so the clock that this function reads is replaced.
    """
    asked: list[str] = []

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Fixed:
            asked.append(day)
            return cls.fromisoformat(day).replace(tzinfo=tz)

    before, state = chat_template_utils.datetime, random.getstate()
    chat_template_utils.datetime = Fixed
    random.seed(0)
    try:
        yield asked
    finally:
        chat_template_utils.datetime = before
        random.setstate(state)


def turns(tokenizer: Any, inputs: Mapping[str, Any], text: str) -> list[Turn]:
    """Return the turns in the text of a conversation: the next one begins where the conversation without it ends.

    The list is empty if the template does not write a part of the conversation as a beginning of the whole.
    """
    chat = list(inputs["chat"])
    roles = [message["role"] for message in chat] + ["assistant"] * ("generate" in inputs)
    starts = [0]
    for count in range(1, len(roles)):
        before = _written(tokenizer, inputs, chat[:count])
        if before is None:
            return []
        starts.append(_common(before, text))
    if not all(one < other for one, other in pairwise(starts)):
        return []
    found = [Turn(role, start) for role, start in zip(roles, starts, strict=True)]
    end = 0 if roles[0] == "system" else _implied_system(tokenizer, inputs, text)
    return [Turn("system", 0), Turn(roles[0], end), *found[1:]] if end else found


def _written(tokenizer: Any, inputs: Mapping[str, Any], chat: list[Any]) -> str | None:
    """Return the text of these messages alone, or None if the template refuses them."""
    alone = {name: value for name, value in inputs.items() if name != "generate"}
    try:
        return apply_chat_template(tokenizer, {**alone, "chat": chat})[0]
    except Exception:  # the template may raise anything
        return None


def _common(one: str, other: str) -> int:
    """Return the number of characters that two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _implied_system(tokenizer: Any, inputs: Mapping[str, Any], text: str) -> int:
    """Return the character at which the system message ends that a template adds by itself; 0 if it adds none."""
    message = {"role": "system", "content": MARK}
    alone, whole = (_written(tokenizer, inputs, chat) for chat in ([message], [message, *inputs["chat"]]))
    if alone is None or whole is None or MARK not in alone or not whole.startswith(alone):
        return 0
    conversation, header = whole[len(alone) :], alone[: alone.index(MARK)]
    end = text.rfind(conversation) if conversation else -1
    return end if end > len(header) and text.startswith(header) else 0
