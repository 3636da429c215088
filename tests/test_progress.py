"""Progress while nothing can be seen yet: a line for each thing that begins, and none twice."""

import logging
import re
import threading

import pytest
from conftest import INDUCTION
from markdown import Markdown

from mkdocs_attnviz import byte_sizes, progress
from mkdocs_attnviz.progress import Progress
from mkdocs_attnviz.speed import Speed, Work, duration, tokens_of


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
    with Progress([Work("m", 1)] * 2, log) as at:
        at.say("loading the model m")
        at.say("downloading the model m", "100 MB so far")
        at.say("downloading the model m", "200 MB so far")
        assert told.wait(60)
        at.advance(0)
        at.advance(1)
    assert said[:2] == ["loading the model m", "downloading the model m: 100 MB so far"]
    lasting = [text for text in said if "200 MB" in text]
    assert re.fullmatch(r"0 of 2 texts done \(downloading the model m: 200 MB so far, for \d+ s now\)", lasting[0])
    log.removeHandler(handler)


def test_speed_and_time_left():
    speed = Speed([Work("m", 99), Work("m", 99), Work("m", 399), Work("n", 199)])
    assert speed.words(100) == ""
    speed.add(0, 30, 2)
    assert speed.words(100) == "", "two seconds prove little"
    speed.add(1, 30, 2)
    assert speed.words(100) == "15 tokens a second, at least 15 s left", "600 characters, and a model to load"
    assert speed.words(3.2) == "19 tokens a second, at least 10 s left", "two workers at once"
    speed.add(3, 0, 0)
    assert speed.words(100) == "15 tokens a second, about 10 s left", "what failed is not left"
    speed.add(2, 12_345, 0.1)
    assert speed.words(100) == "3,000 tokens a second"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.1, "5 s"), (5.1, "10 s"), (46, "1 min"), (61, "2 min"), (3540, "59 min"), (7500, "2 h 5 min")],
)
def test_a_length_of_time_is_coarse(seconds, told):
    assert duration(seconds) == told


def test_tokens_are_those_that_a_model_has_read():
    text, target = {"tokens": ["a", "b"]}, {"tokens": ["c"]}
    assert tokens_of({"sequences": {"text": text, "text+sink": text, "target": target}}) == 3
    assert tokens_of({"heads": {"tokens": 900}}) == 900
    assert tokens_of({}) == 0


def test_lines_of_a_log_tell_the_speed(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    told, log = threading.Event(), logging.getLogger("test.speed")
    monkeypatch.setattr(Speed, "words", lambda *_: told.set() or "15 tokens a second, about 10 s left")
    with caplog.at_level(logging.INFO, logger=log.name), Progress([Work("m", 1)] * 2, log) as at:
        at.advance(0, 30, 4.0)
        assert told.wait(60)
        told.clear()
        assert told.wait(60)
    assert "1 of 2 texts done, 15 tokens a second, about 10 s left" in caplog.messages


def test_a_terminal_has_one_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(Speed, "words", lambda *_: "15 tokens a second, about 10 s left")
    with Progress([Work("m", 1)] * 2, logging.getLogger("test.bar")) as at:
        at.advance(0, 30, 4.0)
        at.advance(1, 30, 4.0)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (34_567, "35 kB"), (999_600, "1.0 MB"), (15.44e9, "15.4 GB")],
)
def test_sizes_are_told_in_one_way(number, text):
    assert byte_sizes.shown(number) == text
