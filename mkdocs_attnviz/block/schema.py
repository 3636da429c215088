"""The JSON Schema of a block, for editors and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mkdocs_attnviz.block.fields import BY_MODEL, EITHER, Block, Options


def json_schema(views: Mapping[str, type[Options]]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a block's body, for editors and for the documentation."""
    common = Block.model_json_schema()
    for name, info in Block.model_fields.items():
        if info.exclude:
            del common["properties"][name]
    common["properties"]["view"]["enum"] = list(views)
    del common["required"]
    without = {name: dict.fromkeys(others, False) for name, others in EITHER.items()}
    common["dependentSchemas"] = {name: {"properties": others} for name, others in without.items()}
    common["oneOf"] = [
        {"required": ["model", "text"], "properties": {"tensors": False, "chat": False}},
        {"required": ["model", "chat"], "properties": {"tensors": False}},
        {"required": ["tensors"], "properties": dict.fromkeys(BY_MODEL, False)},
    ]
    branches = []
    schemas = {name: options.model_json_schema() for name, options in views.items()}
    several = _with_several_meanings(schemas.values())
    for name, own in schemas.items():
        for option, schema in own["properties"].items():
            common["properties"].setdefault(option, {} if option in several else schema)
        common["$defs"] = common.get("$defs", {}) | own.get("$defs", {})
        others = set().union(*(view.model_fields for view in views.values())) - set(own["properties"])
        chosen: dict[str, Any] = {"properties": {"view": {"const": name}}}
        if name != Block.model_fields["view"].default:
            chosen["required"] = ["view"]
        meant = {key: _as_read(schema) for key, schema in own["properties"].items() if key in several}
        rules = {"properties": dict.fromkeys(sorted(others), False) | meant}
        rules |= {rule: own[rule] for rule in ("not", "dependentRequired") if rule in own}
        branches.append({"if": chosen, "then": rules})
    for part in [common, *common["$defs"].values()]:
        part["properties"] = {name: _as_read(schema) for name, schema in part["properties"].items()}
    common |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "attention block"}
    return common | {"description": "Body of an `attention` block of mkdocs-attnviz.", "allOf": branches}


def _with_several_meanings(schemas: Iterable[Mapping[str, Any]]) -> set[str]:
    """Keys that one view reads as something else than another does."""
    told = ("description", "default", "title", "expects")
    meanings: dict[str, dict[str, Any]] = {}
    several = set()
    for name, schema in (item for each in schemas for item in each["properties"].items()):
        rule = {key: value for key, value in schema.items() if key not in told}
        if meanings.setdefault(name, rule) != rule:
            several.add(name)
    return several


def _as_read(schema: dict[str, Any]) -> dict[str, Any]:
    """A key may be left out, but not be empty; and where a text is wanted, 12 and true are texts, too."""
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    plain = {
        name: value for name, value in schema.items() if name not in ("title", "expects") and value not in (None, "")
    }
    plain = kinds[0] | plain if len(kinds) == 1 else plain | ({"anyOf": kinds} if kinds else {})
    is_text = plain.get("type") == "string" and "enum" not in plain
    return plain | ({"type": ["string", "number", "boolean"]} if is_text else {})
