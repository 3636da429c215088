"""The choice of the architectures that a run tests: twelve, or all of them if something they depend on has changed.

`python tests/architectures.py` (`make architectures`) does nothing while the recorded run of all architectures still
holds. Otherwise it runs all of them and, if every test has passed, records what that run depended on: the modules of
`mkdocs_attnviz.models` that it loaded, the tests' own files, and the versions of torch and transformers. Any other
run of pytest that finds the record out of date takes all architectures, too.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import sys
import tokenize
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
RECORD = TESTS / "architectures.json"
FILES = [f"tests/test_{name}.py" for name in ("coverage", "independent_texts", "directories", "routers")]
"""The test files that run once for each architecture."""
BESIDE = ["tests/tiny_models.py", "tests/mixtures.py", "tests/decoding.py", "example_site/includes/coverage.json"]
"""Other files that these tests read."""
ROOM = "mkdocs_attnviz.models"
"""The package whose modules decide what is captured; a run records which of them it loaded."""
VERSIONS = ("torch", "transformers")
SENTINELS = {
    "bert": "an encoder of two sentences",
    "llama": "a decoder with rotary positions and fewer keys than queries",
    "gemma2": "sliding windows between full layers, and capped scores",
    "gpt_oss": "a mixture of experts with attention sinks",
    "bamba": "a hybrid with a state-space model",
    "bloom": "ALiBi, in attention of its own code",
    "deberta-v2": "disentangled positions, in attention of its own code",
    "esmc": "a tokenizer that needs no file",
    "cpmant": "weights that only its outputs tell",
    "big_bird": "block-sparse attention for longer texts",
    "t5": "an encoder-decoder with a relative position bias",
    "led": "an encoder-decoder whose encoder has no whole matrix",
}
"""The architectures of every run, and what each stands for."""


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect architectures that are no sentinels, unless all are asked for, one is named, or the record is old."""
    extra = {item for item in items if item.get_closest_marker("architectures") and not is_sentinel(item)}
    named = config.option.keyword or any("::" in argument for argument in config.args)
    if not extra or named or config.option.all_architectures or changed_since(config):
        return
    config.hook.pytest_deselected(items=list(extra))
    items[:] = [item for item in items if item not in extra]


def changed_since(config: pytest.Config) -> list[str]:
    """Return what has changed; a process of pytest-xdist has been told by the one that started it."""
    workerinput = getattr(config, "workerinput", {})
    return workerinput["changed"] if "changed" in workerinput else changed()


def is_sentinel(item: pytest.Item) -> bool:
    return item.callspec.params["model_type"] in SENTINELS


def changed() -> list[str]:
    """Return the names of what has changed since all architectures passed; empty while that run still holds."""
    if not RECORD.exists():
        return [RECORD.name]
    kept = json.loads(RECORD.read_text("utf-8"))
    now = {"versions": versions(), "files": digests(kept["files"])}
    return [name for part in now for name in now[part] if now[part][name] != kept[part].get(name)]


def versions() -> dict[str, str]:
    return {name: version(name) for name in VERSIONS}


def digests(files: Iterable[str]) -> dict[str, str]:
    """Return the digest of each file, named by its path from the project's folder; '' for a file that is gone."""
    return {file: digest(ROOT / file) for file in sorted(files)}


def digest(path: Path) -> str:
    if not path.exists():
        return ""
    content = code(path.read_text("utf-8")).encode() if path.suffix == ".py" else path.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def code(text: str) -> str:
    """Return the lines of a Python file without comments, docstrings and blank lines, which cannot change a result."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def loaded() -> list[str]:
    """Return the files of the room's modules that this process has loaded."""
    names = [name for name in sys.modules if name == ROOM or name.startswith(f"{ROOM}.")]
    return [Path(sys.modules[name].__file__).relative_to(ROOT).as_posix() for name in names]


class Workers:
    """A plugin of pytest that collects which files the workers of a run have loaded."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def pytest_testnodedown(self, node, error):
        self.files.update(node.workeroutput["architectures"])


def main() -> int:
    why = changed()
    if not why:
        print("All architectures have passed with this code and these versions.")
        return 0
    print(f"All architectures are tested, because of {', '.join(why[:5])}{' …' * (len(why) > 5)}.", flush=True)
    os.environ["ATTNVIZ_NO_SKIPS"] = "1"
    at_start = digests(path.relative_to(ROOT).as_posix() for path in (ROOT / ROOM.split(".")[0]).rglob("*.py"))
    at_start |= digests([*FILES, *BESIDE])
    workers = Workers()
    files = [str(ROOT / file) for file in FILES]
    status = pytest.main(["-q", "-n", "2", "--dist", "worksteal", "--all-architectures", *files], plugins=[workers])
    if status == pytest.ExitCode.OK:
        found = {file: at_start[file] for file in sorted(workers.files | {*FILES, *BESIDE})}
        RECORD.write_text(json.dumps({"versions": versions(), "files": found}, indent=1) + "\n", "utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
