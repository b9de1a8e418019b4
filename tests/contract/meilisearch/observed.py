"""The cases observed on the real server: reading them, asking them again, and comparing.

`observed.json` lists answers and groups of credentials once; a case maps positions in the one to positions in the
other. What an answer says is compared, what it does not say is not.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.contract.meilisearch.server import Reply
from tests.contract.meilisearch.world import MISSING, OTHER, OTHER2, OWN, OWN2, value_of

_FILE = Path(__file__).with_name("observed.json")
_INDEXES = {"own": OWN, "own2": OWN2, "other": OTHER, "other2": OTHER2, "missing": MISSING}
_TIMESTAMP = re.compile(r"\\\{ts\\\}")


@dataclass(frozen=True, slots=True)
class Case:
    """One request with the answer that each credential got."""

    name: str
    method: str
    path: str
    body: Any
    expected: Mapping[str, Mapping[str, Any]] = field(repr=False)


def load() -> list[Case]:
    """Every case, in the order in which they were asked."""
    data = msgspec.json.decode(_FILE.read_bytes())
    return [_case(each, data) for each in data["cases"]]


def _case(each: dict[str, Any], data: dict[str, Any]) -> Case:
    method, _, path = each["request"].partition(" ")
    expected = {
        credential: data["answers"][int(answer)]
        for answer, group in each["answers"].items()
        for credential in data["credentials"][group].split()
    }
    return Case(each["case"], method, path, each.get("body"), expected)


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """A value with the placeholders in its texts replaced."""
    if isinstance(value, str):
        for name, text in {**_INDEXES, **names}.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        return {filled(name, names): filled(item, names) for name, item in value.items()}
    return value


def raw(body: Any) -> Any:
    """The body as it is sent: texts that stand for what JSON can not hold become bytes."""
    if body == "(too large)":
        return b'[{"id":1,"t":"' + b"x" * 1_200_000 + b'"}]'
    if isinstance(body, str) and body.endswith(" letters)"):
        return {"uid": "a" * int(body[1:].split()[0])}
    if isinstance(body, str) and body.startswith("(raw) "):
        return body.removeprefix("(raw) ").encode()
    return body


def differences(reply: Reply, expected: Mapping[str, Any], master_key: str, names: Mapping[str, str]) -> list[str]:
    """What is not as it was observed; `names` fill the placeholders."""
    return [
        f"{name}: {found!r} instead of {wanted!r}"
        for name, wanted, found in _compared(reply, filled(expected, names), master_key)
        if found != wanted
    ]


def _compared(reply: Reply, expected: Mapping[str, Any], master_key: str) -> Iterator[tuple[str, Any, Any]]:
    body = reply.body if isinstance(reply.body, dict) else {}
    yield "status", expected["status"], reply.status
    for name in ("code", "type", "indexUid"):
        if name in expected:
            yield name, expected[name], body.get(name)
    if "message" in expected:
        yield "message", True, _says(str(body.get("message")), expected["message"])
    if "message_begins" in expected:
        yield "message", True, str(body.get("message")).startswith(expected["message_begins"])
    if "keys" in expected:
        yield "keys", expected["keys"], list(body) if isinstance(reply.body, dict) else None
    if expected.get("answer_is_array"):
        yield "an array", True, isinstance(reply.body, list)
    if "results_len" in expected:
        yield "results", expected["results_len"], len(body.get("results", ()))
    for name in ("total", "next"):
        if name in expected:
            yield name, expected[name], body.get(name)
    yield from _indexes_seen(body, expected, reply)
    yield from _keys_seen(body, expected, master_key)


def _says(message: str, expected: str) -> bool:
    """True if the texts agree; `{ts}` stands for a time."""
    pattern = _TIMESTAMP.sub(lambda _: r"\d+(\.\d+)?", re.escape(expected))
    return re.fullmatch(pattern, message) is not None


def _indexes_seen(body: Mapping[str, Any], expected: Mapping[str, Any], reply: Reply) -> Iterator[tuple[str, Any, Any]]:
    if "indexUids_seen" in expected:
        listed = body["indexes"] if "indexes" in body else {item["uid"] for item in body.get("results", ())}
        yield "indexes", {*expected["indexUids_seen"]}, {*listed}
    if reply.status < 300 and reply.body is not None:
        names_other = OTHER in reply.text or OTHER2 in reply.text
        yield "a neighbour's index name", expected.get("answer_names_other", names_other), names_other


def _keys_seen(body: Mapping[str, Any], expected: Mapping[str, Any], master_key: str) -> Iterator[tuple[str, Any, Any]]:
    if "uid_returned" in expected:
        yield "uid", expected["uid_returned"], body.get("uid")
        yield "value", value_of(master_key, expected["uid_returned"]), body.get("key")
    if "expiresAt_returned" in expected:
        yield "expiresAt", expected["expiresAt_returned"], body.get("expiresAt")


def task_differences(task: Mapping[str, Any], expected: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """What became of a task otherwise than observed."""
    wanted = filled(expected, names)
    error = task["error"] or {}
    found = {**task, "error_code": error.get("code"), "error_message": error.get("message")}
    return [
        f"task {name}: {found[name]!r} instead of {wanted[name]!r}" for name in wanted if found[name] != wanted[name]
    ]
