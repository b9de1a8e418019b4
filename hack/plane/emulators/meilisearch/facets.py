"""Facets: which values an attribute has among documents, counted, and looking for a value."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hack.plane.emulators.meilisearch import settings
from hack.plane.emulators.meilisearch.attributes import (
    FilterRule,
    Match,
    filter_rules,
    is_visible,
    leaves,
    match_pattern,
    normalise,
    paths_of,
    patterns_of,
    rule_for,
    scalar_text,
    values_at,
)
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.indexes import Index
from hack.plane.emulators.meilisearch.shapes import Json, Object


@dataclass(slots=True)
class Facets:
    """Counts by attribute and value, and the bounds of the numbers."""

    distribution: dict[str, dict[str, int]] = field(default_factory=dict)
    stats: dict[str, tuple[float, float]] = field(default_factory=dict)

    def view_distribution(self) -> Object:
        """The counts as answers show them."""
        return {name: dict(counts) for name, counts in self.distribution.items()}

    def view_stats(self) -> Object:
        """The bounds as answers show them."""
        return {name: {"min": low, "max": high} for name, (low, high) in self.stats.items()}


def rules_of(index: Index) -> list[FilterRule]:
    """What may be filtered, faceted and searched for facets."""
    return filter_rules(settings.value_of(index.settings, "filterableAttributes"))


def check(index: Index, patterns: Sequence[str]) -> None:
    """Refuse patterns that mean nothing filterable; the refusal lists what is."""
    rules = rules_of(index)
    for pattern in patterns:
        if not any(rule.filterable and rule.intersects(pattern) for rule in rules):
            raise ApiError("invalid_search_facets", f"Invalid facet distribution: {_refusal(pattern, rules)}")


def _refusal(pattern: str, rules: list[FilterRule]) -> str:
    closed = next(
        (n for n, rule in enumerate(rules) if not rule.filterable and rule.match(pattern) is Match.MATCH), None
    )
    if closed is not None:
        return (
            f"Attribute `{pattern}` matched rule #{closed} in filterableAttributes, but this rule does not enable "
            "filtering.\n"
            f"Hint: enable filtering in rule #{closed} by modifying the features.filter object\n"
            f"Hint: prepend another rule matching `{pattern}` with appropriate filter features before rule #{closed}"
        )
    known = patterns_of(rules, lambda rule: rule.filterable)
    if not known:
        return f"Pattern `{pattern}` is not filterable. This index does not have configured filterable attributes."
    return f"Pattern `{pattern}` is not filterable. Available filterable attributes patterns are: `{', '.join(known)}`."


def count(index: Index, patterns: Sequence[str], documents: Iterable[Object]) -> Facets:
    """The facets of some documents; the patterns have been checked."""
    rules = rules_of(index)
    counts: dict[str, Counter[str]] = {}
    numbers: dict[str, list[float]] = {}
    for document in documents:
        for path, value in paths_of(document):
            if not _is_counted(path, patterns, rules):
                continue
            counter = counts.setdefault(path, Counter())
            found = list(leaves(value))
            counter.update({text for leaf in found if (text := scalar_text(leaf)) is not None})
            numbers.setdefault(path, []).extend(
                leaf for leaf in found if isinstance(leaf, int | float) and not isinstance(leaf, bool)
            )
    facets = Facets()
    for name in sorted(counts):
        facets.distribution[name] = ordered(index, name, counts[name])
        if numbers[name]:
            facets.stats[name] = (float(min(numbers[name])), float(max(numbers[name])))
    for pattern in patterns:
        if "*" not in pattern:
            facets.distribution.setdefault(pattern, {})
    return facets


def _is_counted(path: str, patterns: Sequence[str], rules: list[FilterRule]) -> bool:
    if not any(match_pattern(pattern, path) is Match.MATCH for pattern in patterns):
        return False
    found = rule_for(path, rules)
    return found is not None and found[1].filterable


def ordered(index: Index, attribute: str, counts: Counter[str]) -> dict[str, int]:
    """As many values as the settings allow, in their order: by name, or by count."""
    faceting = settings.value_of(index.settings, "faceting")
    known: Object = faceting if isinstance(faceting, dict) else {}
    orders, most = known.get("sortFacetValuesBy"), known.get("maxValuesPerFacet")
    by_name: Object = orders if isinstance(orders, dict) else {}
    items = sorted(counts.items())
    if by_name.get(attribute, by_name.get("*")) == "count":
        items.sort(key=lambda item: -item[1])
    return dict(items[: most if isinstance(most, int) else len(items)])


def search(index: Index, attribute: str, query: str | None, documents: Iterable[Object]) -> list[Json]:
    """The values of an attribute that begin like the query, with their counts."""
    _check_searchable(index, attribute)
    wanted = normalise(query or "")
    counts: Counter[str] = Counter()
    for document in documents:
        values = (leaf for value in values_at(document, attribute) for leaf in leaves(value))
        counts.update({value for value in values if isinstance(value, str) and normalise(value).startswith(wanted)})
    return [{"value": value, "count": number} for value, number in ordered(index, attribute, counts).items()]


def _check_searchable(index: Index, attribute: str) -> None:
    if not settings.value_of(index.settings, "facetSearch"):
        raise ApiError("facet_search_disabled", "The facet search is disabled for this index")
    rules = rules_of(index)
    found = rule_for(attribute, rules)
    if found is not None and found[1].facet_search:
        return
    known = patterns_of(rules, lambda rule: rule.facet_search)
    advice = "To make it facet-searchable add it to the `filterableAttributes` index settings."
    if not known:
        detail = f"This index does not have configured facet-searchable attributes. {advice}"
    else:
        detail = f"Available facet-searchable attributes patterns are: `{_shown(index, known)}`. {advice}"
    raise ApiError("invalid_facet_search_facet_name", f"Attribute `{attribute}` is not facet-searchable. {detail}")


def _shown(index: Index, names: list[str]) -> str:
    return visible_names(index, names)


def visible_names(index: Index, names: Iterable[str]) -> str:
    """Attribute names for an error; those that are not displayed are only hinted at."""
    everything = list(names)
    displayed = index.settings.get("displayedAttributes")
    shown = [name for name in everything if is_visible(name, displayed)]
    return ", ".join(shown) + (", <..hidden-attributes>" if len(shown) < len(everything) else "")
