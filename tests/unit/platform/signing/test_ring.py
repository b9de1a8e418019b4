"""The order of the signing keys, and what each cluster is told of them."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from bulkhead.platform.signing.ring import Broken, Ring, Row, in_order
from bulkhead.platform.signing.sealing import Sealed
from bulkhead.protocol import assertions
from bulkhead.protocol.assertions import MOST_LINKS, KeyUse
from bulkhead.protocol.keys import SigningKey

PLATFORM = "https://platform.example.com"


def chain(length: int) -> tuple[Row, ...]:
    rows: list[Row] = []
    former: SigningKey | None = None
    for number in range(length):
        key = SigningKey(hashlib.sha256(b"%d" % number).digest())
        link = assertions.link(former, key.public, platform=PLATFORM, use=KeyUse.ASSERTION) if former else None
        rows.append(
            Row(
                kid=key.public.kid,
                public=key.public,
                sealed=Sealed(bytes(60), "kek"),
                predecessor=former.public.kid if former else None,
                link=link.signature if link else "",
                age=timedelta(days=length - number),
            )
        )
        former = key
    return tuple(rows)


def ring(length: int) -> Ring:
    found = in_order(chain(length))
    assert found is not None
    return found


def test_rows_come_in_any_order_and_form_one_chain() -> None:
    rows = chain(6)
    found = in_order(rows[number] for number in (3, 0, 5, 1, 4, 2))
    assert found is not None
    assert found.rows == rows


def test_no_rows_are_no_ring() -> None:
    assert in_order(()) is None


def test_a_key_whose_predecessor_is_gone_is_told() -> None:
    rows = chain(4)
    with pytest.raises(Broken, match="of 3 signing keys only 1"):
        in_order((rows[0], rows[2], rows[3]))


def test_a_circle_without_a_first_key_is_told() -> None:
    first, second = chain(3)[1:]
    with pytest.raises(Broken):
        in_order((second, Row(first.kid, first.public, first.sealed, second.kid, first.link, first.age)))


def test_a_public_key_that_was_exchanged_is_told() -> None:
    first, second = chain(2)
    with pytest.raises(Broken, match="its kid"):
        in_order((first, Row(second.kid, first.public, second.sealed, first.kid, second.link, second.age)))


def test_a_cluster_is_signed_for_with_the_key_that_it_acknowledged() -> None:
    found = ring(4)
    assert found.acknowledged(found.rows[1].kid) is found.rows[1]


@pytest.mark.parametrize("kid", [None, "x" * 43])
def test_a_cluster_that_acknowledged_none_of_ours_is_signed_for_with_the_newest(kid: str | None) -> None:
    found = ring(4)
    assert found.acknowledged(kid) is found.rows[-1]


def test_a_cluster_that_follows_its_links_trusts_the_newest_key() -> None:
    found = ring(5)
    trusted = ring(2).jwks
    followed = assertions.follow(
        trusted, found.links_after(trusted.newest.kid), platform=PLATFORM, use=KeyUse.ASSERTION
    )
    assert followed == found.jwks


def test_who_knows_the_newest_key_is_sent_no_links() -> None:
    found = ring(3)
    assert found.links_after(found.newest.kid) == ()


def test_a_key_that_is_not_ours_has_no_way_to_ours() -> None:
    assert ring(3).links_after("x" * 43) == ()


def test_a_way_too_long_for_one_answer_goes_on_in_the_next() -> None:
    found = ring(MOST_LINKS + 3)
    first = found.links_after(found.rows[0].kid)
    assert len(first) == MOST_LINKS
    assert [link.key.kid for link in found.links_after(first[-1].key.kid)] == [row.kid for row in found.rows[-2:]]
