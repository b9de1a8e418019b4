"""The parts of docs/protocol.md that the types tell: forms, every message field by field, every problem code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import inspect as types

from bulkhead.protocol import documents
from bulkhead.protocol.assertions import Assertion, Succession
from bulkhead.protocol.heartbeat import Heartbeat, HeartbeatAnswer
from bulkhead.protocol.problems import Code, ProblemDocument
from bulkhead.protocol.proofs import ChallengeClaims, KeyRegistrationClaims, RegistrationClaims, RejoinClaims
from bulkhead.protocol.registration import (
    Challenge,
    ChallengeRequest,
    Deleted,
    ExchangeRequest,
    Joined,
    KeyRegistered,
    KeyRegistrationRequest,
    RejoinRequest,
    TokenIssued,
    TokenRequest,
)
from bulkhead.protocol.sync import SyncAnswer, SyncRequest
from hack.generate import descriptions

Struct = type[msgspec.Struct]

WHOLE: tuple[Struct, ...] = (
    TokenRequest,
    TokenIssued,
    ExchangeRequest,
    RegistrationClaims,
    Joined,
    ChallengeRequest,
    ChallengeClaims,
    Challenge,
    RejoinRequest,
    RejoinClaims,
    KeyRegistrationRequest,
    KeyRegistrationClaims,
    KeyRegistered,
    Heartbeat,
    HeartbeatAnswer,
    SyncRequest,
    SyncAnswer,
    Deleted,
    Assertion,
    Succession,
    ProblemDocument,
)
"""What is sent or signed as a whole, in the order of the document. Parts stand after the first that holds them."""


def document(text: str) -> str:
    """docs/protocol.md with its generated parts as the types have them. Raises ValueError where one has no place."""
    parts = {"forms": "\n".join(_forms()), "messages": "\n\n".join(_sections()), "codes": "\n".join(_codes())}
    for name, content in parts.items():
        text = _replaced(text, name, content)
    return text


def _replaced(text: str, name: str, content: str) -> str:
    before, begin, rest = text.partition(f"<!-- generated: {name} -->\n")
    _, end, after = rest.partition(f"<!-- end: {name} -->\n")
    if not begin or not end:
        raise ValueError(f"docs/protocol.md has no place for its generated part {name}")
    return f"{before}{begin}\n{content}\n\n{end}{after}"


def _forms() -> Iterator[str]:
    """What fields of many messages have in common, each once."""
    named = {text: bounds for kind in _shown() for field in _info(kind).fields for text, bounds in _named(field.type)}
    yield "| form | written as |"
    yield "|---|---|"
    for text, bounds in sorted(named.items(), key=lambda each: each[0].lower()):
        yield f"| {text} | {bounds} |"


def _named(info: types.Type) -> Iterator[tuple[str, str]]:
    match info:
        case types.Metadata(type=inner, extra_json_schema={"description": str(text)}):
            yield _line(text), _form(inner)
        case types.Metadata(type=inner) | types.VarTupleType(item_type=inner):
            yield from _named(inner)
        case types.UnionType(types=several):
            for each in several:
                yield from _named(each)


def _codes() -> Iterator[str]:
    yield "| code | status | what happened | what to do |"
    yield "|---|---|---|---|"
    for code in Code:
        yield f"| `{code.value}` | {code.status} | {code.happened} | {code.remedy} |"


def _sections() -> Iterator[str]:
    return ("\n".join(_section(kind)) for kind in _shown())


def _shown() -> tuple[Struct, ...]:
    """Every message and its parts, each once."""
    return tuple(dict.fromkeys(kind for whole in WHOLE for kind in _with_parts(whole)))


def _with_parts(kind: Struct) -> Iterator[Struct]:
    yield kind
    for field in _info(kind).fields:
        for part in _structs(field.type):
            yield from _with_parts(part)


def _structs(info: types.Type) -> Iterator[Struct]:
    match info:
        case types.StructType(cls=kind):
            yield kind
        case types.Metadata(type=inner):
            yield from _structs(inner)
        case types.UnionType(types=several):
            for each in several:
                yield from _structs(each)
        case types.VarTupleType(item_type=inner) | types.DictType(value_type=inner):
            yield from _structs(inner)


def _section(kind: Struct) -> Iterator[str]:
    info, texts = _info(kind), _texts(kind)
    yield f"#### {kind.__name__}"
    yield ""
    yield _line(descriptions.of_struct(kind))
    yield ""
    yield "| field | form | |"
    yield "|---|---|---|"
    if info.tag is not None:
        yield f"| `{info.tag_field}` | `{info.tag}` | Says which of several this is. |"
    for field in info.fields:
        form = _form(field.type) + ("" if field.required else "; may be left out")
        yield f"| `{field.encode_name}` | {form} | {_line(texts.get(field.name, ''))} |"


def _info(kind: Struct) -> types.StructType:
    info = types.type_info(kind)
    if not isinstance(info, types.StructType):
        raise TypeError(kind.__name__)
    return info


def _texts(kind: Struct) -> dict[str, str]:
    """Descriptions of all its fields, those that it inherits too."""
    lineage = [each for each in reversed(kind.__mro__) if each.__module__.startswith("bulkhead.")]
    return {name: text for each in lineage for name, text in descriptions.of_fields(each).items()}


def _form(info: types.Type) -> str:
    """What may stand in a field, in words."""
    match info:
        case types.Metadata(extra_json_schema={"description": str(text)}):
            return _line(text)
        case types.Metadata(type=inner):
            return _form(inner)
        case types.UnionType(types=several):
            return " or ".join(_form(each) for each in several)
        case types.VarTupleType(item_type=item):
            return f"list of {_form(item)}{_bounds(info)}"
        case types.DictType(key_type=key, value_type=value):
            return f"object from {_form(key)} to {_form(value)}"
        case types.StructType(cls=kind):
            return f"[{kind.__name__}](#{kind.__name__.lower()})"
        case types.CustomType(cls=kind):
            return _line(documents.schema_hook(kind)["description"])
        case types.EnumType() | types.LiteralType():
            return _choice(info)
        case _:
            return _SCALARS[type(info)] + _bounds(info)


_SCALARS: Mapping[type[types.Type], str] = {
    types.BoolType: "true or false",
    types.NoneType: "null",
    types.IntType: "whole number",
    types.StrType: "text",
}


def _choice(info: types.EnumType | types.LiteralType) -> str:
    if isinstance(info, types.EnumType) and info.cls is Code:
        return "one of the [codes](#codes)"
    values = info.values if isinstance(info, types.LiteralType) else [each.value for each in info.cls]
    several = [f"`{value}`" for value in values]
    return several[0] if len(several) == 1 else f"one of {', '.join(several)}"


def _bounds(info: types.Type) -> str:
    match info:
        case types.IntType(ge=int(least), le=int(most)):
            return f", {least} to {most}"
        case types.VarTupleType(max_length=int(most)):
            return f", at most {most}"
        case types.StrType(pattern=str(pattern)):
            return f", `{_line(pattern).removesuffix(chr(92) + 'Z')}$`"
        case types.StrType(max_length=int(most)):
            return f", at most {most} characters"
        case _:
            return ""


def _line(text: str) -> str:
    """`text` for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
