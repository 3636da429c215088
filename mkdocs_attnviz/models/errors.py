"""Why a model cannot be used: exceptions with sentences for the author, and what the errors of libraries say."""

from __future__ import annotations

import re

from mkdocs_attnviz.block.problem import Problem, trace

LONGEST = 400
"""The most characters that are repeated of a library's message."""

ADVICE = re.compile(r"\s*Checkout '\S*' for available files\.?|\x1b\[[0-9;]*m|\b\w+(Error|Exception): ")
"""What libraries say for their own users: where on the hub a file of this machine would be, colours, exceptions."""


SAYING_NOTHING = ("Assertion", "Attribute", "Error", "Exception", "Index", "Key", "Os", "Runtime", "Type", "Value")
"""Words in exceptions' names that tell an author nothing."""


class Unusable(Exception):
    """The model cannot be used; the message is for the author."""

    def __init__(self, message: str, key: str = "model", detail: str = "") -> None:
        super().__init__(message)
        self.key = key
        """The key of the block that names the model, or asks for what it has not."""
        self.detail = detail
        """The traceback of what a library raised, where that exception itself is not kept."""

    @property
    def problem(self) -> Problem:
        """The record of it, with the traceback of what a library raised, if one did."""
        detail = self.detail or (trace(self) if self.__cause__ is not None else "")
        return Problem("model", self.key, str(self), detail)


class Lacking(Unusable):
    """It has not what one view needs; others may do with it."""


class TooLarge(Unusable):
    """It does not fit into memory as it is now."""


def said(error: BaseException, longest: int = LONGEST) -> str:
    """Return what an exception says, on one line and without the names of Python's exceptions."""
    text = " ".join(ADVICE.sub("", str(error)).split())
    if isinstance(error, KeyError):
        text = f"there is no {text}"
    if not text:
        text = _without_words(error)
    if len(text) > longest:
        text = f"{text[:longest].rpartition(' ')[0]} …"
    return text.removesuffix(".")


def _without_words(error: BaseException) -> str:
    """Return the words in an exception's name, of one that says nothing: NotImplementedError is 'not implemented'."""
    words = re.findall(r"[A-Z][a-z]+", type(error).__name__)
    kept = [word.lower() for word in words if word not in SAYING_NOTHING]
    return " ".join(kept) or "no reason is given"
