"""The words of documents and queries: cutting texts up, and finding words by prefix and with typos."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hack.plane.emulators.meilisearch.attributes import Match, leaves, match_name, paths_of, scalar_text
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.typos import within_typos

# Words of two values of one array are never neighbours.
_BETWEEN_VALUES: Final = 8
_LONGEST_POSITION: Final = 1000


class Token(NamedTuple):
    """A word in a text: its normal form and where it is."""

    word: str
    start: int
    end: int


class Posting(NamedTuple):
    """Where a document has a word: the rank of the attribute, and the position in it."""

    attribute: int
    position: int


def fold(text: str) -> str:
    """Without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


@dataclass(frozen=True, slots=True)
class Tokeniser:
    """Cuts texts into words; separators may be added and taken away."""

    separators: tuple[str, ...] = ()
    word: re.Pattern[str] = field(default_factory=lambda: re.compile(r"[^\W_]+"))

    @classmethod
    def of(cls, separators: Iterable[str], non_separators: Iterable[str]) -> "Tokeniser":
        """With an index's settings."""
        kept = "|".join(re.escape(token) for token in sorted(non_separators, key=len, reverse=True) if token)
        pattern = re.compile(rf"(?:[^\W_]|{kept})+" if kept else r"[^\W_]+")
        return cls(tuple(separators), pattern)

    def cut(self, text: str) -> list[Token]:
        """The words of a text."""
        for separator in self.separators:
            text = text.replace(separator, " " * len(separator))
        return [Token(fold(found.group()), found.start(), found.end()) for found in self.word.finditer(text)]


class Words:
    """The words of an index, each with the documents that have it."""

    def __init__(
        self, documents: Iterable[tuple[int, Object]], searchable: Sequence[str] | None, tokeniser: Tokeniser,
        stop_words: Iterable[str],
    ) -> None:  # fmt: skip
        self._postings: dict[str, dict[int, list[Posting]]] = {}
        self._tokeniser = tokeniser
        self._stop_words = {fold(word) for word in stop_words}
        self._searchable = searchable
        self._ranks: dict[str, int] = {name: rank for rank, name in enumerate(searchable or ())}
        for number, document in documents:
            self._add(number, document)
        self._vocabulary = sorted(self._postings)

    def _add(self, number: int, document: Object) -> None:
        for path, value in paths_of(document):
            rank = self._rank(path)
            if rank is not None:
                self._add_value(number, rank, value)

    def _rank(self, path: str) -> int | None:
        if self._searchable is None:
            return self._ranks.setdefault(path, len(self._ranks))
        return next((self._ranks[name] for name in self._searchable if match_name(name, path) is Match.MATCH), None)

    def _add_value(self, number: int, rank: int, value: Json) -> None:
        position = 0
        for leaf in leaves(value):
            for token in self._tokeniser.cut(scalar_text(leaf) or ""):
                if token.word not in self._stop_words:
                    place = Posting(rank, min(position, _LONGEST_POSITION))
                    self._postings.setdefault(token.word, {}).setdefault(number, []).append(place)
                position += 1
            position += _BETWEEN_VALUES

    @property
    def attribute_count(self) -> int:
        """How many attributes have words."""
        return max(len(self._ranks), 1)

    def ranks_of(self, names: Iterable[str]) -> set[int]:
        """The ranks of the attributes that are, or are below, one of the names."""
        wanted = list(names)
        return {
            rank for path, rank in self._ranks.items() if any(match_name(name, path) is Match.MATCH for name in wanted)
        }

    def has(self, word: str) -> Mapping[int, list[Posting]]:
        """The documents with exactly this word, by number."""
        return self._postings.get(word, {})

    def with_prefix(self, prefix: str) -> Iterator[str]:
        """Every word that begins so."""
        at = bisect_left(self._vocabulary, prefix)
        while at < len(self._vocabulary) and self._vocabulary[at].startswith(prefix):
            yield self._vocabulary[at]
            at += 1

    def with_typos(self, word: str, most: int, *, as_prefix: bool) -> Iterator[tuple[str, int]]:
        """Every word that is this one, or begins so, but for some typos. A wrong first letter counts twice."""
        for candidate in self._vocabulary:
            shortened = candidate[: len(word)] if as_prefix else candidate
            distance = within_typos(word, shortened, most)
            if distance is None or distance == 0:
                continue
            distance += candidate[:1] != word[:1]
            if distance <= most:
                yield candidate, distance
