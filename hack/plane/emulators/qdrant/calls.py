"""One authenticated request, as an endpoint sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hack.plane.emulators.qdrant.access import Access
from hack.plane.emulators.qdrant.bodies import Body
from hack.plane.emulators.qdrant.errors import ApiError, invalid
from hack.plane.emulators.qdrant.names import require_collection_name

QUERY = "query parameters"


@dataclass(frozen=True, slots=True)
class Call:
    """`path` holds the parameters of the endpoint's pattern, in order; the first mostly is the collection."""

    access: Access
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def collection(self) -> str:
        """The collection as it was asked for: it may be an alias."""
        name = self.path[0]
        require_collection_name(name)
        return name

    def json(self) -> Body:
        if not self.headers.get("content-type", "").partition(";")[0].strip().endswith("json"):
            raise ApiError(400, "Content type error")
        return Body.parse(self.body)

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.query.get(name)
        if text is None:
            return default
        if text not in {"true", "false"}:
            raise ApiError(400, f"Deserialize error in {QUERY}: provided string was not `true` or `false`")
        return text == "true"

    def number(self, name: str, *, minimum: int = 0) -> int | None:
        text = self.query.get(name)
        if text is None:
            return None
        if not text.isdecimal():
            raise ApiError(400, f"Deserialize error in {QUERY}: invalid digit found in string")
        if int(text) < minimum:
            raise invalid(QUERY, name, f"value {text} invalid, must be {minimum} or larger")
        return int(text)
