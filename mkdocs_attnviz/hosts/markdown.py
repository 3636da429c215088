"""Python-Markdown: claims `attention` fences, and fills them in at the end unless a larger host does that later.

Decides for itself: how a fence is claimed (through the SuperFences that is there, whatever the order of extensions;
else through one of its own that takes no other fence), and what is said of fences that cannot be read.
"""

from __future__ import annotations

import atexit
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor
from markdown.preprocessors import Preprocessor
from pymdownx.superfences import (
    CodeStash,
    SuperFencesBlockPreprocessor,
    SuperFencesCodeBlockProcessor,
    SuperFencesCodeExtension,
)

from mkdocs_attnviz.block import Source
from mkdocs_attnviz.figure import AssetFolder, Assets, placeholder
from mkdocs_attnviz.hosts.page import OPENING, SourcePage
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings

NAME = "attention"


class AttnvizExtension(Extension):
    """Settings are those of `Settings`; `base_dir` is the folder that relative directories start from.

    With `assets_dir` and `assets_url` script and data go into that folder, and pages refer to it under that
    URL; else a page holds everything itself.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.config = {
            name: [info.get_default(call_default_factory=True), info.description] for name, info in _SETTINGS.items()
        }
        self.config |= {
            "base_dir": [".", "Folder that relative directories start from."],
            "assets_dir": ["", "Folder for script and data; empty: inside the page."],
            "assets_url": ["", "URL of that folder, as pages refer to it."],
            "page": [None, "The page a larger host is rendering; that host then fills the placeholders itself."],
        }
        super().__init__()
        for name, value in kwargs.items():  # setConfig would turn texts into booleans where the default is one
            if name not in self.config:
                raise KeyError(f"mkdocs_attnviz has no setting {name!r}; it has {', '.join(self.config)}")
            self.config[name][0] = value
        self.page: SourcePage = self.getConfig("page") or SourcePage()

    def extendMarkdown(self, md: Markdown) -> None:
        md.registerExtension(self)
        # Just above `fenced_code_block` (25), which may be registered after us.
        md.preprocessors.register(ClaimFences(md, self), "attnviz", 25.5)
        md.preprocessors.register(FindUnclosed(md, self), "attnviz_unclosed", 24.5)
        if self.getConfig("page") is None:
            pipeline = _shared(self._settings().model_dump_json(), str(Path(self.getConfig("base_dir")).resolve()))
            md.postprocessors.register(FillPlaceholders(md, pipeline, self._assets()), "attnviz", -10)

    def placeholder(self, body: str, header: Mapping[str, str], problem: str | None = None) -> str:
        return placeholder(Source(body, dict(header), self.page.path, self.page.line_of(body), problem))

    def _settings(self) -> Settings:
        return Settings.read({name: self.getConfig(name) for name in _SETTINGS})

    def _assets(self) -> Assets:
        folder = self.getConfig("assets_dir")
        return AssetFolder(Path(folder), self.getConfig("assets_url") or folder) if folder else Assets()


_SETTINGS = Settings.model_fields


@cache
def _shared(settings: str, base: str) -> Pipeline:
    """One worker for all conversions of a process, however many Markdown instances there are."""
    pipeline = Pipeline(Settings.model_validate_json(settings), Path(base), logging.getLogger("mkdocs_attnviz"))
    atexit.register(pipeline.close)
    return pipeline


class ClaimFences(Preprocessor):
    """Before each conversion, since the processor of fences may have been registered after us, or be another by now."""

    def __init__(self, md: Markdown, extension: AttnvizExtension) -> None:
        super().__init__(md)
        self.extension = extension
        self._claimed: Any = None
        self._own: Any = None

    def run(self, lines: list[str]) -> list[str]:
        if self.extension.getConfig("page") is None:
            self.extension.page.begin(None, "\n".join(lines))
        there = "fenced_code_block" in self.md.preprocessors and self.md.preprocessors["fenced_code_block"]
        if isinstance(there, SuperFencesBlockPreprocessor):
            self._claim(there)
            return lines
        self._own = self._own or _only_ours(self.md)
        self._claim(self._own)
        return list(self._own.run(lines))

    def _claim(self, fences: Any) -> None:
        if self._claimed is not fences:
            claim(fences, self.extension)
            self._claimed = fences


def _only_ours(md: Markdown) -> Any:
    """SuperFences that sees every fence and takes none; what it leaves is for `fenced_code`, if that is there."""
    extension = SuperFencesCodeExtension()
    extension.stash = CodeStash()
    extension.superfences = [{"name": "*", "test": lambda language: True, "formatter": None, "validator": _accept}]
    fences = SuperFencesBlockPreprocessor(md)
    fences.extension, fences.config = extension, extension.getConfigs()
    fences.checked_hl_settings, fences.attr_list, fences.relaxed_headers = True, False, True
    indented = SuperFencesCodeBlockProcessor(md.parser)
    indented.extension, indented.config = extension, fences.config
    md.parser.blockprocessors.register(indented, "code", 80)
    return fences


def claim(fences: Any, extension: AttnvizExtension) -> None:
    """Let a SuperFences processor hand us `attention` fences, those included whose header it cannot read."""

    def formatter(src: str, options: dict[str, str], id_value: str = "", **_: Any) -> str:
        header = options | ({"id": id_value} if id_value else {})
        problem = header.pop(UNREADABLE, None)
        return extension.placeholder(src, header, problem)

    def unreadable(problem: str) -> bool:
        fences.lang, fences.options, fences.attrs, fences.formatter = NAME, {UNREADABLE: problem}, {}, formatter
        return True

    def handle_unrecognized(match: re.Match[str]) -> bool:
        header = match["unrecognized"].strip()
        if IN_BRACES.match(header):
            return unreadable(WITHOUT_BRACES)
        return unreadable(WITH_QUOTES.format(header)) if match["lang"] == NAME else bool(read_header(match))

    def handle_attrs(match: re.Match[str]) -> bool:
        return unreadable(WITHOUT_BRACES) if IN_BRACES.match(f"{{{match['attrs']}") else bool(read_attrs(match))

    read_header, read_attrs = fences.handle_unrecognized, fences.handle_attrs
    fences.handle_unrecognized, fences.handle_attrs = handle_unrecognized, handle_attrs
    fences.extension.extend_super_fences(NAME, formatter, _accept, None)


UNREADABLE = " unreadable"
"""No key an author could write: it begins with a space."""
IN_BRACES = re.compile(rf"\{{\s*{NAME}\b")
WITHOUT_BRACES = (
    f"Write the fence's name `{NAME}` without braces, and options as `key: value` lines; in braces it is MyST's word "
    "for a note."
)
WITH_QUOTES = (
    'The fence\'s header {!r} cannot be read; write key="value" with quotes, or move the options into the block as '
    "`key: value` lines."
)
UNCLOSED = "This fence is not closed, or a line in it is indented less than its first."


def _accept(
    language: str, inputs: dict[str, str], options: dict[str, str], attrs: dict[str, str], md: Markdown
) -> bool:
    """Every option goes into the block, where it is judged with the others."""
    options.update(inputs)
    return True


class FindUnclosed(Preprocessor):
    """After all fences were taken out, an opening that is left has no end; its text would be published as it stands."""

    def __init__(self, md: Markdown, extension: AttnvizExtension) -> None:
        super().__init__(md)
        self.extension = extension

    def run(self, lines: list[str]) -> list[str]:
        if "fenced_code_block" not in self.md.preprocessors:  # then fences that show others are still there
            return lines
        return [self._alert(line) if OPENING.match(line) and not line.startswith("    ") else line for line in lines]

    def _alert(self, line: str) -> str:
        source = Source(line, {}, self.extension.page.path, self.extension.page.line(line), UNCLOSED)
        return f"{self.md.htmlStash.store(placeholder(source))}\n"


class FillPlaceholders(Postprocessor):
    def __init__(self, md: Markdown, pipeline: Pipeline, assets: Assets) -> None:
        super().__init__(md)
        self.pipeline, self.assets = pipeline, assets

    def run(self, text: str) -> str:
        self.pipeline.begin()
        return self.pipeline.fill(text, self.assets)
