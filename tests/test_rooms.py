"""Tests of what is imported when: each process loads only the tools that it needs.

`make lint` proves it of every import statement (import-linter); here processes are asked what they have loaded.
"""

import subprocess
import sys

import pytest

TOOLS = {"markdown", "mkdocs", "pymdownx", "sphinx"}
LIBRARIES = {"huggingface_hub", "numpy", "torch", "transformers"}


def loaded(module: str) -> set[str]:
    """Return the top-level packages that a fresh process has loaded after importing `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "none_of"),
    [
        ("mkdocs_attnviz", TOOLS | LIBRARIES | {"pydantic", "yaml"}),
        ("mkdocs_attnviz.models.engine.worker", TOOLS),
        ("mkdocs_attnviz.models.engine.ray.actor", TOOLS),
        ("mkdocs_attnviz.hosts.sphinx", LIBRARIES | {"mkdocs"}),
        ("mkdocs_attnviz.hosts.mkdocs", LIBRARIES | {"sphinx"}),
        ("mkdocs_attnviz.cli.main", LIBRARIES | {"mkdocs", "sphinx"}),
    ],
)
def test_a_process_loads_what_it_needs(module, none_of):
    assert loaded(module) & none_of == set()


def test_public_names_are_found_when_they_are_asked_for():
    import mkdocs_attnviz

    for name in mkdocs_attnviz.__all__:
        assert callable(getattr(mkdocs_attnviz, name))
        assert name in dir(mkdocs_attnviz)
    with pytest.raises(AttributeError, match="has no attribute 'heads_view'"):
        mkdocs_attnviz.heads_view  # noqa: B018
