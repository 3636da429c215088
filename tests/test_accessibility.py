"""The figures as a blind reader gets them: each view's accessibility tree as Chromium makes it, as a text that a person
can judge.

`python tests/test_accessibility.py` writes the texts in `tests/accessibility/` anew; read what has changed as somebody
would who hears it.
"""

import re
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, TIMERS, Site, draw_all, in_no_time, settle
from playwright.sync_api import sync_playwright

from mkdocs_attnviz.views import VIEWS

FOLDER = Path(__file__).parent / "accessibility"
COMMAND = "python tests/test_accessibility.py"
TEXT = "the cat saw the dog and the cat"
ABOUT = f"model: induction\ntext: {TEXT}\n"
FIGURES = {view: f"{ABOUT}view: {view}" for view in VIEWS} | {
    "head": f"{ABOUT}view: head\nlayer: 1",
    "matrix": f"{ABOUT}view: matrix\nlayer: 1",
    "neuron": f"{ABOUT}view: neuron\nlayer: 1",
    "activations": f"{ABOUT}view: activations\nlayer: 0",
    "factors": f"{ABOUT}view: factors\nn_components: 3",
    "sublayers": f"{ABOUT}view: sublayers\nablate: [zero, swap]",
    "text": f"{ABOUT}view: text\nlayer: 1\nheads: [1, 2]",
    "cells": f"{ABOUT}view: cells\nkeep: 4\nunits: [5, 9]",
    "experts": "model: mixture\ntext: the old miller sold two apples to the king . 4 + 3 = 7\nview: experts",
    "compared": f"{ABOUT}view: predict\ninterventions: [{{layer: 1, heads: [0, 1]}}]",
    "loads": "model: mixture\ncorpus: docs/texts.txt\nview: experts",
    "methods": f"{ABOUT}view: saliency\nmethod: [attention, rollout, integrated_gradients, occlusion]\nby: word",
}
SECOND = {"loads": "experts", "methods": "saliency"}
"""Figures of a view that draws two kinds, with its name."""
FIRST = {
    "head": ".left [role=option]",
    "matrix": ".heat-map",
    "model": ".cell",
    "neuron": ".left [role=option]",
    "lens": "td",
    "methods": "td",
    "activations": ".neuron-map",
    "similarity": ".similar",
    "sublayers": ".strips",
    "heads": ".head-stage",
    "text": ".attended",
    "cells": ".running",
    "experts": "td",
    "loads": ".expert-bars",
    "mask": ".heat-map",
}
"""The place where the keyboard goes first in a figure; in other figures it is the first token of the text."""
TEXT_PIECE = 'StaticText "'
SILENT = {"generic", "none", "InlineTextBox", "LabelText", "MenuListPopup"}
NAMED = {"button", "columnheader", "rowheader"}
"""Roles whose name is all that is heard."""
STATES = ("checked", "pressed", "expanded", "selected", "disabled", "live")
NUMBER = re.compile(r"(?<![\w.])[−-]?\d+\.\d+")


EXTRA = {
    "long": f"model: induction\nview: matrix\ntext: {' '.join(['the cat saw the dog and'] * 10)}",
}
"""A figure that test_browser_tables.py looks at."""


def build(site):
    """Build a site with each figure on its own page."""
    site.write("texts.txt", (ROOT / "example_site" / "corpora" / "prose-and-sums.txt").read_text("utf-8"))
    for name, block in EXTRA.items():
        site.write(f"{name}.md", f"```attention\n{block}\n```\n")
    for name, block in FIGURES.items():
        site.write(f"{name}.md", f"```attention\n{block}\nid: {name}\n```\n")
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    return built.folder / "site"


def tree(page, selector):
    """Return the lines of Chromium's accessibility tree below an element that the page or a figure has."""
    session = page.context.new_cdp_session(page)
    shadow = f"document.querySelector('attn-viz').shadowRoot.querySelector({selector!r})"
    expression = f"{shadow} ?? document.querySelector({selector!r})"
    there = session.send("Runtime.evaluate", {"expression": expression})["result"]
    root = session.send("DOM.describeNode", {"objectId": there["objectId"]})["node"]["backendNodeId"]
    nodes = {node["nodeId"]: node for node in session.send("Accessibility.getFullAXTree")["nodes"]}
    session.detach()
    top = next(node for node in nodes.values() if node.get("backendDOMNodeId") == root)
    return merged(lines(top, nodes, 0))


def merged(found):
    """Return the lines, of which pieces of text beside each other are one."""
    made = []
    for line in found:
        mark = f"{line[: len(line) - len(line.lstrip())]}{TEXT_PIECE}"
        if line.startswith(mark) and made and made[-1].startswith(mark):
            made[-1] = f"{made[-1][:-1]} {line[len(mark) :]}"
        else:
            made.append(line)
    return made


def lines(node, nodes, depth):
    """Yield a node and what is below it, as far as somebody hears of it."""
    role, name = node["role"]["value"], " ".join(node.get("name", {}).get("value", "").split())
    silent = node.get("ignored") or role in SILENT or (role == "StaticText" and not name)
    if role == "row":
        name = ""  # all that is in it
    if not silent:
        yield "  " * depth + " ".join([role, *([f'"{name}"'] if name else []), *states(node)])
    below = [nodes[child] for child in node.get("childIds", []) if child in nodes]
    said = [heard(child, nodes) for child in below]
    if role in NAMED and name:
        below = [child for child in below if child["role"]["value"] != "StaticText"]
    options = role == "combobox" and "MenuListPopup" in {child["role"]["value"] for child in below}
    if silent or not name or options or "".join("".join(said).split()) != "".join(name.split()):
        for child in below:
            yield from lines(child, nodes, depth + (not silent))


def heard(node, nodes):
    """Return the text in a node that has no other."""
    if node["role"]["value"] == "StaticText":
        return node.get("name", {}).get("value", "")
    if not node.get("ignored") and node["role"]["value"] not in SILENT:
        return "\0"
    return "".join(heard(nodes[child], nodes) for child in node.get("childIds", []) if child in nodes)


def states(node):
    found = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
    yield from (f"{state}={found[state]}" for state in STATES if found.get(state) not in (None, "", "off"))
    if value := node.get("value", {}).get("value"):
        yield f"value={value!r}"
    if description := node.get("description", {}).get("value"):
        yield f"description={description!r}"


CHANGED = {
    "head": {"layer": 0, "heads": [1, 2]},
    "matrix": {"layer": 0, "heads": [2]},
    "model": {"open": {"layer": 1, "head": 3}},
    "neuron": {"head": 2},
    "tokens": {"shade": "rank"},
    "predict": {"position": 3},
    "saliency": {"selected": 0},
    "lens": {"cells": "actual", "show": "entropy"},
    "activations": {"layer": 1, "order": "strength"},
    "factors": {"factor": 1},
    "similarity": {"measure": "cca"},
    "sublayers": {"change": "swap"},
    "heads": {"show": "grid", "color": "entropy"},
    "text": {"layer": 0, "token": 3, "direction": "from"},
    "cells": {"layer": 1, "units": [5, 9], "token": 2},
    "experts": {"show": "text", "layer": 1, "expert": 2, "token": 3},
    "mask": {"layer": 1},
    "compared": {"position": 3, "before": True},
    "loads": {"show": "tokens", "layer": 1, "expert": 2},
    "methods": {"by": "sentence", "compare": "deletion", "selected": None},
}
"""A state of each figure that is not its first."""
NAMED_IN = """async state => {
  const element = document.querySelector('attn-viz');
  element.state = state;
  await element.updateComplete;
  return element.shadowRoot.querySelector('.figure').ariaLabel;
}"""


def told(page, name):
    """Return what a reader gets: of a figure as it opens, of its options and table, of keys, and of its new name."""
    draw_all(page)
    settle(page)
    parts = {"As it opens": tree(page, "figure")}
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Table").click()
    settle(page)
    parts["Options"] = tree(page, ".options")
    parts["Table"] = tree(page, ".table")
    page.locator("attn-viz").locator(FIRST.get(name, ".flow [tabindex='0']")).first.focus()
    page.evaluate(HEAR)
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
        in_no_time(page)
        parts[f"Then {key}"] = [f"on: {page.evaluate(FOCUSED)}", *page.evaluate("heard.splice(0)")]
    parts["Its name in another state"] = [page.evaluate(NAMED_IN, CHANGED[name])]
    return "\n".join(f"# {part}\n\n" + "\n".join(found) + "\n" for part, found in parts.items())


HEAR = """() => {
  window.heard = [];
  const live = document.querySelector('attn-viz').shadowRoot.querySelector('[aria-live]');
  new MutationObserver(() => heard.push('told: ' + live.textContent)).observe(live, {childList: true, subtree: true});
}"""
FOCUSED = """() => {
  const at = document.querySelector('attn-viz').shadowRoot.activeElement;
  return at?.getAttribute('aria-label') ?? at?.textContent.trim() ?? '';
}"""


def rounded(text):
    """The text without its numbers, and the numbers."""
    return NUMBER.sub("#", text), [float(number.replace("−", "-")) for number in NUMBER.findall(text)]


@pytest.mark.parametrize("view", FIGURES)
def test_the_accessibility_tree_is_as_it_was_read(every_view, open_page, view):
    now = told(open_page(every_view / view / "index.html"), view)
    path = FOLDER / f"{view}.txt"
    (text, numbers), (known, known_numbers) = rounded(now), rounded(path.read_text("utf-8"))
    why = f"what a screen reader tells of {view} has changed; `{COMMAND}` writes tests/accessibility/{view}.txt anew"
    assert text == known, why
    assert numbers == pytest.approx(known_numbers, rel=0.02, abs=0.011), why


def test_each_view_has_a_text():
    assert set(FIGURES) == {*VIEWS, "compared", *SECOND} == {path.stem for path in FOLDER.glob("*.txt")}


def write():
    sys.path.insert(0, str(ROOT / "tests"))
    import chromium

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base, sync_playwright() as playwright:
        folder = build(Site(Path(base), Path(base) / "cache"))
        browser = chromium.launch(playwright)
        for view in sys.argv[1:] or FIGURES:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(TIMERS)
            page.goto((folder / view / "index.html").as_uri())
            (FOLDER / f"{view}.txt").write_text(told(page, view), "utf-8")
            print(FOLDER / f"{view}.txt")
            page.close()
        browser.close()


if __name__ == "__main__":
    write()
