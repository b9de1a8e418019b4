"""Values inside payloads: the paths that name them, and an index from a value to the points that hold it."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Key = tuple[type, Any]

# A quoted or a bare key, then any number of "[]" and "[3]".
STEP = re.compile(r'(?:"(?P<quoted>[^"]+)"|(?P<bare>[^."\[\]]+))(?P<items>(?:\[\d*\])*)\.?')
ITEM = re.compile(r"\[(\d*)\]")


def steps(path: str) -> list[str | int | None]:
    """The steps of a path such as `a.b[].c[0]`: a key, a position, or None for every element."""
    taken: list[str | int | None] = []
    for found in STEP.finditer(path):
        taken.append(found["quoted"] or found["bare"])
        taken += [int(position) if position else None for position in ITEM.findall(found["items"])]
    return taken


def values_at(payload: object, path: Sequence[str | int | None]) -> Iterator[object]:
    """What a path finds; a list at its end yields its elements, as filters see them."""
    if not path:
        yield from payload if isinstance(payload, list) else [payload]
        return
    step, rest = path[0], path[1:]
    match payload, step:
        case dict(), str() if step in payload:
            yield from values_at(payload[step], rest)
        case list(), None:
            for element in payload:
                yield from values_at(element, rest)
        case list(), int() if step < len(payload):
            yield from values_at(payload[step], rest)
        case _:
            return


@dataclass(slots=True)
class FieldIndex:
    """One field: the points of each value, and the values of each point. A key has its type: True is not 1."""

    path: list[str | int | None]
    points: dict[Key, set[str]] = field(default_factory=dict)
    keys: dict[str, list[Key]] = field(default_factory=dict)

    def put(self, point: str, payload: Json) -> None:
        self.drop(point)
        found = [value for value in values_at(payload, self.path) if value is not None]
        keys = [(type(value), value) for value in found if isinstance(value, str | int | float)]
        if found:
            self.keys[point] = keys
        for key in keys:
            self.points.setdefault(key, set()).add(point)

    def drop(self, point: str) -> None:
        for key in self.keys.pop(point, []):
            holders = self.points[key]
            holders.discard(point)
            if not holders:
                del self.points[key]


class ValueIndex:
    """The fields of a collection that are asked for again and again, each indexed when it is first asked for."""

    def __init__(self, payloads: Callable[[], Iterable[tuple[str, Json]]]) -> None:
        self._payloads = payloads
        self._fields: dict[str, FieldIndex] = {}

    def holders(self, name: str, value: str | float) -> set[str]:
        """The points whose field `name` holds exactly `value`."""
        return self._field(name).points.get((type(value), value), set())

    def count(self, name: str) -> int:
        """How many points have a value in field `name`."""
        return len(self._field(name).keys)

    def put(self, point: str, payload: Json) -> None:
        for index in self._fields.values():
            index.put(point, payload)

    def drop(self, point: str) -> None:
        for index in self._fields.values():
            index.drop(point)

    def _field(self, name: str) -> FieldIndex:
        if name not in self._fields:
            index = FieldIndex(steps(name))
            for point, payload in self._payloads():
                index.put(point, payload)
            self._fields[name] = index
        return self._fields[name]
