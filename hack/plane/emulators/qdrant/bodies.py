"""JSON bodies, with the errors of the server's JSON library: kind, line and column."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hack.plane.emulators.qdrant.errors import ApiError, malformed

BODY = "JSON body"
BLANK = re.compile(r"[ \t\r\n]*")

# What Python's parser expected -> what the server's parser says where the text ends, and where it goes on wrongly.
COMPLAINTS = {
    "Expecting value": ("EOF while parsing a value", "expected value"),
    "Expecting property name enclosed in double quotes": ("EOF while parsing an object", "key must be a string"),
    "Expecting ':' delimiter": ("EOF while parsing an object", "expected `:`"),
    "Expecting ',' delimiter": ("EOF while parsing an object", "expected `,` or `}`"),
    "Extra data": ("trailing characters", "trailing characters"),
}
UNTERMINATED = ("EOF while parsing a string", "EOF while parsing a string")


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body, with its text for the positions that errors name."""

    text: str = field(repr=False)
    value: Any = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> "Body":
        text = raw.decode(errors="replace")
        try:
            return cls(text, msgspec.json.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _syntax_error(text) from error

    @property
    def fields(self) -> dict[str, Any]:
        """The members of the body, which must be an object."""
        if isinstance(self.value, dict):
            return self.value
        raise malformed(
            BODY, f"invalid type: {described(self.value)}, expected struct{position(self.text, len(self.text))}"
        )

    def missing(self, name: str) -> ApiError:
        return malformed(BODY, f"missing field `{name}`{position(self.text, len(self.text))}")

    def wrong_type(self, name: str, value: object, expected: str) -> ApiError:
        """`value`, which is member `name` or inside it, is not what is `expected`: "a map", "usize", "a boolean"."""
        return malformed(
            BODY, f"invalid type: {described(value)}, expected {expected}{position(self.text, self._end(name))}"
        )

    def no_variant(self, name: str, kind: str) -> ApiError:
        """None of the shapes that a member may have fits. The position is where the object goes on or ends."""
        end = self._end(name)
        following = BLANK.match(self.text, end)
        end = following.end() if following else end
        end += self.text[end : end + 1] == "}"
        return malformed(BODY, f"data did not match any variant of untagged enum {kind}{position(self.text, end)}")

    def unfit(self, complaint: str) -> ApiError:
        """A body that the library behind the points refuses; the words are its own."""
        return malformed(BODY, f"{complaint}{position(self.text, len(self.text))}")

    def _end(self, name: str) -> int:
        return next((end for key, end in _members(self.text) if key == name), len(self.text))


def position(text: str, offset: int) -> str:
    """The end of an error: where in the text it was found."""
    before = text[:offset]
    return f" at line {before.count(chr(10)) + 1} column {offset - before.rfind(chr(10)) - 1}"


def described(value: object) -> str:
    """A value as the server's library names it in a type error."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f"string {json.dumps(value, ensure_ascii=False)}"
        case list():
            return "sequence"
        case _:
            return "map"


def _syntax_error(text: str) -> ApiError:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        at_end, within = COMPLAINTS.get(error.msg, UNTERMINATED)
        ended = error.pos >= len(text.rstrip()) or at_end == within == UNTERMINATED[0]
        complaint, offset = (at_end, len(text)) if ended else (within, error.pos + 1)
        return malformed(BODY, complaint + position(text, offset))
    # What only Python's parser takes: NaN and Infinity, and the stand-ins for bytes that are no UTF-8.
    return malformed(BODY, "expected value" + position(text, len(text)))


def _members(text: str) -> Iterator[tuple[str, int]]:
    """Each key of an object with the offset at which its value ends. The text is known to be well formed."""
    decoder = json.JSONDecoder()
    offset = text.index("{") + 1
    while text[_after_blank(text, offset)] != "}":
        key, offset = decoder.raw_decode(text, _after_blank(text, offset))
        offset = _after_blank(text, offset) + 1
        _, offset = decoder.raw_decode(text, _after_blank(text, offset))
        yield key, offset
        offset = _after_blank(text, offset)
        offset += text[offset] == ","


def _after_blank(text: str, offset: int) -> int:
    found = BLANK.match(text, offset)
    return found.end() if found else offset
