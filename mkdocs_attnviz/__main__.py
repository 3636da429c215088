"""The command `attnviz`, run as `python -m mkdocs_attnviz`."""

from mkdocs_attnviz.cli.main import main

main(prog_name="attnviz")
