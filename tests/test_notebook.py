"""Notebooks: figures of own tensors and of models in memory, in Jupyter's own tools and in the two that make pages."""

from __future__ import annotations

import re
import subprocess
import sys

import commands
import nbformat
import numpy as np
import pytest
import torch
import transformers
from bs4 import BeautifulSoup
from conftest import MINILM, ROOT, Site, draw_all, settle
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_bertviz import make_tokenizer
from test_tensors import figure, weights
from tiny_models import tiny

import mkdocs_attnviz
from mkdocs_attnviz.hosts.kernel import Outputs, Run
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.neuron import SCORES

torch.set_num_threads(1)

QUANTISATION = 0.00392
TEXT = "The cat sat on the mat"
EN_DE = str(ROOT / "example_site" / "models" / "en-de")


# ---- a live model


def folder():
    return resolve(MINILM, None, Settings(), ROOT).path


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(folder())


@pytest.fixture
def model():
    """A model as most have it: with fused attention, which gives no weights; and in training."""
    return transformers.AutoModel.from_pretrained(folder(), attn_implementation="sdpa").train()


def handed_out(model, **inputs):
    """Transformers' own `output_attentions` of a model."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model.eval()(**inputs, output_attentions=True)


def check(stack, expected):
    for layer, heads in zip(stack["layers"], expected, strict=True):
        rows, cols = heads.shape[2:]
        assert np.abs(weights(layer, rows, cols) - heads[0].float().numpy()).max() <= QUANTISATION


def state(model):
    """Return what a call must leave as it was: how attention is computed, in each part, and what is in training."""
    modules = dict(model.named_modules())
    configs = {
        name: module.config._attn_implementation for name, module in modules.items() if hasattr(module, "config")
    }
    return (
        configs,
        {name: module.training for name, module in modules.items()},
        str(getattr(model, "generation_config", None)),
    )


@pytest.mark.parametrize("view", [name for name, view in VIEWS.items() if view.capture in (ATTENTION, SCORES)])
def test_a_model_in_memory_in_every_view(model, tokenizer, view):
    before = state(model)
    shown = figure(mkdocs_attnviz.show(model, tokenizer, TEXT, "It lay", view=view, html_action="return"))
    assert state(model) == before
    assert shown["view"] == view
    expected = handed_out(model, **tokenizer(TEXT, "It lay", return_tensors="pt")).attentions
    check(shown["stacks"]["self"], expected)


@pytest.mark.parametrize("view", ["tokens", "predict"])
def test_a_model_in_memory_that_predicts(view):
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(EN_DE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(EN_DE)
    before = state(model)
    shown = figure(mkdocs_attnviz.show(model, tokenizer, "She sees the cat.", view=view, html_action="return"))
    assert state(model) == before
    assert shown["view"] == view
    assert [part["heading"] for part in shown["texts"]] == ["Input", "Output"]


def test_a_model_in_memory_without_attention_that_predicts(tokenizer):
    model = transformers.MambaForCausalLM(transformers.MambaConfig(vocab_size=len(tokenizer), hidden_size=16))
    shown = figure(mkdocs_attnviz.show(model, tokenizer, TEXT, view="tokens", html_action="return"))
    assert shown["view"] == "tokens"


def test_a_model_in_memory_that_predicts_nothing(model, tokenizer):
    with pytest.raises(ValueError, match="Model 'BertModel' predicts neither tokens nor classes"):
        mkdocs_attnviz.show(model, tokenizer, TEXT, view="predict", html_action="return")


def test_a_conversation():
    """`chat` stands in place of a text, as in a block."""
    tokenizer = make_tokenizer("gpt2")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    model = tiny("gpt2").model
    chat = [{"role": "user", "content": "the cat sat"}, {"role": "assistant", "content": "on the mat"}]
    read = tokenizer("the cat sat on the mat ", add_special_tokens=False, return_tensors="pt")
    for shown in (
        mkdocs_attnviz.show(model, tokenizer, chat=chat, html_action="return"),
        mkdocs_attnviz.neuron_view(model, tokenizer=tokenizer, chat=chat, html_action="return"),
    ):
        check(figure(shown)["stacks"]["self"], handed_out(model, **read).attentions)


def test_a_model_that_gives_no_weights(model, tokenizer):
    """SDPA, the default, hands out nothing."""
    outputs = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True)
    assert outputs.attentions in ((), None)
    with pytest.raises(ValueError, match=re.escape('`attn_implementation="eager"`')):
        mkdocs_attnviz.head_view(outputs.attentions or (), tokenizer.tokenize(TEXT))


def test_further_keys_are_those_of_a_block(model, tokenizer):
    html = mkdocs_attnviz.show(
        model, tokenizer, TEXT, layer=2, heads=[1, 3], id="cat", theme="dark", html_action="return"
    )
    assert 'id="cat"' in html.data
    shown = figure(html)
    assert (shown["theme"], shown["options"]["layer"], shown["options"]["heads"]) == ("dark", 2, [1, 3])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom"])
def test_a_decoder(kind):
    """Three ways of computing attention: transformers' own function, the same behind other names, code of its own."""
    model, tokenizer = tiny(kind).model, make_tokenizer("gpt2")
    text = "the cat sat on the mat"
    for view in ("head", "neuron"):
        shown = figure(mkdocs_attnviz.show(model, tokenizer, text, view=view, html_action="return"))
        assert shown["stacks"]["self"]["causal"]
        expected = handed_out(model, **tokenizer(text, return_tensors="pt")).attentions
        check(shown["stacks"]["self"], expected)


@pytest.mark.parametrize("target", [None, "Sie sieht den kleinen Elefanten."])
def test_an_encoder_decoder(target):
    """Its output is its own where none is given; what it is set to write with is left alone."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(EN_DE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(EN_DE)
    text = "She sees the small elephant."
    before = state(model)
    shown = figure(mkdocs_attnviz.show(model, tokenizer, text, text_target=target, view="model", html_action="return"))
    assert state(model) == before
    inputs = tokenizer(text, return_tensors="pt")
    written = model.eval().generate(**inputs, do_sample=False, num_beams=1)
    labels = written[:, 1:] if target is None else tokenizer(text_target=target, return_tensors="pt").input_ids
    outputs = handed_out(model, **inputs, labels=labels)
    for name, stack in shown["stacks"].items():
        check(stack, outputs[f"{name}_attentions"])


def test_it_is_left_as_it_was_after_an_error(model, tokenizer):
    before = state(model)
    with pytest.raises(ValueError, match="has no decoder beside an encoder"):
        mkdocs_attnviz.show(model, tokenizer, TEXT, text_target="Die Katze", html_action="return")
    model.embeddings.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mkdocs_attnviz.show(model, tokenizer, TEXT, html_action="return")
    assert state(model) == before


def fused_for_good():
    """Falcon chooses how it computes its attention when it is made."""
    config = tiny("falcon").model.config
    return transformers.AutoModel.from_config(config, attn_implementation="sdpa")


MISTAKES = [
    ({"tokenizer": "bert"}, "`tokenizer` is 'bert'; it must be a tokenizer of transformers"),
    ({"model": "gpt2"}, "`model` is 'gpt2'; it must be a model of transformers"),
    ({"text": " "}, "`text` is empty; it must be the text the model reads."),
    ({"text": None}, "The block has no `text`; it must be the text the model reads."),
    ({"chat": [{"role": "user", "content": "a"}]}, "`chat` and `text` are both in the block; keep one of them."),
    ({"view": "heat"}, f"`view` is 'heat'; the views are {', '.join(VIEWS)} (did you mean `head`?)."),
    ({"layer": 9}, "`layer` is 9; model 'BertModel' has layers 0 to 5."),
    ({"hedas": 1}, "`hedas` is not a key of the block (did you mean `heads`?)"),
    ({"max_tokens": 5}, "The text has 8 tokens; `max_tokens` is 5."),
    ({"html_action": "show"}, "`html_action` is 'show'; it must be 'view' or 'return'."),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes(model, tokenizer, given, message):
    usual = {"model": model, "tokenizer": tokenizer, "text": TEXT, "html_action": "return"}
    with pytest.raises(ValueError, match=re.escape(message)):
        mkdocs_attnviz.show(**usual | given)


def test_a_model_that_cannot_give_its_weights(tokenizer):
    with pytest.raises(ValueError, match=re.escape("`from_pretrained(…, attn_implementation='eager')`")):
        mkdocs_attnviz.show(fused_for_good(), tokenizer, TEXT, html_action="return")
    with pytest.raises(ValueError, match="has no attention to show: it is a state-space model"):
        mkdocs_attnviz.show(tiny("mamba").model, tokenizer, TEXT, html_action="return")


def test_the_package_is_light():
    """It is imported by every build, also where no model may run."""
    heavy = ("torch", "transformers", "IPython", "numpy")
    code = f"import sys, mkdocs_attnviz; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---- in a notebook

OWN = """\
import numpy as np
from mkdocs_attnviz import head_view, matrix_view, show

scores = np.random.default_rng(0).normal(0, 2, (2, 1, 3, 6, 6))
attention = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
tokens = ["[CLS]", "The", "em", "##bed", "##ding", "[SEP]"]
head_view(attention, tokens, id="own")
"""
LAST_VALUE = 'matrix_view(attention, tokens, id="last", caption="A cell’s last value", html_action="return")'
LIVE = f"""\
from transformers import AutoModel, AutoTokenizer

model, tokenizer = AutoModel.from_pretrained({folder()!r}), AutoTokenizer.from_pretrained({folder()!r})
show(model, tokenizer, "{TEXT}", view="neuron", layer=2, head=3, id="live")
"""
FENCE = f"```attention\nmodel: minilm\ntext: {TEXT}\n```"
IDS = ["own", "last", "live"]


def jupyter(*arguments):
    """Run `jupyter nbconvert`, or another of Jupyter's commands."""
    run = commands.run(*map(str, arguments))
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def notebook(once):
    """Return a notebook that Jupyter has executed; all pages below are made of it."""
    cells = [new_markdown_cell(f"# Demo\n\n{FENCE}"), *map(new_code_cell, (OWN, LAST_VALUE, LIVE))]
    return once("notebook", lambda folder: execute(cells, folder / "demo.ipynb")) / "demo.ipynb"


def execute(cells, path):
    """Write a notebook with the outputs of its cells."""
    nbformat.write(new_notebook(cells=cells), path)
    patience = [f"--ExecutePreprocessor.{what}_timeout=300" for what in ("startup", "iopub")]
    jupyter("nbconvert", "--to", "notebook", "--execute", "--inplace", *patience, path)


WITHOUT_CDN = [f"--HTMLExporter.{name}_url=data:," for name in ("require_js", "mathjax", "mermaid_js")]


def exported(notebook, folder, *options):
    jupyter("nbconvert", "--to", "html", "--output-dir", folder, *WITHOUT_CDN, *options, notebook)
    return folder / "demo.html"


def expected(id, layer, head):
    """The weights that a figure was made from."""
    if id in ("own", "last"):
        scores = np.random.default_rng(0).normal(0, 2, (2, 1, 3, 6, 6))
        return (np.exp(scores) / np.exp(scores).sum(-1, keepdims=True))[layer, 0, head]
    tokenizer, model = (each.from_pretrained(folder()) for each in (transformers.AutoTokenizer, transformers.AutoModel))
    return handed_out(model, **tokenizer(TEXT, return_tensors="pt")).attentions[layer][0, head].numpy()


def check_figures(page, ids=IDS):
    """They draw, beside one another, with the numbers they were made from."""
    draw_all(page)
    assert page.locator("figure.attnviz").evaluate_all("all => all.map(e => e.id)") == ids
    for id in ids:
        element = page.locator(f"#{id} attn-viz")
        found = element.evaluate("e => e.weights({stack: 'self', layer: 1, head: 2})")
        assert np.abs(np.array(found["values"]) - expected(id, 1, 2)).max() <= QUANTISATION
        assert element.bounding_box()["width"] > 300


def is_dark(page):
    settle(page)
    count = page.locator("attn-viz .figure.dark").count()
    assert count in (0, len(IDS))
    return count > 0


def test_what_a_notebook_keeps(notebook):
    """HTML, and a sentence where none is shown."""
    outputs = [o for c in nbformat.read(notebook, 4).cells for o in c.get("outputs", []) if "data" in o]
    assert [output.output_type for output in outputs] == ["display_data", "execute_result", "display_data"]
    for output in outputs:
        assert set(output.data) == {"text/html", "text/plain"}
        assert re.match(
            r"Attention of (own tensors|BertModel), layer \d, .* over \d tokens\.", output.data["text/plain"]
        )


@pytest.fixture(scope="module")
def themed(once, notebook):
    """`themed(theme)` returns the notebook's page as nbconvert exports it with a theme."""

    def themed(theme):
        return once(f"notebook-{theme}", lambda folder: exported(notebook, folder, "--theme", theme)) / "demo.html"

    return themed


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_exported_by_nbconvert(themed, open_page, theme):
    page = open_page(themed(theme))
    check_figures(page)
    assert is_dark(page) == (theme == "dark")


INSERT = """html => {
    const output = document.createElement("div");
    output.innerHTML = html;
    for (const old of output.querySelectorAll("script")) {
        const script = document.createElement("script");
        script.textContent = old.textContent;
        old.replaceWith(script);
    }
    document.body.append(output);
}"""
"""Adds an output as JupyterLab does: its scripts run before its figure is told that it is in the page."""


def test_outputs_that_are_added_one_after_the_other(open_page, model, tokenizer, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html><title>t</title><body>")
    page = open_page(tmp_path / "index.html")
    for view in ("head", "head", "similarity"):
        html = mkdocs_attnviz.show(model, tokenizer, TEXT, view=view, html_action="return").data
        page.evaluate(INSERT, html)
        draw_all(page)
        page.locator(f"attn-viz .{view}-view").last.wait_for()


def test_the_theme_is_switched_as_jupyterlab_does_it(themed, open_page):
    """Another style sheet is loaded, and then the body says so; nbconvert's pages have JupyterLab's style sheets."""
    dark = BeautifulSoup(themed("dark").read_text("utf-8"), "html5lib")
    page = open_page(themed("light"))
    draw_all(page)
    assert not is_dark(page)
    page.add_style_tag(content="".join(style.string for style in dark.select("head style")))
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.locator("#live attn-viz .figure.dark").wait_for()
    assert is_dark(page)


def test_a_notebook_that_is_not_trusted(notebook):
    """JupyterLab drops script and unknown elements, and keeps what is in those: static picture, sentence, caption."""
    html = nbformat.read(notebook, 4).cells[2].outputs[0].data["text/html"]
    kept = BeautifulSoup(html, "html5lib")
    for dropped in kept.select("script, meta"):
        dropped.decompose()
    for unknown in kept.select("attn-viz, noscript"):
        unknown.unwrap()
    picture, sentence = kept.select_one("figure img"), kept.select_one("figure p")
    assert picture["src"].startswith("data:image/svg+xml,")
    assert picture["alt"] == sentence.get_text() != ""
    assert kept.select_one("figcaption").get_text() == "A cell’s last value"


def test_exported_without_html(notebook, tmp_path):
    """`--sanitize-html` prints script and data as text, whoever made them; an export without HTML has sentences."""
    first = [f"--NbConvertBase.display_data_priority={kind}" for kind in ("image/png", "text/plain")]
    page = exported(notebook, tmp_path, "--sanitize-html", *first)
    text = BeautifulSoup(page.read_text("utf-8"), "html5lib").body.get_text()
    assert text.count("The strongest weight is") == len(IDS)
    assert "customElements" not in text


# ---- each script once for all figures

THIRTY = 30
HINT = "run this cell again"


def html_of(notebook):
    return [o.data["text/html"] for c in notebook.cells for o in c.get("outputs", []) if "data" in o]


@pytest.fixture(scope="module")
def thirty(once):
    """Return a notebook with thirty calls of `show`, a cell each, that Jupyter has executed."""
    first, live = LIVE.splitlines()[:-1], 'show(model, tokenizer, "The cat sat on mat {}", id="n{}")'
    setup = "\n".join(["from mkdocs_attnviz import show", *first])
    cells = [new_code_cell(setup), *(new_code_cell(live.format(n, n)) for n in range(THIRTY))]
    return once("thirty", lambda folder: execute(cells, folder / "demo.ipynb")) / "demo.ipynb"


def test_thirty_figures_share_their_scripts(thirty, tmp_path, open_page):
    """They had 6.1 MB."""
    shown = html_of(nbformat.read(thirty, 4))
    assert [("<script>" in html) for html in shown] == [True] + [False] * (THIRTY - 1)
    assert thirty.stat().st_size < 1_300_000
    page = open_page(exported(thirty, tmp_path))
    for id in ("n0", f"n{THIRTY - 1}"):
        page.locator(f"#{id}").scroll_into_view_if_needed()
        page.locator(f"#{id} attn-viz .figure").wait_for()
    assert not any(HINT in content for content in page.locator("attn-viz").evaluate_all(AFTER))


AFTER = "all => all.map(e => getComputedStyle(e, '::after').content)"


def test_without_the_output_that_had_the_script(thirty, tmp_path, open_page):
    """Somebody has cleared it: pictures and sentences stay, and a figure says what to do."""
    notebook = nbformat.read(thirty, 4)
    notebook.cells = [notebook.cells[0], *notebook.cells[2:5]]
    nbformat.write(notebook, tmp_path / "demo.ipynb")
    page = open_page(exported(tmp_path / "demo.ipynb", tmp_path))
    for name in ("attnviz.js", "attnviz-attention.js", "attnviz-head.js"):  # some of them may be elsewhere
        assert all(HINT in content for content in page.locator("attn-viz").evaluate_all(AFTER))
        page.add_script_tag(path=ROOT / "mkdocs_attnviz" / "static" / name)
    assert not any(HINT in content for content in page.locator("attn-viz").evaluate_all(AFTER))
    pictures = page.locator("attn-viz img").evaluate_all("all => all.map(e => [e.naturalWidth > 0, e.alt])")
    assert len(pictures) == 3
    assert all(drawn and "The strongest weight is" in said for drawn, said in pictures)


def test_a_figure_that_is_returned_is_complete(model, tokenizer):
    """Its HTML may go to a file of its own."""
    for _ in range(2):
        html = mkdocs_attnviz.show(model, tokenizer, TEXT, html_action="return")
        assert "<script>" in html.data
        assert html.data == html._repr_html_()
        assert "<script>" in html._repr_mimebundle_()["text/html"]  # there is no notebook here


@pytest.fixture(scope="module")
def run():
    """`run(cell, code, deleted)` → whether the output of a cell has the script, in a kernel of Jupyter that is told of
    cells as JupyterLab and VS Code tell it."""
    manager, client = start_new_kernel(startup_timeout=300)

    def run(cell, code="head_view(attention, tokens)", deleted=()):
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
        message = client.session.msg("execute_request", content)
        message["metadata"] = ({"cellId": cell} if cell else {}) | {"deletedCells": list(deleted)}
        client.shell_channel.send(message)
        found = []
        while True:
            reply = client.get_iopub_msg(timeout=300)
            if reply["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            assert reply["msg_type"] != "error", reply["content"]
            if reply["msg_type"] in ("display_data", "execute_result"):
                found.append("<script>" in reply["content"]["data"]["text/html"])
            if reply["content"].get("execution_state") == "idle":
                return found

    assert run("setup", OWN.rpartition("\n")[0].rpartition("\n")[0]) == []
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


RESTART = "from mkdocs_attnviz.hosts import kernel; kernel.OUTPUTS.__init__()"


def test_cells_that_are_run_again(run):
    run("setup", RESTART)
    assert run("a") == [True]
    assert [run("b"), run("c", "for _ in range(3): head_view(attention, tokens)")] == [[False], [False] * 3]
    assert run("a") == [True]  # its old output, which had the script, is gone
    assert [run("b"), run("c")] == [[False], [False]]  # as where all are run again, in order
    assert run("b") == [True]  # none has come since: its reader may miss it
    assert run("c") == [False]
    assert run("d", "for _ in range(2): head_view(attention, tokens)") == [False, False]


def test_outputs_that_are_cleared(run):
    """Figures take each other's place, as in a training."""
    run("setup", RESTART)
    show = "clear_output(wait=True); head_view(attention, tokens)"
    loop = f"from IPython.display import clear_output\nfor _ in range(2): {show}"
    assert [run("a", loop), run("b", loop)] == [[True, True], [False, False]]


def test_a_cell_that_is_deleted(run):
    run("setup", RESTART)
    assert [run("a"), run("b")] == [[True], [False]]
    assert run("d", deleted=["b"]) == [False]
    assert run("e", deleted=["a"]) == [True]


def test_each_script_comes_once():
    """A figure brings those that no other in the notebook has, and a cell that runs again all that it needs."""
    outputs = Outputs()

    def brings(run, *scripts):
        return [script for script in scripts if outputs.lacks(script, run)]

    first, second, again = Run("1", "a"), Run("2", "b"), Run("3", "b")
    assert brings(first, "base", "head") == ["base", "head"]
    assert brings(first, "base", "matrix") == ["matrix"]
    assert brings(second, "base", "matrix") == []
    assert brings(again, "base", "matrix") == ["base", "matrix"], "its reader may miss any of them"
    assert brings(again, "base", "matrix") == [], "the figure before it has them"
    assert brings(Run("4", "c"), "base", "head", "matrix") == []
    outputs.cleared("3")
    assert brings(Run("5", "c"), "base", "head") == ["base", "head"]


def test_a_frontend_that_tells_nothing_of_cells(run):
    run("setup", RESTART)
    assert [run(None), run(None), run(None)] == [[True], [False], [False]]


def test_outputs_in_frames_of_their_own(run):
    """Colab's."""
    run("setup", f"{RESTART}; import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')")
    assert [run("a"), run("b")] == [[True], [True]]
    run("setup", "del sys.modules['google.colab']")


# ---- as a page


def test_a_page_of_mkdocs_jupyter(notebook, tmp_path, shared_cache, open_page):
    """The notebook stands beside a page of Markdown; mkdocs-jupyter reads Markdown cells by itself, so that a block
    there stays code."""
    site = Site(tmp_path, shared_cache)
    site.plugins.append({"mkdocs-jupyter": {"cache": False, "custom_mathjax_url": "data:,"}})
    site.write("index.md", f"# Cats\n\n{FENCE}\n")
    (tmp_path / "docs" / "demo.ipynb").write_bytes(notebook.read_bytes())
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    assert "model: minilm" in built.page("demo/index.html").select_one("pre").get_text()
    check_figures(open_page(built.folder / "site" / "demo" / "index.html"))
    check_figures(open_page(built.folder / "site" / "index.html"), ["attnviz-1"])


def test_a_page_of_myst_nb(notebook, tmp_path, shared_cache, open_page):
    """Blocks in Markdown cells are figures, too, with our extension."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text(
        "extensions = ['myst_nb', 'mkdocs_attnviz']\nnb_execution_mode = 'off'\nhtml_theme = 'furo'\n"
        f"attnviz_models = {{'minilm': {MINILM!r}}}\nattnviz_cache_dir = {str(shared_cache)!r}\n"
    )
    (docs / "index.ipynb").write_bytes(notebook.read_bytes())
    for builder in ("html", "text"):
        run = commands.run("sphinx", "-W", "-q", "-b", builder, str(docs), str(tmp_path / builder))
        assert run.returncode == 0, run.stderr
    page = open_page(tmp_path / "html" / "index.html", dark=True)
    check_figures(page, ["attnviz-1", *IDS])
    assert page.locator("attn-viz .figure.dark").count() == 4
    text = " ".join((tmp_path / "text" / "index.txt").read_text("utf-8").split())
    assert text.count("The strongest weight is") == 4
