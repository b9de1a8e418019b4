"""A msgspec struct as a structural OpenAPI schema with CEL rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import inspect as types

from bulkhead.api.meta import API_VERSION, Struct
from bulkhead.api.rules import Rule, literal, re2
from hack.generate import descriptions

Schema = dict[str, Any]


def of_kind(kind: type[Struct]) -> Schema:
    """The schema of a whole object. The API server fills in the defaults of its spec, but none of its status."""
    fields = {field.name: field for field in _struct(types.type_info(kind)).fields}
    spec = _Translation(defaults=True).struct(_struct(fields["spec"].type))
    if fields["spec"].required:
        required = {"required": ["spec"]}
    else:
        spec["default"], required = {}, {}
    return {
        "type": "object",
        "description": descriptions.of_struct(kind),
        **required,
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always `{API_VERSION}`."},
            "kind": {"type": "string", "description": f"Always `{kind.__name__}`."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _Translation(defaults=False).struct(_struct(fields["status"].type)),
        },
        "x-kubernetes-validations": [_validation(rule) for rule in kind.RULES],
    }


def _validation(rule: Rule) -> Schema:
    entry: Schema = {"rule": rule.expression, "message": rule.message}
    if rule.message_expression:
        entry["messageExpression"] = rule.message_expression
    if rule.optional_old:
        entry["optionalOldSelf"] = True
    return entry


class _Translation:
    """Walks the types of one struct."""

    def __init__(self, *, defaults: bool) -> None:
        self._defaults = defaults

    def struct(self, info: types.StructType) -> Schema:
        texts = descriptions.of_fields(info.cls)
        schema: Schema = {"type": "object", "description": descriptions.of_struct(info.cls)}
        if required := [field.encode_name for field in info.fields if field.required]:
            schema["required"] = required
        schema["properties"] = {
            field.encode_name: self._property(field, _text(info.cls, field.name, texts)) for field in info.fields
        }
        if rules := getattr(info.cls, "RULES", ()):
            schema["x-kubernetes-validations"] = [_validation(rule) for rule in rules]
        return schema

    def _property(self, field: types.Field, text: str) -> Schema:
        schema = {"description": text} | self._type(field.type) | {"description": text}
        if self._defaults and (default := _default(field)) is not None:
            schema["default"] = default
        return schema

    def _type(self, info: types.Type) -> Schema:
        match info:
            case types.Metadata(type=inner, extra_json_schema=more, extra=extra):
                schema = {**self._type(inner), **(more or {})}
                return _with_rules(schema, _pattern(inner), extra or {})
            case types.UnionType():
                (inner,) = (each for each in info.types if not isinstance(each, types.NoneType))
                return self._type(inner)
            case types.StructType():
                return self.struct(info)
            case types.VarTupleType(item_type=item):
                return {"type": "array", "items": self._type(item), **_bounds(info, "Items")}
            case types.DictType():
                return self._map(info)
            case _:
                return _scalar(info)

    def _map(self, info: types.DictType) -> Schema:
        schema = {"type": "object", "additionalProperties": self._type(info.value_type), **_bounds(info, "Properties")}
        if not isinstance(info.key_type, types.Metadata):
            return schema
        extra, pattern = info.key_type.extra or {}, literal(re2(_pattern(info.key_type.type)))
        rule = Rule(f"self.all(key, key.matches({pattern}))", f"each key {extra['sentence']}")
        return {**schema, "x-kubernetes-validations": [_validation(rule)]}


def _with_rules(schema: Schema, pattern: str, extra: Mapping[str, Any]) -> Schema:
    """Add the CEL rules of one value; where its pattern does not match, that alone is said."""
    rules: tuple[Rule, ...] = extra.get("rules", ())
    if "sentence" in extra:
        matches = f"self.matches({literal(re2(pattern))})"
        rules = (
            Rule(matches, extra["sentence"]),
            *(replace(each, expression=f"!{matches} || ({each.expression})") for each in rules),
        )
    return {**schema, "x-kubernetes-validations": [_validation(rule) for rule in rules]} if rules else schema


def _scalar(info: types.Type) -> Schema:
    match info:
        case types.EnumType(cls=cls):
            return {"type": "string", "enum": [member.value for member in cls]}
        case types.StrType():
            return {"type": "string", **_bounds(info, "Length")}
        case types.IntType():
            return {"type": "integer", "format": "int64", **_range(info)}
        case types.BoolType():
            return {"type": "boolean"}
        case _:
            raise TypeError(f"no schema for {info}")


def _pattern(info: types.Type) -> str:
    return (info.pattern or "") if isinstance(info, types.StrType) else ""


def _bounds(info: types.StrType | types.VarTupleType | types.DictType, noun: str) -> Schema:
    """Without an upper bound the API server would take any CEL rule for too costly."""
    if info.max_length is None:
        raise ValueError(f"{info} has no upper bound: give it a max_length")
    least = {f"min{noun}": info.min_length} if info.min_length is not None else {}
    return {**least, f"max{noun}": info.max_length}


def _range(info: types.IntType) -> Schema:
    bounds = {"minimum": info.ge, "maximum": info.le}
    return {name: value for name, value in bounds.items() if value is not None}


def _default(field: types.Field) -> Any:
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value is msgspec.NODEFAULT:
        return None
    return _complete(value)


def _complete(value: Any) -> Any:
    """`value` with the defaults in it: the API server holds a default against the rules before it fills it up."""
    if not isinstance(value, Struct):
        return msgspec.to_builtins(value)
    fields = msgspec.structs.fields(value)
    values = {field.encode_name: _complete(getattr(value, field.name)) for field in fields}
    return {name: each for name, each in values.items() if each is not None}


def _text(cls: type, name: str, texts: Mapping[str, str]) -> str:
    if name not in texts:
        raise ValueError(f"{cls.__name__}.{name} has no description: write a docstring below it")
    return texts[name]


def _struct(info: types.Type) -> types.StructType:
    if not isinstance(info, types.StructType):
        raise TypeError(f"{info} is no struct")
    return info
