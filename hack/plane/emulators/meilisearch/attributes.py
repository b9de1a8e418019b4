"""Which attributes a setting means: patterns, parents and children, and what may be filtered how."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from hack.plane.emulators.meilisearch.shapes import Json, Object


class Match(Enum):
    """How an attribute stands to a pattern; PARENT means that something below it matches."""

    MATCH = "match"
    PARENT = "parent"
    NONE = "none"


def is_within(attribute: str, parent: str) -> bool:
    """True for the attribute itself and all below it: `a.b` is within `a`."""
    return attribute == parent or attribute.startswith(f"{parent}.")


def match_pattern(pattern: str, attribute: str) -> Match:
    """`*` may open or close a pattern."""
    if _matches(pattern, attribute):
        return Match.MATCH
    return Match.PARENT if is_within(pattern, attribute) else Match.NONE


def _matches(pattern: str, attribute: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern[1:-1] in attribute
    if pattern.startswith("*"):
        return attribute.endswith(pattern[1:])
    if pattern.endswith("*"):
        return attribute.startswith(pattern[:-1])
    return pattern == attribute


def match_name(name: str, attribute: str) -> Match:
    """A plain name means the attribute and all below it."""
    if is_within(attribute, name):
        return Match.MATCH
    return Match.PARENT if is_within(name, attribute) else Match.NONE


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One entry of `filterableAttributes`: names or patterns, and the operators that they allow."""

    patterns: tuple[str, ...]
    is_plain_name: bool
    facet_search: bool
    equality: bool
    comparison: bool

    @property
    def filterable(self) -> bool:
        """True if any operator is allowed."""
        return self.equality or self.comparison

    def match(self, attribute: str) -> Match:
        """How the attribute stands to this rule."""
        if self.is_plain_name:
            return match_name(self.patterns[0], attribute)
        found = [match_pattern(pattern, attribute) for pattern in self.patterns]
        return next((each for each in (Match.MATCH, Match.PARENT) if each in found), Match.NONE)

    def intersects(self, pattern: str) -> bool:
        """True if some attribute can match both."""
        if self.is_plain_name:
            name = self.patterns[0]
            return match_name(pattern, name) is not Match.NONE or match_pattern(pattern, name) is not Match.NONE
        return any(
            match_pattern(pattern, own) is not Match.NONE or match_pattern(own, pattern) is not Match.NONE
            for own in self.patterns
        )

    def operators(self) -> list[str]:
        """The operators that are allowed, as an error lists them."""
        if not self.filterable:
            return []
        equality = ["=", "!=", "IN"] if self.equality else []
        comparison = ["<", ">", "<=", ">=", "TO"] if self.comparison else []
        return ["OR", "AND", "NOT", *equality, *comparison, "IS EMPTY", "IS NULL", "EXISTS"]


def filter_rules(setting: Json) -> list[FilterRule]:
    """The rules of a `filterableAttributes` setting."""
    return [_rule(entry) for entry in setting] if isinstance(setting, list) else []


def _rule(entry: Json) -> FilterRule:
    if isinstance(entry, str):
        return FilterRule((entry,), is_plain_name=True, facet_search=True, equality=True, comparison=True)
    features = _object(_object(entry).get("features"))
    allowed = _object(features.get("filter"))
    patterns = _object(entry).get("attributePatterns")
    return FilterRule(
        tuple(str(pattern) for pattern in patterns) if isinstance(patterns, list) else (),
        is_plain_name=False,
        facet_search=bool(features.get("facetSearch", False)),
        equality=bool(allowed.get("equality", True)),
        comparison=bool(allowed.get("comparison", False)),
    )


def _object(value: Json) -> Object:
    return value if isinstance(value, dict) else {}


def rule_for(attribute: str, rules: Sequence[FilterRule]) -> tuple[int, FilterRule] | None:
    """The first rule that matches, with its position."""
    for position, rule in enumerate(rules):
        if rule.match(attribute) is Match.MATCH:
            return position, rule
    return None


def patterns_of(rules: Iterable[FilterRule], wanted: Callable[[FilterRule], bool]) -> list[str]:
    """The patterns of the wanted rules, sorted, each once."""
    return sorted({pattern for rule in rules if wanted(rule) for pattern in rule.patterns})


def is_visible(attribute: str, displayed: Json) -> bool:
    """True if `displayedAttributes` lets it out; null lets all out."""
    if not isinstance(displayed, list):
        return True
    return any(match_name(str(name), attribute) is Match.MATCH for name in displayed)


def values_at(document: Object, path: str) -> Iterator[Json]:
    """The values of an attribute, through nested objects and arrays of objects; keys may hold dots."""
    if path in document:
        yield document[path]
    head = ""
    for part in path.split(".")[:-1]:
        head = f"{head}.{part}" if head else part
        inner = document.get(head)
        rest = path[len(head) + 1 :]
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, dict):
                yield from values_at(each, rest)


def leaves(value: Json) -> Iterator[Json]:
    """The scalars of a value and of the arrays in it."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif not isinstance(value, dict):
        yield value


def scalar_text(value: Json) -> str | None:
    """A scalar as facets show it and as words are looked for in it; None for null."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return show_number(value)
        case str():
            return value
        case _:
            return None


def show_number(value: float) -> str:
    """A number as JSON has it, but whole floats without their fraction."""
    return str(int(value)) if float(value).is_integer() else str(value)


def normalise(text: str) -> str:
    """The form in which facet values are compared."""
    return unicodedata.normalize("NFKD", text.strip()).lower()


def paths_of(document: Object, prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Every attribute with its value, nested ones with dots, parents before children."""
    for name, value in document.items():
        path = f"{prefix}{name}"
        yield path, value
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from paths_of(each, f"{path}.")
