"""The package that the guide's page "Your own view" builds: its very lines are installed, and draw a figure."""

import json
import re
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
from conftest import INDUCTION, ROOT, Built, draw_all, settle
from hosts import MkDocs, Sphinx

PAGE = ROOT / "example_site" / "docs" / "guide" / "your-own-view.md"
LONGEST = 150
"""Lines of the package, all files together."""
TEXT = "one red two blue three green one red two"
NORMS = f"model: induction\ntext: {TEXT}\nview: norms\nid: norms"
HEAD = f"model: induction\ntext: {TEXT}\nid: head"
WRONG = NORMS.replace("id: norms", "layer: 9")
UV = [sys.executable, "-m", "uv"]


def files() -> dict[str, str]:
    """Return the files that the page shows, by their names."""
    return dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL))


def write_package(folder):
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "attnviz_norms" / "__init__.py").touch()


def environment(folder, package):
    """Make an environment in which nothing but this package is new; return its Python."""
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    ours = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    site = python.parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "tests.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in dict.fromkeys(ours))
    )
    subprocess.run([*UV, "pip", "install", "--quiet", f"--python={python}", "--no-deps", package], check=True)
    return python


def of(kind, folder, python="unused"):
    host = kind(folder / kind.__name__, folder / "cache")
    host.python, host.fresh = str(python), True
    return host


@pytest.fixture(scope="module")
def built(once, cold_workers):
    """Return the folder in which the package was installed, and a site of its view was built."""

    def make(folder):
        write_package(folder / "package")
        python = environment(folder / "environment", folder / "package")
        mkdocs = of(MkDocs, folder, python)
        mkdocs.write("index", HEAD, NORMS)
        mkdocs.write("wrong", HEAD, WRONG)
        done = mkdocs.build()
        (folder / "log").write_text(done.log)
        assert done.returncode == 0, done.log

    return once("your-own-view", make)


def hidden_states(folder):
    """Return the vectors' lengths as transformers has them, (T, layers + 1)."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**tokenizer(TEXT, return_tensors="pt"), output_hidden_states=True).hidden_states
    return np.stack([state[0].norm(dim=-1).numpy() for state in states], axis=-1)


def test_the_package_is_short():
    lines = {name: text.count("\n") for name, text in files().items()}
    assert len(lines) == 4
    assert sum(lines.values()) <= LONGEST, lines


def test_the_script_keeps_to_the_declarations(tmp_path):
    """Check the script as an editor does, by the declarations that the wheel has."""
    (tmp_path / "script.js").write_text(files()["attnviz_norms/script.js"])
    (tmp_path / "attnviz.d.ts").write_text((ROOT / "mkdocs_attnviz" / "static" / "attnviz.d.ts").read_text())
    tsc = ROOT / "frontend" / "node_modules" / ".bin" / "tsc"
    options = ["--noEmit", "--checkJs", "--strict", "false", "--target", "ES2022", "--lib", "ES2022,DOM"]

    def complaints() -> str:
        command = [tsc, *options, "attnviz.d.ts", "script.js"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout

    assert complaints() == ""
    text = (tmp_path / "script.js").read_text()
    (tmp_path / "script.js").write_text(text.replace("render()", "draw()").replace("drawn()", "drew()"))
    assert "render" in complaints()


def test_the_figure_is_drawn(built, open_page):
    page = open_page((built / "MkDocs" / "site" / "index.html").as_uri() + "#norms~layer=1")
    draw_all(page)
    settle(page)
    element = page.locator("#norms attn-viz")
    table = element.locator("table.norms-view")
    reserved, drawn = (
        f"each => {each}" for each in ("parseFloat(getComputedStyle(each).minHeight)", "each.clientHeight")
    )
    assert element.evaluate(drawn) == pytest.approx(element.evaluate(reserved), abs=1), "with the line about the figure"
    values = element.evaluate("each => each.values()")
    norms = hidden_states(INDUCTION)
    assert np.array(values["norms"]) == pytest.approx(norms, rel=1e-4)
    assert values["tokens"] == [text.strip() for text in table.locator("th[scope=row]").all_inner_texts()]
    written = [[cell for cell in row.locator("td").all_inner_texts() if cell] for row in table.locator("tr").all()[1:]]
    assert [float(cell) for (cell,) in written] == pytest.approx(norms[:, 1], rel=5e-3), "the link's layer"
    table.get_by_role("button", name="0", exact=True).click()
    settle(page)
    assert element.evaluate("each => each.state") == {"layer": 0}
    assert table.locator("[aria-pressed=true]").inner_text() == "0"
    colours = table.locator("td").evaluate_all("cells => cells.map(cell => getComputedStyle(cell).backgroundColor)")
    darkest = np.array([min(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]).reshape(norms.shape)
    assert darkest.argmin() == norms.argmax()
    assert np.corrcoef(darkest.flatten(), norms.flatten())[0, 1] < -0.99, "the longer, the darker"
    with pytest.raises(Exception, match="layer 9: no such layer"):
        element.evaluate("each => { each.state = { layer: 9 }; }")
    assert page.locator("#head attn-viz").evaluate("each => each.state.layer") == 0


def test_its_script_may_run_before_ours(built, open_page):
    """Instant navigation runs a page's scripts as they come."""
    file = built / "MkDocs" / "site" / "index.html"
    scripts = re.findall(r'<script defer src="[^"]*attnviz/[^"]*"[^>]*></script>', text := file.read_text())
    assert len(scripts) == 4
    turned = file.with_name("turned.html")
    turned.write_text(text.replace("\n".join(scripts), "\n".join(reversed(scripts))))
    assert turned.read_text() != text
    draw_all(open_page(turned))


def test_its_scripts_and_pictures(built):
    page = Built(built / "MkDocs", 0, "").page()
    loaded = [script["src"].rpartition("/")[2].rpartition("-")[0] for script in page.select("script[src*=attnviz]")]
    assert loaded == ["attnviz", "attnviz-attention", "attnviz-head", "script"], "no other view's"
    picture = page.select_one("#norms img")
    assert picture["alt"].startswith("The longest vector after layer ")
    norms = hidden_states(INDUCTION)
    shades = [float(value) for value in re.findall(r"opacity='([\d.]+)'", picture["src"])]
    assert shades == pytest.approx((norms / norms.max()).flatten(), abs=0.006)


def test_the_model_tells_what_cannot_be(built):
    """A key of the view that does not fit the model costs this block alone."""
    wrong = Built(built / "MkDocs", 0, "")
    (alert,) = wrong.alerts("wrong.html")
    assert "`layer` is 9; model 'induction' has 0 to 2, 0 being the embeddings." in alert
    assert len(wrong.page("wrong.html").select("attn-viz")) == 1


def test_the_command_knows_the_view(built):
    mkdocs = of(MkDocs, built, built / "environment" / "bin" / "python")

    def attnviz(*command):
        done = mkdocs.run("mkdocs_attnviz", *command)
        return done.returncode, done.log

    status, told = attnviz("status", "-f", "mkdocs.yml")
    assert status == 0, told
    assert "norms" in told
    assert attnviz("check", "-f", "mkdocs.yml") == (
        1,
        "wrong.md:13: `layer` is 9; model 'induction' has 0 to 2, 0 being the embeddings.\n",
    )
    schema = json.loads(attnviz("schema")[1])
    assert "norms" in schema["properties"]["view"]["enum"]


def test_sphinx_draws_the_same(built):
    """The second site is built from the same cache, so no model runs."""
    sphinx = of(Sphinx, built, built / "environment" / "bin" / "python")
    sphinx.settings["on_missing"] = "error"
    sphinx.write("index", HEAD, NORMS)
    done = sphinx.build(strict=True)
    assert done.returncode == 0, done.log
    data = [
        json.loads(each.page().select_one("#norms attn-viz")["data-figure"])
        for each in (done, Built(built / "MkDocs", 0, ""))
    ]
    assert data[0] == data[1]
