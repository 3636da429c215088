"""Generators of npm, with the module and the configuration that the documentation gives, by their own command lines."""

import hashlib
import json
import os
import re
import subprocess
import sys

import commands
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import MINILM, Built, draw_all, served
from hosts import GENERATORS, Astro, documented, path_of_packages
from test_hosts import CAT, LONG, tokens

BAD = f"{CAT}\nlayr: 3"


@pytest.fixture(scope="module", params=GENERATORS)
def built(request, once, shared_cache):
    """Return the host of a built site with a page of two blocks, one of words, and one with a bad block."""

    def make(folder):
        host = GENERATORS[request.param](folder, shared_cache)
        write(host)
        built = host.build()
        assert built.returncode == 0, built.log
        (folder / "log").write_text(built.log)

    return GENERATORS[request.param](once(f"generator-{request.param}", make), shared_cache)


def write(host):
    host.write("index", f"{CAT}\ncaption: Cats <3 & {{mats}}.\nid: cats", LONG)
    host.write("words")
    host.write("guide/bad", CAT, BAD)
    path = host.source / "guide" / "bad.md"
    path.write_text(f"---\ntitle: Bad\n---\n\n{path.read_text()}")


def page(host, name):
    return Built(host.folder, 0, "").page(host.page_of(name))


def test_figures_stand_where_their_blocks_stood(built):
    html = page(built, "index")
    assert [figure["id"] for figure in html.select("figure.attnviz")] == ["cats", "attnviz-2"]
    assert tokens(html)[0] == "[CLS] the cat sat on the mat [SEP]"
    assert html.figcaption.get_text() == "Cats <3 & {mats}."
    assert len(html.select('script[src^="/attnviz/"]')) == 3
    assert "model: minilm" not in html.get_text()
    assert not page(built, "words").select("script[src*=attnviz]")


def test_a_bad_block_is_an_alert_and_a_line_in_the_log(built, tmp_path, shared_cache):
    html = page(built, "guide/bad")
    assert "layr" in html.select_one("[role=alert]").get_text()
    assert tokens(html) == ["[CLS] the cat sat on the mat [SEP]"]
    path = built.source.relative_to(built.folder) / "guide" / "bad.md"
    message = f"{path}:{(built.folder / path).read_text().splitlines().index('layr: 3') + 1}: `layr` is not a key"
    assert message in (built.folder / "log").read_text()

    host = type(built)(tmp_path, shared_cache)
    write(host)
    strict = host.build(strict=True)
    assert strict.returncode != 0
    assert message in strict.log


def test_figures_draw_in_the_browser(built, open_page):
    with served(built.folder / "site", csp="script-src 'self'") as url:
        opened = open_page(f"{url}/{built.page_of('index')}", width=360, dark=True)
        draw_all(opened)
        rows = "element => element.weights({layer: 3, head: 5}).then(weights => weights.rows.length)"
        assert [figure.evaluate(rows) for figure in opened.locator("attn-viz").all()] == [8, 80]
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
        # Eleventy's page has no layout that would declare an encoding.
        assert opened.locator("attn-viz .more").first.inner_text() == "⋯"


MDX = """
import { compile } from "@mdx-js/mdx";
import { readFileSync } from "node:fs";
import { remarkAttnviz } from "./attnviz.mjs";
const file = { path: "page.mdx", value: readFileSync("page.mdx", "utf8") };
console.log(String(await compile(file, { jsx: true, remarkPlugins: [[remarkAttnviz, { react: true }]] })));
"""


def test_a_page_that_is_mdx_gets_an_element_of_react(tmp_path, shared_cache):
    """This is how Docusaurus reads Markdown."""
    host = Astro(tmp_path, shared_cache)
    host.write("index", f"{CAT}\ncaption: a {{b}} `c` <d")
    host.install()
    settings = host.settings | {"assets_dir": "assets", "assets_url": "/attnviz", "pages": "*.mdx"}
    (tmp_path / "attnviz.yml").write_text(yaml.safe_dump(settings))
    (tmp_path / "page.mdx").write_text((host.source / "index.md").read_text() + "\n<b>{1 + 1}</b>\n")
    assert host.run("mkdocs_attnviz", "run").returncode == 0
    (tmp_path / "compile.mjs").write_text(MDX)
    environment = os.environ | {"PATH": path_of_packages(tmp_path)}
    run = subprocess.run(["node", "compile.mjs"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    [quoted] = re.findall(r"div dangerouslySetInnerHTML=\{\{\s*__html: (\".*\")\s*\}\} ?/>", run.stdout)
    figure = BeautifulSoup(json.loads(quoted), "html5lib").select_one("figure.attnviz")
    assert figure.figcaption.get_text() == "a {b} `c` <d"
    assert "1 + 1" in run.stdout


def test_fragments_for_hugo_are_found_by_page_and_block(tmp_path, shared_cache):
    """The template looks for the SHA-256 of the page's path, a line break, and the block."""
    page = tmp_path / "content" / "guide" / "cats.md"
    page.parent.mkdir(parents=True)
    page.write_text(f"---\ntitle: Cats\n---\n\n```attention\n{CAT}\n```\n\n```attention\n{BAD}\n```\n")
    settings = {"models": {"minilm": MINILM}, "cache_dir": str(shared_cache), "pages": "content/**/*.md"}
    (tmp_path / "attnviz.yml").write_text(yaml.safe_dump(settings))
    (tmp_path / "figures.py").write_text(documented("generators")["figures.py"])
    assert commands.run("mkdocs_attnviz", "run", cwd=tmp_path).returncode == 1
    environment = os.environ | {"PATH": path_of_packages(tmp_path)}
    run = subprocess.run([sys.executable, "figures.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("content/guide/cats.md:13: `layr` is not a key")
    names = [hashlib.sha256(f"guide/cats.md\n{body}".encode()).hexdigest() for body in (CAT, BAD)]
    drawn, bad = [(tmp_path / "assets" / "attnviz" / f"{name}.html").read_text() for name in names]
    assert "<attn-viz" in drawn
    assert 'role="alert"' in bad
