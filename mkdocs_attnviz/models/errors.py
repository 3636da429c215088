"""Exceptions for models that cannot be used, with sentences for the author, and the messages of libraries' errors."""

from __future__ import annotations

import re

from mkdocs_attnviz.block.problem import Problem, trace

LONGEST = 400
"""The number of characters of a library's message that are repeated at most."""

ADVICE = re.compile(r"\s*Checkout '\S*' for available files\.?|\x1b\[[0-9;]*m|\b\w+(Error|Exception): ")
"""Parts of libraries' messages that help no author: a path on the hub, colours, names of exceptions."""


SAYING_NOTHING = ("Assertion", "Attribute", "Error", "Exception", "Index", "Key", "Os", "Runtime", "Type", "Value")
"""Words in exceptions' names that tell an author nothing."""


class Unusable(Exception):
    """A model that cannot be used; the message is for the author."""

    def __init__(self, message: str, key: str = "model", detail: str = "") -> None:
        super().__init__(message)
        self.key = key
        """The key of the block that names the model, or that asks for something the model does not have."""
        self.detail = detail
        """The traceback of a library's exception, if the exception itself is not kept."""

    @property
    def problem(self) -> Problem:
        """The record of this error, with the traceback of a library's exception if there was one."""
        detail = self.detail or (trace(self) if self.__cause__ is not None else "")
        return Problem("model", self.key, str(self), detail)


class Lacking(Unusable):
    """A model that lacks what one view needs; other views may still show it."""


class TooLarge(Unusable):
    """A model that does not fit into memory."""


def error_message(error: BaseException, longest: int = LONGEST) -> str:
    """Return an exception's message on one line, without the names of Python's exceptions."""
    text = " ".join(ADVICE.sub("", str(error)).split())
    if isinstance(error, KeyError):
        text = f"there is no {text}"
    if not text:
        text = _without_words(error)
    if len(text) > longest:
        text = f"{text[:longest].rpartition(' ')[0]} …"
    return text.removesuffix(".")


def _without_words(error: BaseException) -> str:
    """Return the words in the name of an exception without a message: "not implemented" for NotImplementedError."""
    words = re.findall(r"[A-Z][a-z]+", type(error).__name__)
    telling = [word.lower() for word in words if word not in SAYING_NOTHING]
    return " ".join(telling) or "no reason is given"


def blame(error: BaseException, cause: str) -> None:
    """Note what has raised an error, as it follows "The": `capture `package:function``."""
    vars(error)["attnviz_cause"] = cause


def blamed(error: BaseException) -> str:
    """Return what `blame` has noted; empty if nothing is."""
    return str(vars(error).get("attnviz_cause", ""))


def costs_a_text(error: BaseException) -> bool:
    """Return whether one text is at fault and the process is sound, as after an `Exception` or a panic in Rust."""
    return isinstance(error, Exception) or panicked(error)


def panicked(error: BaseException) -> bool:
    """Return whether the error is a panic in a library that is written in Rust, as tokenizers is."""
    return type(error).__name__ == "PanicException"


def too_long(tokens: int, limit: int, what: str = "text") -> str:
    """Return a sentence about a text with more tokens than the limit; '' if it has no more."""
    return f"The {what} has {tokens} tokens; `max_tokens` is {limit}." if tokens > limit else ""
