"""The host Sphinx, with MyST and reStructuredText: `extensions = ["mkdocs_attnviz"]`.

This module decides which parts of a document are blocks: code blocks in the language `attention`, and the directive
`attnviz`. The directive `attention` of docutils is unchanged. It decides which pages are written again although their
text is unchanged: those whose figures have new tensors. It decides where the assets go (`_static/attnviz/`), and what
builders without JavaScript get: the static picture and the sentence.

All blocks of a project are computed together in the main process, after all documents are read and before any is
written. Other processes only read the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, docutils_namespace, patch_docutils
from sphinx.util.osutil import relative_uri

from mkdocs_attnviz import __version__
from mkdocs_attnviz.block.fields import fields_of, is_id
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.figure.alert import Alert, Warned
from mkdocs_attnviz.figure.assets import AssetFolder, mend
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.figure.rendered import Rendered
from mkdocs_attnviz.hosts import record
from mkdocs_attnviz.hosts.page import NAME, header_of
from mkdocs_attnviz.hosts.sphinx_images import CONVERTERS, SVG
from mkdocs_attnviz.pipeline import Build, Pipeline
from mkdocs_attnviz.settings import Settings, SettingsError
from mkdocs_attnviz.views import OPTIONS

ASSETS = "_static/attnviz"
"""The folder of script and data in the site."""
"""The media type of SVG."""
IN_LISTS = re.compile(r"^[\s>]*(?:(?:[-*+]|\d+[.)])\s+)*")
"""A pattern for the text before a fence in a quotation, or on the first line of a list item."""
DOCSTRING = ":docstring of "
"""The text that autodoc puts between the file and the object whose docstring it reads."""

log = logging.getLogger(__name__)


class attnviz(nodes.General, nodes.Element):
    """A node for one block; `source` is its `Source` as JSON."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx. Sphinx calls this function."""
    for name, field in Settings.model_fields.items():
        app.add_config_value(f"attnviz_{name}", field.get_default(call_default_factory=True), "env")
    app.add_node(attnviz, html=(_write_placeholder, None))
    app.add_directive("attnviz", AttnvizDirective)
    app.add_transform(ClaimCodeBlocks)
    app.add_transform(Anchors)
    app.add_env_collector(Blocks)
    app.add_post_transform(StatesInOtherDocuments)
    app.add_post_transform(WithoutScript)
    for converter in CONVERTERS:
        app.add_post_transform(converter)
    host = Host(app)
    app.connect("builder-inited", host.begin)
    app.connect("env-updated", host.prepare)
    app.connect("html-page-context", host.fill)
    app.connect("build-finished", host.finish)
    return {"version": __version__, "env_version": 3, "parallel_read_safe": True, "parallel_write_safe": True}


class Host:
    """The state of one run of Sphinx."""

    def __init__(self, app: Sphinx) -> None:
        self.app = app
        self.build: Build | None = None
        self._scope = ExitStack()
        """The context that ends the build."""
        self.drawn_from: dict[str, list[str | None]] = {}
        """The version and the cache keys of each page's figures. A key is None if there is no entry."""

    def begin(self, app: Sphinx) -> None:
        """Read the settings, and begin a build."""
        try:
            settings = Settings.read({name: app.config[f"attnviz_{name}"] for name in Settings.model_fields})
        except SettingsError as error:
            raise self._give_up(f"conf.py, attnviz: {error}") from None
        command = f"attnviz run -f {Path(os.path.relpath(app.confdir)).as_posix()}/conf.py"
        pipeline = Pipeline(settings, Path(app.confdir), log, self._warn, fatal=self._give_up, command=command)
        self.build = self._scope.enter_context(pipeline.build())
        app.attnviz = self  # type: ignore[attr-defined] # for what Sphinx makes by itself, transforms
        output = hashlib.sha256(f"{app.builder.name} {app.outdir}".encode()).hexdigest()[:10]
        self.records = Path(app.doctreedir) / "attnviz" / output

    def prepare(self, app: Sphinx, env: BuildEnvironment) -> list[str]:
        """Compute missing entries. Return the documents whose figures are drawn from other tensors than last time."""
        assert self.build is not None  # noqa: S101 — for the type checker
        if not app.builder.format:  # builders that only check or collect
            return []
        pages = _blocks(env)
        self._record_pages(env)
        keys = iter(self.build.keys([source for blocks in pages.values() for source in blocks]))
        self._check_links(env)
        self.build.worker.close()  # other processes are forked from here
        self.drawn_from = {page: [__version__, *(next(keys) for _ in blocks)] for page, blocks in pages.items()}
        return [page for page in pages if self._record(page) != self.drawn_from[page]]

    def _check_links(self, env: BuildEnvironment) -> None:
        """Check the states in links to figures, `#figure~layer=2`. Sphinx and MyST check that the figure exists."""
        assert self.build is not None  # noqa: S101 — for the type checker
        for page, links in _links(env).items():
            for link in links:
                if problem := self.build.wrong_state(_blocks(env).get(link.page, ()), link.id, link.state):
                    where = (page, link.line) if link.file is None else f"{link.file}:{link.line or ''}"
                    message = "The link to `#%s~%s` cannot be followed: %s"
                    log.warning(message, link.id, link.state, problem, location=where, type="attnviz", subtype="link")

    def _record_pages(self, env: BuildEnvironment) -> None:
        """Record which pages have blocks. The command cannot read a Jupyter Book or a project without conf.py
        itself."""
        assert self.build is not None  # noqa: S101 — for the type checker
        blocks, source = _blocks(env), Path(self.app.srcdir)
        pages = {file: blocks.get(name, []) for name, file in _files(env).items()}
        record.add("sphinx", source, source, self.build.settings, pages, complete=True)

    def fill(self, app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
        """Draw the figures of a finished page."""
        if self.build is not None and isinstance(context.get("body"), str):
            url = relative_uri(app.builder.get_target_uri(page).rsplit("#", 1)[0], ASSETS)
            assets = AssetFolder(Path(app.outdir) / ASSETS, url)
            with self.recording(page):
                context["body"] = self.build.fill(context["body"], assets)

    @contextmanager
    def recording(self, page: str) -> Iterator[Build]:
        """Draw a page in this context; its cache keys are then recorded for the next build. They are not recorded if
        there was an alert or a claim that does not hold, so that the next build warns again.

        There is a file for each page and output, because several processes write pages, and not always all of them.
        """
        assert self.build is not None  # noqa: S101 — for the type checker
        before = len(self.build.alerts), len(self.build.failed_claims)
        yield self.build
        with suppress(OSError):  # a page without a record is drawn again
            if page in self.drawn_from and (len(self.build.alerts), len(self.build.failed_claims)) == before:
                write_atomically(self._file(page), json.dumps(self.drawn_from[page]).encode())
            else:
                self._file(page).unlink(missing_ok=True)

    def _record(self, page: str) -> object:
        """Return the recorded keys of a page, or None."""
        try:
            return json.loads(self._file(page).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _file(self, page: str) -> Path:
        """Return the path of the file with the recorded keys of a page."""
        return self.records / f"{page}.json"

    def _give_up(self, message: str) -> SystemExit:
        """Return the exception that ends the build with one sentence on standard error.

        Sphinx 9 shows other exceptions with a traceback and a request to report them to its developers.
        """
        self.finish(self.app, None)
        return SystemExit(message)

    def finish(self, app: Sphinx, error: Exception | None) -> None:
        """End the build, and restore our files if the site's own files replaced them."""
        self._scope.close()
        if error is None and app.builder.format == "html":
            for problem in mend(Path(app.outdir) / ASSETS):
                log.warning("%s", problem, type="attnviz", subtype="assets")
                shutil.rmtree(
                    self.records, ignore_errors=True
                )  # so that the next build writes the pages and their files again

    def _warn(self, warned: Warned) -> None:
        """Log a block that cannot be drawn, or a claim that does not hold, with its place."""
        source, where = warned.source, warned.source.where(warned.error)
        full = f"{self.app.srcdir}{os.sep}{where}"
        location = full if source.line is not None else self.app.env.path2doc(where)
        if source.object is not None:  # the form in which Sphinx names docstrings
            location = f"{self.app.srcdir}{os.sep}{source.page}{DOCSTRING}{source.object}"
        subtype = "claim" if warned.error.problem.kind == "claim" else "block"
        log.warning("%s", warned.error.message, location=location, type="attnviz", subtype=subtype)


class Blocks(EnvironmentCollector):
    """A collector of the blocks of each document and its links to figures in a state. They are stored in the
    environment, so that an incremental build reads only what has changed."""

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        """Remove the blocks and links of a document."""
        for kept in (_blocks, _links):
            kept(env).pop(docname, None)

    def merge_other(self, app: Sphinx, env: BuildEnvironment, docnames: Set[str], other: BuildEnvironment) -> None:
        """Add the blocks and links that another process has read."""
        for kept in (_blocks, _links):
            read_elsewhere: dict[str, Any] = kept(other)
            kept(env).update({docname: read_elsewhere[docname] for docname in docnames if docname in read_elsewhere})

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Record the blocks and links of a document."""
        if blocks := [_source(node) for node in doctree.findall(attnviz)]:
            _blocks(app.env)[app.env.docname] = blocks
        ends = [*doctree.findall(nodes.reference), *doctree.findall(pending_xref)]
        if links := [link for node in ends if (link := _link(node, app.env.docname))]:
            _links(app.env)[app.env.docname] = links


def _blocks(env: BuildEnvironment) -> dict[str, list[Source]]:
    """Return the blocks of each document."""
    blocks: dict[str, list[Source]] = env.__dict__.setdefault("attnviz_blocks", {})
    return blocks


@dataclass(frozen=True)
class Link:
    """A link to a figure in a state, `#id~state`."""

    page: str
    """The document with the figure."""
    id: str
    state: str
    file: str | None
    """The file with the link, or None if it is unknown. An included file has its own name."""
    line: int | None


def _links(env: BuildEnvironment) -> dict[str, list[Link]]:
    """Return the links to figures in a state in each document."""
    links: dict[str, list[Link]] = env.__dict__.setdefault("attnviz_links", {})
    return links


def _link(node: nodes.Element, docname: str) -> Link | None:
    """Return the link to a figure in a state that this node of `docname` contains, or None.

    In reStructuredText such a link is written as an address, `` `text <#id~state>`__ ``. MyST makes a reference of it
    within a document; between documents, Sphinx resolves it later.
    """
    page, target = docname, node.get("refid") or node.get("reftargetid") or ""
    if not target and node.get("refuri", "").startswith("#"):
        target = node["refuri"][1:]
    elif node.get("refdomain") == "doc":
        page = node["reftarget"]
    id, _, state = target.partition("~")
    if not id or not state:
        return None
    placed: Any = node
    while placed.line is None and placed.parent is not None:
        placed = placed.parent
    return Link(page, id, state, placed.source, placed.line)


def _files(env: BuildEnvironment) -> dict[str, str]:
    """Return the documents' files, relative to the source folder, by document name."""
    return {name: Path(env.doc2path(name, base=False)).as_posix() for name in sorted(env.found_docs)}


@dataclass(frozen=True)
class Project:
    """The attention blocks and settings of a project that is read but not built."""

    settings: Settings
    pages: Mapping[str, list[Source]]
    """The blocks of each document, by the document's file in the source folder."""


class PlainIntoPipes(io.StringIO):
    """A writer to standard error that removes colour codes if it is not a terminal, because Sphinx always writes
    them."""

    def write(self, text: str) -> int:
        """Write a text to standard error."""
        click.echo(text, err=True, nl=False)
        return len(text)


def read(folder: Path) -> Project:
    """Read every document of the project with a conf.py in `folder`. Nothing is written there.

    Raises:
        Exception: if the project cannot be read: a SphinxError, or any error of an extension.
    """
    stderr = PlainIntoPipes()
    with TemporaryDirectory() as out, patch_docutils(folder), docutils_namespace(), redirect_stdout(sys.stderr):
        app = Sphinx(folder, folder, out, Path(out) / "doctrees", "dummy", status=None, warning=stderr, freshenv=True)
        if not hasattr(app, "attnviz"):
            raise ExtensionError("its `extensions` do not name `mkdocs_attnviz`")
        app.builder.read()
        host: Host = app.attnviz
        assert host.build is not None  # noqa: S101 — for the type checker
        blocks, env = _blocks(app.env), app.env
        pages = {file: blocks.get(name, []) for name, file in _files(env).items()}
        return Project(host.build.settings, pages)


class ClaimCodeBlocks(SphinxTransform):
    """A transform of code blocks in the language `attention`, from a fence, `code-block` or `literalinclude`."""

    default_priority = 9  # before captions are kept for translators (10) and translated (20)

    def apply(self, **kwargs: Any) -> None:
        """Replace all code blocks in the language `attention`."""
        for node in list(self.document.findall(nodes.literal_block)):
            if node.get("language") == NAME:
                self._claim(node)

    def _claim(self, node: nodes.literal_block) -> None:
        """Replace a code block by a node for the block."""
        body = node.astext()
        place = Place(self.env, node.source, node.line, body)
        header, problem = place.header()
        replaced: nodes.Element = node
        parent = node.parent
        if isinstance(parent, nodes.container) and parent.get(
            "literal_block"
        ):  # the container of a `code-block` with a caption
            for caption in parent.findall(nodes.caption):
                header.setdefault("caption", caption.astext())
            replaced = parent
        block = _node(place.block(body, header, problem), node.source or self.document["source"], node.line)
        block["ids"], block["names"] = replaced["ids"], replaced["names"]
        replaced["classes"] = []  # these classes are for code
        replaced.replace_self(block)


class AttnvizDirective(SphinxDirective):
    """The directive `attnviz`, with the block's keys as YAML in the body or as options."""

    has_content = True
    option_spec = {  # noqa: RUF012 — docutils declares it so
        "name": directives.unchanged,
        **{key: directives.unchanged for options in OPTIONS.values() for key in fields_of(options)},
    }

    def run(self) -> list[nodes.Node]:
        """Return the node for the block."""
        header = {key: str(value) for key, value in self.options.items() if key != "name"}
        body = "\n".join(self.content)
        place = Place(self.env, *self.get_source_info(), body)
        node = _node(place.block(body, header, None), *self.get_source_info())
        self.add_name(node)
        return [node]


def _node(source: Source, file: str | None, line: int | None) -> attnviz:
    """Return the node for a block. The caption is its child, so that search and translation find it."""
    node = attnviz("", source=source.to_json())
    with suppress(BlockError):
        block = parse(source, OPTIONS)
        node["anchor"] = block.id
        if block.caption:
            caption = nodes.caption(block.caption, block.caption)
            caption.source, caption.line = file, line
            node += caption
    return node


def _source(node: attnviz) -> Source:
    """Return the node's block, with its translated caption, and with the id of a label if it has no id."""
    source = Source.from_json(node["source"])
    if node.get("anchor", "") is None and (id := next(filter(is_id, node["ids"]), None)):
        source = replace(source, header={**source.header, "id": id})
    caption = next((child.astext() for child in node.children if isinstance(child, nodes.caption)), None)
    if caption is not None and caption != parse(source, OPTIONS).caption:
        source = replace(source, caption=caption)
    return source


class Anchors(SphinxTransform):
    """A transform that makes a block's `id` a target in its document. MyST looks there for links like `[text](#id)`."""

    default_priority = 870  # when all ids are given (PropagateTargets, AddSlugIds), before MyST resolves links (879)

    def apply(self, **kwargs: Any) -> None:
        """Register the ids of all blocks, and the states in links to them."""
        for node in self.document.findall(attnviz):
            id = node.get("anchor")
            if (
                id and id not in self.document.ids
            ):  # otherwise the page has it already, which is reported when it is drawn
                node["ids"].append(id)
                self.document.ids[id] = node
                caption = next((child.astext() for child in node.children), f"#{id}")
                for slugs in self._slugs():
                    slugs.setdefault(id, (node.line or 0, id, caption))
        for link in self.document.findall(nodes.reference):
            if link.get("id_link"):
                add_state(getattr(self.document, "myst_slugs", {}), link["refuri"][1:])

    def _slugs(self) -> Iterator[dict[str, tuple[int, str, str]]]:
        """Yield MyST's lists of a document's targets, for links inside the document and from other documents."""
        if "myst_heading_anchors" in self.config:
            yield getattr(self.document, "myst_slugs", {})
            yield self.env.metadata[self.env.docname].setdefault("myst_slugs", {})


def add_state(slugs: dict[str, tuple[int, str, str]], target: str) -> None:
    """Register a link to a figure in a state, `id~state`, with MyST, if MyST knows the figure."""
    id, _, state = target.partition("~")
    if state and id in slugs:
        line, _, caption = slugs[id]
        slugs.setdefault(target, (line, target, caption))


class StatesInOtherDocuments(SphinxPostTransform):
    """A transform that registers the states in links to figures in other documents."""

    default_priority = 8  # before MyST resolves them (9)

    def run(self, **kwargs: Any) -> None:
        """Register the states in all links to other documents."""
        for link in self.document.findall(pending_xref):
            if link.get("reftype") == "myst" and link.get("refdomain") == "doc" and link.get("reftargetid"):
                add_state(self.env.metadata[link["reftarget"]].get("myst_slugs", {}), link["reftargetid"])


class Place:
    """The place of a block: in the document's file, in an included file, or neither (a docstring)."""

    def __init__(self, env: BuildEnvironment, path: str | None, line: int | None, body: str) -> None:
        document = Path(env.doc2path(env.docname))
        self.cell: int | None = None
        path, _, name = (path or "").partition(DOCSTRING)
        self.object = name or None
        file = Path(path) if path and not name else document
        if file.suffix == ".ipynb":
            self.cell, line = self._cell(env, file, line, body)
        self.lines = _lines(file, self.cell, file.stat().st_mtime_ns) if file.is_file() else ()
        known = line is not None and 0 < line <= len(self.lines) and not name
        self.line = line if known else None
        self.page = os.path.relpath(file if known else document, env.srcdir).replace(os.sep, "/")

    def _cell(self, env: BuildEnvironment, file: Path, line: int | None, body: str) -> tuple[int | None, int | None]:
        """Return the number of the notebook cell that contains the block, and the line in it.

        MyST-NB numbers a cell's lines as 10,000 · cell + line + 1. nbsphinx joins all cells into one text, so the block
        is searched for; equal blocks are told apart by their order.
        """
        if line is not None and line > 10_000:
            return divmod(line - 1, 10_000)
        wanted = [text.strip() for text in body.splitlines()]
        if not wanted:
            return None, None
        seen: Any = env.temp_data.setdefault("attnviz_seen", {})
        places = [
            (cell, number)
            for cell, lines in enumerate(_cells(file, file.stat().st_mtime_ns), 1)
            for number in range(len(lines))
            if [text.strip() for text in lines[number : number + len(wanted)]] == wanted
        ]
        seen[body] = seen.get(body, 0) + 1
        return places[min(seen[body], len(places)) - 1] if places else (None, None)

    def header(self) -> tuple[dict[str, str], str | None]:
        """Return the options behind the fence's name, which MyST drops, and the problem with them, if any."""
        return header_of(IN_LISTS.sub("", self.lines[self.line - 1]) if self.line else "")

    def block(self, body: str, header: dict[str, str], problem: str | None) -> Source:
        """Return the source of the block."""
        return Source(body, header, self.page, self._above(body), problem, self.object, self.cell)

    def _above(self, body: str) -> int | None:
        """Return the number of the line above the body's first line, because options of a directive may come before
        it."""
        first = next(iter(body.splitlines()), "").strip()
        if self.line is None or not first:
            return self.line
        below = enumerate(self.lines[self.line :], self.line)
        return next((number for number, text in below if text.strip("> \t") == first), self.line)


@lru_cache(maxsize=1)
def _lines(file: Path, cell: int | None, modified: int) -> Sequence[str]:
    """Return the lines of a file, or of one cell of a notebook. The last file is cached, because a page's blocks are
    read one after another."""
    if cell is None:
        return tuple(file.read_text("utf-8", errors="replace").splitlines())
    cells = _cells(file, modified)
    return cells[cell - 1] if 0 < cell <= len(cells) else ()


@lru_cache(maxsize=1)
def _cells(notebook: Path, modified: int) -> Sequence[Sequence[str]]:
    """Return the lines of each cell of a notebook."""
    cells = json.loads(notebook.read_text("utf-8", errors="replace"))["cells"]
    return [tuple("".join(cell["source"]).splitlines()) for cell in cells]


def _write_placeholder(translator: Any, node: attnviz) -> None:
    """Write the placeholder of a block. The figure replaces it when the whole page is written."""
    source = _source(node)
    others = [id for id in node["ids"] if id not in (node.get("anchor"), source.header.get("id"))]
    targets = "".join(f'<span id="{id}"></span>' for id in others)
    translator.body.append(f"{targets}{placeholder(source)}\n")
    raise nodes.SkipNode


class WithoutScript(SphinxPostTransform):
    """A transform for builders whose pages run no script: the picture, if they support any, the caption and the
    sentence."""

    default_priority = 100  # before images are converted and collected

    def is_supported(self) -> bool:
        """Return whether the builder's pages run no script."""
        builder = self.app.builder
        return builder.format not in ("", "html") or bool(getattr(builder, "embedded", False))

    def run(self, **kwargs: Any) -> None:
        """Replace all blocks."""
        old_nodes = list(self.document.findall(attnviz))
        sources = [_source(node) for node in old_nodes]
        host: Host = self.app.attnviz  # type: ignore[attr-defined]
        with host.recording(self.env.docname) as build:
            rendered = build.render(sources)
            new_nodes = [self._shown(build, source, each) for source, each in zip(sources, rendered, strict=True)]
        for node, new_node in zip(old_nodes, new_nodes, strict=True):
            # LaTeX gives a label to a target, not to a container.
            targets = [nodes.target("", "", ids=node["ids"], names=node["names"])] if node["ids"] else []
            node.parent.replace(node, [*targets, new_node])

    def _shown(self, build: Build, source: Source, drawn: Rendered) -> nodes.Element:
        """Return the nodes of a figure, or of an alert if its picture cannot be written."""
        assert isinstance(drawn, Figure | Alert)  # noqa: S101 — for the type checker
        try:
            return self._figure(drawn) if isinstance(drawn, Figure) else _alert(drawn)
        except OSError as error:
            return _alert(build.failed(source, BlockError(f"Its picture cannot be written ({error.strerror}).")))

    def _figure(self, figure: Figure) -> nodes.Element:
        """Return the nodes of a figure."""
        texts = (figure.sentence, figure.block.caption)
        container = nodes.container("", *(nodes.paragraph("", text) for text in texts if text))
        if self.app.builder.supported_image_types and self._takes_svg():
            container.insert(0, self._image(figure))
        return container

    def _image(self, figure: Figure) -> nodes.image:
        """Return the image node of a figure's picture, after writing the picture to a file."""
        picture = figure.picture
        content = picture.svg.encode()
        path = Path(self.env.doctreedir) / "attnviz" / f"attnviz-{hashlib.sha256(content).hexdigest()[:20]}.svg"
        write_atomically(path, content)
        image = nodes.image("", uri=str(path), candidates={SVG: str(path)}, alt=figure.sentence, attnviz=True)
        self.env.images.add_file(self.env.docname, str(path))
        return image

    def _takes_svg(self) -> bool:
        """Return whether the builder supports SVG, or an extension converts it."""
        taken = self.app.builder.supported_image_types
        if SVG in taken or any(_converts(converter, taken) for converter in self._converters()):
            return True
        log.warning(
            "The %s builder takes no SVG, so figures have no picture there; `pip install 'attnviz[pdf,png]'`, or "
            "any extension that converts SVG, changes that.",
            self.app.builder.name,
            once=True,
            type="attnviz",
            subtype="picture",
        )
        return False

    def _converters(self) -> Iterator[ImageConverter]:
        """Yield the converters of images."""
        for transform in self.app.registry.get_post_transforms():
            if issubclass(transform, ImageConverter):
                yield transform(self.document)


def _converts(converter: ImageConverter, taken: list[str]) -> bool:
    """Return whether a converter turns SVG into a format that the builder supports."""
    return any((SVG, to) in converter.conversion_rules for to in taken) and converter.is_available()


def _alert(alert: Alert) -> nodes.Element:
    """Return the node of an alert."""
    where = alert.source.where(alert.error)
    message = f"{where}: {alert.shown}" if where else alert.shown
    return nodes.error("", nodes.paragraph("", f"This attention block could not be drawn. {message}"))
