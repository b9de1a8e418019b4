"""What a query string asks for, and which documents have it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.words import Posting, Tokeniser, Words, fold


@dataclass(frozen=True, slots=True)
class Typos:
    """How many typos words may have."""

    enabled: bool
    one_from: int
    two_from: int
    exact_words: frozenset[str]
    exact_attributes: frozenset[str]
    exact_numbers: bool

    @classmethod
    def of(cls, setting: Json) -> "Typos":
        """From the `typoTolerance` setting, defaults filled in."""
        values: Object = setting if isinstance(setting, dict) else {}
        sizes = values.get("minWordSizeForTypos")
        known: Object = sizes if isinstance(sizes, dict) else {}
        one, two = known.get("oneTypo", 5), known.get("twoTypos", 9)
        return cls(
            enabled=bool(values.get("enabled", True)),
            one_from=one if isinstance(one, int) else 5,
            two_from=two if isinstance(two, int) else 9,
            exact_words=frozenset(fold(word) for word in _texts(values.get("disableOnWords"))),
            exact_attributes=frozenset(_texts(values.get("disableOnAttributes"))),
            exact_numbers=bool(values.get("disableOnNumbers", False)),
        )

    def allowed(self, word: str) -> int:
        """For one word of a query."""
        if not self.enabled or word in self.exact_words or (self.exact_numbers and word.isdigit()):
            return 0
        return (len(word) >= self.one_from) + (len(word) >= self.two_from)


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase of a query."""

    words: tuple[str, ...]
    is_prefix: bool = False
    is_phrase: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """The terms that a document should have, and those that it must not have."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...]


def read(text: str, tokeniser: Tokeniser, stop_words: frozenset[str], *, prefixes: bool) -> Query:
    """Cut a query string into terms; the last word may be the beginning of one."""
    wanted: list[Term] = []
    unwanted: list[Term] = []
    for part, quoted, negative in _parts(text):
        target = unwanted if negative else wanted
        words = tuple(token.word for token in tokeniser.cut(part))
        if quoted and words:
            target.append(Term(words, is_phrase=True))
        elif not quoted:
            target += [Term((word,)) for word in words if word not in stop_words]
    if prefixes and wanted and not wanted[-1].is_phrase and text[-1:].isalnum():
        wanted[-1] = Term(wanted[-1].words, is_prefix=True)
    return Query(tuple(wanted), tuple(unwanted))


def _parts(text: str) -> Iterator[tuple[str, bool, bool]]:
    """Pieces of the query: text, whether in quotes, whether after a minus."""
    for number, piece in enumerate(text.split('"')):
        quoted = number % 2 == 1
        if quoted:
            yield piece, True, text.split('"')[number - 1].endswith("-")
            continue
        for word in piece.split():
            yield word.lstrip("-"), False, word.startswith("-") and len(word) > 1


@dataclass(slots=True)
class Hit:
    """How a document has one term."""

    typos: int
    is_exact: bool
    places: list[Posting] = field(default_factory=list)


class Matcher:
    """Finds the documents that have a term."""

    def __init__(
        self, words: Words, typos: Typos, synonyms: Mapping[str, Sequence[str]], within: set[int] | None
    ) -> None:
        self._words = words
        self._typos = typos
        self._synonyms = synonyms
        self._within = within
        self._exact_ranks = words.ranks_of(typos.exact_attributes)
        self.matched: dict[str, int] = {}
        """Every word that was matched, with how many of its letters the query gives."""

    def documents_with(self, term: Term) -> dict[int, Hit]:
        """The documents that have the term, by number."""
        if term.is_phrase:
            return self._phrase(term.words)
        found: dict[int, Hit] = {}
        for word, typos, letters in self._variants(term):
            self.matched[word] = max(self.matched.get(word, 0), letters)
            for number, places in self._words.has(word).items():
                self._note(found, number, places, typos, is_exact=word == term.words[0])
        return found

    def _note(self, found: dict[int, Hit], number: int, places: list[Posting], typos: int, *, is_exact: bool) -> None:
        allowed = [place for place in places if self._counts(place, typos)]
        if not allowed:
            return
        hit = found.setdefault(number, Hit(typos, is_exact))
        hit.typos = min(hit.typos, typos)
        hit.is_exact |= is_exact
        hit.places += allowed

    def _counts(self, place: Posting, typos: int) -> bool:
        if self._within is not None and place.attribute not in self._within:
            return False
        return typos == 0 or place.attribute not in self._exact_ranks

    def _variants(self, term: Term) -> Iterator[tuple[str, int, int]]:
        """Words that stand for the term: the word, its typos, and how many of its letters are matched."""
        word = term.words[0]
        yield word, 0, len(word)
        for synonym in self._synonyms.get(word, ()):
            yield fold(synonym), 0, len(synonym)
        if term.is_prefix:
            for longer in self._words.with_prefix(word):
                if longer != word:
                    yield longer, 0, len(word)
        if most := self._typos.allowed(word):
            for other, typos in self._words.with_typos(word, most, as_prefix=term.is_prefix):
                yield other, typos, len(other)

    def _phrase(self, words: tuple[str, ...]) -> dict[int, Hit]:
        found: dict[int, Hit] = {}
        for word in words:
            self.matched[word] = len(word)
        for number, starts in self._words.has(words[0]).items():
            places = [start for start in starts if self._counts(start, 0) and self._follows(number, start, words)]
            if places:
                found[number] = Hit(0, is_exact=True, places=places)
        return found

    def _follows(self, number: int, start: Posting, words: tuple[str, ...]) -> bool:
        return all(
            Posting(start.attribute, start.position + offset) in self._words.has(word).get(number, ())
            for offset, word in enumerate(words)
        )
