"""`attnviz render`: blocks from standard input become fragments or pictures, for generators in any language."""

import json
import subprocess
import sys

import commands
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import MINILM

CAT = "model: minilm\ntext: The cat sat on the mat"
BEES = "model: minilm\ntext: " + "the bee sat on the mat and the cat sat on the bee " * 6
CLAIM = f"{CAT}\nexpect:\n  - {{layer: 2, head: 8, from: the, to: cat, is: 0.9}}"


@pytest.fixture
def configure(tmp_path):
    """`configure(cache, …)` writes an `attnviz.yml` into the folder that the command runs in."""

    def configure(cache, **more):
        settings = {"models": {"minilm": MINILM}, "cache_dir": str(cache)} | more
        (tmp_path / "attnviz.yml").write_text(yaml.safe_dump(settings))

    return configure


@pytest.fixture
def warm(configure, shared_cache):
    configure(shared_cache)


@pytest.fixture
def render(tmp_path):
    """`render(input, …)` runs the command."""

    def render(stdin, *arguments):
        return commands.run("mkdocs_attnviz", "render", *map(str, arguments), input=stdin, cwd=tmp_path)

    return render


def asked(*questions):
    return "".join(json.dumps(question) + "\n" if question else "\n" for question in questions)


def answered(run):
    return [json.loads(line) for line in run.stdout.splitlines() if line]


def html(answer):
    return BeautifulSoup(answer["html"], "html.parser")


def test_a_block_on_standard_input_is_a_fragment(render, warm):
    fragment = render(CAT, "--run")
    assert fragment.returncode == 0, fragment.stderr
    for stdin in (f"```attention layer=3\n{CAT}\n```\n", f"{CAT}\nlayer: 3"):
        again = render(stdin)
        assert (again.returncode, again.stderr) == (0, "")
        page = BeautifulSoup(again.stdout, "html.parser")
        assert json.loads(page.select_one("figure#attnviz-1 attn-viz")["data-figure"])["options"]["layer"] == 3
        assert "customElements" in page.script.get_text()


def test_nothing_is_computed_unless_it_is_asked_for(render, configure, tmp_path):
    configure(tmp_path / "cache")
    run = render(CAT, "--page", "cats.md")
    assert run.returncode == 1
    why = "cats.md: The cache does not hold this figure's tensors, and `attnviz render` runs no model without `--run`"
    assert run.stderr == f"{why}; where it can run, compute it with `attnviz run -f attnviz.yml`.\n"
    [alert] = BeautifulSoup(run.stdout, "html.parser").select("[role=alert]")
    assert "runs no model without --run" in alert.get_text()

    configure(tmp_path / "cache", on_missing="error")
    run = render(CAT)
    assert (run.returncode, run.stdout) == (2, "")
    assert "Compute them where the model can run: attnviz run -f attnviz.yml" in run.stderr


def test_each_question_has_its_answer_in_order(render, warm, tmp_path):
    questions = [
        {"body": CAT, "page": "a.md", "line": 3},
        {"body": f"{CAT}\nlayr: 3", "page": "a.md", "line": 9},
        {"body": BEES, "page": "b.md", "header": {"id": "bees", "caption": "Bees.\n\nMore."}, "assets_url": "../files"},
        {"body": BEES, "page": "b.md", "header": {"id": "bees"}},
        {"body": f"{CAT}\nview: mask", "page": "a.md", "line": 20, "header": {"caption": "Cats."}, "apart": True},
    ]
    run = render(asked(*questions), "--run", "--assets", "public/attnviz", "--assets-url", "/files")
    assert run.returncode == 1
    [first, bad, bees, twice, apart] = answered(run)
    assert [each["ok"] for each in (first, bad, bees, twice, apart)] == [True, False, True, False, True]
    assert [each["id"] for each in (first, bad, bees, apart)] == ["attnviz-1", "attnviz-2", "bees", "attnviz-3"]
    assert "\n\n" not in bees["html"]

    problem = {"where": "a.md:12", "page": "a.md", "line": 9, "kind": "block", "key": "layr", "detail": ""}
    assert {name: value for name, value in bad["problems"][0].items() if name != "message"} == problem
    assert f"a.md:12: {bad['problems'][0]['message']}\n" in run.stderr
    assert twice["problems"][0]["message"] == "`id` is 'bees', which something else on this page has."

    folder = tmp_path / "public" / "attnviz"
    assert first["scripts"] == apart["scripts"] == bad["scripts"] != bees["scripts"], "those of the page"
    assert {*first["scripts"], *bees["scripts"], *bees["files"]} == {path.name for path in folder.iterdir()}
    assert [script["src"] for script in html(first).select("script")] == [f"/files/{name}" for name in first["scripts"]]
    assert [script["src"] for script in html(bees).select("script")] == [f"../files/{name}" for name in bees["scripts"]]
    assert not html(apart).select("script")
    assert bees["files"]
    assert all(name in html(bees).select_one("attn-viz")["data-figure"] for name in bees["files"])

    assert apart["caption"] == "Cats."
    assert not html(apart).select("figcaption")
    assert html(apart).figure["id"] == "attnviz-3-figure"
    assert html(bees).figcaption.get_text() == "Bees.\nMore."

    [bare, *_] = answered(render(asked(*questions), "--assets", folder, "--no-scripts"))
    assert bare["html"] + "\n" == first["html"].partition("<script")[0]
    assert bare["scripts"] == first["scripts"]


def test_a_mistake_in_a_question_is_an_alert_in_its_place(render, warm):
    lines = ['{"body": 3}', "[1", '{"body": "x", "pge": "a.md"}', '{"body": "x", "line": 0, "page": "a.md"}']
    run = render("\n".join([*lines, json.dumps({"body": CAT})]), "--json")
    messages = [answer["problems"][0]["message"] for answer in answered(run)[:-1]]
    assert messages == [
        "Line 1 of the input is no JSON object with a text `body`.",
        "Line 2 of the input is no JSON object with a text `body`.",
        "`pge` is no key of a question to `attnviz render` (did you mean `page`?); it may have body, header, page, "
        "line, cell, apart, assets_url.",
        "`line` is 0 in a question to `attnviz render`; it must be a whole number from 1.",
    ]
    assert answered(run)[-1]["ok"]
    assert run.returncode == 1
    nothing = render("", "--json")
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_an_empty_line_ends_a_batch(warm, tmp_path):
    command = [sys.executable, "-m", "mkdocs_attnviz", "render", "--json", "--run"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, **pipes) as process:
        for _ in range(2):
            process.stdin.write(asked({"body": CAT, "page": "a.md"}, {"body": CAT, "page": "b.md"}, None))
            process.stdin.flush()
            batch = list(iter(process.stdout.readline, "\n"))
            assert [json.loads(line)["id"] for line in batch] == ["attnviz-1", "attnviz-1"]
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_a_claim_that_does_not_hold(render, warm):
    run = render(asked({"body": CLAIM, "page": "a.md", "line": 1}), "--run")
    [answer] = answered(run)
    assert answer["ok"]
    assert [(each["kind"], each["where"]) for each in answer["problems"]] == [("claim", "a.md:5")]
    assert run.returncode == 0
    assert "it is 0.75" in run.stderr
    assert render(CLAIM, "--strict").returncode == 1


def test_pictures(render, warm, tmp_path):
    asking = asked({"body": f"{CAT}\ncaption: A cat."}, {"body": "model: minilm"})
    run = render(asking, "--assets", "p", "--format=svg", "--run")
    [cat, bad] = answered(run)
    content = (tmp_path / "p" / cat["picture"]).read_text()
    assert content.startswith("<svg")
    assert (html(cat).img["src"], html(cat).img["alt"]) == (f"p/{cat['picture']}", cat["text"])
    assert (cat["caption"], bad["picture"], bad["ok"]) == ("A cat.", None, False)
    assert render(CAT, "--format=svg").stdout == content
    [cat] = answered(render(asked({"body": CAT}), "--assets", "p", "--format=pdf,svg"))
    assert (tmp_path / "p" / cat["picture"]).read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format=pdf,gif"], "`--format` is 'gif'; it must be one of html-fragment, svg, pdf, png."),
        (["--format=svg", "--json"], "Pictures for JSON Lines are written into a folder; it needs `--assets`."),
        (["--no-scripts"], "`--no-scripts` leaves the scripts in a folder; it needs `--assets`."),
    ],
)
def test_options_that_do_not_fit(render, warm, options, message):
    run = render(CAT, *options)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"Error: {message}\n"


def test_lines_of_blocks_are_found_in_their_page(render, warm, tmp_path):
    page = """\
---
title: Cats
---
````
```attention
layr: 2
```
````
- a list

  ```{.attention #a}
  layr: 2
  ```

~~~attention
layr: 2
~~~
"""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "cats.mdx").write_text(page)
    run = render(asked(*[{"body": "layr: 2", "page": "docs/cats.mdx"}] * 3))
    assert [answer["problems"][0]["where"] for answer in answered(run)] == [
        "docs/cats.mdx:12",
        "docs/cats.mdx:16",
        "docs/cats.mdx",
    ]
    cells = [{"cell_type": "markdown", "source": ["Words"]}, {"cell_type": "markdown", "source": page}]
    (tmp_path / "cats.ipynb").write_text(json.dumps({"cells": cells}))
    [answer] = answered(render(asked({"body": "layr: 2", "page": "cats.ipynb"})))
    assert answer["problems"][0]["where"] == "cats.ipynb, cell 2:12"


def listed(tmp_path, *options):
    run = commands.run("mkdocs_attnviz", "status", "--json", *options, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    return [(block["page"], block["line"], block["state"]) for block in json.loads(run.stdout)["blocks"]]


def fence(layer):
    return f"```attention\n{CAT}\nlayer: {layer}\n```\n"


def test_pages_of_any_generator(configure, shared_cache, tmp_path):
    for name in ("docs/a.md", "src/pages/b.mdx", "node_modules/c.md", ".venv/d.md", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"import X from 'x'\n\n<X>\n\n{fence(2)}\n</X>\n")
    configure(shared_cache)
    assert [page for page, _, _ in listed(tmp_path)] == ["README.md", "docs/a.md", "src/pages/b.mdx"]
    assert commands.run("mkdocs_attnviz", "run", cwd=tmp_path).returncode == 0
    configure(shared_cache, pages=["src/**/*.mdx", "node_modules/*.md", "R*.md"])
    assert listed(tmp_path) == [("src/pages/b.mdx", 5, "cached"), ("README.md", 5, "cached")]
    assert listed(tmp_path, "docs/a.md") == [("docs/a.md", 5, "cached")]
    configure(shared_cache, pages=3)
    run = commands.run("mkdocs_attnviz", "status", cwd=tmp_path)
    assert (run.returncode, "`pages` is 3; it must be a list of patterns" in run.stderr) == (2, True)
