"""The guide's tables of keys and settings, which a hook of the example site makes of their declarations."""

import importlib.util
import re
import types

import pytest
from conftest import ROOT
from mkdocs.exceptions import PluginError

from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import VIEWS

SITE = ROOT / "example_site"


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("option_tables", SITE / "option_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(hook, text, page="guide/other.md"):
    return hook.on_page_markdown(text, page=types.SimpleNamespace(file=types.SimpleNamespace(src_uri=page)))


def row(table, name):
    return [cell.strip() for cell in re.search(rf"^\| `{name}` \|(.*)\|$", table, re.M)[1].split(" | ")]


def test_a_table_says_what_is_declared(hook):
    table = read(hook, "Text.\n\n<!-- keys: shade, seed -->\n\nMore.")
    assert row(table, "shade") == ["probability, rank or none", "What a token's colour says at first.", "`probability`"]
    value, meaning, default = row(table, "seed")
    assert (value, default) == ("a whole number", "from NNDSVD, which is the same each time")
    assert meaning.startswith("Start from random numbers of this seed.<br>saliency: For `gradient_shap`: the same seed")


def test_a_view_s_table_and_that_of_a_mapping(hook):
    assert re.findall(r"^\| `(\w+)`", read(hook, "<!-- keys of predict -->"), re.M) == ["top_k", "position"]
    assert row(read(hook, "<!-- keys: generate -->"), "generate")[0].endswith(" like `{max_new_tokens: 20}`")
    assert row(read(hook, "<!-- keys within generate -->"), "generate.top_k")[-1] == "50"


def test_the_measures_of_claims_are_listed_with_the_views_that_have_them(hook):
    table = read(hook, "<!-- measures -->", "guide/claims.md")
    line = next(line for line in table.splitlines() if "| `weight` |" in line)
    assert line.startswith("| [head](views/head.md), [matrix](views/matrix.md), [model](views/model.md), [neuron]")
    assert "| from, to; perhaps stack, layer, head | The weight with which the token `from`" in line
    assert {name for view in VIEWS.values() for name in view.measures} == {*re.findall(r"\| `(\w+)` \|", table)}


def test_every_setting_is_listed(hook):
    table = read(hook, (SITE / "docs" / "guide" / "settings.md").read_text(), "guide/settings.md")
    assert re.findall(r"^\| `(\w+)`", table, re.M) == list(Settings.model_fields)
    assert row(table, "lock_file")[-2].endswith(" See [The lock file](cache.md#the-lock-file).")


def test_the_page_of_all_keys_lacks_none(hook):
    """It tells by failing the site's build: a key that is new has no place on the page yet."""
    text = (SITE / "docs" / "guide" / "block.md").read_text()
    assert "<!-- keys" not in read(hook, text, "guide/block.md")
    with pytest.raises(PluginError, match=r"does not list the keys theme\."):
        read(hook, text.replace(" theme,", ""), "guide/block.md")
    with pytest.raises(PluginError, match="No block has a key thme"):
        read(hook, text.replace(" theme,", " thme,"), "guide/block.md")


def test_a_shared_key_is_a_field_of_its_own():
    """Pydantic 2.7 cannot validate a field that two models have made their own one after the other."""
    fields = [(name, field) for view in VIEWS.values() for name, field in view.options.model_fields.items()]
    for name, field in fields:
        kinds = [type(each).__name__ for each in field.metadata]
        assert len(kinds) == len(set(kinds)), f"{name} has been declared twice: {field.metadata}"
