"""The ES module draws the figures that sites have, for every kind of host that anywidget's contract knows."""

import re
import shutil

import numpy as np
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, draw_all, served, settle

import mkdocs_attnviz
from mkdocs_attnviz.figure.scripts import WAITING

STATIC = ROOT / "mkdocs_attnviz" / "static"
HOST = """<!doctype html><meta charset="utf-8"><title>Host</title><body>%s
<script type="module">
import widget from "./attnviz.mjs";
import loader from "./attnviz-widget.mjs";

/** A model as mystmd's theme has it: no kernel, and what it lacks throws. */
class Static extends EventTarget {
  constructor(state) { super(); this.state = state; }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = value; this.dispatchEvent(new CustomEvent(`change:${name}`)); }
  on(name, callback) { this.addEventListener(name, callback); }
  off() { throw new Error("not implemented"); }
  save_changes() { throw new Error("not implemented"); }
}

/** A model that a kernel shares. `saved` are the states that it got. */
class Shared extends Static {
  saved = [];
  off(name, callback) { this.removeEventListener(name, callback); }
  save_changes() { this.saved.push({ ...this.state }); }
}

const bytes = async (name) => new DataView(await (await fetch(name)).arrayBuffer());

/** Draw a figure in a shadow root. */
window.show = async ({ figure, files, state, kind }, at) => {
  const data = Object.fromEntries(await Promise.all(files.map(async (name) => [name, await bytes(`sent/${name}`)])));
  const model = new { Static, Shared }[kind]({ figure, ...(files.length && { data }), ...(state && { state }) });
  const box = document.body.appendChild(document.createElement("div"));
  box.id = at;
  const el = box.attachShadow({ mode: "open" }).appendChild(document.createElement("div"));
  Object.assign(box, { model, remove: await widget.render({ model, el }) });
};

/** Draw a figure as a notebook does: `scripts` are the texts of a kernel's scripts by name, null where it has none. */
window.load = async ({ figure, scripts }, at) => {
  const el = document.body.appendChild(document.createElement("div"));
  el.id = at;
  const code = Object.fromEntries(Object.keys(scripts).map((name) => [name, `IPY_MODEL_${name}`]));
  const model = Object.assign(new Shared({ figure, code }), { widget_manager: { async get_model(name) {
    if (scripts[name] === null) throw new Error("widget model not found");
    window.asked = [...(window.asked ?? []), name];
    const deflated = new Blob([scripts[name]]).stream().pipeThrough(new CompressionStream("deflate"));
    const code = await new Response(deflated).arrayBuffer();
    return { get: () => new DataView(code) };
  } } });
  await loader.render({ model, el });
};
</script>"""


@pytest.fixture(scope="module")
def figures(every_view, widget):
    """The figure of each view's page, without the scripts, and one with data in a file."""
    found = {"file": widget.figure}
    for path in every_view.glob("*/index.html"):
        figure = BeautifulSoup(path.read_text("utf-8"), "html.parser").select_one("figure.attnviz")
        if figure is not None:
            found[path.parent.name] = str(figure)
    return found


@pytest.fixture(scope="module")
def widget():
    """A widget of own tensors."""
    generator = np.random.default_rng(0)
    attention = [generator.dirichlet(np.ones(20), size=(1, 4, 20)) for _ in range(3)]
    return mkdocs_attnviz.Widget(attention=attention, tokens=[f"t{number}" for number in range(20)], layer=1)


@pytest.fixture(scope="module")
def host(every_view, widget, tmp_path_factory):
    """The URL of a folder with a page that has the module, and one that has loaded the classic script before."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "sent").mkdir()
    for path in [*STATIC.glob("*js"), *every_view.rglob("*.js")]:
        if path.parent == STATIC or re.fullmatch(r"[0-9a-f]{64}", path.stem):
            shutil.copy(path, folder)
    for name, content in widget.data.items():
        for path in (folder / name, folder / "sent" / name):
            path.write_bytes(content)
    (folder / "index.html").write_text(HOST % "", "utf-8")
    (folder / "beside.html").write_text(HOST % '<script src="attnviz.js"></script>', "utf-8")
    with served(folder) as url:
        yield url


def show(page, at, figure, *, kind="Shared", sent=(), state=None):
    """Draw a figure in an element with the id `at`, by a model of this kind; `sent` names data files that it has."""
    given = {"figure": figure, "kind": kind, "files": list(sent), "state": state}
    page.wait_for_function("!!window.show")
    page.evaluate("([given, at]) => show(given, at)", [given, at])


def test_every_view_in_a_host_without_a_kernel(host, figures, open_page):
    """The model refuses as that of mystmd's theme does, in a shadow root; data are in files beside the module."""
    page = open_page(f"{host}/index.html")
    for name, figure in figures.items():
        show(page, f"host-{name}", figure, kind="Static")
    draw_all(page)
    for name in figures:
        figure = page.locator(f"#host-{name} attn-viz").first
        assert figure.evaluate("element => element.isDrawn"), name
        assert page.locator(f"#host-{name}").evaluate("element => element.model.get('state')") == figure.evaluate(
            "element => element.state"
        )
    page.evaluate("id => document.getElementById(id).remove()", f"host-{next(iter(figures))}")


def test_bytes_and_states_of_a_kernel(host, widget, open_page):
    page = open_page(f"{host}/index.html")
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    show(page, "one", widget.figure, sent=widget.data, state={"layer": 2})
    show(page, "two", widget.figure, sent=widget.data)
    draw_all(page)
    one, two = page.locator("#one"), page.locator("#two")

    def state(box, name="state"):
        return box.evaluate("(element, name) => element.model.get(name)", name)

    def drawn(box):
        return box.locator("attn-viz").evaluate("element => element.state")

    assert (state(one)["layer"], state(two)["layer"]) == (2, 1)
    assert (drawn(one), drawn(two)) == (state(one), state(two)), "the kernel is told of all parts of the first state"

    one.locator("select").first.select_option("0")
    assert state(one)["layer"] == 0
    saved = one.evaluate("element => element.model.saved.length")
    one.evaluate("element => element.model.set('state', { layer: 1, heads: [3] })")
    assert {**drawn(one), "layer": 1, "heads": [3]} == drawn(one) == state(one)
    assert one.evaluate("element => element.model.saved.length") == saved + 1, "once, or it would be told in circles"

    one.evaluate("element => element.model.set('state', { ...element.model.get('state'), layer: 7, heads: [1] })")
    [problem] = one.get_by_role("alert").all_inner_texts()
    assert "7" in problem
    assert problem == f"This state cannot be shown: {state(one, 'problem')}"
    assert drawn(one) == state(one)
    assert (state(one)["layer"], state(one)["heads"]) == (1, [3]), "all is as it was before"
    one.evaluate("element => element.model.set('state', { ...element.model.get('state'), lyr: 2 })")
    assert "lyr" in state(one, "problem")
    assert "lyr" not in state(one)
    one.evaluate("element => element.model.set('state', { layer: 0 })")
    assert one.get_by_role("alert").count() == 0
    assert state(one, "problem") == ""

    one.evaluate("element => element.remove()")
    assert one.locator("attn-viz").count() == 0
    before = state(one)
    one.evaluate("element => element.model.set('state', { layer: 2 })")
    assert before != state(one) == {"layer": 2}
    two.locator("select").first.select_option("2")
    settle(page)
    weights = two.locator("attn-viz").evaluate("element => element.weights({ layer: 2, head: 0 })")
    assert np.shape(weights["values"]) == (20, 20), "what two figures have brought stays until both are gone"
    assert not [url for url in requested if "/sent/" not in url and any(name in url for name in widget.data)]


def test_a_page_that_has_the_classic_script(host, figures, widget, open_page):
    """The element is defined once; the module adds its views to it, and figures find the data that the module has."""
    page = open_page(f"{host}/beside.html")
    show(page, "bytes", widget.figure, sent=widget.data)
    show(page, "heads", figures["heads"])
    draw_all(page)
    assert page.locator("attn-viz").evaluate_all("all => all.map(element => element.isDrawn)") == [True, True]
    assert page.evaluate("typeof attnviz.define") == "function"


KEYS = """box => {
  box.pressed = [];
  box.parentElement.addEventListener("keydown", ({ key }) => box.pressed.push(key));
}"""


def test_keys_that_the_figure_uses_are_not_the_hosts(host, widget, open_page):
    page = open_page(f"{host}/index.html")
    show(page, "one", widget.figure, sent=widget.data)
    draw_all(page)
    box = page.locator("#one")
    box.evaluate(KEYS)
    box.locator("[role=option]").first.focus()
    for key in ("ArrowDown", "Enter", "Escape", "]", "a", "Tab"):
        page.keyboard.press(key)
    box.locator("select").first.focus()
    for key in ("b", "Control+s"):
        page.keyboard.press(key)
    assert box.evaluate("box => box.pressed") == ["a", "Tab", "Control", "s"]


OWN = """
attnviz.define({
  mine: class {
    state = { turned: false };
    constructor(host) { this.host = host; }
    render() {
      this.host.drawn();
      return Object.assign(document.createElement("b"), { textContent: "mine" });
    }
  },
});
"""


def test_scripts_of_a_kernel_are_run_once(host, figures, open_page):
    """The loader takes the module and another package's script from models of their own; without them, a figure stays
    its picture and says so."""
    page = open_page(f"{host}/index.html")
    page.wait_for_function("!!window.load")
    scripts = {"attnviz-1.mjs": (STATIC / "attnviz.mjs").read_text("utf-8"), "mine-1.js": WAITING % OWN}
    mine = figures["head"].replace('{"view":"head"', '{"view":"mine"')
    for number, figure in enumerate((mine, mine, figures["matrix"])):
        page.evaluate("([given, at]) => load(given, at)", [{"figure": figure, "scripts": scripts}, f"at-{number}"])
    draw_all(page)
    assert page.locator("b").all_inner_texts() == ["mine", "mine"]
    assert page.evaluate("asked") == list(scripts)
    lost = {"figure": figures["model"], "scripts": {"attnviz-2.mjs": None}}
    page.evaluate("given => load(given, 'lost')", lost)
    assert "The script of this notebook’s figures is missing" in page.locator("#lost").inner_text()
    assert page.locator("#lost img").count() == 1
