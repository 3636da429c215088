"""The command `attnviz export`: a page as one HTML file, or the static pictures of figures."""

from __future__ import annotations

import html
import logging
import sys
from importlib import resources
from pathlib import Path
from string import Template

import click

from mkdocs_attnviz.cli import site as sites
from mkdocs_attnviz.cli.arguments import base, configured, log, log_to_stderr, run_command, with_config, with_verbose
from mkdocs_attnviz.cli.picture_export import export_pictures
from mkdocs_attnviz.cli.pictures import PLACES, Folder
from mkdocs_attnviz.cli.single_page import title_and_body
from mkdocs_attnviz.cli.site import Site, SiteError
from mkdocs_attnviz.cli.site_blocks import text_of
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.pipeline import Pipeline


@click.command()
@click.argument("pages", nargs=-1, metavar="[PAGE]...", type=click.Path(exists=True, allow_dash=True))
@with_config
@click.option("-o", "--output", help="The HTML file, by default standard output; or the folder of pictures.")
@click.option("--lang", default="en", show_default=True, help="Language of the HTML page.")
@click.option("--svg", is_flag=True, help="Write the pictures of all figures as SVG, for light and for dark pages.")
@click.option("--png", is_flag=True, help="The same as PNG. Needs the extra `png`.")
@click.option("--check", is_flag=True, help="Write no picture; fail if one is missing or out of date.")
@click.option(
    "--for", "place", type=click.Choice([*PLACES]), default="github", show_default=True, help="What shows the pictures."
)
@click.option("--url", help="Where the folder of pictures is published. Default: relative to the page.")
@with_verbose
def export(
    pages: tuple[str, ...],
    config: Path | None,
    output: str | None,
    lang: str,
    svg: bool,
    png: bool,
    check: bool,
    place: str,
    url: str | None,
) -> None:
    """Make one HTML file of a Markdown page, with script and data inside; or pictures of figures.

    PAGE is a Markdown file, or `-` for standard input, which may also be the lines of a single block. For pictures,
    PAGE may also be a folder; without PAGE, they are those of the whole site. Below each block that stands in an HTML
    comment of a page, the HTML that shows its picture is written; that of other blocks is printed. The exit status is 1
    if a block cannot be drawn; the others are written all the same.

    \b
    Examples:
      attnviz export page.md -o page.html
      printf 'model: gpt2\\ntext: The cat sat on the mat' | attnviz export - -o cat.html
      attnviz export README.md --svg -o pictures
    """
    log_to_stderr(logging.WARNING)
    config = configured(config)
    site = Site() if config is None else sites.read(config)
    formats = [name for name, wanted in (("svg", svg), ("png", png)) if wanted]
    if formats:
        if output is None:
            raise SiteError("There is no folder to write to; give one with `-o`.")
        export_pictures(site, config, pages, Folder(Path(output), formats), PLACES[place], url, check=check)
    if check or url is not None:
        raise SiteError(f"`{'--check' if check else '--url'}` is about pictures; it needs `--svg` or `--png`.")
    if not pages:
        raise click.UsageError("Missing argument 'PAGE'.")
    if len(pages) > 1:
        raise SiteError(f"An HTML file holds one page; {len(pages)} are given.")
    if Path(pages[0]).is_dir():
        raise SiteError(f"{pages[0]} is a folder; an HTML file holds one page.")
    _export_html(site, config, pages[0], output or "-", lang)


def _export_html(site: Site, config: Path | None, page: str, output: str, lang: str) -> None:
    """Write the HTML file of a page, and exit."""
    try:
        title, body = title_and_body(site, page, text_of(page))
        command = run_command(config)
        pipeline = Pipeline(site.settings, base(site), log, fatal=SiteError, command=command, in_page=True)
        with pipeline.build() as build:
            body = build.fill(body, Assets())
        template = Template((resources.files("mkdocs_attnviz") / "hosts" / "one-file.html").read_text("utf-8"))
        with click.open_file(output, "wb") as file:
            file.write(template.substitute(lang=html.escape(lang), title=html.escape(title), body=body).encode())
    except OSError as error:
        raise SiteError(f"{output} cannot be written: {error.strerror}.") from None
    sys.exit(bool(build.alerts))
