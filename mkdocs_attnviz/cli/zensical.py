"""The pages of a Zensical site, converted by Zensical's own function, for the command `attnviz`.

This module decides which parts of Zensical it uses: `parse_config`, `render` and the configuration that both share.
Some extensions (`macros`, `preview`, `mkdocstrings`) need the context that this function provides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs_attnviz.block.problem import trace
from mkdocs_attnviz.cli import front_matter
from mkdocs_attnviz.hosts.markdown_settings import EXTENSION, settings_of_fence
from mkdocs_attnviz.hosts.page import SourcePage, hosting


class NotRead(Exception):
    """An error that says why a site's own tool cannot read it, or one of its pages, here."""

    def __init__(self, message: str, detail: str = "") -> None:
        """Create the error. `detail` is the traceback of the tool's error."""
        super().__init__(message)
        self.detail = detail


def is_installed() -> bool:
    """Return whether Zensical can be imported here."""
    return find_spec("zensical") is not None


class ZensicalReader:
    """A converter of pages to HTML with placeholders for their blocks."""

    def __init__(self, config: Path) -> None:
        self.page = SourcePage()
        try:
            with redirect_stdout(sys.stderr):
                self.config: dict[str, Any] = import_module("zensical.config").parse_config(str(config.resolve()))
                self._render: Any = import_module("zensical.markdown.render").render
                spec: Any = import_module("pathspec").GitIgnoreSpec
        except Exception as error:  # its own errors, those of YAML and TOML, and those caused by wrong types
            raise NotRead(f"Zensical cannot read {config} here ({_line(error)})", trace(error)) from None
        left_out = [self.config.get(name) or "" for name in ("exclude_docs", "draft_docs")]
        self._left_out = spec.from_lines("\n".join(left_out).splitlines())
        if not self._has_us():
            self.config["markdown_extensions"].append(EXTENSION)

    def _has_us(self) -> bool:
        """Return whether the configuration already has our extension or our fence."""
        fences = self.config["mdx_configs"].get("pymdownx.superfences", {}).get("custom_fences") or []
        return EXTENSION in self.config["markdown_extensions"] or any(
            settings_of_fence(fence) is not None for fence in fences
        )

    def leaves_out(self, name: str) -> bool:
        """Return whether the configuration excludes this file in the folder of pages."""
        return bool(self._left_out.match_file(name))

    def read(self, text: str, name: str) -> tuple[str, Mapping[str, Any]]:
        """Return a page's HTML and its front matter.

        Raises:
            NotRead: if Zensical or one of its extensions fails.
        """
        body, meta = front_matter.divide(text)
        self.page.begin(name, text)
        url = name.removesuffix("index.md").removesuffix(".md").rstrip("/")
        try:
            with hosting(self.page), redirect_stdout(sys.stderr):
                converted = self._render(body, name, f"{url}/" if url else "", json.dumps(meta, default=str))
        except Exception as error:  # of whatever extension
            raise NotRead(f"Zensical cannot convert {name} here ({_line(error)})", trace(error)) from None
        return converted["content"], meta


def _line(error: Exception) -> str:
    """Return the last line of an error's message."""
    lines = str(error).strip().splitlines()
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
