"""The HTML and data files of figures. Apart from hosts' own pages, only this room knows HTML.

A block travels through Markdown as a *placeholder* that carries its own source. `page.fill` puts the figures in their
places, numbers them in page order and adds the scripts that the page needs. Small data are inline. Larger data go into
files named by their content beside our scripts (`data_file`).
"""
