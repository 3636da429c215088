"""Views of other packages that are not as they should be: each costs its own blocks alone, in one sentence."""

import sys
import types
from importlib.metadata import EntryPoint

import pytest
from bs4 import BeautifulSoup
from conftest import INDUCTION, ROOT

from mkdocs_attnviz import plugins, views
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.schema import json_schema
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.key import entry_key
from mkdocs_attnviz.figure.assets import AssetFolder
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.figure.page import fill
from mkdocs_attnviz.figure.placeholders import placeholder
from mkdocs_attnviz.models.engine import capture as captures
from mkdocs_attnviz.models.engine import worker
from mkdocs_attnviz.models.engine.client import by_model, capture_job
from mkdocs_attnviz.models.engine.loaded_models import LoadedModels
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.own_view import (
    Capture,
    Drawing,
    Entry,
    Measure,
    Measured,
    Options,
    Picture,
    View,
    token,
)
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.claims import check_grammar, judge


class Distribution(types.SimpleNamespace):
    pass


def forget():
    """Forget the views that have been imported."""
    views._view.cache_clear()
    views._parsed.cache_clear()


@pytest.fixture
def register(monkeypatch):
    """`register(name, view, package=…)` has a package register a view; in place of one, an exception is raised."""
    known = dict(plugins.registered())

    def register(name, view, package="extra"):
        module = types.ModuleType(f"{package}_{name}")
        if not isinstance(view, Exception):
            module.VIEW = view
        monkeypatch.setitem(sys.modules, module.__name__, module)
        point = EntryPoint(name, f"{module.__name__}:VIEW", plugins.GROUP)
        vars(point).update(dist=Distribution(name=f"{package}-views"))
        known[name] = [*known.get(name, ()), point]
        forget()
        return module

    monkeypatch.setattr(plugins, "registered", lambda: known)
    monkeypatch.setattr(views, "registered", lambda: known)
    forget()
    yield register
    forget()


def drawing(block, options, entry):
    return Drawing({}, Picture("<svg/>", 1, 1), "A sentence.", "1px")


def extra(
    name="extra", *, draw=drawing, options=Options, script="extra_extra:view.js", run="extra_extra:capture", measures=()
):
    capture = Capture("extra", 1, run=run, attention=False)
    return View(name, options, capture, draw, script=script, measures=dict(measures))


def block_of(view):
    return parse(Source(f"model: minilm\ntext: a\nview: {view}"), OPTIONS)


def message(view):
    with pytest.raises(BlockError) as error:
        block_of(view)
    return error.value.message


def test_claims_about_a_view_of_another_package(register):
    def length(block, options, entry, chosen):
        at, name = token(entry.meta["sequences"]["text"], chosen.token, "token")
        return Measured(f"the length of {name}", float(entry.meta["lengths"][at]), baseline=3.5)

    length.__module__ = "extra_extra"
    measure = Measure("A length.", length, needs=("token",), has_baseline=True)
    register("extra", extra(measures={"length": measure}))
    text = {"tokens": ["a", "b"], "pretty": ["a", "b"], "words": [0, 1], "special": [], "sentence_b_start": None}

    def told(claim, lengths=(3, 4)):
        block = parse(Source(f"model: m\ntext: a b\nview: extra\nexpect:\n  - {claim}"), OPTIONS)
        check_grammar(block, VIEWS["extra"])
        return judge(block, VIEWS["extra"], [Entry({"sequences": {"text": text}, "lengths": lengths}, {})])[0]

    assert told("{token: b, at_least: 4}").data == {
        "text": "The length of “b” is at least 4",
        "holds": True,
        "value": "4",
    }
    assert told("{token: a, is: 4}").problem.message == "`expect` claims that the length of “a” is 4; it is 3."
    assert told("{token: b, beats_baseline_by: 0.5}").holds
    assert told("{token: b, beats_baseline_by: 0.6}").problem.message == (
        "`expect` claims that the length of “b” exceeds that of its baseline, 3.5, by 0.6; it is 4."
    )
    with pytest.raises(BlockError, match="A claim with `head` names no measure of the extra view; it has length"):
        told("{head: 1, is: 4}")
    with pytest.raises(BlockError, match="Measure `length` of view `extra` has failed: ") as caught:
        told("{token: b, is: 4}", lengths=(3,))
    assert (caught.value.line, caught.value.problem.kind) == (4, "block")
    register("other", extra("other", measures={"length": length}))
    assert message("other").endswith("; it is no view.")


def test_a_name_that_two_packages_bring(register):
    register("extra", extra(), "one")
    register("extra", extra(), "other")
    assert message("extra") == (
        "View `extra` is registered by two packages, one-views and other-views; uninstall one of them."
    )


def test_one_of_our_names(register):
    register("head", extra("head"), "other")
    assert message("head").startswith("View `head` is registered by two packages, attnviz and other-views;")


def test_a_view_that_cannot_be_imported(register):
    del register("extra", extra()).VIEW
    told = message("extra")
    assert told.startswith("View `extra` of the package extra-views cannot be imported: ")
    assert "Error" not in told


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (extra("other"), "registers `extra_extra:VIEW` as view `extra`, and it calls itself `other`."),
        (drawing, "registers `extra_extra:VIEW` as view `extra`; it is no view."),
        (extra(options=dict), "registers `extra_extra:VIEW` as view `extra`; it is no view."),
    ],
)
def test_what_is_registered_as_a_view_and_is_none(register, view, said):
    register("extra", view)
    assert message("extra") == f"The package extra-views {said}"


def test_a_broken_view_costs_no_other_block(register):
    """Sphinx has the options of all views, a schema too; and a misspelt key is looked for in all of them."""
    register("extra", drawing)
    assert block_of("head").view == "head"
    assert {"head", "tokens"} < {name for name, _ in OPTIONS.items()}
    assert "extra" not in dict(OPTIONS.items())
    assert len(list(OPTIONS.values())) == len(OPTIONS) - 1
    json_schema(OPTIONS)
    with pytest.raises(BlockError, match="`laier` is not a key of the block"):
        parse(Source("model: minilm\ntext: a\nlaier: 2"), OPTIONS)


def test_a_drawing_that_fails_is_told_as_the_view_s(register):
    def draw(block, options, entry):
        return {}["width"]

    register("extra", extra(draw=draw))
    block = block_of("extra")
    with pytest.raises(BlockError) as error:
        VIEWS["extra"].drawing(block, Entry({}, {}))
    assert error.value.message == "View `extra` could not draw this: there is no 'width'."
    assert 'return {}["width"]' in error.value.problem.detail
    assert error.value.line == 2

    register("plain", extra("plain", draw=lambda *_: "a picture"))
    with pytest.raises(BlockError, match="could not draw this: what its `draw` returns is no Drawing"):
        VIEWS["plain"].drawing(block_of("plain"), Entry({}, {}))


def test_parameters_that_are_no_json(register):
    class Odd(Options):
        def parameters(self):
            return {"layers": {1, 2}}

    register("extra", extra(options=Odd))
    with pytest.raises(BlockError, match="The options of view `extra` cannot be asked for: Object of type set is not"):
        VIEWS["extra"].asked(block_of("extra"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("mkdocs_attnviz_extra:view.js", "is not in its package"),
        ("bs4:view.js", "is not in its package"),
        ("bs4:__init__.py", "has a file name with other characters"),
    ],
)
def test_a_script_that_is_not_there(register, script, said):
    register("extra", extra(script=script))
    block = block_of("extra")
    figure = Figure(block, VIEWS["extra"].drawing(block, Entry({}, {})), Entry({}, {}))
    with pytest.raises(BlockError, match=said):
        figure.check_scripts()


def test_a_drawing_s_data_need_not_tell_what_the_block_says(register, tmp_path):
    register("extra", extra(script="mkdocs_attnviz:static/attnviz.js"))
    block = block_of("extra")
    figure = Figure(block, VIEWS["extra"].drawing(block, Entry({}, {})), Entry({}, {}))
    page = placeholder(Source("model: minilm\ntext: a\nview: extra"))
    html = fill(page, lambda _: figure, AssetFolder(tmp_path, "assets"), pytest.fail)
    data = BeautifulSoup(html, "html5lib").select_one("attn-viz")["data-figure"]
    assert '"view":"extra"' in data


# ---- captures

HOW = {"device": "cpu", "batch_size": 8, "max_tokens": 64, "timeout": 60}


def request(capture):
    return Request(capture, resolve(INDUCTION, None, Settings(), ROOT), {"text": "one red"})


def test_captures_of_two_packages_never_meet():
    """Two may have one name, ours among them: they have keys and jobs of their own."""
    one, other, ours = (
        request(Capture("attention", 1, run=f"{run}:capture"))
        for run in ("one.a", "other.a", "mkdocs_attnviz.models.captures.attention")
    )
    assert len({each.key for each in (one, other, ours)}) == 3
    assert ours.key == entry_key([("capture", "attention"), *ours.key_parts[1:]])
    assert one.key_parts[0] == ("capture", "one/attention")
    assert len(by_model([one, other, ours])) == 3


@pytest.mark.parametrize(
    "run", ["os:system", "mkdocs_attnviz.cli.main:main", "mkdocs_attnviz:setup", "mkdocs_attnviz_more:capture", ":", ""]
)
def test_a_worker_imports_captures_of_registered_views_alone(run):
    with pytest.raises(ValueError, match="is no capture of a view that is installed here"):
        captures.function(run)


def told_by_worker(run):
    """Return what a worker says to a job that has it run this: its last message, of one text and one capture."""
    job = capture_job({0: request(Capture("extra", 1, run, attention=False))}, **HOW)
    *_, (message, _) = worker.capture(LoadedModels(), job)
    return message


def test_a_worker_refuses_a_job_that_names_another_module():
    """Whoever writes to a worker cannot have it run what no installed view has registered."""
    pytest.importorskip("torch")
    message = told_by_worker("os:getcwd")
    assert message["event"] == "failed"
    assert message["problem"]["message"] == "`os:getcwd` is no capture of a view that is installed here."


def test_a_capture_that_fails(register, monkeypatch):
    """It costs its text, or where it cannot even be imported, what is asked of that view."""
    pytest.importorskip("torch")
    module = register("extra", extra())
    monkeypatch.setattr(captures, "packages", lambda: {"extra_extra"})
    run = "extra_extra:capture"
    assert told_by_worker(run)["problem"]["message"].startswith(f"The capture `{run}` cannot be imported: ")
    said = []

    def capture(context):
        said.append(context.loaded.ref.name)
        return {}["width"]

    module.capture = capture
    job = capture_job({0: request(Capture("extra", 1, run, attention=False))}, **HOW)
    refused, done = [message for message, _ in worker.capture(LoadedModels(), job)][-2:]
    assert said
    assert done["event"] == "done"
    assert refused["problem"]["message"] == f"The capture `{run}` failed on this text: there is no 'width'."
    assert 'return {}["width"]' in refused["problem"]["detail"]


def test_what_a_capture_returns_is_looked_at(register, monkeypatch):
    module = register("extra", extra())
    context = types.SimpleNamespace(examples=[1], corpus=None)

    def told(value):
        module.capture = lambda _: value
        with pytest.raises(ValueError, match="extra_extra:capture returned") as error:
            captures.function("extra_extra:capture")(context)
        return str(error.value)

    monkeypatch.setattr(captures, "packages", lambda: {"extra_extra"})
    assert told([]).endswith("returned 0 entries for 1 examples")
    assert "no entry" in told([{}])
    assert "blobs are not bytes" in told([Entry({}, {"a": [1]})])
    assert "not plain JSON" in told([Entry({"a": {1}}, {})])
    module.capture = lambda _: [Entry({"a": 1}, {"b": b""})]
    assert captures.function("extra_extra:capture")(context)[0].meta == {"a": 1}
