"""Whatever an author writes: the build ends, each bad block has its own message, each good one is drawn."""

import json
import random
import re
import string

import pytest
from bs4 import BeautifulSoup
from conftest import alerts_in, draw_all
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

words = st.text(string.ascii_letters + " äß😀\u202e\0<>&\"'{}[]:#*!|`-", min_size=1, max_size=30)
keys = st.sampled_from(
    ["model", "text", "text_pair", "view", "layer", "heads", "head", "include_layers", "theme", "id", "caption"]
)
anything = st.one_of(
    words, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers() | words, max_size=3)
)


def _good(body):
    return "model: minilm\ntext: a cat\n" + body


BAD = st.one_of(
    # an unknown key
    words.filter(lambda word: word.strip() and not word.strip().startswith(("#", "-"))).map(
        lambda word: _good(f"x{json.dumps(word)[1:-1]}: 1")
    ),
    # an unknown key that YAML reads well
    st.text(string.ascii_lowercase, min_size=3, max_size=12).map(lambda key: _good(f"q_{key}: 1")),
    # a value of the wrong kind
    st.tuples(st.sampled_from(["layer", "head"]), words).map(lambda pair: _good(f"{pair[0]}: {json.dumps(pair[1])}")),
    st.integers(6, 10**9).map(lambda layer: _good(f"layer: {layer}")),
    st.integers(12, 10**9).map(lambda head: _good(f"heads: [0, {head}]")),
    st.integers(max_value=-1).map(lambda layer: _good(f"include_layers: [{layer}]")),
    words.map(lambda word: _good(f"theme: {json.dumps('t' + word)}")),
    words.map(lambda word: _good(f"view: {json.dumps('v' + word)}")),
    words.map(lambda word: _good(f"id: {json.dumps('1' + word)}")),
    # a model there is not
    words.map(lambda word: f"model: {json.dumps('./' + word)}\ntext: a cat"),
    words.map(lambda word: f"model: {json.dumps('package:' + word)}\ntext: a cat"),
    # no YAML, or not enough of it
    words.map(lambda word: f"text: {json.dumps(word)}"),
    words.map(lambda word: f"model: minilm\ntext: {json.dumps(' ' * len(word))}"),
    words.map(lambda word: f"- {json.dumps(word)}"),
    words.map(lambda word: f"{{[{json.dumps(word)}"),
    st.dictionaries(keys, anything, min_size=1).map(lambda block: json.dumps({"modle": 1} | block)),
)  # fmt: skip


def blocks(count):
    """`count` different bad blocks; the same ones each time."""
    found = {}

    @seed(1)
    @settings(
        max_examples=3 * count // 2, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(BAD)
    def collect(body):
        if "```" not in body:
            found[body] = None

    collect()
    assert len(found) >= count
    return random.Random(1).sample(list(found), count)


def test_a_thousand_bad_blocks(site):
    bad = blocks(1000)
    good = "```attention\nmodel: minilm\ntext: a cat\n```\n\n"
    for page in range(10):
        part = bad[page * 100 : (page + 1) * 100]
        site.write(f"{page}.md", "".join(f"```attention\n{body}\n```\n\n{good}" for body in part))
    site.write("index.md", "hello")
    built = site.build()
    assert built.returncode == 0, built.log[-3000:]
    for page in range(10):
        html = BeautifulSoup(built.text(f"{page}/index.html"), "html.parser")  # three times as fast as html5lib
        assert len(html.select("figure.attnviz attn-viz")) == 100
        alerts = alerts_in(html)
        assert len(alerts) == 100
        assert len({re.search(r":(\d+)\)$", alert)[1] for alert in alerts}) == 100, "each tells its own line"
        for message, body in zip(alerts, bad[page * 100 :], strict=False):
            named = [word for word in re.findall(r"`([^`]+)`", message) if word in body]
            assert named or re.search(r"YAML|Model|package|a list|has no `|is not a key", message), (message, body)
    assert built.log.count("WARNING") >= 1000


NASTY = [
    "</script><script>document.title='x'</script>",
    "<img src=x onerror=document.title='x'>",
    "\"><b>'quotes'&amp;",
    "مرحبا بالعالم hello שלום",
    "日本語のテキスト",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "a\\0b NUL, \\x07 bell, \\u202e override",
    "]]> --> {{ jinja }} {% x %}",
    "zero\\u200bwidth \\ufeff bom",
]


@pytest.mark.parametrize("model", ["minilm", "induction"])
def test_nasty_texts_are_shown_as_they_are(site, open_page, model):
    site.config["theme"] = {"name": "material", "font": False}
    site.write(
        "index.md",
        "".join(
            f'```attention\nmodel: {model}\ntext: "{_yaml(text)}"\ncaption: "{_yaml(text)}"\n```\n\n' for text in NASTY
        ),
    )
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    page = open_page(built.folder / "site" / "index.html")
    draw_all(page)
    assert page.title() != "x"
    assert page.locator("attn-viz").count() == len(NASTY)
    captions = page.locator("figcaption").all_inner_texts()
    assert captions[0] == NASTY[0]
    assert captions[3] == NASTY[3]
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def _yaml(text):
    return text.replace('"', '\\"')
