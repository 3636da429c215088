"""Problems are records: what nobody foresaw keeps its traceback, on its way from the worker to whoever asks for it."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import INDUCTION
from hosts import MkDocs, Sphinx, Zensical
from warm_workers import WITH_MODULES

from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.log import MORE
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings

FAILING = """
import os
from transformers.models.gpt2.modeling_gpt2 import GPT2Model
class Failing(GPT2Model):
    def forward(self, input_ids, **kwargs):
        if input_ids.shape[1] == 3:
            with open(TRIES, "a") as file:
                file.write(f"{os.getpid()}\\n")
            raise KeyError(f"three in process {os.getpid()}")
        return super().forward(input_ids, **kwargs)
"""
FAILS = "model: failing\ntext: the cat sat"
SENTENCE = re.compile(r"index\.md:\d+: The model failed on this text: there is no 'three in process (\d+)'\.")
TRACEBACK = re.compile(
    r'Traceback \(most recent call last\):\n(?s:.*)code\.py", line 10, in forward\n(?s:.*)KeyError: '
)
TELLING = """
import os, runpy, sys
print(os.getpid(), flush=True)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """The settings of a site with a model whose own code fails on texts of three tokens."""
    folder = tmp_path_factory.mktemp("models") / "failing"
    shutil.copytree(INDUCTION, folder)
    (folder / "code.py").write_text(f"TRIES = {str(folder.parent / 'tries')!r}\n{FAILING}")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "code.Failing"}}))
    return {"models": {"failing": {"model": str(folder), "trust_remote_code": True}}}


@pytest.fixture
def project(failing, tmp_path):
    """A MkDocs site, built and not: `run(…)` runs the command there."""
    host = MkDocs(tmp_path, tmp_path / "cache")
    host.settings |= failing
    host.write("index", FAILS)
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({"site_name": "T", "plugins": [{"attnviz": host.settings}]}))

    def run(*command, with_modules=False, **environment):
        """Run a command; `with_modules` runs it in a process that has torch, and that tells its number first."""
        process = subprocess.Popen(
            [sys.executable, "-c", WITH_MODULES, TELLING, *command]
            if with_modules
            else [sys.executable, "-m", *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"NO_MKDOCS_2_WARNING": "1"} | environment,
        )
        told, _ = process.communicate(timeout=600)
        return process, told

    return run


def test_a_build_by_mkdocs_shows_the_traceback_when_it_is_asked_to(project):
    process, told = project("mkdocs", "build", "-v")
    assert TRACEBACK.search(told), told
    assert int(SENTENCE.search(told)[1]) != process.pid, "the model runs in a process of its own"
    assert process.returncode == 0


def test_the_command_shows_it_and_can_run_the_model_in_its_own_process(project):
    process, told = project("mkdocs_attnviz", "run", "-v", ATTNVIZ_WORKER="inline", with_modules=True)
    assert TRACEBACK.search(told), told
    assert SENTENCE.search(told)[1] == told.splitlines()[0]
    assert process.returncode == 1
    assert "key " not in told
    _, told = project("mkdocs_attnviz", "run", "--json")
    assert not TRACEBACK.search(told.partition("{")[0]), "nobody asked for it"
    (problem,) = json.loads(told[told.index("{\n") :])["problems"]
    assert (problem["page"], problem["kind"], problem["key"]) == ("index.md", "text", "text")
    assert TRACEBACK.match(problem["detail"])


def test_sphinx_shows_it_with_one_v(failing, tmp_path):
    host = Sphinx(tmp_path, tmp_path / "cache")
    host.settings |= failing
    host.write("index", FAILS)
    host.options = ["-v"]
    log = re.sub(r"\x1b\[[0-9;]*m", "", host.build().log)
    assert TRACEBACK.search(log), log
    assert "The model failed on this text: there is no 'three in process" in log


def test_what_a_worker_can_be_is_told(project):
    process, told = project("mkdocs_attnviz", "run", ATTNVIZ_WORKER="thread")
    assert process.returncode == 2
    assert told.splitlines()[-1] == "Error: The variable ATTNVIZ_WORKER is 'thread'; it must be inline, or not be set."


def test_a_fault_of_our_own_tells_what_shows_more(tmp_path, caplog):
    """The way that is named exists: Python-Markdown has no `-v`, the command has."""
    pipeline = Pipeline(Settings(), tmp_path, logging.getLogger("test"), more="`attnviz run -v`")
    with pipeline.build() as build, caplog.at_level(MORE):
        try:
            raise KeyError("x")
        except KeyError as error:
            alert = build.failed(Source("", page="a.md", line=3), error)
    assert alert.error.problem.kind == "fault"
    assert alert.message.endswith("`attnviz run -v` shows more; please report it.")
    warning, detail = caplog.records
    assert (warning.levelno, detail.levelno) == (logging.WARNING, MORE)
    assert re.fullmatch(r"a\.md:3:\nTraceback (?s:.*)KeyError: 'x'", detail.getMessage())


def test_a_build_is_a_scope(tmp_path):
    """Nothing can be planned or drawn outside of one; it ends the worker, unless the next one is to have it."""
    pipeline = Pipeline(Settings(), tmp_path, logging.getLogger("test"))
    assert not {"plan", "prepare", "render", "fill", "keys", "cached"} & set(dir(pipeline))
    with pipeline.build(warm=True) as build:
        build.worker.start()
        process = build.worker._process
    assert process.poll() is None
    with pytest.raises(RuntimeError, match="This build has ended"):
        build.render([Source(FAILS)])
    (tmp_path / "attnviz.lock").write_text(LOCKED)
    with pipeline.build() as build:
        assert build.lock.known["x"].identity == f"sha256:{'0' * 64}", "the lock file is read anew"
        assert build.worker._process is process
    assert process.poll() is not None


LOCKED = f"version: 1\nmodels:\n  x:\n    identity: sha256:{'0' * 64}\n"
PAGES = """
import logging, sys, time
import markdown
from mkdocs_attnviz.hosts import markdown as host
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
settings = {"models": {"none": {"model": sys.argv[1]}}, "cache_dir": sys.argv[2] + "/cache", "base_dir": sys.argv[2]}
def convert(text, **more):
    extension = host.AttnvizExtension(**settings, **more)
    return markdown.markdown(f"~~~ attention\\nmodel: none\\ntext: {text}\\n~~~", extensions=[extension])
for text in ("a cat", "a cat", "a cat"):
    assert "cannot be loaded" in convert(text)
host.PAUSE = 0.0
convert("a cat")
"""


def test_pages_that_follow_each_other_try_a_failing_model_once(tmp_path):
    """Python-Markdown and what is made with it tell nothing of a build's end; after a pause it is tried again."""
    model = tmp_path / "none"
    shutil.copytree(INDUCTION, model)
    (model / "model.safetensors").write_bytes(b"nothing" * 100)
    run = subprocess.run(
        [sys.executable, "-c", PAGES, str(model), str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert sum("INFO running model none on 1 text" in line for line in lines) == 2, run.stdout
    alerts = [line for line in lines if line.startswith("WARNING ") and "Model 'none' cannot be loaded" in line]
    assert len(alerts) == 4, "each page tells it"


def test_zensical_tries_a_failing_text_once_in_a_build(failing, tmp_path):
    host = Zensical(tmp_path, tmp_path / "cache")
    host.settings |= failing
    for page in ("index", "two", "three"):
        host.write(page, FAILS)
    (tmp_path / "mkdocs.yml").write_text(
        yaml.safe_dump({"site_name": "T", "markdown_extensions": [{"mkdocs_attnviz": host.settings}]})
    )
    log = host.run("zensical", "build", "--clean", "-f", "mkdocs.yml").log
    told = re.findall(r"^(\w+)\.md:\d+: The model failed on .* in process (\d+)", log, re.MULTILINE)
    assert {page for page, _ in told} == {"index", "three", "two"}, log
    tries = Path(failing["models"]["failing"]["model"]).parent / "tries"
    assert tries.read_text().splitlines().count(told[0][1]) == 1
