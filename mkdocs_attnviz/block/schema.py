"""The JSON Schema of a block, for editors and for the documentation.

A view's own rules are an `if … then` each, not a branch of a `oneOf` as pydantic has them for a discriminated union: of
that an editor says that `view` is missing where a block need not say it, and a validator that no branch fits, but not
why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import NullableSchema, StringSchema, WithDefaultSchema

from mkdocs_attnviz.block.fields import BY_MODEL, EITHER, Block, Options, importable
from mkdocs_attnviz.block.values import TEXT


class AsWritten(GenerateJsonSchema):
    """Schemas of what an author writes: a key may be left out, but not be empty; and 12 and true are texts, too."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        inner: CoreSchema = schema["schema"]
        return self.generate_inner(inner)

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {name: value for name, value in found.items() if name != "default" or value not in (None, "")}

    def str_schema(self, schema: StringSchema) -> JsonSchemaValue:
        return super().str_schema(schema) | {"type": TEXT}


def json_schema(views: Mapping[str, type[Options]]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a block's body; views that cannot be imported are left out."""
    common = _schema(Block)
    for name, info in Block.model_fields.items():
        if info.exclude:
            del common["properties"][name]
    schemas = {name: _schema(options) for name, options in importable(views).items()}
    common["properties"]["view"]["enum"] = list(schemas)
    del common["required"]
    without = {name: dict.fromkeys(others, False) for name, others in EITHER.items()}
    common["dependentSchemas"] = {name: {"properties": others} for name, others in without.items()}
    common["oneOf"] = [
        {"required": ["model", "text"], "properties": {"tensors": False, "chat": False}},
        {"required": ["model", "chat"], "properties": {"tensors": False}},
        {"required": ["tensors"], "properties": dict.fromkeys(BY_MODEL, False)},
    ]
    several, every = (
        _with_several_meanings(schemas.values()),
        {key for own in schemas.values() for key in own["properties"]},
    )
    branches = []
    for name, own in schemas.items():
        for option, schema in own["properties"].items():
            common["properties"].setdefault(option, {} if option in several else schema)
        common["$defs"] |= own.get("$defs", {})
        chosen: dict[str, Any] = {"properties": {"view": {"const": name}}}
        if name != Block.model_fields["view"].default:
            chosen["required"] = ["view"]
        meant = {key: schema for key, schema in own["properties"].items() if key in several}
        rules = {"properties": dict.fromkeys(sorted(every - set(own["properties"])), False) | meant}
        rules |= {rule: own[rule] for rule in ("not", "required", "dependentRequired") if rule in own}
        branches.append({"if": chosen, "then": rules})
    common |= {"$schema": GenerateJsonSchema.schema_dialect, "title": "attention block"}
    return common | {"description": "Body of an `attention` block of mkdocs-attnviz.", "allOf": branches}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=AsWritten)


def _with_several_meanings(schemas: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the keys that one view reads as something else than another does."""
    meanings: dict[str, dict[str, Any]] = {}
    several = set()
    for name, schema in (item for each in schemas for item in each["properties"].items()):
        rule = {key: value for key, value in schema.items() if key not in ("description", "default")}
        if meanings.setdefault(name, rule) != rule:
            several.add(name)
    return several
