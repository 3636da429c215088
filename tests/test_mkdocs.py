"""The plugin, through `mkdocs build` and `mkdocs serve`."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

import pytest
from bs4 import BeautifulSoup

CAT = "```attention\nmodel: minilm\ntext: The cat sat on the mat\n```\n"


def figures(page: BeautifulSoup):
    return [json.loads(element["data-figure"]) for element in page.select("figure.attnviz attn-viz")]


def tokens(page: BeautifulSoup):
    return [" ".join(figure["sequences"]["text"]["tokens"]) for figure in figures(page)]


def test_a_block_becomes_a_figure(site):
    site.write("index.md", f"# Cats\n\n{CAT}")
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    page = built.page()
    figure = page.select_one("figure.attnviz")
    assert figure["id"] == "attnviz-1"
    assert tokens(page) == ["[CLS] the cat sat on the mat [SEP]"]
    image = figure.select_one("attn-viz > img")
    assert image["alt"].startswith("Attention of minilm, layer 0, 12 heads, over 8 tokens. The strongest weight is ")
    assert image["src"].startswith("data:image/svg+xml,")
    assert figure.select_one("noscript").get_text(strip=True).startswith("Attention of minilm")
    script = page.select_one('script[src*="assets/attnviz/attnviz-"]')
    assert (built.folder / "site" / script["src"]).is_file()
    assert re.search(r"index\.md:3: minilm, head view: (computed|cached) \(", built.log)


def test_where_blocks_may_stand(site):
    site.config["markdown_extensions"] += [
        "pymdownx.tabbed",
        "pymdownx.details",
        {"pymdownx.snippets": {"base_path": [str(site.folder)]}},
    ]
    site.plugins += ["macros"]
    (site.folder / "snippet.md").write_text(CAT.replace("cat", "owl"))
    block = lambda word: CAT.replace("cat", word)  # noqa: E731
    indented = lambda word: textwrap.indent(block(word), "    ")  # noqa: E731
    site.write(
        "index.md",
        "{% set animal = 'hen' %}\n"
        f'!!! note\n\n{indented("dog")}\n??? tip "Folded"\n\n{indented("fox")}\n=== "Tab"\n\n{indented("bee")}\n'
        f"1.  item\n\n{indented('cow')}\n> {block('ant').strip().replace(chr(10), chr(10) + '> ')}\n\n"
        '--8<-- "snippet.md"\n\n'
        + block("{{ animal }}")
        + "\n<!--\n"
        + block("pig")
        + "-->\n\n````markdown\n"
        + block("rat")
        + "````\n\nText\n\n"
        + indented("elk"),
    )
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    drawn = [re.search(r"the (\w+) sat", words)[1] for words in tokens(built.page())]
    assert drawn == ["dog", "fox", "bee", "cow", "ant", "owl", "hen"]
    assert "text: The rat sat" in built.page().get_text()
    assert "text: The elk sat" in built.page().get_text()


def test_many_blocks_load_their_model_once(cold_site):
    for page in range(3):
        cold_site.write(
            f"{page}.md", "".join(f"```attention\nmodel: minilm\ntext: page {page} line {n}\n```\n\n" for n in range(4))
        )
    cold_site.write("index.md", "hello")
    built = cold_site.build()
    assert built.log.count("running model minilm on 12 texts") == 1
    assert len(re.findall(r"computed \(", built.log)) == 12
    assert len(list((cold_site.folder / "cache").rglob("*.attnviz"))) == 12


def test_views_of_one_input_share_its_entry(cold_site):
    cold_site.write(
        "index.md",
        CAT
        + "\n"
        + CAT.replace("text:", "layer: 3\nheads: [1]\ncaption: other\ntext:")
        + "\n"
        + CAT.replace("\n", "\r\n"),
    )
    built = cold_site.build()
    assert "running model minilm on 1 text\n" in built.log
    assert len(figures(built.page())) == 3


def test_the_key_and_its_parts_are_told_on_request(site):
    site.write("index.md", CAT)
    log = site.build("-v").log
    assert re.search(
        r"key [0-9a-f]{64} = \[\('capture', 'attention'\), \('version', '3'\), \('model', 'sha256:[0-9a-f]{64}'\), "
        r"\('dtype', 'auto'\), \('text', 'The cat sat on the mat'\), \('text_pair', None\), \('text_target', None\)\]",
        log,
    )


PROBE = """
import atexit, sys, socket
def refuse(*args): raise AssertionError("a socket was opened")
socket.socket.connect = socket.getaddrinfo = refuse
heavy = {"torch", "transformers", "huggingface_hub", "numpy"}
def tell(): print("IMPORTED", sorted({name.split(".")[0] for name in sys.modules} & heavy))
atexit.register(tell)
import subprocess
original = subprocess.Popen.__init__
def popen(self, command, *args, **kwargs): print("STARTED", command); return original(self, command, *args, **kwargs)
subprocess.Popen.__init__ = popen
sys.argv = ["mkdocs", *sys.argv[1:]]
from mkdocs.__main__ import cli
cli()
"""


def test_the_second_build_runs_no_model_and_is_identical(cold_site):
    long = "many words " * 60
    cold_site.write("index.md", f"{CAT}\n```attention\nmodel: minilm\ntext: {long}\n```\n")
    cold_site.write("other/page.md", CAT.replace("minilm", "induction"))
    cold = cold_site.build()
    before = cold.files()
    assert any(re.fullmatch(r"assets/attnviz/[0-9a-f]{64}\.js", name) for name in before)
    warm = subprocess.run(
        [sys.executable, "-c", PROBE, "build", "-f", str(cold_site.folder / "mkdocs.yml")],
        capture_output=True,
        text=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
    )
    assert warm.returncode == 0, warm.stderr
    assert "IMPORTED []" in warm.stdout
    assert "STARTED" not in warm.stdout
    assert warm.stderr.count("cached (") == 3
    after = cold.files()
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_strict_fails_on_a_bad_block(site):
    site.write("index.md", CAT + "\n```attention\nmodel: minilm\ntext: x\nlayer: 9\n```\n")
    built = site.build("--strict")
    assert built.returncode == 1
    assert "index.md:9: `layer` is 9; model 'minilm' has layers 0 to 5." in built.log
    assert "Aborted with 1 warnings in strict mode!" in built.log


def test_headers(site):
    site.config["markdown_extensions"] += ["attr_list"]
    site.write(
        "index.md",
        '```attention model="minilm" layer="2"\ntext: one\n```\n\n'
        '```{.attention #two model="minilm" heads="[1, 2]"}\ntext: two\n```\n\n'
        "```attention layer=3\nmodel: minilm\ntext: three\n```\n\n"
        "```{attention}\nmodel: minilm\ntext: four\n```\n\n"
        '```attention layer="1"\nmodel: minilm\ntext: five\nlayer: 2\n```\n\n'
        "after\n",
    )
    built = site.build()
    one, two = figures(built.page())
    assert one["options"]["layer"] == 2
    assert two["options"]["heads"] == [1, 2]
    assert built.page().select_one("#two attn-viz")
    three, four, five = built.alerts()
    assert "The fence's header 'layer=3' cannot be read; write key=\"value\" with quotes" in three
    assert "(index.md:9)" in three
    assert "Write the fence's name `attention` without braces" in four
    assert "`layer` stands both in the fence's header and in the block. (index.md:22)" in five
    assert "after" in built.page().get_text()


def test_extension_order_does_not_matter(site):
    for extensions in (
        ["mkdocs_attnviz", "pymdownx.superfences"],
        ["pymdownx.superfences", "mkdocs_attnviz"],
        ["fenced_code"],
        [],
    ):
        site.config["markdown_extensions"] = extensions
        site.write("index.md", f"{CAT}\n```python\nprint(1)\n```\n")
        built = site.build("--strict")
        assert len(figures(built.page())) == 1, extensions
        assert "print" in built.page().select_one("code").get_text()


def test_ids_are_unique(site):
    named = CAT.replace("text:", "id: cats\ntext:")
    site.write("index.md", f"# attnviz-1\n\n<i data-id=cats></i>\n\n{CAT}\n{named}\n{named}\n{CAT}")
    built = site.build("--strict")
    assert built.returncode == 1
    assert "WARNING -  attnviz: index.md:16: `id` is 'cats', which something else" in built.log
    built = site.build()
    ids = [element["id"] for element in built.page().select("[id]")]
    assert len(ids) == len(set(ids))
    assert "`id` is 'cats', which something else on this page has." in built.alerts()[0]


def test_what_a_page_refers_to_is_there(site):
    long = "many words " * 60
    for directory_urls in (True, False):
        site.config["use_directory_urls"] = directory_urls
        site.write("a/b/page.md", f"```attention\nmodel: minilm\ntext: {long}\n```\n")
        site.write("index.md", "hello")
        built = site.build()
        name = "a/b/page/index.html" if directory_urls else "a/b/page.html"
        script = built.page(name).select_one('script[src*="attnviz"]')["src"]
        folder = (built.folder / "site" / name).parent / script
        assert folder.is_file()
        for layer in figures(built.page(name))[0]["stacks"]["self"]["layers"]:
            assert (folder.parent / layer["file"]).is_file()


def test_two_builds_at_once_on_one_cache(tmp_path):
    from conftest import Site

    sites = [Site(tmp_path / name, tmp_path / "cache") for name in ("one", "two")]
    for each in sites:
        each.write("index.md", "".join(CAT.replace("cat", f"cat number {n}") + "\n" for n in range(6)))
    runs = [subprocess.Popen(each.command(), stderr=subprocess.PIPE, text=True) for each in sites]
    logs = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], logs
    assert "not used" not in "".join(logs)
    for each in sites:
        page = (each.folder / "site" / "index.html").read_text()
        assert len(figures(BeautifulSoup(page, "html5lib"))) == 6
    assert len(list((tmp_path / "cache").rglob("*.attnviz"))) == 6
    assert list((tmp_path / "cache").rglob("*.tmp")) == []


def test_a_killed_worker_costs_only_time(cold_site):
    cold_site.write("index.md", "".join(CAT.replace("cat", f"cat number {n}") + "\n" for n in range(6)))
    build = subprocess.Popen(cold_site.command(), stderr=subprocess.PIPE, text=True)
    worker = _child(build.pid, "engine.worker")
    os.kill(worker, signal.SIGKILL)
    log = build.communicate()[1]
    assert build.returncode == 0, log
    assert log.count("computed (") == 6, log


def _child(pid, name):
    """The process id of a child whose command line has `name` in it, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = subprocess.run(["pgrep", "-P", str(pid), "-f", name], capture_output=True, text=True).stdout.split()
        if found:
            return int(found[0])
        time.sleep(0.02)
    raise AssertionError(f"no {name} was started")


def test_blog_excerpts(site):
    site.config["theme"] = {"name": "material"}
    site.plugins += ["blog"]
    post = (
        "---\ndate: 2026-01-0{n}\n---\n# Post {n}\n\n"
        + CAT.replace("text:", "id: same\ntext:")
        + "\n<!-- more -->\n\n"
        + CAT.replace("cat", "dog")
    )
    for n in (1, 2):
        site.write(f"blog/posts/{n}.md", post.replace("{n}", str(n)))
    site.write("blog/index.md", "# Blog\n")
    site.write("index.md", "hello")
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    assert built.log.count("minilm, head view") == 4
    assert tokens(built.page("blog/index.html")) == ["[CLS] the cat sat on the mat [SEP]"] * 2
    assert len(built.page("blog/index.html").select('script[src*="attnviz-"]')) == 3
    assert len(tokens(built.page("blog/2026/01/01/post-1/index.html"))) == 2
    assert "data-attnviz-source" not in "".join(built.text(name) for name in built.files() if name.endswith(".html"))


def test_print_pages(cold_site):
    cold_site.plugins += ["print-site"]
    cold_site.write("index.md", "hello")
    cold_site.write("a/b.md", CAT + "\n" + CAT.replace("minilm", "nothing at all"))
    cold = cold_site.build()
    before = cold.text("print_page/index.html")
    assert tokens(cold.page("print_page/index.html")) == ["[CLS] the cat sat on the mat [SEP]"]
    assert len(cold.alerts("print_page/index.html")) == 1
    script = cold.page("print_page/index.html").select_one('script[src*="attnviz-"]')["src"]
    assert (cold.folder / "site" / "print_page" / script).is_file()
    assert cold_site.build().text("print_page/index.html") == before


def test_what_only_looks_like_ours_is_left_alone(site):
    foreign = '<figure class="attnviz" data-attnviz-source="abcd"></figure>'
    site.write("index.md", f"{foreign}\n\n{CAT}")
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    assert foreign in built.text()
    assert len(figures(built.page())) == 1


def test_settings_in_the_wrong_place_are_not_ignored_silently(site):
    site.config["markdown_extensions"] += [{"mkdocs_attnviz": {"max_tokens": 2}}]
    site.write("index.md", CAT)
    assert "move them to `plugins: attnviz`" in site.build().log


def test_fences_that_would_be_lost(site):
    site.write(
        "index.md",
        f"```{{attention layer=3}}\ntext: x\n```\n\n```{{attention}} model\ntext: x\n```\n\n"
        f"```python\nprint()\n```\n\n{CAT}\n"
        "```attention\nmodel: minilm\ntext: never closed\n",
    )
    built = site.build()
    one, two, three = built.alerts()
    assert "without braces" in one
    assert "without braces" in two
    assert "This fence is not closed" in three
    assert "(index.md:18)" in three
    assert len(figures(built.page())) == 1


def test_lines_of_blocks_that_begin_alike(site):
    long = "```attention\nmodel: nope!\ntext: x\nlayer: 1\n```\n\n"
    site.write("index.md", long + long.replace("layer: 1\n", "") + long)
    assert [alert[-12:] for alert in site.build().alerts()] == ["(index.md:2)", "(index.md:8)", "index.md:13)"]


def test_minified_pages(site):
    site.plugins += [{"minify": {"minify_html": True}}]
    site.write("index.md", CAT)
    built = site.build("--strict")
    assert tokens(built.page()) == ["[CLS] the cat sat on the mat [SEP]"]


def test_search_finds_the_caption_but_no_data(site):
    site.write("index.md", CAT.replace("text:", "caption: Felidae\ntext:"))
    index = json.loads(site.build().files()["search/search_index.json"])
    text = " ".join(document["text"] for document in index["docs"])
    assert "Felidae" in text
    assert "Attention of minilm, layer 0" in text
    for data in ("stacks", "sentence_b_start", "svg", "attn-viz"):
        assert data not in text


def test_nothing_is_run_where_that_is_forbidden(cold_site):
    cold_site.settings["on_missing"] = "warn"
    cold_site.write("index.md", CAT)
    cold_site.write("hub.md", "```attention\nmodel: gpt2\ntext: a\n```\n")
    built = cold_site.build("-v")
    assert built.returncode == 0
    assert "The cache does not hold this figure's tensors, and `on_missing` forbids" in built.alerts()[0]
    assert (
        "No commit of model 'gpt2' is known here. `on_missing` forbids to ask the hub"
        in built.alerts("hub/index.html")[0]
    )
    assert "running model" not in built.log
    assert cold_site.build("--strict").returncode == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "gpu"}, "Setting `device` is 'gpu'"),
        ({"max_tokens": 0}, "Setting `max_tokens` is 0"),
        ({"models": {"a": {"modle": "x"}}}, "Setting `models.a."),
        ({"dtype": "float8"}, "Setting `dtype` is 'float8'"),
    ],
)
def test_bad_settings(site, settings, message):
    site.settings |= settings
    site.write("index.md", "hello")
    built = site.build()
    assert built.returncode == 1
    assert message in built.log


def test_serve_redraws_a_changed_block_with_the_model_still_loaded(cold_site):
    cold_site.write("index.md", CAT)
    cold_site.write("other.md", CAT.replace("cat", "dog"))
    cold_site.configure()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "serve",
        "-f",
        str(cold_site.folder / "mkdocs.yml"),
        "-a",
        f"127.0.0.1:{port}",
    ]
    log_file = cold_site.folder / "log"
    with log_file.open("w") as stream:
        heed = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        serve = subprocess.Popen(command, stderr=stream, stdout=stream, preexec_fn=heed)  # a shell's `&` ignores it
    try:
        _wait(lambda: "Serving on" in log_file.read_text())
        worker = _child(serve.pid, "engine.worker")

        def noticed():
            """It may not watch yet: written again until it does."""
            cold_site.write("index.md", CAT.replace("cat", "bee"))
            return "Detected file changes" in log_file.read_text()

        _wait(noticed)
        _wait(lambda: log_file.read_text().count("Documentation built in") >= 2)
        again = log_file.read_text().split("Documentation built in")[1]
        assert "index.md:1: minilm, head view: computed (" in again
        assert "other.md:1: minilm, head view: cached (" in again
        assert _child(serve.pid, "engine.worker") == worker
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/").read().decode()
        assert tokens(BeautifulSoup(page, "html5lib")) == ["[CLS] the bee sat on the mat [SEP]"]
    finally:
        serve.send_signal(signal.SIGINT)
        serve.wait(timeout=120)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def _wait(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_links_to_figures_are_known(site):
    site.config["validation"] = {"anchors": "warn"}
    blocks = CAT.replace("text", "id: cats\ntext") + "\n" + CAT
    site.write("index.md", f"# A\n\n{blocks}\n[a](#cats), [b](#attnviz-2), [c](other.md#cats)\n")
    site.write("other.md", f"# B\n\n{blocks}\n[a](index.md#cats)\n")
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    assert [figure["id"] for figure in built.page().select("figure.attnviz")] == ["cats", "attnviz-2"]
    site.write("other.md", "# B\n\n[a](index.md#dogs)\n")
    assert site.build("--strict").returncode != 0


TO_TEXT = """
from pathlib import Path
from bs4 import BeautifulSoup

def on_page_content(html, page, config, files):
    (Path(config.config_file_path).parent / "page.txt").write_text(BeautifulSoup(html, "html.parser").get_text("\\n"))
"""
"""A plugin that does what mkdocs-llmstxt does; that one cannot be installed beside our MyST-Parser."""


def test_a_text_that_is_made_of_a_page_tells_of_its_figures(site):
    (site.folder / "to_text.py").write_text(TO_TEXT)
    site.config["hooks"] = ["to_text.py"]
    site.write("index.md", "# A\n\n" + CAT.replace("text", "caption: A <cat> & more.\ntext"))
    built = site.build("--strict")
    assert built.returncode == 0, built.log
    text = (built.folder / "page.txt").read_text()
    assert "Figure: minilm, head view: The cat sat on the mat\nA <cat> & more." in text
    assert [caption.get_text() for caption in built.page().select("figcaption")] == ["A <cat> & more."]
    assert "Figure: minilm" not in built.text()
