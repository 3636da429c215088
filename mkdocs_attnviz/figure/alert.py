"""Warnings about blocks, and the alerts that stand in a page in place of figures."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.publishing import printable

ERROR_STYLE = "border-inline-start:.25rem solid #d32f2f;padding:.75rem 1rem;margin:1em 0;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Warned:
    """A warning about a block, with its place: a claim that does not hold, or an alert."""

    source: Source
    error: BlockError

    @property
    def message(self) -> str:
        """The message, after the place of the error."""
        where = self.source.where(self.error)
        return f"{where}: {self.error.message}" if where else self.error.message


@dataclass(frozen=True)
class Alert(Warned):
    """The message in the page in place of a block that could not be drawn."""

    wanted_id: str | None = None
    scripts: tuple[str, ...] = ()
    published: str = ""
    """The message without private information, for the page; empty if it is the message itself."""

    @property
    def shown(self) -> str:
        """The message for the page, without the place of the error."""
        return printable(self.published or self.error.message)

    def html(self, id: str, assets: Assets) -> str:  # noqa: ARG002
        """Return the HTML of the alert."""
        where = html.escape(printable(self.source.where(self.error)))
        place = f" <small>({where})</small>" if where else ""
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.shown))
        return (
            f'<div class="attnviz-error" role="alert" id="{html.escape(id)}" style="{ERROR_STYLE}">'
            f'<p dir="ltr" style="margin:0"><strong>This attention block could not be drawn.</strong> '
            f"{message}{place}</p></div>"
        )
