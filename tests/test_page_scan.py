"""Pages are read in linear time, whatever stands in them.

Each size is one at which a quadratic scan takes several minutes, so that the limit tells them apart on any machine. A
page of bad blocks, which cost more, is shorter: its limit is in seconds of the processor, and tells as much apart.
"""

import subprocess
import sys

import pytest
from conftest import INDUCTION
from warm_workers import WITH_MODULES

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.placeholders import placeholder, sources
from mkdocs_attnviz.hosts.page import SourcePage

WAITING = """
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.figure.page import Assets, fill
from mkdocs_attnviz.figure.placeholders import placeholder, sources
"""
PAGE = "from mkdocs_attnviz.hosts.page import SourcePage; page = SourcePage()\n"
CONVERT = f"""
import logging, markdown, time
logging.disable()
settings = {{"models": {{"mine": {INDUCTION!r}}}, "on_missing": "warn"}}
def convert(text):
    return markdown.markdown(text, extensions=["mkdocs_attnviz"], extension_configs={{"mkdocs_attnviz": settings}})
"""
QUICK = "\nassert time.process_time() < 8"
"""Three times what a busy machine needs for 3,000 bad blocks, which a quadratic scan of minutes for 12,000 exceeds."""


@pytest.mark.parametrize(
    "code",
    [
        WAITING + "assert sources('<!--' * 300_000) == []",
        WAITING + "fill('<!--' * 300_000, None, Assets(), None)",
        WAITING + "page = '<!--' * 300_000 + placeholder(Source('x'))\nassert len(sources(page)) == 1",
        WAITING + "page = '<!-- ' * 300_000 + '-->' + placeholder(Source('x'))\nassert len(sources(page)) == 1",
        WAITING + 'fill(\'<figure class="attnviz" data-attnviz-source="A\' * 100_000, None, Assets(), None)',
        PAGE + "page.begin('a', '```attention\\nx\\n```\\n' * 30_000)\n"
        "assert [page.line_of('x') for _ in range(30_000)] == list(range(1, 90_000, 3))",
        PAGE + "page.begin('a', ''.join(f'```attention\\n{n}\\n```\\n' for n in range(30_000)))\n"
        "assert [page.line_of(str(n)) for n in range(30_000)] == list(range(1, 90_000, 3))",
        PAGE + "page.begin('a', '```attention\\n' * 30_000 + '```')\n[page.line_of(str(n)) for n in range(30_000)]",
        PAGE + "page.begin('a', '```attention\\n' * 30_000)\n[page.line('```attention') for _ in range(30_000)]",
        CONVERT + "text = ''.join(f'```attention\\nmodel: mine\\nviews: {n}\\n```\\n\\n' for n in range(3_000))\n"
        "assert convert(text).count('role=\"alert\"') == 3_000" + QUICK,
        CONVERT
        + "assert convert('```attention\\nmodel: mine\\n```\\n\\n' * 3_000).count('role=\"alert\"') == 3_000"
        + QUICK,
    ],
    ids=[
        "comments",
        "comments, filled",
        "comments without an end",
        "comments with one end",
        "what begins like blocks",
        "lines of equal blocks",
        "lines of different blocks",
        "lines of blocks in blocks",
        "lines that read the same",
        "bad blocks",
        "equal bad blocks",
    ],
)
def test_time_is_linear(code):
    subprocess.run([sys.executable, "-c", WITH_MODULES, code], check=True, timeout=150)


def test_what_stands_in_comments_does_not_wait():
    def waits(text):
        return [source.body for source in sources(text.replace("A", placeholder(Source("a"))))]

    assert waits("<!-- A -->A") == ["a"]
    assert waits("<!-->A-->") == ["a"], "an empty comment, as browsers read it"
    assert waits("<!--->A-->") == ["a"]
    assert waits("<!-- <!-- A --> A -- >") == ["a"]
    assert waits("A<!-- A") == ["a", "a"], "a comment without an end is none"


def test_the_line_of_a_block():
    page = SourcePage()
    fence = "```attention\nmodel: a\n```"
    page.begin("a.md", f"> ~~~attention\n> model: a\n> ~~~\n\n{fence}\n\n```attention\nnever closed\n\n{fence}\n")
    assert [page.line_of("model: a") for _ in range(4)] == [1, 5, 12, None], "one that is given up hides none"
