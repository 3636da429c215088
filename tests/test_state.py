"""Figures that begin in a state of the author's, and links that bring one: checked when the site is built."""

import pytest
from conftest import draw_all, settle

CAT = "```attention\nmodel: minilm\ntext: The cat sat on the mat\nid: cat\n{}\n```\n"
WRITER = "```attention\nmodel: induction\ntext: one red two\nview: {}\nid: cat\n{}\n```\n"


@pytest.mark.parametrize(
    ("block", "state", "shown"),
    [
        (CAT, "selected=left,2", {"selected": {"side": "left", "index": 2, "indices": [2]}}),
        (
            CAT.replace("id:", "view: matrix\nid:"),
            "cell=1,2&zoom=cells",
            {"cell": {"row": 1, "col": 2}, "zoom": "cells"},
        ),
        (CAT.replace("id:", "view: neuron\nid:"), "expanded=1", {"expanded": 1}),
        (CAT, "beside=2,8", {"heads": [0], "beside": {"layer": 2, "head": 8}}),
        (CAT.replace("id:", "view: model\nid:"), "order=pattern", {"order": "pattern", "open": None}),
        (WRITER.replace("{}", "tokens", 1), "selected=1", {"selected": 1}),
        (WRITER.replace("{}", "factors\nn_components: 2", 1), "factor=1", {"factor": 1}),
    ],
)
def test_a_figure_begins_with_what_its_author_selected(site, open_page, block, state, shown):
    site.write("index.md", block.format(f"state: {state}"))
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    page = open_page(built.folder / "site" / "index.html")
    kept = page.locator("attn-viz").bounding_box()["height"]
    draw_all(page)
    settle(page)
    assert page.locator("attn-viz").bounding_box()["height"] == kept
    found = page.evaluate("document.querySelector('attn-viz').state")
    assert {name: found[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("selected=left,8", "`selected` names token 8; the tokens are 0 to 7."),
        (
            "selected=above,1",
            "`selected` is 'above,1'; it must be left or right, and tokens counted from 0, like left,2.",
        ),
        ("beside=6,0", "`beside` names layer 6; the layers are 0, 1, 2, 3, 4, 5."),
        ("beside=2,12", "`beside` names head 12 of layer 2; the heads are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11."),
        ("selekted=left,1", "`selekted` is no part of the head view's state (did you mean `selected`?): stack, layer,"),
        ("layer=3", "`state` has `layer`, which is a key of the block itself: write `layer: …`."),
        ("left", "`state` is 'left'; it must be what a link to the figure has after `~`, like selected=left,2."),
    ],
)
def test_a_state_that_cannot_be_is_told_with_its_line(site, state, said):
    site.write("index.md", CAT.format(f"state: {state}"))
    built = site.build()
    (alert,) = built.alerts()
    assert said in alert
    assert "index.md:5" in built.log


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("#cat~heads=8,11&layer=2", None),
        ("#cat~selected=right,1", None),
        ("other.md#dog~layer=1", None),
        ("#cat~layer=6", "`layer` is 6; model 'minilm' has layers 0 to 5."),
        ("#cat~heads=12", "`heads` is 12; model 'minilm' has heads 0 to 11."),
        ("#cat~contrast=9", "`contrast` is 9: input should be less than or equal to 4."),
        ("other.md#dog~selected=left,99", "`selected` names token 99; the tokens are 0 to 7."),
        ("#cats~layer=1", "there is no such anchor on this page"),
    ],
)
def test_links_to_a_figure_in_a_state_are_checked_like_any_other(site, link, said):
    site.config["validation"] = {"anchors": "warn"}
    site.write("index.md", f"[see]({link})\n\n" + CAT.format("layer: 1\nheads: [1, 2]"))
    site.write("other.md", CAT.format("").replace("id: cat", "id: dog"))
    built = site.build("--strict")
    if said is None:
        assert built.returncode == 0, built.log
    else:
        assert built.returncode != 0
        assert said in built.log
