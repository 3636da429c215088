"""The settings of a host without a site, which is Python-Markdown. Commands read them where Python-Markdown is not
installed, too: a site of Sphinx has the same settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from mkdocs_attnviz.settings import Settings

EXTENSION = "mkdocs_attnviz"
"""The name of our Markdown extension in a configuration."""


class MarkdownSettings(Settings):
    """The settings of a site, and those for a host without a site."""

    base_dir: str = Field(".", description="Folder that relative directories start from.")
    assets_dir: str = Field("", description="Folder for script and data; empty: inside the page.")
    assets_url: str = Field(
        "",
        description="URL of that folder, as pages refer to it; in Zensical a relative one starts at the site's root.",
    )
    strict: bool = Field(
        False, description="Raise an exception for a block that cannot be drawn, or a claim that does not hold."
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MarkdownSettings:
        """Return the settings with these values, like `read`. Unknown names are reported separately from wrong values.

        Raises:
            KeyError: if there is no such setting.
            SettingsError: if a value is not allowed.
        """
        for name in values:
            if name not in cls.model_fields:
                raise KeyError(f"mkdocs_attnviz has no setting {name!r}; it has {', '.join(cls.model_fields)}")
        settings = cls.read(dict(values))
        assert isinstance(settings, cls)  # noqa: S101 — `read` says only that it gives `Settings`
        return settings


def settings_of_fence(fence: Mapping[str, Any]) -> MarkdownSettings | None:
    """Return the settings of a custom fence of SuperFences if its formatter is ours, otherwise None."""
    settings = getattr(fence.get("format"), "settings", None)
    return settings if isinstance(settings, MarkdownSettings) else None
