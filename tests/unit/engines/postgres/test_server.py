"""Rules for a Postgres server as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from bulkhead.api.ownership import Stamp
from bulkhead.engines.contract import Do, EngineChanged
from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.engines.postgres.databases import CloseToPublic, CreateDatabase, DropDatabase, FurnishWarm, OpenWarm
from bulkhead.engines.postgres.roles import DropRole
from bulkhead.engines.postgres.server import (
    PublicDatabase,
    SeenServer,
    advisories_of,
    decide_server,
    missing_warm,
    problem_of,
    warm_prefix,
)
from tests.unit.engines.postgres import gen

STAMP = Stamp(gen.INSTALLATION, gen.PLANE_UID)
RESTRICTED = gen.operator(superuser=False)


def decided(seen: SeenServer, warm_databases: int = 0) -> Do | EngineChanged:
    return decide_server(gen.server_request(), seen, warm_databases)


def test_a_server_in_order_needs_nothing() -> None:
    assert problem_of(gen.server()) is None
    assert advisories_of(gen.server()) == ()
    assert decided(gen.server()) == Do(())


@pytest.mark.parametrize(
    ("facts", "kind", "way_out"),
    [
        ({"standby": True}, Unavailable, "spec.postgres.host must name the primary"),
        ({"operator": gen.operator(release=140012), "version": "14.12"}, Refused, "14.12 is not supported: 15 to 18"),
        ({"operator": gen.operator(release=190000), "version": "19.0"}, Refused, "19.0 is not supported: 15 to 18"),
        ({"search_path": '"$user", public'}, Refused, "spec.postgres.host must name the server itself"),
        ({"creates": False}, Refused, 'ALTER ROLE "bh_op" CREATEROLE CREATEDB'),
        ({"signals": False}, Refused, 'GRANT pg_signal_backend TO "bh_op"'),
        (
            {"public": (PublicDatabase(name="postgres", ours=False), PublicDatabase(name="template1", ours=False))},
            Insecure,
            "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC; GRANT CONNECT ON DATABASE postgres",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_server_that_can_not_hold_tenants_is_refused_with_the_way_out(
    facts: dict[str, Any], kind: type[EngineError], way_out: str
) -> None:
    problem = problem_of(gen.server(**facts))
    assert type(problem) is kind
    assert way_out in str(problem)


@pytest.mark.parametrize("release", [150018, 160014, 170010, 180004])
def test_each_supported_release_is_taken_from_both_kinds_of_operator(release: int) -> None:
    for superuser in (True, False):
        assert problem_of(gen.server(operator=gen.operator(superuser=superuser, release=release))) is None


@pytest.mark.parametrize(
    ("facts", "way_out"),
    [
        ({"encrypted": False}, "spec.postgres.tls"),
        ({"prepares": True}, "the removal of any other: set max_prepared_transactions to 0"),
        ({"operator": gen.operator(superuser=False, limits_temp_files=False)}, "GRANT SET ON PARAMETER"),
        ({"operator": gen.operator(superuser=False, release=150018)}, "keep the server for tenants alone"),
        ({"public": (PublicDatabase(name="erp", ours=False),)}, 'REVOKE CONNECT ON DATABASE "erp" FROM PUBLIC'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_reason_to_refuse_is_an_advisory(facts: dict[str, Any], way_out: str) -> None:
    assert problem_of(gen.server(**facts)) is None
    (advisory,) = advisories_of(gen.server(**facts))
    assert way_out in advisory


def test_what_every_server_leaves_open_is_shut() -> None:
    public = tuple(PublicDatabase(name=name, ours=True) for name in ("erp", "postgres", "template1"))
    assert decided(gen.server(public=public)) == Do((CloseToPublic("postgres"), CloseToPublic("template1")))


def test_another_server_is_not_prepared() -> None:
    public = (PublicDatabase(name="postgres", ours=True),)
    assert decided(gen.server(identity="other", public=public)) == EngineChanged(gen.IDENTITY, "other")


def test_a_fresh_warm_database_is_made_shut_then_furnished_then_stamped() -> None:
    assert decided(gen.server(fresh=("bh_warm_x",)), 1) == Do(
        (CreateDatabase("bh_warm_x"), OpenWarm("bh_warm_x", STAMP), FurnishWarm("bh_warm_x", STAMP))
    )


def test_a_warm_database_that_a_crash_left_shut_is_finished() -> None:
    found = gen.warm(open=False, stamp=None, group_stamp=None)
    assert decided(gen.server(warm=(found,)), 1) == Do((OpenWarm(found.name, STAMP), FurnishWarm(found.name, STAMP)))


def test_a_warm_database_that_a_crash_left_bare_is_furnished() -> None:
    found = gen.warm(stamp=None)
    assert decided(gen.server(warm=(found,)), 1) == Do((FurnishWarm(found.name, STAMP),))


def test_more_warm_databases_than_wanted_are_dropped_the_unfinished_first() -> None:
    finished, unfinished = gen.warm(2), gen.warm(1, stamp=None)
    steps = (DropDatabase(unfinished.name), DropRole(unfinished.name))
    assert decided(gen.server(warm=(unfinished, finished)), 1) == Do(steps)


def test_a_warm_database_of_a_former_operator_is_replaced() -> None:
    former = gen.warm(owned=False)
    assert missing_warm((former,), 1) == 1
    assert decided(gen.server(warm=(former,)), 1) == Do((DropDatabase(former.name), DropRole(former.name)))


def test_the_group_of_a_warm_database_that_is_gone_is_dropped() -> None:
    widowed = gen.warm(database=False, owned=False, open=False, stamp=None)
    assert decided(gen.server(warm=(widowed,)), 0) == Do((DropRole(widowed.name),))


def test_warm_databases_that_are_half_made_count_as_made() -> None:
    assert missing_warm((gen.warm(1), gen.warm(2, stamp=None), gen.warm(3, database=False, owned=False)), 4) == 2


def test_two_installations_on_one_server_keep_their_warm_databases_apart() -> None:
    assert warm_prefix("here") != warm_prefix("elsewhere")
    assert not warm_prefix("here").startswith(warm_prefix("her"))
