"""`_formatted` and `_matchesPosition`: documents with matched words marked and texts cut to a length."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hack.plane.emulators.meilisearch.attributes import scalar_text
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.words import Token, Tokeniser


@dataclass(frozen=True, slots=True)
class Format:
    """What to do with which attributes. `crops` maps attributes to lengths in words; `*` stands for all."""

    highlights: frozenset[str]
    crops: Mapping[str, int]
    marker: str
    before: str
    after: str

    def is_asked_for(self) -> bool:
        """True if anything is to be formatted."""
        return bool(self.highlights or self.crops)


def read_crops(names: Iterable[str], default: int) -> dict[str, int]:
    """`attribute` or `attribute:length`."""
    crops = {}
    for name in names:
        attribute, _, length = name.rpartition(":")
        crops[attribute or name] = int(length) if attribute and length.isdigit() else default
    return crops


@dataclass(frozen=True, slots=True)
class Formatter:
    """Formats the documents of one query. `matched` has the words found, with how many letters of each it gave."""

    form: Format
    tokeniser: Tokeniser
    matched: Mapping[str, int]

    def format(self, document: Object) -> Object:
        """The document with every scalar as text, marked and cut as asked for."""
        return {name: self._value(value, name) for name, value in document.items()}

    def _value(self, value: Json, path: str) -> Json:
        match value:
            case dict():
                return {name: self._value(inner, f"{path}.{name}") for name, inner in value.items()}
            case list():
                return [self._value(item, path) for item in value]
            case bool() | None:
                return value
            case _:
                return self._text(scalar_text(value) or "", path)

    def _text(self, text: str, path: str) -> str:
        highlights = _applies(path, self.form.highlights)
        length = next((self.form.crops[name] for name in _ways(path) if name in self.form.crops), None)
        tokens = self.tokeniser.cut(text)
        start, end = (0, len(text)) if length is None else self._window(text, tokens, length)
        marked = self._marked(text, tokens, start, end) if highlights else text[start:end]
        return (self.form.marker if start else "") + marked + (self.form.marker if end < len(text) else "")

    def _window(self, text: str, tokens: Sequence[Token], length: int) -> tuple[int, int]:
        """The stretch of `length` words that has most matches, the first such, with as many words on either side."""
        if length <= 0 or len(tokens) <= length:
            return 0, len(text)
        hits = [n for n, token in enumerate(tokens) if token.word in self.matched] or [0]
        runs = [hits[n : bisect_left(hits, hit + length)] for n, hit in enumerate(hits)]
        best = max(runs, key=len)
        first, last = best[0], best[-1]
        room = length - (last - first + 1)
        before = min(first, max(-(-room // 2), room - (len(tokens) - 1 - last)))
        first, last = first - before, first - before + length - 1
        start = 0 if first == 0 else tokens[first].start
        return start, len(text) if last == len(tokens) - 1 else tokens[last].end

    def _marked(self, text: str, tokens: Iterable[Token], start: int, end: int) -> str:
        result, at = "", start
        for token in tokens:
            letters = self.matched.get(token.word)
            if letters is None or token.start < start or token.end > end:
                continue
            stop = min(token.start + letters, token.end)
            result += text[at : token.start] + self.form.before + text[token.start : stop] + self.form.after
            at = stop
        return result + text[at:end]

    def positions(self, document: Object) -> Object:
        """Where matched words are, in bytes, by attribute."""
        found: Object = {}
        for name, value in document.items():
            self._collect(found, name, value, None)
        return found

    def _collect(self, found: Object, path: str, value: Json, index: int | None) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                self._collect(found, f"{path}.{name}", inner, None)
        elif isinstance(value, list):
            for position, item in enumerate(value):
                self._collect(found, path, item, position)
        elif places := self._places(scalar_text(value) or "", index):
            earlier = found.get(path)
            found[path] = [*(earlier if isinstance(earlier, list) else []), *places]

    def _places(self, text: str, index: int | None) -> list[Json]:
        within: Object = {} if index is None else {"indices": [index]}
        return [
            {
                "start": len(text[: token.start].encode()),
                "length": len(text[token.start : min(token.start + self.matched[token.word], token.end)].encode()),
                **within,
            }
            for token in self.tokeniser.cut(text)
            if token.word in self.matched
        ]


def _ways(path: str) -> list[str]:
    """The names under which an attribute can be asked for."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)] + ["*"]


def _applies(path: str, names: frozenset[str]) -> bool:
    return any(name in names for name in _ways(path))
