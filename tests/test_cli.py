"""The command `attnviz`, as it is typed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import MINILM, draw_all
from entries import data_file_parts

from mkdocs_attnviz.figure.assets import FILE

CAT = f"model: {MINILM}\ntext: The cat sat on the mat"
ALIAS = "model: minilm\ntext: The cat sat on the mat"
PAGE = f'# Cats & “mats”\n\nSome words.\n\n```attention layer="3"\n{CAT}\ncaption: A cat.\n```\n'
BAD = "```attention\nmodle: minilm\n```\n"


@pytest.fixture
def attnviz(tmp_path):
    """`attnviz(…)` runs the command in a folder of its own."""

    def attnviz(*arguments, stdin="", folder=tmp_path):
        return commands.run("mkdocs_attnviz", *map(str, arguments), input=stdin, cwd=folder)

    return attnviz


@pytest.fixture
def mkdocs_yml(tmp_path, shared_cache):
    """A MkDocs site in the folder that the command runs in; more configuration can be given."""

    def write(**more):
        settings = {"models": {"minilm": MINILM}, "cache_dir": str(shared_cache)}
        config = {"site_name": "Test", "plugins": ["search", {"attnviz": settings}]} | more
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
        return tmp_path / "docs"

    return write


def fence(body):
    return f"```attention\n{body}\n```\n"


# ---- export


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_an_exported_page_opens_from_disk(attnviz, mkdocs_yml, tmp_path, open_page, width, dark):
    mkdocs_yml()
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "alone").mkdir()
    made = attnviz("export", "page.md", "-o", "alone/page.html")
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")

    requests = []
    page = open_page("about:blank", width=width, dark=dark)
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "alone" / "page.html").as_uri())
    draw_all(page)
    assert page.title() == "Cats & “mats”"
    weights = page.locator("attn-viz").evaluate("e => e.weights({stack: 'self', layer: 3, head: 5})")
    assert weights["rows"] == ["[CLS]", "the", "cat", "sat", "on", "the", "mat", "[SEP]"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [page.url]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_an_exported_page_is_complete_html(attnviz, mkdocs_yml, tmp_path):
    mkdocs_yml()
    (tmp_path / "page.md").write_text(
        f"---\ntitle: </title> & co\n---\n{PAGE}\n| a |\n|---|\n| 1 |\n\n!!! note\n    Look.\n"
    )
    page = BeautifulSoup(attnviz("export", "page.md", "--lang", "de").stdout, "html5lib")
    assert page.title.string == "</title> & co"
    assert page.html["lang"] == "de"
    assert page.select("td")
    assert page.select(".admonition")
    assert page.select_one('meta[name="viewport"]')
    assert len(page.select("script")) == 3, "each once: what all need, what attention needs, and the view's"
    assert not page.select("script[src], link")


def test_images_go_into_the_file(attnviz, tmp_path):
    (tmp_path / "dot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>")
    (tmp_path / "page.md").write_text("![A dot](dot.svg)\n")
    page = BeautifulSoup(attnviz("export", "page.md").stdout, "html5lib")
    assert page.img["src"].startswith("data:image/svg+xml;base64,")
    assert page.title.string == "page"


@pytest.mark.parametrize(
    "text", [ALIAS, f"caption: first\n{ALIAS}", '{"text": "The cat sat on the mat", "model": "minilm"}']
)
def test_a_single_block_from_standard_input(attnviz, mkdocs_yml, text):
    mkdocs_yml()
    made = attnviz("export", "-", stdin=text)
    assert made.returncode == 0, made.stderr
    page = BeautifulSoup(made.stdout, "html5lib")
    assert len(page.select("figure.attnviz attn-viz")) == 1


def test_markdown_from_standard_input(attnviz, mkdocs_yml):
    mkdocs_yml()
    page = BeautifulSoup(attnviz("export", "-", stdin=f"# Dogs\n\ntext: no key\n\n{fence(ALIAS)}").stdout, "html5lib")
    assert page.title.string == "Dogs"
    assert len(page.select("attn-viz")) == 1


@pytest.mark.parametrize(
    ("text", "where"), [(f"# Dogs\n\n{BAD}", "standard input:4: "), ("modle: minilm\ntext: a", "standard input: ")]
)
def test_a_bad_block_is_an_alert_a_message_and_a_status(attnviz, tmp_path, text, where):
    made = attnviz("export", "-", "-o", "page.html", stdin=text)
    assert made.returncode == 1
    assert made.stderr == f"{where}`modle` is not a key of the block (did you mean `model`?).\n"
    assert (
        "did you mean"
        in BeautifulSoup((tmp_path / "page.html").read_text(), "html5lib").select_one("[role=alert]").text
    )


# ---- run


def test_run_computes_what_is_missing(attnviz, mkdocs_yml, tmp_path, shared_cache):
    docs = mkdocs_yml(
        plugins=[{"attnviz": {"models": {"minilm": MINILM}, "cache_dir": "cache", "on_missing": "warn"}}],
        markdown_extensions=["pymdownx.superfences", {"pymdownx.snippets": {"base_path": [str(tmp_path / "docs")]}}],
    )
    (docs / "sub").mkdir()
    (docs / ".hidden").mkdir()
    (docs / "index.md").write_text(f"---\ntitle: a\n---\n{fence(ALIAS)}")
    (docs / "sub" / "page.md").write_text(f'{fence(ALIAS)}\n<!--\n{fence("x")}-->\n\n--8<-- "part.txt"\n')
    (docs / "part.txt").write_text(fence(ALIAS.replace("cat", "dog")))
    (docs / ".hidden" / "page.md").write_text(BAD)

    made = attnviz("run")  # although the site's own build may not run a model
    assert (made.returncode, made.stdout) == (0, "3 blocks on 2 pages: 3 computed, 0 cached, 0 bad\n"), made.stderr
    assert len(list((tmp_path / "cache").glob("*/*.attnviz"))) == 2
    made = attnviz("run", "-f", tmp_path / "mkdocs.yml", folder=docs)
    assert (made.returncode, made.stdout) == (0, "3 blocks on 2 pages: 0 computed, 3 cached, 0 bad\n"), made.stderr
    built = commands.run("mkdocs", "build", "--strict", "-q", cwd=tmp_path)
    assert built.returncode == 0, built.stderr


def test_run_without_a_configuration(attnviz, tmp_path):
    """A folder of notes may be given; files can be named, too."""
    (tmp_path / "a.md").write_text(fence("text: a"))
    (tmp_path / "b.md").write_text("Nothing.")
    (tmp_path / "c.txt").write_text(BAD)
    made = attnviz("run")
    assert (made.returncode, made.stdout) == (1, "1 block on 2 pages: 0 computed, 0 cached, 1 bad\n")
    assert "a.md:1: The block has no `model`" in made.stderr
    assert attnviz("run", "b.md").returncode == 0
    assert "c.txt:2: `modle` is not" in attnviz("run", "b.md", "c.txt").stderr


def test_run_sees_settings_of_the_extension_and_of_a_custom_fence(attnviz, mkdocs_yml, tmp_path, shared_cache):
    settings = {"models": {"minilm": MINILM}, "cache_dir": str(shared_cache)}
    docs = mkdocs_yml(plugins=[], markdown_extensions={"mkdocs_attnviz": settings})
    (docs / "index.md").write_text(fence(ALIAS))
    assert attnviz("run").returncode == 0
    (tmp_path / "mkdocs.yml").write_text(
        "markdown_extensions:\n- pymdownx.superfences:\n    custom_fences:\n    - name: attention\n"
        "      format: !!python/object/apply:mkdocs_attnviz.fence_format\n"
        f"        kwds: {settings}\n"
    )
    assert attnviz("run").returncode == 0


def test_an_extension_that_is_not_here_is_left_out(attnviz, mkdocs_yml, tmp_path):
    """A machine with a GPU has not all that the site is built with."""
    docs = mkdocs_yml()
    (docs / "index.md").write_text(fence(ALIAS))
    with (tmp_path / "mkdocs.yml").open("a") as file:
        file.write(
            "markdown_extensions:\n- no_such_extension\n- pymdownx.emoji:\n"
            "    emoji_index: !!python/name:no_such_module.twemoji\n"
            "- toc:\n    slugify: !!python/object/apply:no_such_module.slugify {kwds: {case: lower}}\n"
        )
    made = attnviz("run")
    assert made.returncode == 0, made.stderr
    assert "Markdown extension no_such_extension is left out: " in made.stderr
    assert "Markdown extension pymdownx.emoji is left out: there is no no_such_module.twemoji here" in made.stderr
    assert "Markdown extension toc is left out: there is no no_such_module.slugify here" in made.stderr


# ---- assets


def test_assets_writes_what_pages_refer_to(attnviz, mkdocs_yml, tmp_path):
    docs = mkdocs_yml()
    (docs / "index.md").write_text(fence(f"model: minilm\ntext: {'many words ' * 60}"))
    made = attnviz("assets", "-o", "made")
    assert made.returncode == 0, made.stderr
    made = [*(tmp_path / "made").iterdir()]
    layers = [path for path in made if not path.name.startswith("attnviz-")]
    scripts = {path.name.rpartition("-")[0] for path in made} - {""}
    assert scripts == {"attnviz", "attnviz-attention", "attnviz-head"}
    assert all(path.stem == hashlib.sha256(path.read_bytes()).hexdigest() for path in layers)
    parts = [len(data_file_parts(path)) for path in layers]
    assert sum(parts) == 18  # of six layers: weights, their values and their path through the layers
    assert max(parts) > 1
    assert all(path.stat().st_size < 1.03 * FILE + 100 or count == 1 for path, count in zip(layers, parts, strict=True))


# ---- misuse

MISUSE = {
    ("run", "nowhere.md"): "Error: Invalid value for '[PATHS]...': Path 'nowhere.md' does not exist.",
    ("run", "-f", "notes.txt"): "Error: notes.txt is not a configuration that attnviz can read; it reads "
    "zensical.toml, mkdocs.yml, mkdocs.yaml, properdocs.yml, properdocs.yaml, conf.py, myst.yml, attnviz.yml, ",
    ("run", "-f", "broken.yml"): "Error: broken.yml cannot be read: ",
    ("run", "-f", "unknown.yml"): "Error: unknown.yml: mkdocs_attnviz has no setting 'devise'; it has models, ",
    ("run", "-f", "wrong.yml"): "Error: wrong.yml: Setting `max_tokens` is 'many': ",
    ("run", "latin1.md"): "Error: latin1.md cannot be read: ",
    ("assets",): "Error: There is no folder to write to; give one with `-o`, or set `assets_dir`.",
    ("export", "page.md", "-o", "nowhere/page.html"): "Error: nowhere/page.html cannot be written: No such file or ",
    ("run", "--push", "page.md"): "Error: There is no shared cache to push to; set `cache_url`.",
    ("prune", "--shared", "-f", "plain.yml"): "Error: There is no shared cache; set `cache_url`.",
    ("prune", "page.md"): "Error: Got unexpected extra argument (page.md)",
    ("run", "--address", "ray://head:10001"): "Error: `--address` is the address of a Ray cluster; it "
    "needs `--engine ray`.",
    ("completion", "csh"): "Error: Invalid value for '{bash|zsh|fish}': 'csh' is not one of 'bash', 'zsh', 'fish'.",
    ("export",): "Error: Missing argument 'PAGE'.",
    ("export", "page.md", "page.md"): "Error: An HTML file holds one page; 2 are given.",
    ("export", "page.md", "--svg"): "Error: There is no folder to write to; give one with `-o`.",
    ("export", "page.md", "--check"): "Error: `--check` is about pictures; it needs `--svg` or `--png`.",
    ("export", "page.md", "-", "--svg", "-o", "a"): "Error: Standard input (`-`) is a page of its own; give no other ",
    ("export", "pages", "-o", "a.html"): "Error: pages is a folder; an HTML file holds one page.",
}


@pytest.mark.parametrize("arguments", MISUSE, ids=" ".join)
def test_misuse_is_told_in_a_sentence(attnviz, tmp_path, arguments):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "page.md").write_text("# Notes")
    (tmp_path / "broken.yml").write_text("a: [")
    (tmp_path / "plain.yml").write_text("site_name: Test\ndocs_dir: pages")
    (tmp_path / "pages").mkdir()
    (tmp_path / "unknown.yml").write_text("plugins: [{attnviz: {devise: cpu}}]")
    (tmp_path / "wrong.yml").write_text("plugins: {attnviz: {max_tokens: many}}")
    (tmp_path / "latin1.md").write_bytes("né".encode("latin-1"))
    made = attnviz(*arguments)
    assert made.returncode == 2
    assert MISUSE[arguments] in made.stderr
    assert "Traceback" not in made.stderr


def test_ray_is_an_extra(tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs_attnviz", "run", "--engine", "ray"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert made.returncode == 2
    assert made.stderr.startswith("Error: The engine `ray` needs Ray")
    assert made.stderr.endswith("install it with `pip install 'attnviz[ray]'`.\n")


# ---- the command itself

INSTALLED = Path(sys.executable).with_name("attnviz")


def test_the_installed_command():
    shown = subprocess.run([INSTALLED, "--help"], capture_output=True, text=True)
    for name in ("run", "status", "check", "prune", "assets", "export", "schema", "completion"):
        assert f"\n  {name} " in shown.stdout
        help = subprocess.run([INSTALLED, name, "--help"], capture_output=True, text=True)
        assert f"attnviz {name}" in help.stdout.split("Example", 1)[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_the_shells_own(shell):
    made = subprocess.run([INSTALLED, "completion", shell], capture_output=True, text=True)
    assert made.returncode == 0
    assert f"_ATTNVIZ_COMPLETE={shell}_complete" in made.stdout


def test_bash_completes_commands(tmp_path):
    """Complete as bash does it: the script is read, then its function is called for what is typed."""
    script = """
    source <("$0" completion bash)
    COMP_WORDS=(attnviz st) COMP_CWORD=1
    _attnviz_completion attnviz st attnviz
    echo "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PATH": f"{INSTALLED.parent}:{os.environ['PATH']}"}
    made = subprocess.run(["bash", "-c", script, INSTALLED], capture_output=True, text=True, env=environment)
    assert made.stdout == "status\n", made.stderr
