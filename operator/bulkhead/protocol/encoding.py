"""Bytes as text, one spelling for each value: base64url without padding, and base62 of a fixed width."""

from __future__ import annotations

import base64
import re
import string

from bulkhead.protocol.errors import Malformed

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
"""0-9, A-Z, a-z: the digits in the order of their values."""

_VALUES = {digit: value for value, digit in enumerate(BASE62)}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def base64url(value: bytes) -> str:
    """RFC 4648 section 5 without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes that `text` spells. Raises Malformed for padding, a foreign character, or bits left over at the end."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise Malformed("not base64url without padding")
    value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(value) != text:
        raise Malformed("not the one spelling in base64url of these bytes")
    return value


def base62(value: bytes, width: int) -> str:
    """`value`, read as a big-endian number, in exactly `width` digits."""
    number = int.from_bytes(value, "big")
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    if number:
        raise ValueError(f"{len(value)} bytes do not fit into {width} digits")
    return "".join(reversed(digits))


def from_base62(text: str, size: int) -> bytes:
    """The `size` bytes that `text` spells. Raises Malformed for a foreign character or a number too large."""
    if len(text) > 2 * size:
        raise Malformed(f"too long for {size} bytes")
    number = 0
    for character in text:
        digit = _VALUES.get(character)
        if digit is None:
            raise Malformed("not base62")
        number = number * 62 + digit
    if number >> (8 * size):
        raise Malformed(f"spells more than {size} bytes")
    return number.to_bytes(size, "big")
