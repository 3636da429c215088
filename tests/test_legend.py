"""The line below static pictures that says what colours mean, and the hatch over what a mask forbids."""

import itertools
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.mask_runs import runs_blob
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.drawing import Picture
from mkdocs_attnviz.views.svg.document import document, palette
from mkdocs_attnviz.views.svg.legend import CHARACTER, STEPS, Scale, with_legend

EMPTY = Picture(document(500, 40, "", []), 500, 40)
TAGS = {"text": "{http://www.w3.org/2000/svg}text", "rect": "{http://www.w3.org/2000/svg}rect"}


def elements(picture, tag):
    return list(ElementTree.fromstring(picture.svg).iter(TAGS[tag]))


def test_a_scale_goes_from_its_first_value_to_its_last():
    drawn = with_legend(EMPTY, "light", "Weight", Scale("0", "0.97", power=0.75, colour="8"))
    assert [text.text for text in elements(drawn, "text")] == ["0", "0.97", "Weight"]
    shades = [float(rect.get("fill-opacity")) for rect in elements(drawn, "rect")]
    assert shades == [pytest.approx((step / (STEPS - 1)) ** 0.75, abs=0.006) for step in range(STEPS)]
    assert f".more{{fill:{palette('light').base['heads'][8]}}}" in drawn.svg


def test_negative_values_have_their_own_colour():
    squares = elements(with_legend(EMPTY, "auto", "Activation", Scale("−2", "2", signed=True)), "rect")
    assert [rect.get("class") for rect in squares] == ["less"] * (STEPS // 2) + ["more"] * (STEPS // 2)
    shades = [float(rect.get("fill-opacity")) for rect in squares]
    assert (shades[0], shades[-1], shades) == (1, 1, shades[::-1])


def test_a_long_text_is_broken_between_its_parts():
    parts = [f"part {number} of a legend" for number in range(12)]
    drawn = with_legend(EMPTY, "auto", " · ".join(parts), Scale("0%", "100%"), heads=[3, 5])
    lines = [text.text for text in elements(drawn, "text")][5:]
    assert [part for line in lines for part in line.split(" · ")] == parts
    assert all(CHARACTER * len(line) <= drawn.width for line in lines)
    assert drawn.height >= EMPTY.height + 18 * len(lines)
    assert [rect.get("class") for rect in elements(drawn, "rect")][-2:] == ["head3", "head5"]
    of_many = with_legend(EMPTY, "auto", "Opacity = weight · left attends to right", heads=range(13))
    assert [text.text for text in elements(of_many, "text")][14:] == ["Opacity = weight · left attends to right"]


def hatched(svg, tall, wide):
    """Return the cells that are hatched, from the path: so many rows and columns of cells."""
    found = re.search(r'<path fill="url\(#x\)" d="([^"]+)"', svg)
    grid = np.zeros((tall, wide), bool)
    if found is None:
        return grid
    left, top, width, height = map(float, re.search(r"translate\((\d+) (\d+)\) scale\((\d+) (\d+)\)", svg).groups())
    for x, y, across, down in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)H\d+z", found[1]):
        assert float(down) == height
        start, row = (float(x) - left) / width, (float(y) - top) / height
        grid[int(row), int(start) : int(start + float(across) / width)] = True
    return grid


def drawing(tokens, allowed, mask=None):
    """Return the drawing of a matrix of equal weights where they are allowed. `mask` is stored with the entry."""
    weights = allowed / allowed.sum(1, keepdims=True)
    made = entry({"self": {0: LayerTensors(weights[None])}}, {"text": TokenRow(tokens)})
    if mask is not None:
        made.meta["stacks"]["self"]["layers"][0]["mask"] = 0
        made = Entry(made.meta, {**made.blobs, "self/mask/0": runs_blob(mask > 0)})
    block = parse(Source(json.dumps({"model": "m", "text": "x", "view": "matrix"})), OPTIONS)
    return VIEWS["matrix"].drawing(block, made)


def window(size, reach):
    """Return which tokens a causal window of so many tokens allows."""
    return np.tril(np.ones((size, size))) * np.triu(np.ones((size, size)), 1 - reach)


def test_what_a_mask_forbids_is_hatched():
    tokens = [f"t{number}" for number in range(12)]
    causal, all_of_them = window(12, 12), np.ones((12, 12))
    for allowed, mask in ((causal, None), (window(12, 4), window(12, 4)), (all_of_them, None)):
        svg = drawing(tokens, allowed, mask).picture.svg
        assert (hatched(svg, 12, 12) == (allowed == 0)).all()
        assert ("shaded: not allowed" in svg) == bool((allowed == 0).any())


def test_a_cell_of_many_tokens_is_hatched_if_none_of_them_is_allowed():
    allowed = window(60, 10)
    svg = drawing([f"t{number}" for number in range(60)], allowed, allowed).picture.svg
    edges = [60 * part // 24 for part in range(25)]
    cells = itertools.pairwise(edges)
    expected = [[not allowed[a:b, c:d].any() for c, d in itertools.pairwise(edges)] for a, b in cells]
    assert (hatched(svg, 24, 24) == np.array(expected)).all()
