"""Docstrings that stand alone: none begins with a preposition or a conjunction, as in "Of the block."."""

import ast
import re
from pathlib import Path

import mkdocs_attnviz

REPOSITORY = Path(__file__).parents[1]
FOLDERS = [
    Path(mkdocs_attnviz.__file__).parent,
    *(REPOSITORY / name for name in ("tests", "benchmarks", "example_site")),
]
"""The package, tests, benchmarks, and the programs that train the example site's models."""
FRAGMENT = re.compile(
    r"(?:about|above|across|after|against|along|among|and|around|as|at|because|before|behind|below|beneath|beside|"
    r"besides|between|beyond|but|by|despite|during|for|from|how|if|in|inside|into|like|near|of|off|on|onto|or|"
    r"outside|over|past|per|since|so|than|that|through|to|toward|towards|under|until|unto|up|upon|via|what|when|"
    r"where|whereas|whether|which|while|who|whom|whose|why|with|within|without)\b",
    re.IGNORECASE,
)
"""The first word of a docstring that can only be read together with the name above it."""
BEGINNING = re.compile(rf"""^\s*r?["']+\s*{FRAGMENT.pattern}""", re.IGNORECASE | re.MULTILINE)
"""A line that may begin such a docstring: a file without one is not parsed."""


def fragments(source: str) -> list[tuple[int, str]]:
    """Return line and text of each docstring that begins with one of these words.

    A docstring is any string that stands as a statement: of a module, class, function or method, or after a field or a
    constant.
    """
    if not BEGINNING.search(source):
        return []
    strings = [
        (node.lineno, node.value.value.strip())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return [(line, text) for line, text in strings if FRAGMENT.match(text)]


def test_fragments_are_found():
    source = '"""A module."""\nX = 1\n"""Of the block."""\nclass A:\n    def f(self):\n        """That it has."""\n'
    assert [line for line, _ in fragments(source)] == [3, 6]
    assert fragments('"""Return what is read."""\nY = "of no docstring"\n') == []


def test_docstrings_stand_alone():
    files = [file for folder in FOLDERS for file in sorted(folder.rglob("*.py"))]
    assert len(files) > 300
    found = [
        f"{file}:{line}: {text:.60}" for file in files for line, text in fragments(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
