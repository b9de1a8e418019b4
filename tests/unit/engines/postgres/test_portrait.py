"""What a survey compares."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bulkhead.api.ownership import Stamp
from bulkhead.engines.contract import Access
from bulkhead.engines.postgres.portrait import Survey, digests, wanted_digest
from bulkhead.engines.postgres.seen import Grant, Member, Membership, Seen
from tests.unit.engines.postgres import gen

WARM = "bh_warm_"


def surveyed(*sights: Seen) -> dict[str, str]:
    databases = tuple(database for seen in sights for database in seen.databases)
    roles = tuple(role for seen in sights for role in seen.roles)
    return dict(digests(Survey(databases=databases, roles=roles), WARM))


def test_a_survey_shows_each_data_cluster_as_it_is_wanted() -> None:
    acme, globex = gen.wanted(), gen.wanted("globex")
    assert surveyed(gen.complete(acme), gen.complete(globex)) == {
        acme.stamp.uid: wanted_digest(acme),
        globex.stamp.uid: wanted_digest(globex),
    }


@pytest.mark.parametrize(
    "drift",
    [
        {"grants": ()},
        {
            "grants": (
                *gen.complete(gen.wanted()).databases[0].grants,
                Grant(grantee="", stamp=None, privileges=("CONNECT",)),
            )
        },
        {"connection_limit": 99},
        {"owned": False},
        {"open": False},
        {"name": "acme_old"},
    ],
    ids=str,
)
def test_drift_of_a_database_changes_the_digest(drift: dict[str, Any]) -> None:
    wanted = gen.wanted()
    assert surveyed(gen.with_database(gen.complete(wanted), **drift)) != {wanted.stamp.uid: wanted_digest(wanted)}


@pytest.mark.parametrize(
    ("name", "drift"),
    [
        ("acme_1", {"login": False}),
        ("acme_1", {"connection_limit": 99}),
        ("acme_1", {"powers": ("CREATEDB",)}),
        ("acme_1", {"settings": ()}),
        ("acme_1", {"member_of": ()}),
        ("acme_1", {"expires": True}),
        ("acme", {"login": True}),
        ("acme", {"member_of": (Membership(role="globex", grantor="", usable=True),)}),
        ("acme", {"members": (Member(role="globex_1", stamp=str(gen.stamp("globex")), grantor=""),)}),
    ],
)
def test_drift_of_a_role_changes_the_digest(name: str, drift: dict[str, Any]) -> None:
    wanted = gen.wanted()
    assert surveyed(gen.with_role(gen.complete(wanted), name, **drift)) != {wanted.stamp.uid: wanted_digest(wanted)}


def test_a_database_that_is_gone_changes_the_digest() -> None:
    wanted = gen.wanted()
    assert surveyed(gen.but(gen.complete(wanted), databases=())) != {wanted.stamp.uid: wanted_digest(wanted)}


def test_what_a_tenant_set_for_itself_does_not_change_the_digest() -> None:
    wanted = gen.wanted()
    settings = ("work_mem=64MB", "role=acme", "temp_file_limit=1kB")
    assert surveyed(gen.with_role(gen.complete(wanted), "acme_1", settings=settings)) == {
        wanted.stamp.uid: wanted_digest(wanted)
    }


def test_another_plan_is_another_digest() -> None:
    assert wanted_digest(gen.wanted()) != wanted_digest(gen.wanted(connections=5))


def test_a_plan_that_changed_while_access_was_cut_is_no_drift() -> None:
    now = gen.wanted(access=Access.CUT, connections=5)
    before = gen.complete(gen.wanted(access=Access.CUT))
    assert surveyed(before) == {now.stamp.uid: wanted_digest(now)}


def test_access_that_was_opened_behind_our_back_changes_the_digest() -> None:
    cut = gen.wanted(access=Access.CUT)
    assert surveyed(gen.with_role(gen.complete(cut), "acme_1", login=True)) != {cut.stamp.uid: wanted_digest(cut)}


def test_warm_databases_belong_to_nobody() -> None:
    plane = str(Stamp(gen.INSTALLATION, gen.PLANE_UID))
    warm = gen.nothing(databases=(gen.database(f"{WARM}1", mark=plane),), roles=(gen.role(f"{WARM}1", mark=plane),))
    assert surveyed(warm) == {}


def test_the_order_in_which_roles_are_seen_does_not_matter() -> None:
    wanted = gen.wanted()
    seen = gen.complete(wanted)
    assert surveyed(msgspec.structs.replace(seen, roles=seen.roles[::-1])) == surveyed(seen)
