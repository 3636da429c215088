"""The interface of figures and alerts, by which they replace placeholders."""

from __future__ import annotations

from typing import Protocol

from mkdocs_attnviz.figure.assets import Assets


class Rendered(Protocol):
    """A figure or an alert that can replace a placeholder."""

    @property
    def wanted_id(self) -> str | None: ...
    @property
    def scripts(self) -> tuple[str, ...]:
        """The names of the scripts that it needs, in the order in which they are loaded."""

    def html(self, id: str, assets: Assets) -> str: ...
