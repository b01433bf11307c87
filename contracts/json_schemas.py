"""The JSON Schema of every topic (draft 2020-12), made from its contract: what `decode` reads, a schema accepts.

A schema stands for itself, without references, so that it can be embedded anywhere. Rules between
fields (an end after its start) and tables of names (time zones) are beyond it; descriptions tell them.
"""

from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from contracts import base
from contracts.topics import TOPICS, TopicSpec

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The order in which a person reads a schema.
_ORDER = (
    *("$schema", "$id", "title", "description", "type", "const", "enum", "pattern", "format", "minLength", "maxLength"),
    *("minimum", "maximum", "minItems", "maxItems", "default", "discriminator", "required", "properties", "items"),
    *("anyOf", "oneOf", "additionalProperties"),
)


def schemas() -> dict[str, Schema]:
    """The schema of every topic, by topic."""
    return {topic: schema_of(spec) for topic, spec in TOPICS.items()}


def schema_of(spec: TopicSpec) -> Schema:
    """The schema of the values of one topic.

    What we write keeps to `format`; of what others write we read more than formats allow, and the pattern decides.
    """
    contract = spec.contract
    if isinstance(contract, TypeAdapter):
        made = contract.json_schema(schema_generator=_Generator)
    else:
        made = contract.model_json_schema(schema_generator=_Generator)
    whole = _plain(made, made.get("$defs", {}), formats=not spec.outside)
    head = {"$schema": _DIALECT, "$id": f"urn:firstbell:{spec.name}:v1", "title": spec.name}
    return {**head, **{name: value for name, value in whole.items() if name != "title"}}


class _Generator(GenerateJsonSchema):
    """Pydantic's own, with our words and with what we take for nothing."""

    def custom_error_schema(self, schema: core_schema.CustomErrorSchema) -> JsonSchemaValue:
        return {"description": schema.get("custom_error_message", ""), **super().custom_error_schema(schema)}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        made = super().function_before_schema(schema)
        # Both of base's put something in the place of null and of an empty text.
        if schema["function"]["function"].__module__ != base.__name__:
            return made
        return self.get_union_of_schemas([*made.get("anyOf", [made]), {"type": "null"}, {"const": ""}])

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        made = super().tagged_union_schema(schema)
        return {**made, "type": "object", "discriminator": {"propertyName": made["discriminator"]["propertyName"]}}


def _plain(schema: Schema, definitions: dict[str, Schema], *, formats: bool) -> Schema:
    """The schema without references, titles of pydantic's and defaults that are null; one description a field."""
    schema = dict(schema)
    while reference := schema.pop("$ref", None):
        # What a field says of itself counts more than what its type says.
        schema = {**definitions[reference.rpartition("/")[2]], **schema}
    kept = {name: value for name, value in schema.items() if name not in {"title", "$defs"}}
    if not formats:
        kept.pop("format", None)
    if kept.get("default", ...) is None:
        del kept["default"]
    for name in ("anyOf", "oneOf"):
        if name in kept:
            kept[name] = [_plain(part, definitions, formats=formats) for part in kept[name]]
    if "properties" in kept:
        parts = cast("dict[str, Schema]", kept["properties"])
        kept["properties"] = {name: _plain(part, definitions, formats=formats) for name, part in parts.items()}
    if "items" in kept:
        kept["items"] = _plain(kept["items"], definitions, formats=formats)
    return {name: kept[name] for name in sorted(_said_once(_tagged(kept)), key=_place)}


def _flat(parts: list[Schema]) -> list[Schema]:
    """Alternatives of alternatives are alternatives."""
    return [inner for part in parts for inner in (part["anyOf"] if part.keys() == {"anyOf"} else [part])]


def _tagged(schema: Schema) -> Schema:
    """The name of a command has a default only in Python: on the wire it is required."""
    tags = [name for name, part in schema.get("properties", {}).items() if "const" in part]
    for name in tags:
        schema["properties"][name].pop("default", None)
    if tags:
        schema["required"] = [*tags, *(name for name in schema.get("required", []) if name not in tags)]
    return schema


def _said_once(schema: Schema) -> Schema:
    """The description of the one alternative that has any, where a field says nothing of its own."""
    parts = [part for part in schema.get("anyOf", []) if "description" in part]
    if len(parts) == 1:
        words = parts[0].pop("description")
        schema.setdefault("description", words)
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if "anyOf" in schema:
        schema["anyOf"] = _flat(schema["anyOf"])
    return schema


def _place(keyword: str) -> int:
    return _ORDER.index(keyword)
