"""The settings of an index: what may be set, what it is when unset, and how changes add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from hack.plane.emulators.meilisearch import shapes
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated
from hack.plane.emulators.meilisearch.features import Features
from hack.plane.emulators.meilisearch.shapes import ABSENT, Field, Json, Object, Place, Reader, Shape

Changes = dict[str, Json]
"""Settings by name; null resets one to its default."""

_RULES: Final = ("words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "sort", "exactness")
_DEFAULT_RULES: Final = ("words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness")
_REMOTE_EMBEDDERS: Final = ("openAi", "ollama", "rest", "huggingFace")


def _ranking_rule(text: str) -> str:
    if text in _RULES or text.endswith((":asc", ":desc")):
        return text
    raise ValueError(
        f"`{text}` ranking rule is invalid. Valid ranking rules are words, typo, sort, proximity, attribute, "
        "exactness and custom ranking rules."
    )


def _filterable(value: Json, place: Place) -> Json:
    if isinstance(value, dict):
        rule: Object = _FILTERABLE_PATTERNS(value, place)
        return rule
    return shapes.string(value, place)


_FILTERABLE_PATTERNS = Shape((
    Field("attributePatterns", shapes.strings, required=True),
    Field(
        "features",
        Shape((
            Field("facetSearch", shapes.boolean, default=False),
            Field(
                "filter",
                Shape((
                    Field("equality", shapes.boolean, default=True),
                    Field("comparison", shapes.boolean, default=False),
                )),
                default={"equality": True, "comparison": False},
            ),
        )),
        default={"facetSearch": False, "filter": {"equality": True, "comparison": False}},
    ),
))  # fmt: skip


def _partial(shape: Shape) -> Reader:
    """An object of which only what is given counts."""
    return lambda value, place: {name: each for name, each in shape(value, place).items() if each is not ABSENT}


def _optional(name: str, reader: Reader) -> Field:
    return Field(name, shapes.nullable(reader), default=ABSENT)


def _word_sizes(value: Json, place: Place) -> Object:
    sizes: Object = _partial(Shape((_optional("oneTypo", shapes.byte), _optional("twoTypos", shapes.byte))))(
        value, place
    )
    one, two = sizes.get("oneTypo"), sizes.get("twoTypos")
    if isinstance(one, int) and isinstance(two, int) and one > two:
        raise place.wrong_value(_bad_word_sizes(one, two))
    return sizes


def _bad_word_sizes(one: int, two: int) -> str:
    return (
        "`minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be between `0` and `255`, "
        f"and `twoTypos` should be greater or equals to `oneTypo` but found `oneTypo: {one}` and twoTypos: {two}`."
    )


def _embedder(value: Json, place: Place) -> Json:
    if not isinstance(value, dict):
        raise place.wrong_type("an object", value)
    source = value.get("source", "openAi")
    if source not in _REMOTE_EMBEDDERS:
        raise not_emulated(f"embedders of the source {shapes.compact(source)}")
    return value


@dataclass(frozen=True, slots=True)
class Group:
    """One setting. `adds_up` marks objects whose members change one by one."""

    name: str
    route: str
    verb: str
    code: str
    reader: Reader
    default: Json = None
    adds_up: bool = False
    is_wildcard: bool = False


def _put(name: str, route: str, reader: Reader, default: Json = None, *, is_wildcard: bool = False) -> Group:
    code = f"invalid_settings_{route.replace('-', '_')}"
    return Group(name, route, "PUT", code, reader, default, is_wildcard=is_wildcard)


def _patch(name: str, route: str, code: str, reader: Reader, default: Json) -> Group:
    return Group(name, route, "PATCH", code, reader, default, adds_up=True)


_TYPOS = _partial(Shape((
    _optional("enabled", shapes.boolean),
    _optional("minWordSizeForTypos", _word_sizes),
    _optional("disableOnWords", shapes.sorted_set),
    _optional("disableOnAttributes", shapes.sorted_set),
    _optional("disableOnNumbers", shapes.boolean),
)))  # fmt: skip
_FACETING = _partial(Shape((
    _optional("maxValuesPerFacet", shapes.unsigned),
    _optional("sortFacetValuesBy", shapes.mapping(shapes.one_of("alpha", "count"))),
)))  # fmt: skip
_CHAT = _partial(Shape((
    _optional("description", shapes.string),
    _optional("documentTemplate", shapes.string),
    _optional("documentTemplateMaxBytes", shapes.unsigned),
    _optional("searchParameters", shapes.mapping(shapes.anything)),
)))  # fmt: skip
_LOCALIZED = shapes.array(Shape((
    Field("attributePatterns", shapes.strings, required=True),
    Field("locales", shapes.strings, required=True),
)))  # fmt: skip
_FOREIGN_KEYS = shapes.array(Shape((
    Field("foreignIndexUid", shapes.string, required=True),
    Field("fieldName", shapes.string, required=True),
)))  # fmt: skip

GROUPS: Final = (
    _put("displayedAttributes", "displayed-attributes", shapes.strings, ["*"], is_wildcard=True),
    _put("searchableAttributes", "searchable-attributes", shapes.strings, ["*"], is_wildcard=True),
    _put("filterableAttributes", "filterable-attributes", shapes.array(_filterable), []),
    _put("sortableAttributes", "sortable-attributes", shapes.sorted_set, []),
    _put("foreignKeys", "foreign-keys", _FOREIGN_KEYS, []),
    _put("rankingRules", "ranking-rules", shapes.array(shapes.parsed(_ranking_rule)), list(_DEFAULT_RULES)),
    _put("stopWords", "stop-words", shapes.sorted_set, []),
    _put("nonSeparatorTokens", "non-separator-tokens", shapes.sorted_set, []),
    _put("separatorTokens", "separator-tokens", shapes.sorted_set, []),
    _put("dictionary", "dictionary", shapes.sorted_set, []),
    _put("synonyms", "synonyms", shapes.mapping(shapes.strings), {}),
    _put("distinctAttribute", "distinct-attribute", shapes.string),
    _put("proximityPrecision", "proximity-precision", shapes.one_of("byWord", "byAttribute"), "byWord"),
    _patch("typoTolerance", "typo-tolerance", "invalid_settings_typo_tolerance", _TYPOS, {
        "enabled": True,
        "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
        "disableOnWords": [],
        "disableOnAttributes": [],
        "disableOnNumbers": False,
    }),
    _patch("faceting", "faceting", "invalid_settings_faceting", _FACETING, {
        "maxValuesPerFacet": 100,
        "sortFacetValuesBy": {"*": "alpha"},
    }),
    _patch(
        "pagination",
        "pagination",
        "invalid_settings_pagination",
        _partial(Shape((_optional("maxTotalHits", shapes.non_zero),))),
        {"maxTotalHits": 1000},
    ),
    _patch("embedders", "embedders", "invalid_settings_embedders", shapes.mapping(shapes.nullable(_embedder)), {}),
    _put("searchCutoffMs", "search-cutoff-ms", shapes.unsigned),
    _put("localizedAttributes", "localized-attributes", _LOCALIZED),
    _put("facetSearch", "facet-search", shapes.boolean, True),  # noqa: FBT003  # a default among others
    _put("prefixSearch", "prefix-search", shapes.one_of("indexingTime", "disabled"), "indexingTime"),
    _patch("chat", "chat", "invalid_settings_index_chat", _CHAT, {
        "description": "",
        "documentTemplate": "{% for field in fields %}{{ field.name }}: {{ field.value }}\n{% endfor %}",
        "documentTemplateMaxBytes": 400,
        "searchParameters": {},
    }),
)  # fmt: skip
"""In the order in which answers and errors list them."""

_EXPERIMENTAL: Final = {"chat": "chatCompletions", "foreignKeys": "foreignKeys"}
_BY_NAME: Final[Mapping[str, Group]] = MappingProxyType({group.name: group for group in GROUPS})

BODY: Final = Shape(
    tuple(Field(group.name, shapes.nullable(group.reader), group.code, default=ABSENT) for group in GROUPS)
)
RESET_ALL: Final[Changes] = {group.name: None for group in GROUPS}


def read_all(body: Json, features: Features) -> Changes:
    """The changes that a body of `PATCH /settings` asks for; raises ApiError."""
    values: dict[str, Any] = shapes.read_json(BODY, body)
    return _checked({name: value for name, value in values.items() if value is not ABSENT}, features)


def read_one(group: Group, body: Json, features: Features) -> Changes:
    """The change that the body of one setting's own route asks for."""
    value: Json = shapes.nullable(group.reader)(body, Place(code=group.code))
    return _checked({group.name: value}, features)


def _checked(changes: Changes, features: Features) -> Changes:
    for name, feature in _EXPERIMENTAL.items():
        if changes.get(name) is not None:
            features.require(feature, f"setting `{name}` in the index settings")
    rules = changes.get("rankingRules")
    if isinstance(rules, list) and "attribute" in rules and ("attributeRank" in rules or "wordPosition" in rules):
        raise ApiError(
            "invalid_settings_ranking_rules",
            "Mixed usage of the attribute, attributeRank, and wordPosition ranking rules. You must either use the "
            "attribute ranking rule alone or the attributeRank and wordPosition ranking rules.",
        )
    return changes


def shown(changes: Changes) -> Object:
    """The changes as a task's details show them: secrets hidden, a reset wildcard as `*`."""
    wildcards = {group.name for group in GROUPS if group.is_wildcard}
    return {
        name: ["*"]
        if value is None and name in wildcards
        else _without_secrets(value)
        if name == "embedders"
        else value
        for name, value in changes.items()
    }


def _without_secrets(embedders: Json) -> Json:
    if not isinstance(embedders, dict):
        return embedders
    return {
        name: {**each, "apiKey": hide(str(each["apiKey"]))} if isinstance(each, dict) and each.get("apiKey") else each
        for name, each in embedders.items()
    }


def hide(secret: str) -> str:
    """As much of a secret as the server shows."""
    for shorter_than, kept, mask in ((10, 0, "XXX..."), (20, 2, "XXXX..."), (30, 3, "XXXXX...")):
        if len(secret) < shorter_than:
            return secret[:kept] + mask
    return f"{secret[:5]}XXXXXX..."


def needs_remote_embedder(changes: Changes) -> bool:
    """True if applying the changes makes the server call an embedder somewhere else."""
    embedders = changes.get("embedders")
    return isinstance(embedders, dict) and any(each is not None for each in embedders.values())


def apply(current: Object, changes: Changes) -> Object:
    """The settings after the changes; raises ApiError for what only shows when they meet."""
    result = dict(current)
    for name, value in changes.items():
        group = _BY_NAME[name]
        if value is None or (group.is_wildcard and isinstance(value, list) and "*" in value):
            result.pop(name, None)
        elif group.adds_up:
            result[name] = _merged(result.get(name, {}), value)
        else:
            result[name] = value
    _check_word_sizes(value_of(result, "typoTolerance"))
    return result


def _merged(current: Json, change: Json) -> Json:
    if not isinstance(current, dict) or not isinstance(change, dict):
        return change
    result = dict(current)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        elif name == "minWordSizeForTypos":
            result[name] = _merged(result.get(name, {}), value)
        else:
            result[name] = value
    return result


def _check_word_sizes(typos: Json) -> None:
    sizes = typos.get("minWordSizeForTypos") if isinstance(typos, dict) else None
    one, two = (sizes.get("oneTypo"), sizes.get("twoTypos")) if isinstance(sizes, dict) else (0, 0)
    if isinstance(one, int) and isinstance(two, int) and one > two:
        raise ApiError("invalid_settings_typo_tolerance", _bad_word_sizes(one, two))


def value_of(settings: Object, name: str) -> Json:
    """One setting as it stands, defaults filled in."""
    group = _BY_NAME[name]
    if name not in settings:
        return group.default
    return _filled(group.default, settings[name]) if group.adds_up else settings[name]


def _filled(default: Json, value: Json) -> Json:
    if not isinstance(default, dict) or not isinstance(value, dict):
        return value
    return {name: _filled(default.get(name), each) for name, each in {**default, **value}.items()}


def names(settings: Object, setting: str) -> list[str] | None:
    """A list of attributes; None when it means all of them."""
    value = settings.get(setting)
    return [str(name) for name in value] if isinstance(value, list) else None


def view(settings: Object, features: Features) -> Object:
    """All settings as `GET /settings` shows them."""
    hidden = {name for name, feature in _EXPERIMENTAL.items() if feature not in features}
    return {group.name: value_of(settings, group.name) for group in GROUPS if group.name not in hidden}
