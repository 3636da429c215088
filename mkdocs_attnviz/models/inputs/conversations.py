"""A conversation → the text that a model's chat template makes of it, the same on every day."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any

from transformers.utils import chat_template_utils

TODAY = "2024-07-26"
"""The day that templates are given where a block has no `chat_date`; Llama 3's template falls back to the same."""


def written_out(tokenizer: Any, inputs: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the text, and the day that the template was given if it asked for today's.

    Whatever the template itself raises goes on to the caller.
    """
    day = inputs.get("chat_date") or TODAY
    with _on(day) as asked:
        text = tokenizer.apply_chat_template(inputs["chat"], tokenize=False, add_generation_prompt="generate" in inputs)
    return str(text), day if asked else None


@contextmanager
def _on(day: str) -> Iterator[list[str]]:
    """While this lasts, templates run on that day, and Jinja's `random` and `lipsum` draw the same each time.

    Yields a list that has the day once a template has asked for it. Transformers gives templates a function of its own
    for that, and lets no caller replace it, so what is replaced is the clock that it reads.
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
