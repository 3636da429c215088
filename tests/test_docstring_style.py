"""Docstrings that stand alone: none begins with a preposition or a conjunction, as in "Of the block."."""

import ast
import re
from pathlib import Path

import mkdocs_attnviz

PACKAGE = Path(mkdocs_attnviz.__file__).parent
FRAGMENT = re.compile(
    r"(?:about|above|across|after|against|along|among|and|around|as|at|because|before|behind|below|beneath|beside|"
    r"besides|between|beyond|but|by|despite|during|for|from|how|if|in|inside|into|like|near|of|off|on|onto|or|"
    r"outside|over|past|per|since|so|than|that|through|to|toward|towards|under|until|unto|up|upon|via|what|when|"
    r"where|whereas|whether|which|while|who|whom|whose|why|with|within|without)\b",
    re.IGNORECASE,
)
"""The first word of a docstring that can only be read together with the name above it."""

UNFINISHED: tuple[str, ...] = ()
"""Rooms whose docstrings are still to be rewritten, as patterns of paths within the package; this list only shrinks."""


def fragments(source: str) -> list[tuple[int, str]]:
    """Return line and text of each docstring that begins with one of these words.

    A docstring is any string that stands as a statement: of a module, class, function or method, or after a field or a
    constant.
    """
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
    unfinished = {file for pattern in UNFINISHED for file in PACKAGE.glob(pattern)}
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {text:.60}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file not in unfinished
        for line, text in fragments(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
