"""The type of a host's own logger."""

from __future__ import annotations

import logging
from typing import Any, Union

Log = Union[logging.Logger, "logging.LoggerAdapter[Any]"]  # no class of Python 3.10 takes a parameter here
"""A host's own logger: what is said there counts for its strict mode."""
MORE = 15
"""The level of tracebacks, between INFO and DEBUG: what Sphinx shows with one `-v`, and MkDocs too."""
