"""Progress while nothing can be seen yet: a line for each thing that begins, and none twice."""

import logging
import re
import threading

import pytest
from conftest import INDUCTION
from markdown import Markdown

from mkdocs_attnviz import byte_sizes, progress
from mkdocs_attnviz.progress import Progress


def test_a_first_build_tells_what_it_waits_for(tmp_path, caplog):
    settings = {"models": {"mine": INDUCTION}, "cache_dir": str(tmp_path / "cache"), "base_dir": str(tmp_path)}
    md = Markdown(extensions=["mkdocs_attnviz"], extension_configs={"mkdocs_attnviz": settings})
    with caplog.at_level(logging.INFO, logger="mkdocs_attnviz"):
        md.convert("```attention\nmodel: mine\ntext: a b\n```\n\n```attention\nmodel: mine\ntext: b c\n```")
    said = [text for text in caplog.messages if not re.match(r"\d of 2 texts done", text)]
    assert said[:3] == [
        "running model mine on 2 texts",
        "starting PyTorch and transformers",
        "loading the model mine",
    ]
    assert [text.partition(": ")[2].partition(":")[0] for text in said[3:]] == ["mine, head view"] * 2


def test_what_lasts_is_told_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    log, said, told = logging.getLogger("test.progress"), [], threading.Event()
    log.setLevel(logging.INFO)
    log.addHandler(handler := logging.Handler())

    def emit(record):
        said.append(record.getMessage())
        if "200 MB" in said[-1]:
            told.set()

    handler.emit = emit
    with Progress(2, log) as at:
        at.say("loading the model m")
        at.say("downloading the model m", "100 MB so far")
        at.say("downloading the model m", "200 MB so far")
        assert told.wait(60)
        at.advance()
        at.advance()
    assert said[:2] == ["loading the model m", "downloading the model m: 100 MB so far"]
    lasting = [text for text in said if "200 MB" in text]
    assert re.fullmatch(r"0 of 2 texts done \(downloading the model m: 200 MB so far, for \d+ s now\)", lasting[0])
    log.removeHandler(handler)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (34_567, "35 kB"), (999_600, "1.0 MB"), (15.44e9, "15.4 GB")],
)
def test_sizes_are_told_in_one_way(number, text):
    assert byte_sizes.shown(number) == text
