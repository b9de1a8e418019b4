"""What the API server refuses beyond types, and the sentence that it answers: metadata for the generated schemas.

A field carries a `Meta` made here, a struct lists rules in `RULES`. A pattern becomes a CEL rule too, because the API
server's own answer to a pattern is the pattern. CEL sees one object; rules that span objects are the reconciler's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from msgspec import Meta

from bulkhead.api.names import RESERVED_PREFIXES, RESERVED_SLUGS, SLUG_PATTERN

SET = Meta(extra_json_schema={"x-kubernetes-list-type": "set"})
"""Marks a list of unique scalars."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `x-kubernetes-validations`."""

    expression: str
    message: str
    """What is wrong and the way out. The API server puts the field's path before it, but not for a rule of a whole
    object."""
    message_expression: str = ""
    """CEL that says the same with the value in it."""
    optional_old: bool = False
    """`oldSelf` is then an optional, empty on creation; so a rule can be about creation alone."""


def map_by(*keys: str) -> Meta:
    """Marks a list of objects that are told apart by `keys`, so that transition rules and patches reach each."""
    return Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


def matching(pattern: str, sentence: str) -> Meta:
    r"""A pattern of Python and RE2 alike, and what to answer where it does not match.

    It ends with `\Z`: Python's `$` also matches before a final newline.
    """
    return Meta(pattern=pattern, extra={"sentence": sentence})


def checked(*rules: Rule) -> Meta:
    """CEL rules about one value (`self`)."""
    return Meta(extra={"rules": rules})


def literal(value: str | tuple[str, ...]) -> str:
    """`value` as CEL writes it; JSON's escapes are a subset of CEL's."""
    return json.dumps(value)


def re2(pattern: str) -> str:
    r"""A pattern of ours in RE2, which writes Python's `\Z` as `$`."""
    return pattern.replace(r"\Z", "$")


def slug_rules(name: str, field: str = "", unless: str = "") -> tuple[Rule, ...]:
    """That the CEL expression `name` can be the name of a DataCluster; the same as `names.slug_problem`.

    `field` names it where the API server does not. `unless` exempts: a name can not be changed, so it is judged once,
    and a list of reserved words that grows never locks up what exists.
    """

    def rule(holds: str, sentence: str) -> Rule:
        said = " + ".join((literal(f'{field} "'.lstrip()), name, literal(f'" {sentence}')))
        return Rule(f"{unless} || {holds}" if unless else holds, f"{field} {sentence}".strip(), said, bool(unless))

    return (
        rule(f'!{name}.contains("--")', 'contains "--", which separates parts of derived names: use single dashes'),
        rule(
            f"{name}.matches({literal(re2(SLUG_PATTERN))})",
            'must be 1 to 48 characters of a-z, 0-9 and "-", start with a letter and not end with "-"',
        ),
        rule(
            f"!({name} in {literal(RESERVED_SLUGS)})",
            "is reserved: it has a meaning of its own in an engine; choose another name",
        ),
        rule(
            f"!{literal(RESERVED_PREFIXES)}.exists(prefix, {name}.startsWith(prefix))",
            f"starts with a reserved prefix ({', '.join(RESERVED_PREFIXES)}): choose another name",
        ),
    )
