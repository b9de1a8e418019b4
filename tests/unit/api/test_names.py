"""Physical names: no two DataClusters ever reach the same one."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bulkhead.api.names import PhysicalNames, physical_names, slug_problem
from tests.unit.api import gen

INDEXES = ("entries", "datasets")
names = st.builds(physical_names, gen.slugs, gen.uids, st.just(INDEXES), opaque=st.booleans())
# Names that are close to one another are where two could meet.
NEAR = ("acme", "acme-data", "acme-entries", "acme-x", "acme-1", "acme-2", "acme1", "acm", "a", "a-data", "tenant-a")
near = st.sampled_from(NEAR)
rivals = st.builds(physical_names, near | gen.slugs, gen.uids, st.just(INDEXES), opaque=st.booleans())


def reached(owner: PhysicalNames) -> dict[str, set[str]]:
    """Every name of `owner`, by the space in which names must differ."""
    generations = (1, 2, 12)
    return {
        "namespace": {owner.namespace},
        "database": {owner.database},
        "role": {owner.database, *(owner.login(each) for each in generations)},
        "bucket": {owner.bucket},
        "policy": {owner.policy},
        "user": {owner.access_key(each) for each in generations},
        "collection": {owner.collection},
        "index": set(owner.indexes),
    }


def shared(one: PhysicalNames, other: PhysicalNames) -> list[str]:
    """Spaces in which both have a name in common."""
    mine, theirs = reached(one), reached(other)
    return [space for space in mine if mine[space] & theirs[space]]


def overreached(one: PhysicalNames, other: PhysicalNames) -> list[str]:
    """Names of `other` that what `one` is given would reach, if it were taken for a prefix."""
    theirs = (*other.indexes, other.collection, other.login(1), f"{other.bucket}/object")
    return [name for name in theirs if name.startswith((f"{one.database}_", f"{one.bucket}/"))]


@pytest.mark.parametrize(("slug", "neighbour"), list(permutations(NEAR, 2)))
def test_close_names_are_kept_apart(slug: str, neighbour: str) -> None:
    one, other = (physical_names(each, each, INDEXES, opaque=False) for each in (slug, neighbour))
    assert (shared(one, other), overreached(one, other)) == ([], [])


@given(rivals, rivals)
def test_two_data_clusters_never_share_a_name(one: PhysicalNames, other: PhysicalNames) -> None:
    assume(one.database != other.database)
    assert shared(one, other) == []


@given(gen.uids, gen.uids, near)
def test_a_slug_that_comes_back_gets_other_users(first: str, second: str, slug: str) -> None:
    """MinIO would revive the STS credentials of a user whose name is used again."""
    assume(first != second)
    former, successor = (physical_names(slug, uid, INDEXES, opaque=False) for uid in (first, second))
    assume(former.uid6 != successor.uid6)
    assert not reached(former)["user"] & reached(successor)["user"]


@given(rivals, rivals)
def test_no_name_is_a_prefix_that_reaches_another(one: PhysicalNames, other: PhysicalNames) -> None:
    assume(one.database != other.database)
    assert overreached(one, other) == []


@given(names)
def test_every_name_fits_where_it_goes(each: PhysicalNames) -> None:
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", each.namespace)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", each.bucket)
    assert all(len(role.encode()) <= 63 for role in (each.database, each.login(99_999_999_999))), (
        "Postgres cuts silently"
    )
    assert 3 <= len(each.access_key(1)) <= 250
    assert not set("=,") & set(each.access_key(1) + each.policy)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name) for name in (each.collection, *each.indexes))


@given(gen.slugs, gen.uids)
def test_an_opaque_name_shows_nothing_of_the_slug(slug: str, uid: str) -> None:
    assert physical_names(slug, uid, INDEXES, opaque=True) == physical_names("other", uid, INDEXES, opaque=True)


@given(gen.uids, gen.slugs)
def test_no_slug_can_be_mistaken_for_an_opaque_name(uid: str, slug: str) -> None:
    assert slug_problem(physical_names(slug, uid, (), opaque=True).database) is not None


@pytest.mark.parametrize(
    ("slug", "says"),
    [
        ("template1", "reserved"),
        ("postgres", "reserved"),
        ("sameuser", "reserved"),
        ("acme--x", '"--"'),
        ("a" * 60, "1 to 48"),
        ("a" * 49, "1 to 48"),
        ("", "1 to 48"),
        ("1acme", "start with a letter"),
        ("acme-", 'not end with "-"'),
        ("Acme", "a-z"),
        ("ac_me", "a-z"),
        ("acme\n", "a-z"),
        ("äcme", "a-z"),
        ("pg-acme", 'reserved prefix "pg-"'),
        ("t-1234", 'reserved prefix "t-"'),
        ("bulkhead-x", 'reserved prefix "bulkhead"'),
    ],
)
def test_a_slug_that_can_not_be_used_is_told_why(slug: str, says: str) -> None:
    assert says in (slug_problem(slug) or "")


@pytest.mark.parametrize("slug", ["a", "acme", "acme-x", "a1", "a" * 48, "postgresql", "admins"])
def test_an_ordinary_slug_is_fine(slug: str) -> None:
    assert slug_problem(slug) is None
