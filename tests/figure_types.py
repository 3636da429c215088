"""Writes `frontend/src/element/figure-data.ts`: what `data-figure` holds, as Python declares it, for TypeScript.

`python tests/figure_types.py` writes it anew; a test compares it.
"""

import ast
import inspect
import re
import sys
import textwrap
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from typing_extensions import NotRequired, get_original_bases, get_type_hints, is_typeddict

from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.figure_data import UNSHIPPED, Blob, ComparedFigure, Drawn, Figure

PATH = Path(__file__).parents[1] / "frontend" / "src" / "element" / "figure-data.ts"
HEAD = "/** Written by `python tests/figure_types.py` from what `mkdocs_attnviz/views/` declares: do not edit. */\n"
PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", bytes: "string", Any: "unknown"}
PLAIN |= {types.NoneType: "null"}


def declarations() -> str:
    """Return the whole file."""
    wanted: list[type] = [Blob, Figure, ComparedFigure]
    for _, view in sorted(VIEWS.items()):  # by name, whichever package it is in
        wanted += get_args(view.data) or [view.data] * (view.data is not None)
    found: dict[str, str] = {}
    for each in wanted:
        declare(each, found)
    return HEAD + "".join(found.values())


def declare(declared: type, found: dict[str, str]) -> None:
    """Add a typed dictionary, after those that it names."""
    if declared.__name__ in found:
        return
    base = parent(declared)
    if base is not None:
        declare(base, found)
    inherited = get_type_hints(base, include_extras=True) if base is not None else {}
    notes = docstrings(declared)
    lines = []
    for name, kind in get_type_hints(declared, include_extras=True).items():
        if UNSHIPPED in getattr(kind, "__metadata__", ()) or inherited.get(name) == kind:
            continue
        optional = get_origin(kind) is NotRequired or name in declared.__optional_keys__
        inner = get_args(kind)[0] if get_origin(kind) is NotRequired else kind
        lines += [f"  /** {' '.join(notes[name].split())} */\n"] if name in notes else []
        lines.append(f"  {name}{'?' if optional else ''}: {written(inner, found)};\n")
    extends = "" if base is None else f" extends {base.__name__}"
    doc = " ".join(inspect.getdoc(declared).split())
    found[declared.__name__] = f"\n/** {doc} */\nexport interface {declared.__name__}{extends} {{\n{''.join(lines)}}}\n"


def parent(declared: type) -> type | None:
    """Return the dictionary that another one adds to; in a page, `Figure` stands for what a view writes."""
    bases = [base for base in get_original_bases(declared) if is_typeddict(base)]
    if not bases or declared is Figure:
        return None
    return Figure if bases[0] is Drawn else bases[0]


def written(kind: Any, found: dict[str, str]) -> str:
    """Return a type in TypeScript."""
    origin, inside = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        declare(kind, found)
        return str(kind.__name__)
    if origin is Annotated:
        return written(inside[0], found)
    if origin is Literal:
        return " | ".join(f'"{each}"' for each in inside)
    if origin in (Union, types.UnionType):
        return " | ".join(written(each, found) for each in inside)
    if origin is list:
        item = written(inside[0], found)
        return f"({item})[]" if " | " in re.sub(r"\(.*\)", "", item) else f"{item}[]"
    if origin is tuple:
        return f"[{', '.join(written(each, found) for each in inside)}]"
    if origin is dict:
        return f"Record<{written(inside[0], found)}, {written(inside[1], found)}>"
    return PLAIN[kind]


def docstrings(declared: type) -> dict[str, str]:
    """Return the sentences that stand below the keys of a typed dictionary."""
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(declared))).body
    found = {}
    for key, note in zip(made.body, made.body[1:], strict=False):
        if isinstance(key, ast.AnnAssign) and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant):
            found[key.target.id] = note.value.value
    return found


if __name__ == "__main__":
    text = declarations()
    PATH.write_text(text, "utf-8")
    print(PATH, file=sys.stderr)
