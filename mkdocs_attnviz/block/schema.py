"""The JSON Schema of a block, for editors and for the documentation.

A view's own keys are an `if … then` each, so that an editor offers those of the block's view. A `oneOf`, as pydantic
has it for a discriminated union, is worse: an editor then says that `view` is missing where a block need not say it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import NullableSchema, StringSchema, WithDefaultSchema

from mkdocs_attnviz.block.fields import BESIDE, BY_MODEL, EITHER, Block, Options
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


def json_schema(views: Mapping[str, type[Options]], of_one_text: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a block's body, with any of these views. Those `of_one_text`, by name, take
    no corpus."""
    schemas = {name: _schema(options) for name, options in views.items()}
    common = _schema(Block)
    properties = {name: each for name, each in common["properties"].items() if not Block.model_fields[name].exclude}
    properties["view"]["enum"] = list(schemas)
    parts = common["$defs"]
    for own in schemas.values():
        parts |= own.get("$defs", {})
    sources = [source for options in views.values() for source in options.sources]
    no_source = dict.fromkeys(sources, False)
    no_other_text = dict.fromkeys(("tensors", "chat", "corpus"), False)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "attention block",
        "description": "Body of an `attention` block of mkdocs-attnviz.",
        "type": "object",
        "properties": properties,
        "dependentSchemas": {name: {"properties": dict.fromkeys(others, False)} for name, others in EITHER.items()},
        "dependentRequired": {name: [other] for name, other in BESIDE.items()},
        "oneOf": [
            {"required": ["model", "text"], "properties": no_other_text | no_source},
            {"required": ["model", "chat"], "properties": {"tensors": False, "corpus": False} | no_source},
            {"required": ["model", "corpus"], "properties": {"tensors": False} | no_source},
            {"required": ["tensors"], "properties": dict.fromkeys(BY_MODEL, False) | no_source},
            *({"required": [source], "properties": dict.fromkeys((*BY_MODEL, "tensors"), False)} for source in sources),
        ],
        "allOf": [{"if": _is_view(name), "then": _rules(own)} for name, own in schemas.items()],
        **_without_corpus(of_one_text),
        "unevaluatedProperties": False,
        "$defs": parts,
    }


def _without_corpus(of_one_text: Collection[str]) -> dict[str, Any]:
    """Return the rule that views of one text have none of the keys of a corpus; empty if there are no such views."""
    if not of_one_text:
        return {}
    chosen: dict[str, Any] = {"properties": {"view": {"enum": sorted(of_one_text)}}}
    if Block.model_fields["view"].default not in of_one_text:
        chosen["required"] = ["view"]
    return {"if": chosen, "then": {"properties": dict.fromkeys(("corpus", *BESIDE), False)}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=AsWritten)


def _is_view(name: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {"properties": {"view": {"const": name}}}
    return chosen if name == Block.model_fields["view"].default else chosen | {"required": ["view"]}


def _rules(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a view's own schema, without what would refuse the keys that all views have."""
    told = ("$defs", "additionalProperties", "description", "title", "type")
    return {name: each for name, each in own.items() if name not in told}
