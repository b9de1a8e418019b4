"""Reads JSON bodies and query parameters into values, and words what is wrong with them as the server does.

The wording, its order (first error only, in the order of the input) and the rule that each field has an error code of
its own are those of the library that the server uses for this (deserr).
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.typos import within_typos

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    # msgspec reads the annotations of what is kept, and can not follow a type into itself.
    Json = Any
Object: TypeAlias = dict[str, Json]


class Absent:
    """Marks a field that was not given, where null means something else."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Star:
    """A query parameter given as `*`: present, and restricting nothing."""


STAR: Final = Star()


def compact(value: Json) -> str:
    """JSON without blanks, as errors quote it."""
    return msgspec.json.encode(value).decode()


def describe(value: Json) -> str:
    """A value with its kind, as type errors name it."""
    return "null" if value is None else f"{_kind(value)}: `{compact(value)}`"


def _kind(value: Json) -> str:
    match value:
        case bool():
            return "a boolean"
        case int():
            return "a negative integer" if value < 0 else "a positive integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def quoted(names: Sequence[str]) -> str:
    """`a`, `b`, `c`."""
    return ", ".join(f"`{name}`" for name in names)


def did_you_mean(received: str, accepted: Sequence[str]) -> str:
    """A hint for a near miss; the tolerance grows with the length."""
    typos = bisect_left((4, 8, 13, 18, 25), len(received) + 1)
    distances = ((within_typos(received, name, typos), name) for name in accepted)
    near = [(distance, name) for distance, name in distances if distance is not None]
    if typos == 0 or not near:
        return ""
    return f"did you mean `{min(near, key=lambda pair: pair[0])[1]}`? "


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the input we are, and which code an error here has."""

    path: str = ""
    code: str = "bad_request"
    in_query: bool = False

    def key(self, name: str, code: str | None = None) -> "Place":
        """The member `name` of this object."""
        joined = name if self.in_query and not self.path else f"{self.path}.{name}"
        return Place(joined, code or self.code, self.in_query)

    def index(self, position: int) -> "Place":
        """The element at `position` of this array."""
        return Place(f"{self.path}[{position}]", self.code, self.in_query)

    def wrong_type(self, expected: str, actual: Json) -> ApiError:
        """A value of another kind than the field has."""
        where = self._at(" at", " for parameter")
        return ApiError(self.code, f"Invalid value type{where}: expected {expected}, but found {describe(actual)}")

    def wrong_value(self, message: str) -> ApiError:
        """A value of the right kind that is not acceptable."""
        return ApiError(self.code, f"Invalid value{self._at(' at', ' in parameter')}: {message}")

    def unknown_value(self, value: str, accepted: Sequence[str]) -> ApiError:
        """A word that is not one of the accepted ones."""
        hint = did_you_mean(value, accepted)
        where = self._at(" at", " for parameter")
        return ApiError(self.code, f"Unknown value `{value}`{where}: {hint}expected one of {quoted(accepted)}")

    def unknown_field(self, name: str, accepted: Sequence[str]) -> ApiError:
        """A field or parameter that is not there."""
        noun = "parameter" if self.in_query else "field"
        hint = did_you_mean(name, accepted)
        where = self._at(" inside", " inside")
        return ApiError(self.code, f"Unknown {noun} `{name}`{where}: {hint}expected one of {quoted(accepted)}")

    def missing(self, name: str, code: str) -> ApiError:
        """A field that has to be given."""
        noun = "parameter" if self.in_query else "field"
        return ApiError(code, f"Missing {noun} `{name}`{self._at(' inside', ' inside')}")

    def _at(self, in_json: str, in_query: str) -> str:
        if not self.path:
            return ""
        return f"{in_query if self.in_query else in_json} `{self.path}`"


Reader = Callable[[Json, Place], Any]
"""Turns a JSON value at a place into what the program uses; raises ApiError."""


def anything(value: Json, _place: Place) -> Json:
    """Any JSON value."""
    return value


def string(value: Json, place: Place) -> str:
    """A string."""
    if not isinstance(value, str):
        raise place.wrong_type("a string", value)
    return value


def boolean(value: Json, place: Place) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise place.wrong_type("a boolean", value)
    return value


def unsigned(value: Json, place: Place) -> int:
    """A positive integer or zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise place.wrong_type("a positive integer", value)
    return value


def byte(value: Json, place: Place) -> int:
    """0 to 255."""
    number = unsigned(value, place)
    if number > 255:
        raise place.wrong_value(f"value: `{number}` is too large to be deserialized, maximum value authorized is `255`")
    return number


def non_zero(value: Json, place: Place) -> int:
    """A positive integer."""
    number = unsigned(value, place)
    if number == 0:
        raise place.wrong_value("a non-zero integer value higher than `0` was expected, but found a zero")
    return number


def number(value: Json, place: Place) -> float:
    """A number, whole or not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.wrong_type("a number", value)
    return float(value)


def nullable(reader: Reader) -> Reader:
    """What the reader reads, or null."""
    return lambda value, place: None if value is None else reader(value, place)


def array(reader: Reader) -> Reader:
    """A list."""

    def read(value: Json, place: Place) -> list[Any]:
        if not isinstance(value, list):
            raise place.wrong_type("an array", value)
        return [reader(item, place.index(position)) for position, item in enumerate(value)]

    return read


def sorted_set(value: Json, place: Place) -> list[str]:
    """A set of strings; the server keeps and shows it sorted."""
    return sorted(set(strings(value, place)))


def mapping(reader: Reader) -> Reader:
    """An object with free keys."""

    def read(value: Json, place: Place) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise place.wrong_type("an object", value)
        return {name: reader(item, place.key(name)) for name, item in value.items()}

    return read


def one_of(*accepted: str) -> Reader:
    """One word of a list."""

    def read(value: Json, place: Place) -> str:
        word = string(value, place)
        if word not in accepted:
            raise place.unknown_value(word, accepted)
        return word

    return read


def parsed(convert: Callable[[str], Any]) -> Reader:
    """A string that `convert` understands; its ValueError is the message."""

    def read(value: Json, place: Place) -> Any:
        text = string(value, place)
        try:
            return convert(text)
        except ValueError as error:
            raise place.wrong_value(str(error)) from error

    return read


strings: Reader = array(string)


@dataclass(frozen=True, slots=True)
class Field:
    """One member of an object; without a default it has to be given."""

    name: str
    reader: Reader
    code: str | None = None
    default: Any = ABSENT
    required: bool = False
    missing_code: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """An object with known fields; itself a Reader.

    `code` is the code of unknown fields and of being no object; None takes it from the place. `immutable` maps fields
    that exist but can not be changed to their codes.
    """

    fields: tuple[Field, ...]
    code: str | None = None
    immutable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignores_unknown: bool = False

    def __call__(self, value: Json, place: Place) -> dict[str, Any]:
        """Read the object; absent optional fields get their default."""
        here = Place(place.path, self.code or place.code, place.in_query)
        if not isinstance(value, dict):
            raise here.wrong_type("an object", value)
        by_name = {each.name: each for each in self.fields}
        found = {
            name: by_name[name].reader(item, here.key(name, by_name[name].code))
            for name, item in value.items()
            if self._accepts(name, by_name, here)
        }
        return {
            each.name: found[each.name] if each.name in found else self._default(each, here) for each in self.fields
        }

    def _accepts(self, name: str, by_name: Mapping[str, Field], here: Place) -> bool:
        if name in by_name:
            return True
        if self.ignores_unknown:
            return False
        if name in self.immutable:
            accepted = quoted(list(by_name))
            raise ApiError(self.immutable[name], f"Immutable field `{name}`: expected one of {accepted}")
        raise here.unknown_field(name, list(by_name))

    def _default(self, absent: Field, here: Place) -> Any:
        if absent.required:
            raise here.missing(absent.name, absent.missing_code or here.code)
        return absent.default


def read_json(reader: Reader, value: Json) -> Any:
    """Read a whole body."""
    return reader(value, Place())


def read_query(shape: Shape, text: str) -> dict[str, Any]:
    """Read the parameters of a URL; of a repeated one the last counts."""
    values: Object = dict(parse_qsl(text, keep_blank_values=True))
    return shape(values, Place(in_query=True))


def unsigned_parameter(value: Json, place: Place) -> int:
    """A number in a URL."""
    text = string(value, place)
    if not (text.isascii() and text.isdigit()):
        raise place.wrong_value(f"could not parse `{text}` as a positive integer")
    return int(text)


def boolean_parameter(value: Json, place: Place) -> bool:
    """`true` or `false` in a URL."""
    text = string(value, place)
    if text not in ("true", "false"):
        raise place.wrong_value(f"could not parse `{text}` as a boolean, expected either `true` or `false`")
    return text == "true"


def number_parameter(message: str, low: float, high: float) -> Reader:
    """A number in a URL within bounds; anything else has one message."""

    def read(value: Json, place: Place) -> float:
        try:
            parameter = float(string(value, place))
        except ValueError as error:
            raise place.wrong_value(message) from error
        if not low <= parameter <= high:
            raise place.wrong_value(message)
        return parameter

    return read


def comma_separated(reader: Reader = string) -> Reader:
    """A list in a URL."""

    def read(value: Json, place: Place) -> list[Any]:
        items = string(value, place).split(",")
        return [reader(item, place.index(n) if len(items) > 1 else place) for n, item in enumerate(items)]

    return read


def star_or_list(reader: Reader) -> Reader:
    """A list in a URL where a `*` among its items lifts the restriction."""

    def read(value: Json, place: Place) -> list[Any] | Star:
        items = string(value, place).split(",")
        kept = [
            reader(item, place.index(n) if len(items) > 1 else place) for n, item in enumerate(items) if item != "*"
        ]
        return STAR if "*" in items else kept

    return read


def star_or(reader: Reader) -> Reader:
    """One value in a URL, or `*` for no restriction."""
    return lambda value, place: STAR if value == "*" else reader(value, place)
