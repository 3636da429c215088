"""The text that a model's chat template makes of a conversation, independent of today's date."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any

from transformers.utils import chat_template_utils

from mkdocs_attnviz.block.defaults import TODAY


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
