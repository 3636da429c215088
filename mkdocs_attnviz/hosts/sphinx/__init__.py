"""The host Sphinx, with MyST and reStructuredText: `extensions = ["mkdocs_attnviz"]`.

This module decides which parts of a document are blocks: code blocks in the language `attention`, and the directive
`attnviz`. The directive `attention` of docutils is unchanged. It decides which pages are written again although their
text is unchanged: those whose figures have new tensors. It decides where the assets go (`_static/attnviz/`), and what
builders without JavaScript get: the static picture and the sentence.

All blocks of a project are computed together in the main process, after all documents are read and before any is
written. Other processes only read the cache.
"""

from mkdocs_attnviz.hosts.sphinx.extension import setup as setup
