"""`python -m mkdocs_attnviz`: the command `attnviz`."""

from mkdocs_attnviz.hosts.cli import main

main(prog_name="attnviz")
