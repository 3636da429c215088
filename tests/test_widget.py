"""The class `Widget`: in a kernel alone, in JupyterLab, in the pages that nbconvert exports, and in marimo."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
import zlib

import bytecode
import commands
import nbformat
import pytest
from conftest import INDUCTION, MINILM, PATIENCE, ROOT, Site, becomes, draw_all
from entries import data_file_parts
from nbformat.v4 import new_code_cell, new_notebook
from node_packages import installed
from test_hosts import TEN

from mkdocs_attnviz import Widget

SETUP = """
import numpy as np
from mkdocs_attnviz import Widget
generator = np.random.default_rng(0)
tokens = [f"t{number}" for number in range(8)]
def widget(**options):
    attention = [generator.dirichlet(np.ones(8), size=(1, 2, 8)) for _ in range(3)]
    return Widget(attention=attention, tokens=tokens, **options)
"""
MODULE = (ROOT / "mkdocs_attnviz" / "static" / "attnviz.mjs").read_bytes()


def widget(**options):
    """Return a widget as the notebooks of these tests have it."""
    names: dict = {}
    exec(SETUP, names)
    return names["widget"](**options)


def parts(figure, files):
    """Yield the stored bytes that a figure's data names, in order, without the previews of what is in a file."""
    if isinstance(figure, dict):
        if figure.keys() & {"data", "file"}:
            name = figure.get("file")
            yield base64.b64decode(figure["data"]) if name is None else files[name][figure.get("part", 0)]
        for name, value in figure.items():
            if name != "preview":
                yield from parts(value, files)
    elif isinstance(figure, list):
        for value in figure:
            yield from parts(value, files)


def test_ten_blocks_have_the_data_of_a_site(tmp_path, share, shared_cache):
    """The kernel sends data files as a site has them, with the same parts in the same order."""
    site = Site(tmp_path, shared_cache)
    site.write("index.md", "\n\n".join(f"```attention\n{block}\n```" for block in TEN))
    built = share(site, "--strict")
    files = {path.name: data_file_parts(path) for path in built.folder.rglob("*.js") if len(path.stem) == 64}
    figures = [json.loads(figure["data-figure"]) for figure in built.page().select("attn-viz")]
    assert len(files) > 3
    settings = {"models": {"minilm": MINILM, "induction": INDUCTION}, "cache_dir": str(shared_cache)}
    for block, figure in zip(TEN, figures, strict=True):
        sent = Widget(block=block, settings=settings | {"on_missing": "error"})
        assert '"data":"' not in sent.figure, "all bytes are sent as bytes"
        for name, content in sent.data.items():
            (tmp_path / name).write_bytes(content)
        own = json.loads(re.search("data-figure='(.*?)' ", sent.figure)[1].replace("&#39;", "'").replace("&amp;", "&"))
        arrived = list(parts(own, {name: data_file_parts(tmp_path / name) for name in sent.data}))
        assert arrived == list(parts(figure, files)), block
        assert all(zlib.decompress(part) for part in arrived)


def test_states_without_a_page():
    """A program names what it changes; a page always names all, also what it does not take."""
    own = widget(state={"layer": 2})
    own.state = {"heads": [1]}
    assert own.state == {"layer": 2, "heads": [1]}
    own.set_state({"state": {"layer": 0, "heads": [0, 1]}, "problem": "heads: no"})
    assert (own.state, own.problem) == ({"layer": 0, "heads": [0, 1]}, "heads: no")
    assert "layer=2" in json.dumps(widget(state="layer=2").figure)


def test_what_is_shown_where_no_widget_can_be():
    own = widget(layer=1, caption="A caption")
    output, _ = own._repr_mimebundle_()
    assert repr(own) == output["text/plain"]
    assert repr(own).startswith("Attention of own tensors, layer 1, 2 heads, over 8 tokens.")
    assert "<img" in output["text/html"]
    assert "A caption" in output["text/html"]
    assert "<script" not in output["text/html"] + own.figure


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "A widget needs one of these: a `model`, a `block`, or `attention`. It has none of them."),
        ({"model": object(), "block": "model: a"}, "It has model and block."),
        ({"tokens": ["a"]}, "Give either `attention`, or"),
        ({"block": "model: a\ntext: b\nlayr: 3"}, "`layr` is not a key of the block"),
        ({"block": "model: a\ntext: b", "layer": 3}, "`layer` stands beside `block`; write it into the block."),
        ({"block": "model: a\ntext: b", "settings": {"device": "tpu"}}, "Setting `device` is 'tpu'"),
    ],
)
def test_a_wrong_call(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Widget(**given)


def test_without_anywidget():
    program = "import sys; sys.modules['anywidget'] = None; from mkdocs_attnviz import Widget"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stderr.endswith("ImportError: `Widget` needs the package anywidget: `pip install 'attnviz[widget]'`.\n")


# ---- thirty widgets in a notebook that Jupyter executes


def run_jupyter(*arguments):
    run = commands.run("nbconvert", *map(str, arguments))
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def thirty(once):
    """The folder of a notebook that was executed, and of its page."""

    def make(folder):
        cells = [SETUP, *(f"widget(layer=1, caption='Number {number}')" for number in range(29))]
        cells += ["last = widget(caption='Last'); last.state = {'layer': 2, 'heads': [1]}; last"]
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), folder / "thirty.ipynb")
        patience = [f"--ExecutePreprocessor.{what}_timeout=300" for what in ("startup", "iopub")]
        run_jupyter("--to", "notebook", "--execute", "--inplace", *patience, folder / "thirty.ipynb")
        run_jupyter("--to", "html", "--HTMLExporter.mathjax_url=data:,", folder / "thirty.ipynb")

    return once("thirty-widgets", make)


@pytest.mark.parametrize("file", ["thirty.ipynb", "thirty.html"])
def test_thirty_widgets_share_one_copy_of_the_script(thirty, file):
    """Each brings a loader in the same file; together they weigh less than half of the script itself."""
    states = nbformat.read(thirty / "thirty.ipynb", 4)["metadata"]["widgets"]
    states = states["application/vnd.jupyter.widget-state+json"]["state"].values()
    loaders = [state["state"]["_esm"] for state in states if "_esm" in state["state"]]
    [code] = [buffer["data"] for state in states for buffer in state.get("buffers", ()) if buffer["path"] == ["code"]]
    assert len(loaders) == 30
    assert zlib.decompress(base64.b64decode(code)) == MODULE
    assert len(code) + sum(map(len, loaders)) < 1.5 * len(code) < len(MODULE)
    text = (thirty / file).read_text("utf-8").replace("\\/", "/")  # as JSON in a page is written
    assert text.count(code[:100]) == 1
    assert MODULE[200:300].decode() not in text


def test_an_exported_page(thirty, open_page):
    """The page loads Jupyter's widgets from a CDN, and has all figures by one copy of ours, in their last states."""
    node = installed("html-manager") / "node_modules"
    files = {
        "require": node / "requirejs" / "require.js",
        "html-manager": node / "@jupyter-widgets" / "html-manager" / "dist" / "embed-amd.js",
        "anywidget": node / "anywidget" / "dist" / "index.js",
    }

    def serve(route):
        [path] = [path for name, path in files.items() if name in route.request.url]
        route.fulfill(path=path, content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})

    page = open_page("about:blank")
    page.route(re.compile(r"^https:|/anywidget\.js$"), serve)  # it looks beside the page first
    page.goto((thirty / "thirty.html").as_uri())
    page.locator("attn-viz").nth(29).wait_for(state="attached")
    for number in (0, 29):
        page.locator("attn-viz").nth(number).scroll_into_view_if_needed()
        page.locator("attn-viz").nth(number).evaluate("element => element.ready")
    assert page.locator("attn-viz").count() == 30
    assert page.evaluate("attnvizScripts.size") == 1
    last = page.locator("attn-viz").last.evaluate("element => element.state")
    assert (last["layer"], last["heads"]) == (2, [1])
    font = page.locator("attn-viz").last.evaluate("element => getComputedStyle(element).fontFamily")
    assert font.startswith("system-ui"), "that of the page's text"


# ---- JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The URL of a JupyterLab that has a notebook with a widget."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [f"{SETUP}\none = widget(layer=1)\none", "one.state['layer'], one.state['heads']"]
    cells += ["one.state = {'layer': 2, 'heads': [1]}", "one.state = {'layer': 9}", "one.problem, one.state['layer']"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=metadata)
    nbformat.write(notebook, folder / "one.ipynb")
    port = free_port()
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = os.environ | {place: str(folder / place.lower()) for place in places}
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.ip=127.0.0.1",
    ]
    with serving(
        [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"], environment, port
    ) as url:
        yield url


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(command, environment, port):
    """Start a server, wait until it answers, and yield its URL."""
    url = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, **quiet)
    try:
        deadline = time.monotonic() + 5 * PATIENCE
        while not answers(url):
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(PATIENCE)


def answers(url):
    try:
        urllib.request.urlopen(url).close()
    except OSError:
        return False
    return True


class Notebook:
    """A notebook that is open in JupyterLab."""

    def __init__(self, page):
        self.page = page
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")

    def run(self, number):
        """Run a cell and return its output's text."""
        self.cells.nth(number).locator(".jp-InputArea .cm-content").click()
        before = self.prompt(number)
        self.page.keyboard.press("Control+Enter")
        becomes(self.page, lambda: bool(re.search(r"\d", self.prompt(number))) and self.prompt(number) != before, True)
        return " ".join(self.cells.nth(number).locator(".jp-OutputArea-output").all_inner_texts())

    def prompt(self, number):
        return self.cells.nth(number).locator(".jp-InputPrompt").inner_text()


def test_jupyterlab(lab, open_page):
    """The reader's state reaches the kernel, the kernel's state the figure; keys and the theme are as in a page."""
    page = open_page(f"{lab}/lab/tree/one.ipynb")
    notebook = Notebook(page)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    notebook.run(0)
    figure = page.locator("attn-viz")
    draw_all(page)
    assert notebook.run(1) == "(1, [0, 1])", "the kernel is told of the state before the reader changes it"

    figure.locator("select").first.select_option("0")
    figure.get_by_role("button", name="Head 1").or_(figure.locator(".squares button").nth(1)).first.click()
    becomes(page, lambda: notebook.run(1), "(0, [0])")

    notebook.run(2)
    shown = "element => [element.state.layer, element.state.heads]"
    becomes(page, lambda: figure.evaluate(shown), [2, [1]])
    notebook.run(3)
    page.get_by_text("This state cannot be shown: layer").wait_for()
    becomes(page, lambda: notebook.run(4), "('layer 9: not one of 0, 1, 2', 2)")

    cells = notebook.cells.count()
    option = figure.locator("[role=option]").first
    option.focus()
    for key in ("ArrowDown", "Enter", "["):
        page.keyboard.press(key)
    becomes(page, lambda: figure.evaluate("element => [element.state.layer, element.state.selected?.index]"), [1, 1])
    assert figure.evaluate("element => element === document.activeElement"), "Enter does not lead into the cell"
    figure.locator("select").first.focus()
    page.keyboard.press("b")
    assert notebook.cells.count() == cells, "a letter that is typed into a list adds no cell"

    for theme, dark in (("JupyterLab Dark", True), ("JupyterLab Light", False)):
        page.keyboard.press("Control+Shift+c")
        page.keyboard.type(theme)
        page.get_by_role("menuitem", name=theme).or_(
            page.locator(".lm-CommandPalette-item.lm-mod-active")
        ).first.wait_for()
        page.keyboard.press("Enter")
        figure.locator(f".figure.{'dark' if dark else 'light'}").wait_for()
        assert page.evaluate("document.body.dataset.jpThemeLight") == str(not dark).lower()


# ---- marimo

MARIMO = f"""
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
{textwrap.indent(SETUP, "    ")}
    one = mo.ui.anywidget(widget(layer=1))
    one
    return mo, one, widget

@app.cell
def _(mo, one):
    mo.md(f"The layer is {{one.state.get('layer')}}.")

@app.cell
def _(widget):
    widget(layer=2)
"""


@pytest.fixture(scope="module")
def marimo(once, compiled):
    """The Python of an environment with marimo, which cannot be in ours: it wants older packages than we test with."""

    def make(folder):
        uv = [sys.executable, "-m", "uv"]
        python = folder / "environment" / "bin" / "python"
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder / "environment"], check=True)
        wanted = ["marimo==0.25.2", "numpy", f"{ROOT}[widget]"]
        subprocess.run([*uv, "pip", "install", "--quiet", f"--python={python}", *wanted], check=True)
        bytecode.take(folder / "environment", compiled)

    folder = once("marimo", make)
    yield folder / "environment" / "bin" / "python"
    bytecode.keep(folder / "environment", compiled)


def test_marimo(marimo, tmp_path, open_page):
    """Cells run again when the reader changes the state; the next reader has a kernel, and scripts, of their own."""
    (tmp_path / "app.py").write_text(MARIMO)
    port = free_port()
    command = [marimo, "-m", "marimo", "run", tmp_path / "app.py", "--headless", "--no-token", f"--port={port}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with serving(command, environment | {"HOME": str(tmp_path)}, port) as url:
        for _ in range(2):
            page = open_page(url)
            page.locator("attn-viz").nth(1).wait_for()
            draw_all(page)
            assert page.evaluate("attnvizScripts.size") == 1
            page.get_by_text("The layer is 1.").wait_for()
            page.locator("attn-viz").first.locator("select").first.select_option("0")
            page.get_by_text("The layer is 0.").wait_for()
