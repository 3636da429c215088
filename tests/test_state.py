"""Figures that begin in a state of the author's, and links that bring one: checked when the site is built."""

import pytest
from conftest import Site, draw_figures, settle

BLOCK = "```attention\nmodel: {model}\nid: {id}\n{keys}\n```\n"
SENTENCES = {"minilm": "The cat sat on the mat", "induction": "one red two"}


def block(keys, id="cat", model="minilm"):
    return BLOCK.format(model=model, id=id, keys=f"text: {SENTENCES[model]}\n{keys}")


SELECTED = {
    "token": ("selected=left,2", {"selected": {"side": "left", "index": 2, "indices": [2]}}, "minilm", "view: head"),
    "cell": ("cell=1,2&zoom=cells", {"cell": {"row": 1, "col": 2}, "zoom": "cells"}, "minilm", "view: matrix"),
    "neurons": ("expanded=1", {"expanded": 1}, "minilm", "view: neuron"),
    "two": ("beside=2,8", {"heads": [0], "beside": {"layer": 2, "head": 8}}, "minilm", "view: head"),
    "order": ("order=pattern", {"order": "pattern", "open": None}, "minilm", "view: model"),
    "predicted": ("selected=1", {"selected": 1}, "induction", "view: tokens"),
    "factor": ("factor=1", {"factor": 1}, "induction", "view: factors\nn_components: 2"),
}
"""States, what a figure then has of them, and its model and view."""


@pytest.fixture
def selected(site, share):
    """The page of all these figures."""
    keys = {name: (f"{view}\nstate: {state}", model) for name, (state, _, model, view) in SELECTED.items()}
    site.write("index.md", "\n".join(block(text, name, model) for name, (text, model) in keys.items()))
    return share(site, "--strict").folder / "site" / "index.html"


@pytest.mark.parametrize("name", SELECTED)
def test_a_figure_begins_with_what_its_author_selected(selected, visits, name):
    page = visits.page(selected, within=f"#{name}")
    figure = page.locator(f"#{name} attn-viz")
    kept = figure.bounding_box()["height"]
    draw_figures(page, f"#{name}")
    settle(page)
    assert figure.bounding_box()["height"] == kept
    found, (_, shown, *_) = figure.evaluate("element => element.state"), SELECTED[name]
    assert {part: found[part] for part in shown} == shown


WRONG = {
    "token": ("selected=left,8", "`selected` names token 8; the tokens are 0 to 7."),
    "side": (
        "selected=above,1",
        "`selected` is 'above,1'; it must be left or right, and tokens counted from 0, like left,2.",
    ),
    "layer": ("beside=6,0", "`beside` names layer 6; the layers are 0, 1, 2, 3, 4, 5."),
    "head": (
        "beside=2,12",
        "`beside` names head 12 of layer 2; the heads are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.",
    ),
    "name": (
        "selekted=left,1",
        "`selekted` is no part of the head view's state (did you mean `selected`?): stack, layer,",
    ),
    "key": ("layer=3", "`state` has `layer`, which is a key of the block itself: write `layer: …`."),
    "value": ("left", "`state` is 'left'; it must be what a link to the figure has after `~`, like selected=left,2."),
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory, shared_cache):
    """A site that has each of these states on a page of its own."""
    site = Site(tmp_path_factory.mktemp("wrong"), shared_cache)
    for name, (state, _) in WRONG.items():
        site.write(f"{name}.md", block(f"state: {state}"))
    return site.build()


@pytest.mark.parametrize("name", WRONG)
def test_a_state_that_cannot_be_is_told_with_its_line(wrong, name):
    (alert,) = wrong.alerts(f"{name}/index.html")
    assert WRONG[name][1] in alert
    assert f"{name}.md:5" in wrong.log


LINKS = {
    "#cat~heads=8,11&layer=2": None,
    "#cat~selected=right,1": None,
    "other.md#dog~layer=1": None,
    "#cat~layer=6": "`layer` is 6; model 'minilm' has layers 0 to 5.",
    "#cat~heads=12": "`heads` is 12; model 'minilm' has heads 0 to 11.",
    "#cat~contrast=9": "`contrast` is 9: input should be less than or equal to 4.",
    "other.md#dog~selected=left,99": "`selected` names token 99; the tokens are 0 to 7.",
    "#cats~layer=1": "there is no such anchor on this page",
}


@pytest.fixture(scope="module")
def linked(tmp_path_factory, shared_cache):
    """`linked(links)` → a site with these links, a page for each."""

    def linked(links):
        site = Site(tmp_path_factory.mktemp("links"), shared_cache)
        site.config["validation"] = {"anchors": "warn"}
        for number, link in enumerate(links):
            site.write(f"link-{number}.md", f"[see]({link})\n\n" + block("layer: 1\nheads: [1, 2]"))
        site.write("other.md", block("", id="dog"))
        return site.build("--strict")

    return linked


def test_links_to_a_figure_in_a_state_are_checked_like_any_other(linked):
    good, bad = ([link for link, said in LINKS.items() if (said is None) == fine] for fine in (True, False))
    built = linked(good)
    assert built.returncode == 0, built.log
    built = linked(bad)
    assert built.returncode != 0
    for number, link in enumerate(bad):
        (line,) = [line for line in built.log.splitlines() if f"link-{number}.md" in line and "WARNING" in line]
        assert LINKS[link] in line
