"""The collections that the observed requests were sent to, made by requests that any server takes."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.contract.qdrant import tokens
from tests.contract.qdrant.server import ALTERNATIVE_KEY, API_KEY, Server

SIZE = {"vectors": {"size": 4, "distance": "Cosine"}}
VECTORS = ([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.0, 0.0])
POINTS: list[dict[str, Any]] = [
    {"id": number, "vector": vector, "payload": {"k": "a" if number % 2 else "b", "n": number, "ref": number}}
    for number, vector in enumerate(VECTORS, start=1)
]


@dataclass(frozen=True, slots=True)
class World:
    """`own` belongs to the tokens, `other` to a neighbour, `missing` to nobody; `names` are the data's placeholders."""

    names: dict[str, str]
    credentials: dict[str, str | None] = field(repr=False)

    def fill(self, text: str, target: str) -> str:
        """A text of the data with its names; `target` is the collection that the request is about."""
        about = {f"{kind}_{target}": kind for kind in ("snapshot", "shard_snapshot")}
        named = self.names | {kind: self.names[name] for name, kind in about.items() if name in self.names}
        named |= {"target": self.names[target], "alias_target": self.names[f"alias_{target}"]}
        for placeholder, name in named.items():
            text = text.replace(f"{{{placeholder}}}", name)
        return text


class Worlds:
    """Makes worlds, and keeps one for the next request as long as none has disturbed it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = count(1)
        self._kept: dict[bool, World] = {}
        revocations = {"points": [POINTS[0] | {"payload": {"t": "yes"}}]}
        server.ask("PUT", "/collections/tokens", SIZE).expect()
        server.ask("PUT", "/collections/tokens/points?wait=true", revocations).expect()

    def kept(self, *, own: bool) -> World:
        """A world with or without the tokens' own collection, as good as new."""
        if own not in self._kept:
            self._kept[own] = self.fresh(own=own)
        return self._kept[own]

    def fresh(self, *, own: bool = True) -> World:
        number = next(self._numbers)
        kinds = ("own", "other", "missing", "alias_own", "alias_other", "alias_missing", "alias_new")
        names = {kind: f"{kind}-{number}" for kind in kinds}
        for kind in ["own", "other"] if own else ["other"]:
            self._furnish(names, kind)
        return World(names, _credentials(names["own"]))

    def disturbed(self, world: World) -> None:
        """A request has changed something: the world is taken down and not kept."""
        self._kept = {own: kept for own, kept in self._kept.items() if kept is not world}
        for kind in ("own", "other", "missing"):
            self._server.ask("DELETE", f"/collections/{world.names[kind]}").expect()

    def _furnish(self, names: dict[str, str], kind: str) -> None:
        path = f"/collections/{names[kind]}"
        alias = {"create_alias": {"collection_name": names[kind], "alias_name": names[f"alias_{kind}"]}}
        self._server.ask("PUT", path, SIZE).expect()
        self._server.ask("PUT", f"{path}/index?wait=true", {"field_name": "k", "field_schema": "keyword"}).expect()
        self._server.ask("PUT", f"{path}/points?wait=true", {"points": POINTS}).expect()
        self._server.ask("POST", "/collections/aliases", {"actions": [alias]}).expect()
        names[f"snapshot_{kind}"] = self._server.ask("POST", f"{path}/snapshots").expect()["name"]
        names[f"shard_snapshot_{kind}"] = self._server.ask("POST", f"{path}/shards/0/snapshots").expect()["name"]


def _credentials(own: str) -> dict[str, str | None]:
    """Every credential that the requests were sent with, by the name that the data has for it."""
    access = [{"collection": own, "access": "rw"}]
    return {
        "none": None,
        "wrong key": "no-key-of-this-server",
        "admin": API_KEY,
        "alternative": ALTERNATIVE_KEY,
        "r": tokens.for_collection(own, "r"),
        "rw": tokens.for_collection(own, "rw"),
        "prw": tokens.for_collection(own, "prw"),
        "global r": tokens.signed({"access": "r"}),
        "global m": tokens.signed({"access": "m"}),
        "nothing": tokens.signed({"access": []}),
        "expired": tokens.expired(own, tokens.HOUR),
        "wrong signature": tokens.signed({"access": access}, key=tokens.WRONG_KEY),
        "unsigned": tokens.signed({"access": access}, key="", algorithm="none"),
        "payload claim": tokens.signed({"access": [access[0] | {"payload": {"k": "a"}}]}),
        "value exists": tokens.for_collection(own, "rw", value_exists=tokens.value_exists("tokens", t="yes")),
        "value missing": tokens.for_collection(own, "rw", value_exists=tokens.value_exists("tokens", t="no")),
    }
