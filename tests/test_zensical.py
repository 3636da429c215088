"""Zensical, built by its own command line: through the Markdown extension, with assets placed before the build."""

import shutil

import commands
import pytest
from conftest import INDUCTION, MINILM, Built, draw_all, served, there_and_back

CAT = "```attention\nmodel: minilm\ntext: The cat sat on the mat\n```\n"
LONG = CAT.replace("The cat", "many words " * 60)
BAD = "```attention\nmodle: minilm\n```\n"

CONFIG = """
[project]
site_name = "Test"

[project.theme]
font = false

[[project.theme.palette]]
scheme = "default"
toggle = {{ icon = "lucide/moon", name = "Dark" }}

[[project.theme.palette]]
scheme = "slate"
toggle = {{ icon = "lucide/sun", name = "Light" }}

[project.markdown_extensions.mkdocs_attnviz]
models = {{ minilm = "{model}" }}
cache_dir = "{cache}"
{more}

[project.markdown_extensions.pymdownx.superfences]
{fences}
"""
IN_A_FOLDER = 'assets_dir = "docs/assets/attnviz"\nassets_url = "assets/attnviz"\n'


class Site:
    def __init__(self, folder, cache):
        self.folder, self.cache = folder, cache
        self.configure()

    def configure(self, more="", fences=""):
        (self.folder / "docs").mkdir(exist_ok=True)
        text = CONFIG.format(model=MINILM, cache=self.cache, more=more, fences=fences)
        (self.folder / "zensical.toml").write_text(text)

    def write(self, name, text):
        path = self.folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *command, folder=None):
        run = commands.run(*map(str, command), cwd=folder or self.folder)
        return Built(self.folder, run.returncode, run.stdout + run.stderr)

    def build(self, *options):
        built = self.run("zensical", "build", *options)
        if built.returncode == 0:
            # From disk its search asks for this file, which only its plugin `offline` makes.
            (self.folder / "site" / "search.js").touch()
        return built


@pytest.fixture
def site(tmp_path, shared_cache):
    return Site(tmp_path, shared_cache)


def test_a_page_holds_everything_without_a_folder_for_assets(site):
    site.write("index.md", LONG)
    built = site.build()
    assert built.returncode == 0, built.log
    assert len(built.page().select("attn-viz")) == 1
    assert "attn-viz" in built.page().select_one("figure.attnviz ~ script:not([src])").string


@pytest.mark.parametrize("urls", ["folders", "files"])
def test_assets_placed_before_the_build(site, open_page, urls):
    """Also in a sub-folder, whose pages reach the folder under another URL, and from disk."""
    site.configure(IN_A_FOLDER)
    if urls == "files":
        config = site.folder / "zensical.toml"
        config.write_text(config.read_text().replace("[project]", "[project]\nuse_directory_urls = false"))
    site.write("index.md", CAT)
    site.write("sub/folder/page.md", f"---\ntitle: Deep\n---\n\n{LONG}")
    assets = site.run("mkdocs_attnviz", "assets")
    assert assets.returncode == 0, assets.log
    built = site.build()
    assert built.returncode == 0, built.log
    assert "Files were added" not in built.log
    for name in ("index", "sub/folder/page"):
        path = f"{name}.html" if urls == "files" or name == "index" else f"{name}/index.html"
        page = open_page(site.folder / "site" / path)
        draw_all(page)
        weights = page.locator("attn-viz").evaluate("e => e.weights({stack: 'self', layer: 2, head: 5})")
        assert weights["values"]


def test_a_build_from_another_folder(site, tmp_path_factory):
    """Relative folders start from the configuration, as Zensical's own do."""
    site.configure(IN_A_FOLDER)
    site.write("index.md", CAT)
    built = site.run("zensical", "build", "-f", site.folder / "zensical.toml", folder=tmp_path_factory.mktemp("other"))
    assert built.returncode == 0, built.log
    assert list((site.folder / "docs" / "assets" / "attnviz").glob("attnviz-*.js"))


def test_assets_that_come_too_late_are_told(site):
    """Zensical lists what it copies while it renders."""
    site.configure(IN_A_FOLDER)
    site.write("index.md", CAT)
    assert "Files were added to docs/assets/attnviz while Zensical was building" in site.build().log
    assert "Files were added" not in site.build("--clean").log
    assert list((site.folder / "site" / "assets" / "attnviz").glob("attnviz-*.js"))


def test_cold_and_warm(site):
    site.cache = site.folder / "cache"
    site.configure()
    site.write("index.md", CAT)
    cold = site.build()
    assert cold.returncode == 0, cold.log
    first = cold.text()
    entries = {path: path.stat().st_mtime_ns for path in site.cache.rglob("*.attnviz")}
    assert len(entries) == 1
    assert site.build("--clean").text() == first
    assert {path: path.stat().st_mtime_ns for path in site.cache.rglob("*.attnviz")} == entries


def test_a_bad_block(site):
    """The line is that of the file, front matter included."""
    site.write("index.md", CAT)
    site.write("sub/page.md", f"---\ntitle: Deep\n---\n\n{CAT}\n{BAD}")
    built = site.build("--strict")
    assert built.returncode == 0  # it heeds no warning
    assert "sub/page.md:11: `modle` is not a key of the block (did you mean `model`?)." in built.log
    assert built.alerts("sub/page/index.html")[0].endswith("(sub/page.md:11)")
    assert len(built.page("sub/page/index.html").select("attn-viz")) == 1


def test_strict_fails_the_build(site):
    site.configure("strict = true")
    site.write("index.md", f"{BAD}\n{CAT.replace('cat', '').replace('text', 'txt')}")
    built = site.build()
    assert built.returncode == 1
    error = built.log[built.log.index("Undrawn: ") :]
    assert "index.md:2: `modle`" in error
    assert "index.md:7: `txt`" in error
    site.write("index.md", CAT)
    assert site.build().returncode == 0


def test_an_alert_stays_in_zensical_s_cache_until_it_is_cleaned(site):
    """The fault of a block can lie outside of its page: here a model that was not there yet."""
    site.write("index.md", CAT.replace("minilm", "./models/copy"))
    assert len(site.build().alerts()) == 1
    shutil.copytree(INDUCTION, site.folder / "models" / "copy")
    assert len(site.build().alerts()) == 1
    assert site.build("--clean").alerts() == []


def test_a_custom_fence_without_our_extension(site, shared_cache):
    site.configure(
        fences=f"""
custom_fences = [{{
  name = "attention", class = "attention",
  validator = "mkdocs_attnviz.fence_validator",
  format.object = "mkdocs_attnviz.fence_format",
  format.kwds.models.minilm = "{MINILM}",
  format.kwds.cache_dir = "{shared_cache}",
}}]
"""
    )
    config = site.folder / "zensical.toml"
    before, after = config.read_text().split("[project.markdown_extensions.mkdocs_attnviz]")
    config.write_text(before + after[after.index("[project.markdown_extensions.pymdownx") :])
    site.write("sub/page.md", f"{CAT}\n{BAD}")
    site.write("index.md", "# Home")
    built = site.build()
    assert built.returncode == 0, built.log
    assert "sub/page.md:7: `modle`" in built.log
    assert len(built.page("sub/page/index.html").select("attn-viz")) == 1
    assert "2 blocks on 2 pages: 0 computed, 1 cached, 1 bad" in site.run("mkdocs_attnviz", "run").log


def test_the_palette_switch_is_followed(site, open_page):
    site.write("index.md", CAT)
    assert site.build().returncode == 0
    page = open_page(site.folder / "site" / "index.html")
    draw_all(page)
    assert page.locator("attn-viz .figure.light").count() == 1
    page.locator("label[title=Dark]").click()
    page.locator("attn-viz .figure.dark").wait_for()
    page.locator("label[title=Light]").click()
    page.locator("attn-viz .figure.light").wait_for()


def test_instant_navigation(site, open_page):
    site.configure(IN_A_FOLDER)
    site.write("index.md", "# Start\n\n[there](there/page.md)\n")
    site.write("there/page.md", f"# There\n\n{CAT}\n{LONG}")
    assert site.run("mkdocs_attnviz", "assets").returncode == 0
    with served(site.folder / "site") as url:
        config = site.folder / "zensical.toml"
        text = config.read_text().replace("[project]", f'[project]\nsite_url = "{url}/"')
        config.write_text(text.replace("font = false", 'font = false\nfeatures = ["navigation.instant"]'))
        assert site.build().returncode == 0
        page = open_page(url)
        there_and_back(page)
        assert page.evaluate("window.same"), "navigation was instant"
