"""All rows of the API, and which of them a request is for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from bulkhead.platform.http.route import Route
from bulkhead.protocol.problems import Code, Problem

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/]")
_LONGEST_SEGMENT = 253

_UUID_FORM = "uuid"
_REST_FORM = "path"


class NotAllowed(Problem):
    """The path exists, for other methods."""

    def __init__(self, methods: tuple[str, ...]) -> None:
        super().__init__(Code.METHOD_NOT_ALLOWED)
        self.methods = methods


@dataclass(slots=True)
class _Node:
    """What may follow a prefix of a path."""

    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    form: str = ""
    rest: _Node | None = None
    rows: dict[str, Route] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """A row and the values of its path parameters."""

    row: Route
    path: dict[str, str]


class Table:
    """The rows, by path and method. ValueError where two of them are for the same requests."""

    def __init__(self, rows: Iterable[Route]) -> None:
        self.rows = tuple(rows)
        self._root = _Node()
        for row in self.rows:
            self._add(row)

    def find(self, method: str, target: bytes) -> Match:
        """The row for `method` and the undecoded path `target`. Problem where there is none."""
        node, values = self._walk(target.decode("ascii"))
        if node is None or not node.rows:
            raise Problem(Code.NOT_FOUND)
        row = node.rows.get(method)
        if row is None:
            raise NotAllowed(tuple(node.rows))
        return Match(row, dict(zip((name for name, _ in row.parameters), values, strict=True)))

    def _walk(self, target: str) -> tuple[_Node | None, list[str]]:
        """A literal segment is preferred to a parameter, and what does not match after it is not found."""
        node, values = self._root, []
        segments = target.split("/")[1:]
        for number, segment in enumerate(segments):
            if (literal := node.literals.get(segment)) is not None:
                node = literal
            elif node.parameter is not None and (value := _value(segment, node.form)) is not None:
                values.append(value)
                node = node.parameter
            elif node.rest is not None:
                values.append("/".join(segments[number:]))
                return node.rest, values
            else:
                return None, []
        return node, values

    def _add(self, row: Route) -> None:
        node = self._root
        forms = iter(row.parameters)
        for segment in row.path.split("/")[1:]:
            node = _literal(node, segment) if not segment.startswith("{") else _parameter(node, row, next(forms)[1])
        for method in row.methods:
            if method in node.rows:
                raise ValueError(f"{method} {row.path} is in the table twice")
            node.rows[method] = row


def _literal(node: _Node, segment: str) -> _Node:
    return node.literals.setdefault(segment, _Node())


def _parameter(node: _Node, row: Route, form: str) -> _Node:
    if form == _REST_FORM:
        node.rest = node.rest or _Node()
        return node.rest
    if node.parameter is None:
        node.parameter, node.form = _Node(), form
    elif node.form != form:
        raise ValueError(f"{row.method} {row.path}: another row has a parameter of another form in the same place")
    return node.parameter


def _value(segment: str, form: str) -> str | None:
    """A parameter's value; None where the segment is none of its form."""
    if form == _UUID_FORM:
        return segment if _UUID.fullmatch(segment) else None
    try:
        value = unquote_to_bytes(segment).decode() if "%" in segment else segment
    except UnicodeDecodeError:
        return None
    if not value or value in {".", ".."} or len(value) > _LONGEST_SEGMENT or _UNPRINTABLE.search(value):
        return None
    return value
