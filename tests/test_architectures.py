"""The choice of architectures: twelve while the record of a run of all of them holds, otherwise all."""

import json
import re
from types import SimpleNamespace

import architectures
import pytest

CODE = '''
def half(number):
    """Return half of a number."""
    return number / 2  # exact


SHARP = "# is no comment"
'''


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A project of one module, and the record of a run that has loaded it."""
    monkeypatch.setattr(architectures, "ROOT", tmp_path)
    monkeypatch.setattr(architectures, "RECORD", tmp_path / "record.json")
    (tmp_path / "half.py").write_text(CODE)
    record = {"versions": architectures.versions(), "files": architectures.digests(["half.py"])}
    architectures.RECORD.write_text(json.dumps(record))
    assert architectures.changed() == []
    return tmp_path / "half.py"


@pytest.mark.parametrize(
    ("old", "new"),
    [("  # exact", ""), ("half of a number.", "a half.\n\n    It is exact."), ("\n\n\nSHARP", "\nSHARP")],
    ids=["a comment", "a docstring", "blank lines"],
)
def test_what_cannot_change_a_result(kept, old, new):
    kept.write_text(CODE.replace(old, new))
    assert architectures.changed() == []


@pytest.mark.parametrize(
    ("old", "new"), [("/ 2", "/ 3"), ("# is no", "# is a"), ("    return", "    print()\n    return")]
)
def test_other_code(kept, old, new):
    kept.write_text(CODE.replace(old, new))
    assert architectures.changed() == ["half.py"]


def test_a_file_that_is_gone_another_version_and_no_record(kept, monkeypatch):
    kept.rename(kept.with_name("third.py"))
    monkeypatch.setattr(architectures, "version", lambda name: "9.0" if name == "torch" else "5.0")
    assert {"half.py", "torch"} <= set(architectures.changed())
    architectures.RECORD.unlink()
    assert architectures.changed() == ["record.json"]


def chosen(*arguments, keyword="", everything=False):
    """Return which of two architectures and one other test a run takes, in their order."""
    option = SimpleNamespace(keyword=keyword, all_architectures=everything)
    config = SimpleNamespace(option=option, args=arguments, hook=SimpleNamespace(pytest_deselected=lambda items: None))
    items = [Item("bert", True), Item("zamba", True), Item("zamba", False)]
    architectures.select(config, items)
    return [(item.callspec.params["model_type"], item.marked) for item in items]


class Item:
    """A test as `select` sees it."""

    def __init__(self, model_type, marked):
        self.callspec, self.marked = SimpleNamespace(params={"model_type": model_type}), marked

    def get_closest_marker(self, name):
        return self.marked


def test_a_run_takes_the_sentinels_unless_more_is_asked_for_or_something_has_changed(kept):
    few, everything = [("bert", True), ("zamba", False)], [("bert", True), ("zamba", True), ("zamba", False)]
    assert chosen("tests") == few
    assert chosen("tests", everything=True) == everything
    assert chosen("tests/test_coverage.py::test_captured[zamba]") == everything
    assert chosen("tests", keyword="zamba") == everything
    kept.write_text("")
    assert chosen("tests") == everything


def test_sentinels_are_known_types():
    types = json.loads((architectures.ROOT / architectures.BESIDE[-1]).read_text())["types"]
    assert set(architectures.SENTINELS) <= set(types)
    assert len(architectures.SENTINELS) == len(set(architectures.SENTINELS.values())) == 12
    assert {types[name]["way"] for name in architectures.SENTINELS} == {"interface", "operations", "outputs"}
    known = re.findall(r"`(tests/[a-z_]+\.json)`", (architectures.ROOT / "CONTRIBUTING.md").read_text())
    assert known == [architectures.RECORD.relative_to(architectures.ROOT).as_posix()]
