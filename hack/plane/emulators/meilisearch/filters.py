"""Filter expressions: parsing with the server's messages, and deciding whether a document fits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from hack.plane.emulators.meilisearch.attributes import (
    FilterRule,
    filter_rules,
    leaves,
    normalise,
    patterns_of,
    rule_for,
    values_at,
)
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated
from hack.plane.emulators.meilisearch.features import Features
from hack.plane.emulators.meilisearch.shapes import Json, Object, compact

_KEYWORDS: Final = frozenset({
    "AND", "OR", "IN", "NOT", "TO", "EXISTS", "IS", "NULL", "EMPTY", "CONTAINS", "STARTS", "WITH", "_geoRadius",
    "_geoBoundingBox",
})  # fmt: skip
_DEEPEST: Final = 150
_OPERATIONS: Final = (
    "`=`, `!=`, `>=`, `>`, `<=`, `<`, `IN`, `NOT IN`, `TO`, `EXISTS`, `NOT EXISTS`, `IS NULL`, `IS NOT NULL`, `IS "
    "EMPTY`, `IS NOT EMPTY`, `CONTAINS`, `NOT CONTAINS`, `STARTS WITH`, `NOT STARTS WITH`, `_geoRadius`, "
    "`_geoBoundingBox` or `_geoPolygon`"
)

Operator = Literal[
    "=", "!=", ">", ">=", "<", "<=", "TO", "IN", "CONTAINS", "STARTS WITH", "EXISTS", "IS NULL", "IS EMPTY"
]
_COMPARISONS: Final[tuple[Operator, ...]] = ("<=", ">=", "!=", "<", ">", "=")


@dataclass(frozen=True, slots=True)
class Word:
    """A name or value with its place in the expression, which errors show."""

    text: str
    column: int
    size: int
    expression: str

    def error(self, message: str) -> "FilterSyntaxError":
        """An error about this word."""
        return FilterSyntaxError(message, self.column, self.size, self.expression)


@dataclass(frozen=True, slots=True)
class Test:
    """An attribute and what it is tested for."""

    attribute: Word
    operator: Operator
    values: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    inner: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them."""

    inner: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of them."""

    inner: tuple["Condition", ...]


Condition = Test | Not | All | Some


class FilterSyntaxError(Exception):
    """The expression is none; the text shows where."""

    def __init__(self, message: str, column: int, size: int, expression: str) -> None:
        super().__init__(f"{message}\n{column}:{column + size} {expression}")


class _Parser:
    """Recursive descent over one expression."""

    def __init__(self, expression: str) -> None:
        self._text = expression
        self._at = 0

    def parse(self) -> Condition:
        condition = self._any(0)
        if self._at < len(self._text):
            rest = self._text[self._at :]
            self._fail(
                f"Found unexpected characters at the end of the filter: `{rest}`. You probably forgot an `OR` or an "
                "`AND` rule."
            )
        return condition

    def _fail(self, message: str, start: int | None = None, size: int | None = None) -> NoReturn:
        at = self._at if start is None else start
        raise FilterSyntaxError(message, at + 1, len(self._text) - at if size is None else size, self._text)

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _peek_word(self) -> str:
        end = self._at
        while end < len(self._text) and (self._text[end].isalnum() or self._text[end] in "_-."):
            end += 1
        return self._text[self._at : end]

    def _takes(self, *words: str) -> bool:
        """Consume the words, in this order, if they come next."""
        start = self._at
        for word in words:
            self._blanks()
            if self._peek_word() != word:
                self._at = start
                return False
            self._at += len(word)
        self._blanks()
        return True

    def _any(self, depth: int) -> Condition:
        found = self._series("OR", lambda: self._all(depth + 1))
        return found[0] if len(found) == 1 else Some(found)

    def _all(self, depth: int) -> Condition:
        found = self._series("AND", lambda: self._not(depth + 1))
        return found[0] if len(found) == 1 else All(found)

    def _series(self, separator: str, item: Callable[[], Condition]) -> tuple[Condition, ...]:
        found = [item()]
        while self._takes(separator):
            found.append(item())
        return tuple(found)

    def _not(self, depth: int) -> Condition:
        if depth > _DEEPEST:
            self._fail(
                "The filter exceeded the maximum depth limit. Try rewriting the filter so that it contains fewer "
                "nested conditions."
            )
        if self._takes("NOT"):
            inner = self._not(depth + 1)
            return inner.inner if isinstance(inner, Not) else Not(inner)
        return self._primary(depth + 1)

    def _primary(self, depth: int) -> Condition:
        start = self._at
        self._blanks()
        if self._text[self._at : self._at + 1] == "(":
            return self._group(start, depth)
        if self._peek_word().startswith(("_geo", "_vectors", "_foreign")):
            raise not_emulated("geo, vector and foreign filters")
        attribute = self._attribute(start)
        return self._operation(attribute, start)

    def _group(self, start: int, depth: int) -> Condition:
        self._at += 1
        self._blanks()
        inner = self._any(depth)
        self._blanks()
        if self._text[self._at : self._at + 1] != ")":
            self._fail(f"Expression `{self._text[start:]}` is missing the following closing delimiter: `)`.", start)
        self._at += 1
        self._blanks()
        return inner

    def _attribute(self, start: int) -> Word:
        if self._text[self._at : self._at + 1] not in ("'", '"') and (
            not self._peek_word() or self._peek_word() in _KEYWORDS
        ):
            self._not_an_operation(start)
        return self._value()

    def _not_an_operation(self, start: int) -> NoReturn:
        rest = self._text[start:]
        found = f"at `{rest}`." if rest.strip() else "but instead got nothing."
        self._fail(f"Was expecting an operation {_OPERATIONS} {found}", start)

    def _operation(self, attribute: Word, start: int) -> Condition:
        for operator in _COMPARISONS:
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return Test(attribute, operator, (self._value(),))
        if (test := self._worded(attribute)) is not None:
            return test
        # What is left is `attribute from TO to`; anything else is no operation.
        if self._peek_word() in _KEYWORDS or not self._starts_value():
            self._not_an_operation(start)
        low = self._value()
        if not self._takes("TO"):
            self._not_an_operation(start)
        return Test(attribute, "TO", (low, self._value()))

    def _worded(self, attribute: Word) -> Condition | None:
        negated = self._takes("NOT")
        test: Condition
        if self._takes("EXISTS"):
            test = Test(attribute, "EXISTS")
        elif self._takes("IN"):
            test = Test(attribute, "IN", self._list())
        elif self._takes("CONTAINS"):
            test = Test(attribute, "CONTAINS", (self._value(),))
        elif self._takes("STARTS", "WITH"):
            test = Test(attribute, "STARTS WITH", (self._value(),))
        elif not negated and self._takes("IS"):
            return self._state(attribute)
        else:
            return None
        return Not(test) if negated else test

    def _state(self, attribute: Word) -> Condition | None:
        negated = self._takes("NOT")
        states: tuple[tuple[str, Operator], ...] = (("NULL", "IS NULL"), ("EMPTY", "IS EMPTY"))
        for word, operator in states:
            if self._takes(word):
                test = Test(attribute, operator)
                return Not(test) if negated else test
        return None

    def _list(self) -> tuple[Word, ...]:
        if self._text[self._at : self._at + 1] != "[":
            self._fail("Expected `[` after `IN` keyword.")
        self._at += 1
        found: list[Word] = []
        self._blanks()
        while self._text[self._at : self._at + 1] not in ("]", ""):
            if not self._starts_value():
                self._bad_list()
            found.append(self._value())
            if self._text[self._at : self._at + 1] == ",":
                self._at += 1
                self._blanks()
            elif self._text[self._at : self._at + 1] != "]":
                self._bad_list()
        if self._at >= len(self._text):
            self._fail("Expected matching `]` after the list of field names given to `IN[`")
        self._at += 1
        self._blanks()
        return tuple(found)

    def _bad_list(self) -> NoReturn:
        rest = self._text[self._at :]
        if not rest:
            self._fail("Expected matching `]` after the list of field names given to `IN[`")
        self._fail(f"Expected only comma-separated field names inside `IN[..]` but instead found `{rest}`.")

    def _starts_value(self) -> bool:
        return self._text[self._at : self._at + 1] in ("'", '"') or bool(self._peek_word())

    def _value(self) -> Word:
        self._blanks()
        quote = self._text[self._at : self._at + 1]
        if quote in ("'", '"') and quote:
            return self._quoted(quote)
        word = self._peek_word()
        if word and word not in _KEYWORDS:
            found = Word(word, self._at + 1, len(word), self._text)
            self._at += len(word)
            self._blanks()
            return found
        return self._no_value(word)

    def _no_value(self, word: str) -> NoReturn:
        rest = self._text[self._at :]
        length = next((n for n, c in enumerate(rest) if c.isspace() or c in "()=<>!"), len(rest))
        shown = rest[:length]
        if not shown.strip():
            self._fail("Was expecting a value but instead got nothing.", size=length)
        if word in _KEYWORDS:
            self._fail(
                f"Was expecting a value but instead got `{shown}`, which is a reserved keyword. To use `{shown}` as a "
                "field name or a value, surround it by quotes.",
                size=length,
            )
        self._fail(f"Was expecting a value but instead got `{shown}`.", size=length)

    def _quoted(self, quote: str) -> Word:
        start = self._at + 1
        end = start
        while end < len(self._text) and self._text[end] != quote:
            end += 2 if self._text[end] == "\\" else 1
        if end >= len(self._text):
            rest = self._text[self._at :]
            self._fail(f"Expression `{rest}` is missing the following closing delimiter: `{quote}`.")
        raw = self._text[start:end]
        self._at = end + 1
        self._blanks()
        return Word(_unescaped(raw), start + 1, len(raw), self._text)


def _unescaped(raw: str) -> str:
    if "\\" not in raw:
        return raw
    plain = {"n": "\n", "t": "\t", "r": "\r"}
    result, escaped = "", False
    for character in raw:
        if escaped:
            result += plain.get(character, character)
        elif character != "\\":
            result += character
        escaped = character == "\\" and not escaped
    return result


def parse(expression: Json, code: str, features: Features) -> Condition | None:
    """The condition of a string, or of an array (all of) of strings and arrays (some of); None restricts nothing."""
    try:
        condition = _parse(expression, code)
    except FilterSyntaxError as error:
        raise ApiError(code, str(error)) from error
    if condition is not None and any(test.operator == "CONTAINS" for test in _tests(condition)):
        features.require("containsFilter", "Using `CONTAINS` in a filter")
    return condition


def _parse(expression: Json, code: str) -> Condition | None:
    if isinstance(expression, str):
        return _Parser(expression).parse() if expression.strip() else None
    if not isinstance(expression, list):
        raise _bad_type("String, Array", expression, code)
    parts = [part for item in expression if (part := _part(item, code)) is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return All(tuple(parts))


def _part(item: Json, code: str) -> Condition | None:
    if isinstance(item, str):
        return _parse(item, code)
    if not isinstance(item, list):
        raise _bad_type("String, [String]", item, code)
    if wrong := [inner for inner in item if not isinstance(inner, str)]:
        raise _bad_type("String", wrong[0], code)
    choices = [choice for inner in item if (choice := _parse(inner, code)) is not None]
    if len(choices) < 2:
        return choices[0] if choices else None
    return Some(tuple(choices))


def _bad_type(expected: str, found: Json, code: str) -> ApiError:
    return ApiError(code, f"Invalid type for filter subexpression: expected: {expected}, found: {compact(found)}.")


def both(left: Json, right: Json) -> Json:
    """A filter that asks for two filters."""
    if left is None or right is None:
        return right if left is None else left
    first = left if isinstance(left, list) else [left]
    second = right if isinstance(right, list) else [right]
    return [*first, *second]


def rewritten(condition: Condition | None) -> str | None:
    """The condition as an expression again. Searches go through this, so their errors quote it, not the original."""
    return None if condition is None else _written(condition)


def _written(condition: Condition) -> str:
    match condition:
        case Not(inner):
            return f"NOT ({_written(inner)})"
        case All(inner):
            return " AND ".join(f"({_written(each)})" for each in inner)
        case Some(inner):
            return " OR ".join(f"({_written(each)})" for each in inner)
        case Test(attribute, "IN", values):
            return f"{compact(attribute.text)} IN [{', '.join(compact(value.text) for value in values)}]"
        case Test(attribute, "TO", (low, high)):
            return f"{compact(attribute.text)} {compact(low.text)} TO {compact(high.text)}"
        case Test(attribute, operator, values):
            return " ".join([compact(attribute.text), operator, *(compact(value.text) for value in values)])


def _tests(condition: Condition) -> Iterator[Test]:
    """Every test, last first: the order in which the server looks for what is not filterable."""
    match condition:
        case Test():
            yield condition
        case Not(inner):
            yield from _tests(inner)
        case All(inner) | Some(inner):
            for each in reversed(inner):
                yield from _tests(each)


Predicate = Callable[[Object], bool]


def predicate(condition: Condition | None, filterable: Json, code: str) -> Predicate:
    """Decides whether a document fits; raises ApiError for attributes and operators that the setting does not allow."""
    if condition is None:
        return lambda _: True
    rules = filter_rules(filterable)
    for test in _tests(condition):
        _check_filterable(test, rules, code)
    for test in _tests(condition):
        _check_operator(test, rules)
    return lambda document: _fits(condition, document)


def _check_filterable(test: Test, rules: list[FilterRule], code: str) -> None:
    found = rule_for(test.attribute.text, rules)
    if found is not None and found[1].filterable:
        return
    allowed = patterns_of(rules, lambda rule: rule.filterable)
    known = (
        f"Available filterable attribute patterns are: {', '.join(f'`{name}`' for name in allowed)}."
        if allowed
        else "This index does not have configured filterable attributes."
    )
    message = f"Attribute `{test.attribute.text}` is not filterable. {known}"
    raise ApiError(code, str(test.attribute.error(message)))


def _check_operator(test: Test, rules: list[FilterRule]) -> None:
    found = rule_for(test.attribute.text, rules)
    if found is None:
        return
    position, rule = found
    needs_comparison = test.operator in (">", ">=", "<", "<=", "TO")
    needs_equality = test.operator in ("=", "!=", "IN")
    if (rule.comparison or not needs_comparison) and (rule.equality or not needs_equality):
        return
    missing = "comparison" if needs_comparison else "equality"
    operator = "=" if test.operator == "IN" else test.operator
    raise ApiError(
        "invalid_search_filter",
        f"Filter operator `{operator}` is not allowed for the attribute `{test.attribute.text}`.\n"
        f"  - Note: allowed operators: {', '.join(rule.operators())}.\n"
        f"  - Note: field `{test.attribute.text}` matched rule #{position} in `filterableAttributes`\n"
        f"  - Hint: enable {missing} in rule #{position} by modifying the features.filter object\n"
        f"  - Hint: prepend another rule matching `{test.attribute.text}` with appropriate filter features before rule "
        f"#{position}",
    )


def _fits(condition: Condition, document: Object) -> bool:
    match condition:
        case Test():
            return _passes(condition, document)
        case Not(inner):
            return not _fits(inner, document)
        case All(inner):
            return all(_fits(each, document) for each in inner)
        case Some(inner):
            return any(_fits(each, document) for each in inner)


def _passes(test: Test, document: Object) -> bool:
    values = list(values_at(document, test.attribute.text))
    match test.operator:
        case "EXISTS":
            return bool(values)
        case "IS NULL":
            return any(value is None for value in values)
        case "IS EMPTY":
            return any(value in ("", [], {}) and not isinstance(value, bool | int | float) for value in values)
        case "!=":
            return not _equals_any(values, test.values)
        case "=" | "IN":
            return _equals_any(values, test.values)
        case "CONTAINS":
            wanted = normalise(test.values[0].text)
            return any(wanted in normalise(text) for text in _texts(values))
        case "STARTS WITH":
            wanted = normalise(test.values[0].text)
            return any(normalise(text).startswith(wanted) for text in _texts(values))
        case _:
            return any(_in_range(value, test) for each in values for value in leaves(each))


def _texts(values: list[Json]) -> list[str]:
    return [value for each in values for value in leaves(each) if isinstance(value, str)]


def _equals_any(values: list[Json], wanted: tuple[Word, ...]) -> bool:
    return any(_equals(value, word.text) for each in values for value in leaves(each) for word in wanted)


def _equals(value: Json, wanted: str) -> bool:
    match value:
        case bool():
            return normalise(wanted) == ("true" if value else "false")
        case int() | float():
            number = _number(wanted)
            return number is not None and value == number
        case str():
            return normalise(value) == normalise(wanted)
        case _:
            return False


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) != float("inf") else None


def _in_range(value: Json, test: Test) -> bool:
    """Numbers compare with numbers, texts with texts."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        bounds = [_number(word.text) for word in test.values]
        numbers = [bound for bound in bounds if bound is not None]
        return len(numbers) == len(bounds) and _between(value, test.operator, numbers)
    text = ("true" if value else "false") if isinstance(value, bool) else value
    if not isinstance(text, str):
        return False
    return _between(normalise(text), test.operator, [normalise(word.text) for word in test.values])


def _between(value: float | str, operator: str, bounds: list[float] | list[str]) -> bool:
    first, last = bounds[0], bounds[-1]
    results = {
        ">": lambda: value > first,  # type: ignore[operator]  # both sides are numbers, or both are texts
        ">=": lambda: value >= first,  # type: ignore[operator]  # both sides are numbers, or both are texts
        "<": lambda: value < first,  # type: ignore[operator]  # both sides are numbers, or both are texts
        "<=": lambda: value <= first,  # type: ignore[operator]  # both sides are numbers, or both are texts
        "TO": lambda: first <= value <= last,  # type: ignore[operator]  # both sides are numbers, or both are texts
    }
    return results[operator]()
