"""`python -m mkdocs_attnviz`: the command `attnviz`."""

from mkdocs_attnviz.cli.main import main

main(prog_name="attnviz")
