"""The type of a host's own logger, and the level of tracebacks."""

from __future__ import annotations

import logging
from typing import Any, Union

Log = Union[logging.Logger, "logging.LoggerAdapter[Any]"]  # no class of Python 3.10 takes a parameter here
"""A host's own logger. Warnings logged here count in the host's strict mode."""
MORE = 15
"""The log level of tracebacks, between INFO and DEBUG. Sphinx and MkDocs show it with `-v`."""
