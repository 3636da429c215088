"""The cells view in the page: its numbers, keys, strips, links, gates, a long text, and white space as written."""

import json
import zlib

import numpy as np
import pytest
from conftest import ROOT, draw_figures, settle
from playwright.sync_api import expect

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.views.unit_values import signed_bytes

CHARACTERS = str(ROOT / "example_site" / "models" / "characters")
STORY = """The old fox (who ran) said: "I go to the mill. We
hide the kettle." The crow knew the rain.

  "We fear the night," cried the baker (who hid the
  lantern) and went to the tower. "I am here," he said.
"""
BLOCK = "model: characters\nview: cells\nfind: quotes\nkeep: 12\n"


def indented(text):
    return "".join(f"  {line}\n" if line.strip() else "\n" for line in text.splitlines())


@pytest.fixture
def page(site, share, visits):
    site.settings["models"]["characters"] = {"model": CHARACTERS, "trust_remote_code": True}
    site.settings["max_tokens"] = 6000
    long = "\n".join(STORY for _ in range(26))[:5000]
    text = f"text: |2\n{indented(STORY)}"
    site.write(
        "index.md",
        f"```attention\n{BLOCK}{text}id: story\n```\n\n```attention\n{BLOCK}show: saturation\n{text}id: gates\n```\n",
    )
    site.write("long.md", f"```attention\n{BLOCK}text: |2\n{indented(long)}id: long\n```\n")
    site.write("units.md", f"```attention\n{BLOCK}units: [3, 17]\n{text}id: units\n```\n")
    built = share(site, "--strict")

    def opened(figure="story", **options):
        folder = built.folder / "site"
        address = folder / "index.html" if figure in ("story", "gates") else folder / figure / "index.html"
        page = visits.page(address, within=f"#{figure}", **options)
        draw_figures(page, f"#{figure}")
        settle(page)
        return page

    opened.cache = site.settings["cache_dir"]
    return opened


def values(page, figure="story", request="{}"):
    return page.locator(f"#{figure} attn-viz").evaluate(f"element => element.values({request})")


def state(page, figure="story"):
    return page.locator(f"#{figure} attn-viz").evaluate("element => element.state")


def test_values_are_those_of_the_entry(page):
    from pathlib import Path

    found = values(page(), request='{part: "forget", layer: 1}')
    assert "".join(found["tokens"]) == STORY.rstrip("\n") + "\n"
    for path in Path(page.cache).rglob("*"):
        if path.is_file() and b'"capture", "cells"' in path.read_bytes()[:3000]:
            entry = Entry.from_bytes(path.read_bytes())
            if "forget/1/units" not in entry.blobs:  # another test's model
                continue
            lists = json.loads(zlib.decompress(entry.blobs["forget/1/units"]))
            if lists["units"] == found["units"]:
                own = np.array(signed_bytes(entry.blobs["forget/1"], 12))
                assert np.abs(np.array(found["values"]) - own).max() < 1e-6
                assert found["told"] == lists["told"]
                return
    pytest.fail("no entry has these units")


def test_keys_walk_through_tokens_and_units(page):
    page = page()
    text = page.locator("#story .running")
    units = values(page)["units"]
    text.focus()
    page.keyboard.press("ArrowRight")
    readout = page.locator("#story .panel-readout")
    expect(readout).to_contain_text("h in line 1, column 2:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert state(page)["units"] == [units[2]]
    page.keyboard.press("PageDown")
    settle(page)
    assert state(page)["units"] == [units[-1]]
    page.keyboard.press("PageUp")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    settle(page)
    assert state(page) | {"layer": 0} == {
        "show": "text", "part": "cell", "layer": 0, "units": [units[0]], "token": len(values(page)["tokens"]) - 1
    }  # fmt: skip
    page.keyboard.press("Escape")
    settle(page)
    assert state(page)["token"] is None


def test_pointing_at_a_character_reads_its_value(page):
    page = page()
    found = values(page)
    at = found["tokens"].index('"')
    box = page.locator("#story attn-viz").evaluate(
        """(element, at) => {
          const pre = element.shadowRoot.querySelector('pre');
          const range = document.createRange();
          let node = pre.firstChild;
          while (at >= node.length) [at, node] = [at - node.length, node.nextSibling];
          range.setStart(node, at); range.setEnd(node, at + 1);
          const {x, y, width, height} = range.getBoundingClientRect();
          return {x: x + width / 2, y: y + height / 2};
        }""",
        at,
    )
    page.mouse.move(box["x"], box["y"])
    settle(page)
    shown = page.locator("#story .panel-readout").inner_text().replace("−", "-")
    assert shown.startswith('" in line 1, column 29:')
    assert float(shown.rsplit(" ", 1)[1]) == pytest.approx(found["values"][0][at], abs=0.005)
    page.mouse.click(box["x"], box["y"])
    settle(page)
    assert state(page)["token"] == at


def test_units_in_rows_and_links(page):
    page = page("units")
    assert state(page, "units")["units"] == [3, 17]
    assert "strips: 17" in page.locator("#units .legend").inner_text()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Remove strips").click()
    settle(page)
    assert state(page, "units")["units"] == [3]
    link = page.locator("#units attn-viz").evaluate("element => { element.state = {units: [17, 3]}; return 0; }")
    assert link == 0
    wrong = page.locator("#units attn-viz").evaluate(
        "element => { try { element.state = {units: [500]}; } catch (error) { return String(error); } }"
    )
    assert wrong == "RangeError: units 500: not a number from 0 to 127"


def test_a_link_sets_units_part_and_token(page):
    opened = page(state="#story~part=forget&units=5,9&token=3")
    found = state(opened)
    assert (found["part"], found["units"], found["token"]) == ("forget", [5, 9], 3)


def test_gates_lead_to_the_text_of_their_unit(page):
    page = page("gates")
    plot = page.locator("#gates .saturation")
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    settle(page)
    readout = page.locator("#gates .panel-readout")
    expect(readout).to_contain_text("Layer 1, unit 1: forget gate below 0.1 at")
    page.keyboard.press("Enter")
    settle(page)
    found = state(page, "gates")
    assert (found["show"], found["layer"], found["units"]) == ("text", 1, [1])
    expect(page.locator("#gates pre")).to_contain_text("The old fox")


COST = """async () => {
  const element = document.querySelector('attn-viz');
  const text = element.shadowRoot.querySelector('.running');
  text.focus();
  for (let i = 0; i < 20; i++) {
    text.dispatchEvent(new KeyboardEvent('keydown', {key: i < 10 ? 'ArrowDown' : 'ArrowUp', bubbles: true}));
    await element.updateComplete;
    await new Promise(requestAnimationFrame);
  }
}"""


def test_five_thousand_characters_stay_fluent(page):
    """No element is made for a character, and another unit costs less than a frame of the processor's time, with some
    to spare for a slow machine.
    """
    page = page("long")
    counted = page.locator("attn-viz").evaluate(
        "element => [element.shadowRoot.querySelectorAll('*').length, "
        "element.shadowRoot.querySelector('pre').textContent.length]"
    )
    assert counted[0] < 200
    assert counted[1] >= 4900
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cost():
        return {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}[
            "TaskDuration"
        ]

    before = cost()
    page.evaluate(COST)
    assert (cost() - before) / 20 < 0.04  # 0.01 s on a quiet machine


def test_white_space_is_as_it_was_written(page):
    page = page(width=360, height=740)
    text = page.locator("#story pre")
    assert text.evaluate("element => element.textContent") == STORY
    assert text.evaluate("element => getComputedStyle(element).whiteSpace") == "break-spaces"
    over = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(over) == 0
