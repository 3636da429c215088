"""The scripts of pages: ours, and those of other packages' views."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib import resources

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.views.view import BASE_SCRIPT, own_script

SCRIPT_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
OURS = "mkdocs_attnviz:"
"""The beginning of the names of our own scripts."""
WAITING = "(run=>globalThis.attnviz?run():(globalThis.attnvizWaiting??=[]).push(run))(()=>{%s\n});\n"
"""A script of another package waits for ours, since instant navigation may run a page's scripts in any order."""
END_OF_SCRIPT = re.compile(r"</script|<!--", re.IGNORECASE)

LOADED: set[str] = set()
"""The scripts that pages of this process have loaded."""

COMPARED = own_script("compared")
"""The script that shows a figure of two models, whatever their view."""


@cache
def our_scripts() -> dict[str, tuple[str, ...]]:
    """Return the name of each view's script of ours, with the names of those that it needs, in the order of loading."""
    named = json.loads((resources.files("mkdocs_attnviz") / "static" / "scripts.json").read_bytes())
    whole = "mkdocs_attnviz:static/{}".format
    return {whole(file): tuple(map(whole, needs)) for file, needs in named.items()}


def with_needed(script: str) -> tuple[str, ...]:
    """Return a script's name after the names of those that it needs."""
    return tuple(dict.fromkeys((*our_scripts().get(script, (BASE_SCRIPT,)), script)))


@cache
def script_file(name: str) -> tuple[str, bytes]:
    """Return the file name of a script in a site, and its content.

    Raises:
        BlockError: if there is no such file in the package, or it cannot stand in a page.
    """
    package, _, path = name.partition(":")
    stem = path.rpartition("/")[2].removesuffix(".js")
    try:
        content = resources.files(package).joinpath(*path.split("/")).read_bytes()
        text = content.decode()
    except (OSError, ImportError, TypeError, ValueError):
        raise BlockError(f"The script {name} is not in its package.") from None
    if not SCRIPT_NAME.fullmatch(stem):
        raise BlockError(f"The script {name} has a file name with other characters than letters, digits, - and _.")
    if not name.startswith(OURS) and END_OF_SCRIPT.search(text):
        raise BlockError(f"The script {name} holds `</script` or `<!--`, which would end it inside of a page.")
    if not name.startswith(OURS):
        content = (WAITING % text).encode()
    LOADED.add(name)
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:10]}.js", content
