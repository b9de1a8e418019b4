"""The keys of one purpose in the order in which each vouched for the next: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from bulkhead.platform.signing.sealing import Sealed
from bulkhead.protocol.assertions import KEPT_KEYS, MOST_LINKS, Jwk, Jwks, Link
from bulkhead.protocol.keys import PublicKey


class Broken(Exception):
    """The table does not hold one chain of keys: somebody has written to it who should not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One signing key.

    link: the word of its predecessor for it; empty for the first key
    age: by the database's clock
    """

    kid: str
    public: PublicKey
    sealed: Sealed
    predecessor: str | None
    link: str
    age: timedelta


@dataclass(frozen=True, slots=True)
class Ring:
    """At least one key, oldest first."""

    rows: tuple[Row, ...]

    @property
    def newest(self) -> Row:
        """The last in the chain."""
        return self.rows[-1]

    @property
    def kids(self) -> frozenset[str]:
        """Of all of them."""
        return frozenset(row.kid for row in self.rows)

    @property
    def jwks(self) -> Jwks:
        """What is trusted by who has just been told over TLS."""
        return Jwks(keys=tuple(Jwk.of(row.public) for row in self.rows[-KEPT_KEYS:]))

    def acknowledged(self, kid: str | None) -> Row:
        """The key to sign with for who knows `kid`: that one.

        Who has acknowledged none was told of the newest when it joined. Who knows one that is not here knows more than
        this platform, which was restored; it trusts nothing that we could sign until it has re-joined.
        """
        return next((row for row in self.rows if row.kid == kid), self.newest)

    def links_after(self, kid: str | None) -> tuple[Link, ...]:
        """The way from `kid` to the newest key, as far as one answer holds it; none from a key that is not here."""
        known = next((number for number, row in enumerate(self.rows) if row.kid == kid), len(self.rows))
        return tuple(
            Link(key=Jwk.of(row.public), signature=row.link) for row in self.rows[known + 1 : known + 1 + MOST_LINKS]
        )


def in_order(rows: Iterable[Row]) -> Ring | None:
    """The ring of `rows`, in whatever order they come; None where there are none. Raises Broken."""
    given = tuple(rows)
    by_predecessor: Mapping[str | None, Row] = {row.predecessor: row for row in given}
    if not given:
        return None
    chain: list[Row] = []
    following = by_predecessor.get(None)
    while following is not None and len(chain) < len(given):
        chain.append(following)
        following = by_predecessor.get(following.kid)
    if len(chain) != len(given):
        raise Broken(f"of {len(given)} signing keys only {len(chain)} follow each other")
    if any(row.public.kid != row.kid for row in chain):
        raise Broken("a signing key is not the one that its kid names")
    return Ring(tuple(chain))
