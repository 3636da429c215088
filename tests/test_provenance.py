"""Provenance: what a figure says of its models, of what ran them, and of how to cite it; taken from its entry alone."""

import json
from importlib import metadata

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import INDUCTION, ROOT, draw_all, settle
from playwright.sync_api import expect

import mkdocs_attnviz
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.figure.assets import Assets
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.captures.own_arrays import LayerTensors, TokenRow, entry
from mkdocs_attnviz.models.identity.citation import LONGEST, citation
from mkdocs_attnviz.provenance import provenance
from mkdocs_attnviz.views import VIEWS, block_of
from mkdocs_attnviz.views.claims import Verdict as Claim

DIGEST, COMMIT = f"sha256:{'b' * 64}", f"commit:org/name@{'a' * 40}"
FACTS = {"torch": "2.14.0", "transformers": "5.23.0", "tokenizers": "0.22.0", "mkdocs-attnviz": "0.1.0"}
FACTS |= {"architecture": "BertModel", "dtype": "float32", "device": "cpu"}
VERSIONS = {"mkdocs-attnviz": "0.1.0", "torch": "2.14.0", "transformers": "5.23.0"}
OURS = "The mkdocs-attnviz authors: mkdocs-attnviz"


def made(facts=FACTS, key=(("model", DIGEST),)):
    """Return an entry with attention of two tokens."""
    weights = np.array([[[1, 0], [0.5, 0.5]]], np.float32)
    whole = entry({"self": {0: LayerTensors(weights)}}, {"text": TokenRow(["a", "b"])})
    return Entry({**whole.meta, "key": [list(part) for part in key], "made_with": facts}, whole.blobs)


def of(text="", *entries):
    return provenance(block_of(Source(f"model: minilm\ntext: a b\n{text}")), entries or [made()])


def test_a_figure_says_where_it_comes_from():
    model = {"name": "minilm", "identity": DIGEST, "architecture": "BertModel", "dtype": "float32", "device": "cpu"}
    assert of() == {
        "models": [model],
        "cite": [f"{OURS} 0.1.0"],
        "versions": [VERSIONS],
        "stored": "weights in 8 bits on a square-root scale, within 0.004",
    }


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("corpus: corpora/letters.txt", f"corpora/letters.txt · {DIGEST}"),
        ("corpus: ~/secret/letters.txt\nmax_texts: 2000", f"letters.txt · the first 2,000 texts · {DIGEST}"),
    ],
)
def test_a_figure_of_many_texts_says_which(keys, shown):
    block = block_of(Source(f"model: minilm\nview: heads\n{keys}"))
    entry = made(key=(("model", DIGEST), ("corpus", json.dumps(DIGEST))))
    assert provenance(block, [entry])["corpus"] == shown
    assert "corpus" not in of()


def test_an_older_entry_says_what_it_knows():
    versions = {"torch": "2.14.0", "transformers": "5.23.0"}
    assert of("", made(versions))["models"] == [{"name": "minilm", "identity": DIGEST}]
    assert of("", made(versions))["versions"] == [versions]
    assert of("", made(versions))["cite"] == [OURS]
    assert "versions" not in of("", made({}))


def test_numbers_of_ones_own_are_stored_as_their_file_was_read():
    block = block_of(Source("tensors: own.safetensors\nview: neuron"))
    found = provenance(block, [made({})])
    assert found["stored"] == of()["stored"], "and no queries and keys of a model"
    assert found["models"] == [{"name": "own.safetensors", "identity": DIGEST}]


def test_what_an_entry_says_is_fit_for_a_page():
    hostile = made(FACTS | {"torch": "<b>2</b>", "device": "c\x00pu", "citation": "x" * 9999, "dtype": ["float32"]})
    found = of("", hostile)
    assert "torch" not in found["versions"][0]
    assert found["models"][0]["device"] == "c␀pu"
    assert "dtype" not in found["models"][0]
    assert max(map(len, found["cite"])) <= 300


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("org/name", "org/name"),
        ("models/mine", "models/mine"),
        ("/home/me/models/mine/", "mine"),
        ("~/models/mine", "mine"),
        ("../models/mine", "mine"),
        ("'C:\\models\\mine'", "mine"),
    ],
)
def test_no_folder_of_the_machine_is_named(name, shown):
    block = block_of(Source(f"model: {name}\ntext: a b"))
    assert provenance(block, [made()])["models"][0]["name"] == shown


def test_compared_models_have_their_own_facts():
    second = {f"other_{name}": fact for name, fact in (("architecture", "GPT2Model"), ("dtype", "bfloat16"))}
    cited = FACTS | second | {"citation": "A: B.", "other_citation": "C: D."}
    found = of("view: similarity\nother: gpt2", made(cited, (("model", DIGEST), ("other", COMMIT))))
    other = {"name": "gpt2", "identity": COMMIT, "architecture": "GPT2Model", "dtype": "bfloat16"}
    assert found["models"][1] == other
    assert found["cite"] == [f"{OURS} 0.1.0", "A: B.", "C: D."]


def test_an_unchanged_model_is_named_again_only_if_something_else_ran_it():
    changed = "interventions: [{layer: 0, heads: [0]}]"
    assert of(changed, made(), made()) == of()
    elsewhere = of(changed, made(), made(FACTS | {"device": "cuda", "torch": "2.13.0"}))
    assert [model["device"] for model in elsewhere["models"]] == ["cpu", "cuda"]
    assert [versions["torch"] for versions in elsewhere["versions"]] == ["2.14.0", "2.13.0"]


def test_every_figure_carries_it_and_few_bytes_of_it():
    block = block_of(Source("model: minilm\ntext: a b\ninterventions: [{layer: 0, heads: [0]}]"))
    before = made(FACTS | {"device": "cuda"})
    for entries in ([made()], [made(), before]):
        drawings = [VIEWS["head"].drawing(block, each) for each in entries]
        figure = Figure(block, drawings[0], entries[0], *zip(drawings[1:], entries[1:], strict=True))
        element = BeautifulSoup(figure.html("it", Assets()), "html5lib").select_one("attn-viz")
        data = json.loads(element["data-figure"])
        assert data["provenance"] == provenance(block, entries)
        assert len(json.dumps(data["provenance"])) < 450 * len(entries)
        assert all("provenance" not in data[part] for part in ("of", "before") if part in data)


def test_every_view_of_ours_says_how_its_numbers_are_stored():
    assert [name for name, view in VIEWS.items() if not view.capture.stored] == []


# ---- citations

BIBTEX = """\
# A card

@dataset people are thanked. Cite with

```bibtex
@comment{nothing}
@inproceedings{reimers-2019,
  title = "Sentence-{BERT}: Embeddings \\& {Siamese} Networks",
  author = {Reimers, Nils and Iryna {\\"O}zg{\\"u}r},
  year = 2019, month = nov,
  url = "https://arxiv.org/abs/1908.10084"
}
```
"""
CFF = """\
cff-version: 1.2.0
title: Software
authors: [{name: A group}]
date-released: 2024-05-01
preferred-citation:
  type: article
  title: "The article"
  authors: [{family-names: Curie, given-names: Marie}, {family-names: B}, {family-names: C}]
  year: 1903
  doi: 10.1000/x
"""
MANY = "@article{x, title={T}, author={Devlin, Jacob and others}, eprint={1810.04805}, year={2018}}"


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        (
            "README.md",
            BIBTEX,
            "Nils Reimers and Iryna Özgür: Sentence-BERT: Embeddings & Siamese Networks (2019). "
            "https://arxiv.org/abs/1908.10084",
        ),
        ("CITATION.cff", CFF, "Marie Curie et al.: The article (1903). https://doi.org/10.1000/x"),
        ("CITATION.cff", CFF.partition("preferred")[0], "A group: Software (2024)."),
        ("CITATION.bib", MANY, "Jacob Devlin et al.: T (2018). arXiv:1810.04805"),
        ("README.md", "# A card\n\nSee our paper, author = {somebody}.", ""),
        ("README.md", "@article{x, author={A}, year={2018}}", ""),
        ("README.md", "@article{x, title={", ""),
        ("CITATION.cff", "title: [", ""),
        ("CITATION.cff", "- 1", ""),
        ("CITATION.cff", "title: {a: b}\nauthors: 7", ""),
    ],
)
def test_a_citation_is_what_the_models_files_say(tmp_path, file, text, line):
    (tmp_path / file).write_text(text)
    assert citation(tmp_path) == line


def test_a_citation_is_short_and_quickly_read(tmp_path):
    (tmp_path / "README.md").write_text(f"@article{{x, title={{{'long ' * 500}}}}}" + "@article{x, title={" * 50_000)
    assert len(citation(tmp_path)) == LONGEST


def test_a_file_elsewhere_is_not_read(tmp_path):
    (tmp_path / "elsewhere").write_text(MANY)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").symlink_to(tmp_path / "elsewhere")
    assert citation(tmp_path / "model") == ""


def test_our_own_citation_is_what_figures_say():
    assert citation(ROOT) == f"{OURS}."
    own = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (own["version"], own["license"]) == (mkdocs_attnviz.__version__, "MIT")


# ---- what a worker records


def test_an_entry_records_how_it_was_made(site):
    """The facts are those of the model that transformers itself would load."""
    site.write("index.md", f"```attention\nmodel: {INDUCTION}\ntext: a cat\nview: predict\n```\n")
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    found = json.loads(built.page().select_one("attn-viz")["data-figure"])["provenance"]
    (model,) = found["models"]
    assert model.pop("identity").startswith("sha256:")
    declared = json.loads((ROOT / INDUCTION / "config.json").read_text())
    assert model == {
        "name": "induction",
        "architecture": declared["architectures"][0],
        "dtype": declared.get("dtype", "float32"),
        "device": "cpu",
    }
    (versions,) = found["versions"]
    assert versions.pop("mkdocs-attnviz") == mkdocs_attnviz.__version__
    assert versions == {name: metadata.version(name).partition("+")[0] for name in ("torch", "transformers")}


# ---- in the page

CLAIMS = (
    Claim(0, "The weight from “b” to “a” is at least 0.4", True, "0.50"),
    Claim(1, "What <b> attends to most is “b”", False, "“a”"),
)


@pytest.fixture
def shown(tmp_path, visits, open_page):
    """`shown(block, claims, …)` → a page with this figure; `own` is one that may be changed, too."""

    def shown(more="", claims=(), own=False, **how):
        block, whole = block_of(Source(f"model: minilm\ntext: a b\nid: it\n{more}")), made()
        figure = Figure(block, VIEWS[block.view].drawing(block, whole), whole, claims=claims)
        scripts = "".join(Assets().script(name) for name in figure.scripts)
        head = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        head += "<title>A page</title>"
        shown = f"<h1>A page</h1>{figure.html('it', Assets())}{scripts}"
        if not own:
            return visits.fragment(head, shown, **how)
        (tmp_path / "page.html").write_text(f"{head}<main>{shown}</main>", "utf-8")
        return open_page(tmp_path / "page.html", **how)

    return shown


def test_the_menu_tells_it_to_the_keyboard(shown):
    page = shown(claims=CLAIMS)
    draw_all(page)
    page.get_by_role("button", name="Options", exact=True).focus()
    page.keyboard.press("Enter")
    line = page.get_by_text("About this figure")
    while not line.evaluate("each => each.matches(':focus')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    text = page.locator("attn-viz .about dl")
    expect(text).to_be_visible()
    rows = dict(zip(text.locator("dt").all_inner_texts(), text.locator("dd").all_inner_texts(), strict=True))
    assert rows["Model"] == f"minilm · BertModel · float32 · cpu · {DIGEST}"
    assert rows["Computed with"] == "mkdocs-attnviz 0.1.0, torch 2.14.0, transformers 5.23.0"
    assert rows["Cite"] == f"{OURS} 0.1.0"
    claims = text.locator("dd").all_inner_texts()[:2]
    assert claims[0] == "The weight from “b” to “a” is at least 0.4 · holds: 0.50"
    assert claims[1] == "What <b> attends to most is “b” · ⚠ does not hold: “a”"
    page.keyboard.press("Escape")
    expect(text).to_be_hidden()
    expect(line).to_be_focused()
    page.keyboard.press("Escape")
    expect(line).to_have_count(0)
    expect(page.get_by_role("button", name="Options", exact=True)).to_be_focused()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_claim_that_fails_is_marked_and_nothing_moves(shown, javascript):
    page = shown("caption: A caption.", CLAIMS, own=True, javascript=javascript, width=360)
    mark = page.get_by_role("note")
    before = mark.bounding_box()
    if javascript:
        draw_all(page)
        settle(page)
    expect(mark).to_have_text("⚠ A claim does not hold. Claimed: What <b> attends to most is “b”; it is “a”.")
    assert mark.bounding_box() == before
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(media="print")
    expect(mark).to_be_visible()


def test_figures_without_failing_claims_have_no_mark(shown):
    page = shown(claims=CLAIMS[:1])
    expect(page.get_by_role("note")).to_have_count(0)


def test_axe_finds_nothing(shown):
    for dark in (False, True):
        page = shown(f"theme: {'dark' if dark else 'light'}", CLAIMS, dark=dark)
        draw_all(page)
        page.get_by_role("button", name="Options", exact=True).click()
        page.get_by_text("About this figure").click()
        page.add_script_tag(path=ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js")
        assert page.evaluate("axe.run('main').then(found => found.violations.map(each => each.id))") == []


def test_a_saved_picture_names_the_weights(shown):
    page = shown()
    draw_all(page)
    page.get_by_role("button", name="Options", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save SVG").click()
    assert f">{DIGEST[:19]}<" in download.value.path().read_text("utf-8")
