"""A value that must never reach a log, an exception, a repr, an event or a status."""

from __future__ import annotations

import hmac
from typing import Any


class Sensitive:
    """A secret string that shows itself only to who asks for it by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The plain value. Call it where the value leaves for its one rightful destination, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Sensitive(***)"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


def encode(value: Any) -> Any:
    """`enc_hook` of msgspec for what is written into the record, the one place where secrets rest."""
    if isinstance(value, Sensitive):
        return value.reveal()
    raise NotImplementedError(type(value).__name__)


def decode(kind: type, value: Any) -> Any:
    """`dec_hook` of msgspec, the reverse of `encode`."""
    if kind is Sensitive:
        return Sensitive(value)
    raise NotImplementedError(kind.__name__)
