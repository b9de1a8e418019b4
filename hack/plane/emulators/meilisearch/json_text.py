"""Reads JSON from clients, and says where and why a text is none in the words of the server's parser (serde_json).

The slow scanner sees only texts that failed to parse, and the claims of tenant tokens, whose errors name a column.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from hack.plane.emulators.meilisearch.shapes import Json

_BLANKS = b" \t\n\r"
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = b'"\\/bfnrt'
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CLOSED = re.compile(rb"\[\]|\{\}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DEEPEST = 127


class JsonSyntaxError(ValueError):
    """Not JSON; the text is the parser's message with line and column."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"{message} at line {line} column {column}")


@dataclass(slots=True)
class _Scanner:
    data: bytes
    index: int = 0
    depth: int = 0
    member_ends: dict[str, int] = field(default_factory=dict)

    def fail(self, message: str, *, ahead: int) -> JsonSyntaxError:
        position = min(self.index + ahead, len(self.data))
        before = self.data[:position]
        return JsonSyntaxError(message, before.count(b"\n") + 1, position - (before.rfind(b"\n") + 1))

    def peek(self) -> int | None:
        while self.index < len(self.data) and self.data[self.index] in _BLANKS:
            self.index += 1
        return self.data[self.index] if self.index < len(self.data) else None

    def value(self) -> None:
        match self.peek():
            case None:
                raise self.fail("EOF while parsing a value", ahead=1)
            case 0x7B:
                self.nested(self.members)
            case 0x5B:
                self.nested(self.elements)
            case 0x22:
                self.text()
            case first if first in b"-0123456789":
                self.number()
            case first if first in b"ntf":
                self.word({0x6E: b"null", 0x74: b"true", 0x66: b"false"}[first])
            case _:
                raise self.fail("expected value", ahead=1)

    def nested(self, inner: Callable[[], None]) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fail("recursion limit exceeded", ahead=1)
        self.index += 1
        inner()
        self.depth -= 1

    def elements(self) -> None:
        if self.peek() == 0x5D:
            self.index += 1
            return
        while True:
            if self.peek() is None:
                raise self.fail("EOF while parsing a list", ahead=1)
            self.value()
            if self.ends(0x5D, "EOF while parsing a list", "expected `,` or `]`"):
                return
            if self.peek() == 0x5D:
                raise self.fail("trailing comma", ahead=1)

    def members(self) -> None:
        first = self.peek()
        if first == 0x7D:
            self.index += 1
            return
        if first is None:
            raise self.fail("EOF while parsing an object", ahead=1)
        while True:
            self.member()
            if self.ends(0x7D, "EOF while parsing an object", "expected `,` or `}`"):
                return

    def member(self) -> None:
        match self.peek():
            case 0x22:
                name = self.text()
            case 0x7D:
                raise self.fail("trailing comma", ahead=1)
            case None:
                raise self.fail("EOF while parsing a value", ahead=1)
            case _:
                raise self.fail("key must be a string", ahead=1)
        match self.peek():
            case 0x3A:
                self.index += 1
            case None:
                raise self.fail("EOF while parsing an object", ahead=1)
            case _:
                raise self.fail("expected `:`", ahead=1)
        self.value()
        if self.depth == 1:
            self.member_ends[name] = self.index

    def ends(self, closing: int, at_end: str, otherwise: str) -> bool:
        """True at the closing bracket, False after a comma."""
        following = self.peek()
        if following is None:
            raise self.fail(at_end, ahead=1)
        if following not in (closing, 0x2C):
            raise self.fail(otherwise, ahead=1)
        self.index += 1
        return following == closing

    def text(self) -> str:
        start = self.index
        self.index += 1
        while self.index < len(self.data):
            byte = self.data[self.index]
            self.index += 1
            if byte == 0x22:
                return self.data[start + 1 : self.index - 1].decode(errors="replace")
            if byte < 0x20:
                raise self.fail("control character (\\u0000-\\u001F) found while parsing a string", ahead=0)
            if byte == 0x5C:
                self.escape()
        raise self.fail("EOF while parsing a string", ahead=0)

    def escape(self) -> None:
        if self.index >= len(self.data):
            raise self.fail("EOF while parsing a string", ahead=0)
        byte = self.data[self.index]
        self.index += 1
        if byte != 0x75 and byte not in _ESCAPES:
            raise self.fail("invalid escape", ahead=0)

    def number(self) -> None:
        start = self.index
        while self.index < len(self.data) and self.data[self.index] in b"+-.0123456789eE":
            self.index += 1
        if not _is_number(self.data[start : self.index]):
            at_end = self.index >= len(self.data)
            raise self.fail("EOF while parsing a value" if at_end else "invalid number", ahead=0 if at_end else 1)

    def word(self, expected: bytes) -> None:
        for byte in expected:
            if self.index >= len(self.data):
                raise self.fail("EOF while parsing a value", ahead=0)
            self.index += 1
            if self.data[self.index - 1] != byte:
                raise self.fail("expected ident", ahead=0)


def _is_number(digits: bytes) -> bool:
    return _NUMBER.fullmatch(digits) is not None


def decode(data: bytes) -> Json:
    """One value; raises JsonSyntaxError, also for what is nested deeper than the server's parser goes."""
    try:
        value: Json = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _explain(data) from error
    if _is_too_deep(data):
        raise _explain(data)
    return value


def decode_lines(data: bytes) -> list[Json]:
    """One value a line; raises JsonSyntaxError."""
    try:
        return [decode(line) for line in data.splitlines() if line.strip()]
    except JsonSyntaxError as error:
        raise _explain_lines(data) from error


def _is_too_deep(data: bytes) -> bool:
    """Peels a valid text level by level, without a step in Python for each value."""
    if data.count(b"[") + data.count(b"{") <= _DEEPEST:
        return False
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    for _ in range(_DEEPEST):
        brackets = _CLOSED.sub(b"", brackets)
        if not brackets:
            return False
    return True


def _explain(data: bytes) -> JsonSyntaxError:
    """Why the text is not one JSON value; for a text that is one after all, that it could not be read."""
    scanner = _Scanner(data)
    try:
        scanner.value()
        if scanner.peek() is not None:
            return scanner.fail("trailing characters", ahead=1)
    except JsonSyntaxError as error:
        return error
    return scanner.fail("invalid unicode code point", ahead=0)


def _explain_lines(data: bytes) -> JsonSyntaxError:
    """The same for a sequence of values."""
    scanner = _Scanner(data)
    try:
        while scanner.peek() is not None:
            scanner.value()
    except JsonSyntaxError as error:
        return error
    return scanner.fail("invalid unicode code point", ahead=0)


def member_ends(data: bytes) -> dict[str, int]:
    """The offset after each member of the outermost object; raises JsonSyntaxError."""
    scanner = _Scanner(data)
    scanner.value()
    return scanner.member_ends
