"""Rules of one DataCluster on Postgres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Access, ClaimFirst, Conflict, DataMissing, Decision, Do, EngineChanged, Invalid
from bulkhead.engines.postgres.databases import (
    ConformDatabase,
    CreateDatabase,
    CreateExtension,
    DropDatabase,
    EndSessions,
    Furnish,
    NameDatabase,
    RollBackPrepared,
    UseWarm,
)
from bulkhead.engines.postgres.decide import Steps, decide, decide_removal, roles_to_drop, terms_of
from bulkhead.engines.postgres.roles import (
    CloseDoor,
    ConformGroup,
    ConformLogin,
    CreateGroup,
    CreateLogin,
    DisableLogins,
    Disown,
    DropRole,
    ResetSettings,
    RevokeMembership,
    TakeOver,
)
from bulkhead.engines.postgres.seen import (
    Footprint,
    Grant,
    Inside,
    Member,
    Membership,
    Operator,
    Prepared,
    Seen,
    SeenDatabase,
    SeenRole,
    SeenSessions,
)
from bulkhead.engines.postgres.wanted import Wanted, WantedLogin, wanted_of
from tests.unit.engines.postgres import gen

OURS = str(gen.stamp())
NEIGHBOUR = str(gen.stamp("globex"))
ELSEWHERE = str(gen.stamp(installation="elsewhere"))


def decided(wanted: Wanted, seen: Seen) -> Decision:
    return decide(wanted, seen, gen.EXTENSIONS)


def steps(wanted: Wanted, seen: Seen) -> Steps:
    decision = decided(wanted, seen)
    assert isinstance(decision, Do), decision
    return tuple(decision.steps)  # type: ignore[arg-type]  # the contract knows steps by their phrase alone


def removal(wanted: Wanted, seen: Seen) -> Steps:
    decision = decide_removal(wanted, seen)
    assert isinstance(decision, Do), decision
    return tuple(decision.steps)  # type: ignore[arg-type]  # as above


def test_a_data_cluster_is_made_from_nothing_with_its_login_last() -> None:
    wanted = gen.wanted(extensions=("pg_trgm",), schemas=("app",))
    terms = terms_of(wanted, gen.operator())
    assert decided(wanted, gen.nothing()) == Do(
        (
            CreateGroup("acme", wanted.stamp),
            CreateDatabase(wanted.draft),
            NameDatabase(wanted.draft, "acme", wanted.stamp, 23),
            Furnish("acme", ("app",)),
            CreateExtension("acme", "pg_trgm"),
            CreateLogin("acme_1", wanted.stamp, Sensitive(wanted.logins[0].verifier), terms),
        ),
        frozenset({"database"}),
    )


def test_nothing_is_made_before_the_claim_is_recorded() -> None:
    assert decided(gen.wanted(claimed=False), gen.nothing()) == ClaimFirst()


def test_a_missing_login_alone_needs_the_claim_too() -> None:
    wanted = gen.wanted(claimed=False)
    seen = gen.complete(wanted)
    assert decided(wanted, gen.but(seen, roles=seen.roles[:1])) == ClaimFirst()


def test_what_is_complete_needs_no_claim() -> None:
    wanted = gen.wanted(claimed=False)
    assert steps(wanted, gen.complete(wanted)) == ()


def test_a_warm_database_is_taken_where_nothing_has_been_begun() -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.nothing(warm=("bh_warm_1",)))
    assert found[0] == UseWarm("bh_warm_1", "acme", wanted.stamp, 23)
    assert [type(step) for step in found] == [UseWarm, CreateLogin]


def test_a_warm_database_is_furnished_again_only_for_schemas_of_its_own() -> None:
    found = steps(gen.wanted(schemas=("app",)), gen.nothing(warm=("bh_warm_1",)))
    assert [type(step) for step in found] == [UseWarm, Furnish, CreateLogin]


@pytest.mark.parametrize(
    "begun",
    [{"roles": (gen.role(mark=OURS),)}, {"databases": (gen.database(gen.wanted().draft, open=False),)}],
    ids=["group", "draft"],
)
def test_what_was_begun_without_a_warm_database_is_finished_without_it(begun: dict[str, Any]) -> None:
    found = steps(gen.wanted(), gen.nothing(warm=("bh_warm_1",), **begun))
    assert not any(isinstance(step, UseWarm) for step in found)


def test_a_draft_left_by_a_crash_is_used() -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.nothing(databases=(gen.database(wanted.draft, open=False),)))
    assert not any(isinstance(step, CreateDatabase) for step in found)


def test_a_draft_beside_the_finished_database_is_dropped() -> None:
    wanted = gen.wanted()
    seen = gen.complete(wanted)
    both = gen.but(seen, databases=(*seen.databases, gen.database(wanted.draft, open=False)))
    assert steps(wanted, both) == (DropDatabase(wanted.draft),)


def test_another_server_is_never_written_to() -> None:
    expected = EngineChanged(gen.IDENTITY, "7000000000000000002")
    assert decided(gen.wanted(), gen.nothing(identity="7000000000000000002")) == expected


def test_any_server_will_do_before_one_is_remembered() -> None:
    assert isinstance(decided(gen.wanted(server=""), gen.nothing(identity="any")), Do)


@pytest.mark.parametrize("mark", [None, NEIGHBOUR, ELSEWHERE, "a remark", "bulkhead:here:"])
def test_a_database_without_our_stamp_is_never_touched(mark: str | None) -> None:
    seen = gen.but(gen.complete(gen.wanted()), databases=(gen.database(mark=mark),))
    assert isinstance(found := decided(gen.wanted(), seen), Conflict)
    assert (found.kind, found.name) == ("database", "acme")


@pytest.mark.parametrize("name", ["acme", "acme_1"])
@pytest.mark.parametrize("mark", [None, NEIGHBOUR])
def test_a_role_without_our_stamp_is_never_touched(name: str, mark: str | None) -> None:
    assert isinstance(found := decided(gen.wanted(), gen.nothing(roles=(gen.role(name, mark=mark),))), Conflict)
    assert (found.kind, found.name) == ("role", name)


def test_a_conflict_names_the_owner_that_the_stamp_names() -> None:
    found = decided(gen.wanted(), gen.nothing(databases=(gen.database(mark=ELSEWHERE),)))
    assert found == Conflict("database", "acme", f"installation elsewhere, UID {gen.uid_of('acme')}")


def test_a_draft_that_was_open_may_hold_data_and_is_not_ours() -> None:
    wanted = gen.wanted()
    seen = gen.nothing(databases=(gen.database(wanted.draft, open=True),))
    assert decided(wanted, seen) == Conflict("database", wanted.draft, "it bears no stamp")


def test_a_database_that_was_provisioned_and_is_gone_is_not_made_anew() -> None:
    assert decided(gen.wanted(provisioned=True), gen.nothing()) == DataMissing("database", "acme")


def test_a_database_that_was_renamed_is_missing() -> None:
    wanted = gen.wanted(provisioned=True)
    seen = gen.but(gen.complete(wanted), databases=(gen.database("acme_old", mark=OURS),))
    assert decided(wanted, seen) == DataMissing("database", "acme")


@pytest.mark.parametrize("warm", [(), ("bh_warm_1",)])
def test_no_warm_database_stands_in_for_lost_data(warm: tuple[str, ...]) -> None:
    assert decided(gen.wanted(provisioned=True), gen.nothing(warm=warm)) == DataMissing("database", "acme")


GRANT = Grant(grantee="acme", stamp=OURS, privileges=("CONNECT", "TEMPORARY"))


@pytest.mark.parametrize(
    "drift",
    [
        {"grants": (GRANT, Grant(grantee="", stamp=None, privileges=("CONNECT",)))},
        {"grants": (GRANT, Grant(grantee="", stamp=None, privileges=("TEMPORARY",)))},
        {"grants": ()},
        {"grants": (Grant(grantee="acme", stamp=OURS, privileges=("CONNECT",)),)},
        {"grants": (Grant(grantee="acme", stamp=OURS, privileges=("CONNECT", "CREATE", "TEMPORARY")),)},
        {"grants": (Grant(grantee="acme", stamp=OURS, privileges=("CONNECT*", "TEMPORARY")),)},
        {"connection_limit": -1},
        {"settings": ()},
        {"open": False},
    ],
    ids=str,
)
def test_drift_of_a_database_is_repaired(drift: dict[str, Any]) -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_database(gen.complete(wanted), **drift))
    assert found == (ConformDatabase("acme", wanted.stamp, 23),)


def test_a_neighbour_that_was_let_in_is_put_out() -> None:
    wanted = gen.wanted()
    intruder = Grant(grantee="globex_1", stamp=NEIGHBOUR, privileges=("CONNECT",))
    found = steps(wanted, gen.with_database(gen.complete(wanted), grants=(GRANT, intruder)))
    assert found == (ConformDatabase("acme", wanted.stamp, 23, intruders=("globex_1",)),)


def test_what_an_administrator_granted_to_a_role_of_their_own_stays() -> None:
    wanted = gen.wanted()
    monitoring = Grant(grantee="exporter", stamp=None, privileges=("CONNECT",))
    assert steps(wanted, gen.with_database(gen.complete(wanted), grants=(GRANT, monitoring))) == ()


def test_a_database_given_to_somebody_else_is_taken_back() -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_database(gen.complete(wanted), owned=False))
    assert found == (ConformDatabase("acme", wanted.stamp, 23, foreign_owner=True),)


def test_another_plan_changes_the_limits_of_database_and_login() -> None:
    seen = gen.complete(gen.wanted())
    wanted = gen.wanted(connections=5)
    terms = terms_of(wanted, gen.operator())
    assert steps(wanted, seen) == (ConformDatabase("acme", wanted.stamp, 8), ConformLogin("acme_1", terms))


def test_both_generations_may_use_all_their_connections_while_consumers_roll() -> None:
    rotating = wanted_of(gen.request(held=gen.holding(generations=(1, 2))))
    assert rotating.connection_limit == 43


@pytest.mark.parametrize(
    "drift",
    [
        {"login": False},
        {"connection_limit": -1},
        {"expires": True},
        {"settings": ("role=acme",)},
        {"settings": ("temp_file_limit=1048576kB",)},
        {"settings": ("role=none", "temp_file_limit=1048576kB")},
        {"operated": False},
        {"member_of": ()},
        {"member_of": (Membership(role="acme", grantor="bh_op", usable=False),)},
    ],
    ids=str,
)
def test_drift_of_a_login_is_repaired(drift: dict[str, Any]) -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_role(gen.complete(wanted), "acme_1", **drift))
    assert found == (ConformLogin("acme_1", terms_of(wanted, gen.operator())),)


@pytest.mark.parametrize("drift", [{"login": True}, {"powers": ("CREATEDB",)}, {"operated": False}], ids=str)
def test_drift_of_a_group_is_repaired(drift: dict[str, Any]) -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_role(gen.complete(wanted), "acme", **drift))
    assert found == (ConformGroup("acme", drift.get("powers", ())),)


def test_powers_that_a_login_was_given_are_taken_away() -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_role(gen.complete(wanted), "acme_1", powers=("SUPERUSER", "CREATEROLE")))
    assert found == (ConformLogin("acme_1", terms_of(wanted, gen.operator()), ("SUPERUSER", "CREATEROLE")),)


def test_settings_that_a_tenant_made_for_itself_stay() -> None:
    wanted = gen.wanted()
    settings = ("role=acme", "temp_file_limit=1048576kB", "work_mem=64MB")
    assert steps(wanted, gen.with_role(gen.complete(wanted), "acme_1", settings=settings)) == ()


@pytest.mark.parametrize(
    ("name", "then"),
    [("acme", ()), ("acme_1", (ConformLogin("acme_1", terms_of(gen.wanted(), gen.operator())),))],
    ids=["group", "login"],
)
def test_settings_that_a_tenant_made_too_large_are_cleared(name: str, then: Steps) -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_role(gen.complete(wanted), name, settings=(), bloated=True))
    assert found == (ResetSettings(name), *then)


def test_settings_that_are_too_large_do_not_keep_access_from_being_cut() -> None:
    found = steps(CUT, gen.with_role(gen.complete(gen.wanted()), "acme_1", settings=(), bloated=True))
    assert not any(isinstance(step, ResetSettings | ConformLogin) for step in found)


def test_a_password_that_a_tenant_changed_is_set_back() -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.with_role(gen.complete(wanted), "acme_1", verifier_digest="another"))
    verifier = Sensitive(wanted.logins[0].verifier)
    assert found == (ConformLogin("acme_1", terms_of(wanted, gen.operator()), verifier=verifier),)


def test_a_password_that_was_tried_in_vain_is_set_back() -> None:
    wanted = gen.wanted(logins=(*gen.wanted().logins, WantedLogin("acme_2", "SCRAM-SHA-256$second")))
    unseen = gen.with_role(gen.complete(wanted), "acme_2", verifier_digest=None)
    verifier = Sensitive("SCRAM-SHA-256$second")
    repair = ConformLogin("acme_2", terms_of(wanted, gen.operator()), verifier=verifier)
    assert steps(wanted, gen.but(unseen, estranged=frozenset({"acme_2"}))) == (repair,)


def test_a_password_that_can_not_be_seen_is_left_alone() -> None:
    wanted = gen.wanted()
    assert steps(wanted, gen.with_role(gen.complete(wanted), "acme_1", verifier_digest=None)) == ()


def test_a_limit_that_we_may_not_set_is_not_tried_for_ever() -> None:
    wanted = gen.wanted()
    assert steps(wanted, gen.complete(wanted, operator=gen.operator(superuser=False, limits_temp_files=False))) == ()


@pytest.mark.parametrize("name", ["acme", "acme_1"])
def test_a_tenant_that_was_made_a_member_of_another_role_is_taken_out(name: str) -> None:
    wanted = gen.wanted()
    seen = gen.complete(wanted)
    before = next(role for role in seen.roles if role.name == name).member_of
    more = (*before, Membership(role="pg_read_all_data", grantor="postgres", usable=True))
    found = steps(wanted, gen.with_role(seen, name, member_of=more))
    assert found == (RevokeMembership("pg_read_all_data", name, "postgres"),)


def test_a_neighbour_that_was_made_a_member_of_our_group_is_taken_out() -> None:
    wanted = gen.wanted()
    members = (Member(role="globex_1", stamp=NEIGHBOUR, grantor="postgres"),)
    found = steps(wanted, gen.with_role(gen.complete(wanted), "acme", members=members))
    assert found == (RevokeMembership("acme", "globex_1", "postgres"),)


def test_an_administrator_may_be_a_member_of_our_group() -> None:
    wanted = gen.wanted()
    members = (Member(role="dba", stamp=None, grantor="postgres"),)
    assert steps(wanted, gen.with_role(gen.complete(wanted), "acme", members=members)) == ()


def test_sessions_of_neighbours_in_our_database_are_ended() -> None:
    wanted = gen.wanted()
    sessions = (SeenSessions(role="globex_1", stamp=NEIGHBOUR), SeenSessions(role="acme_1", stamp=OURS))
    found = steps(wanted, gen.complete(wanted, sessions=sessions))
    assert found == (EndSessions("acme", strangers=("globex_1",)),)


def test_sessions_of_dropped_roles_are_ended() -> None:
    wanted = gen.wanted()
    found = steps(wanted, gen.complete(wanted, sessions=(SeenSessions(role="", stamp=None),)))
    assert found == (EndSessions("acme"),)


def test_sessions_of_our_own_logins_and_of_administrators_live_on() -> None:
    wanted = gen.wanted()
    sessions = (SeenSessions(role="acme_1", stamp=OURS), SeenSessions(role="dba", stamp=None))
    assert steps(wanted, gen.complete(wanted, sessions=sessions)) == ()


def test_an_extension_that_is_asked_for_is_created() -> None:
    wanted = gen.wanted(extensions=("pg_trgm",))
    found = steps(wanted, gen.complete(gen.wanted()))
    assert found == (CreateExtension("acme", "pg_trgm"),)


def test_an_extension_that_is_no_longer_asked_for_stays_with_its_data() -> None:
    wanted = gen.wanted()
    assert steps(wanted, gen.complete(gen.wanted(extensions=("pg_trgm",)))) == ()


@pytest.mark.parametrize(
    "inside",
    [
        Inside(schemas={}, extensions=frozenset(), extensions_usable=True),
        Inside(schemas={"public": "acme"}, extensions=frozenset(), extensions_usable=True),
        Inside(schemas={"public": "dba", "app": "acme"}, extensions=frozenset(), extensions_usable=True),
        Inside(schemas={"public": "acme", "app": "acme"}, extensions=frozenset(), extensions_usable=False),
    ],
    ids=str,
)
def test_schemas_that_are_missing_or_somebody_elses_are_made_again(inside: Inside) -> None:
    wanted = gen.wanted(schemas=("app",))
    assert steps(wanted, gen.complete(wanted, inside=inside)) == (Furnish("acme", ("app",)),)


def test_an_extension_that_the_plane_does_not_allow_is_refused() -> None:
    found = decided(gen.wanted(extensions=("pg_trgm", "dblink")), gen.nothing())
    assert isinstance(found, Invalid)
    assert found.field == "spec.postgres.extensions"
    assert '"dblink" is not in allowedExtensions' in found.message


@pytest.mark.parametrize(
    "schema",
    ["", "extensions", "pg_temp", "information_schema", "a" * 64, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 32, "a\0b"],
)
def test_a_schema_that_can_not_be_had_is_refused(schema: str) -> None:
    found = decided(gen.wanted(schemas=(schema,)), gen.nothing())
    assert isinstance(found, Invalid)
    assert found.field == "spec.postgres.schemas"


def test_a_spec_that_asks_for_too_much_does_not_keep_what_is_there_from_being_repaired() -> None:
    wanted = gen.wanted(extensions=("pg_trgm", "dblink"), schemas=("app", "pg_x"), provisioned=True)
    seen = gen.complete(gen.wanted(extensions=("pg_trgm",), schemas=("app",)))
    drifted = gen.with_database(seen, connection_limit=-1)
    assert steps(wanted, drifted) == (ConformDatabase("acme", wanted.stamp, 23),)
    assert isinstance(decided(wanted, seen), Invalid)


def rotated() -> tuple[Wanted, Seen]:
    """Generation 1 is held no more, and is still there."""
    both = wanted_of(gen.request(held=gen.holding(generations=(1, 2))))
    wanted = wanted_of(gen.request(held=gen.holding(generations=(2,))))
    return wanted, gen.with_database(gen.complete(both), connection_limit=wanted.connection_limit)


def test_a_new_generation_is_made_beside_the_old_one() -> None:
    both = wanted_of(gen.request(held=gen.holding(generations=(1, 2))))
    found = steps(both, gen.complete(gen.wanted()))
    assert [type(step) for step in found] == [ConformDatabase, CreateLogin]


def test_a_former_generation_is_shut_before_it_is_dropped() -> None:
    wanted, seen = rotated()
    assert steps(wanted, seen) == (
        CloseDoor("acme", "acme_1", ""),
        DisableLogins(("acme_1",)),
        EndSessions("acme", ours=("acme_1",)),
        DropRole("acme_1"),
    )


def test_only_former_generations_may_be_dropped_while_access_is_open() -> None:
    wanted, seen = rotated()
    assert [role.name for role in roles_to_drop(wanted, seen)] == ["acme_1"]
    assert [role.name for role in roles_to_drop(CUT, seen)] == ["acme", "acme_1", "acme_2"]


def test_what_a_former_generation_owns_goes_to_the_group_and_not_away() -> None:
    wanted, seen = rotated()
    footprints = (Footprint(role="acme_1", database="acme"), Footprint(role="acme_1", database="globex"))
    assert steps(wanted, gen.but(seen, footprints=footprints))[3:] == (
        Disown("acme_1", "acme", heir="acme"),
        DropRole("acme_1", Disown("acme_1", "globex", heir="")),
    )


CUT = gen.wanted(access=Access.CUT)
SHUT = gen.complete(CUT)


def test_cutting_access_shuts_the_logins_and_ends_their_sessions() -> None:
    assert steps(CUT, gen.complete(gen.wanted())) == (
        CloseDoor("acme", "acme_1", ""),
        DisableLogins(("acme_1",)),
        EndSessions("acme", ours=("acme", "acme_1")),
    )


@pytest.mark.parametrize(
    "operator", [gen.operator(), gen.operator(superuser=False, release=150018)], ids=["superuser", "15"]
)
def test_a_membership_that_somebody_else_granted_is_revoked_where_we_may(operator: Operator) -> None:
    held = (Membership(role="acme", grantor="dba", usable=True),)
    found = steps(CUT, gen.with_role(gen.complete(gen.wanted(), operator=operator), "acme_1", member_of=held))
    assert found[0] == CloseDoor("acme", "acme_1", "dba")


def test_a_membership_that_we_may_not_revoke_does_not_keep_a_login_from_being_shut() -> None:
    held = (Membership(role="acme", grantor="dba", usable=True),)
    seen = gen.complete(gen.wanted(), operator=gen.operator(superuser=False))
    assert steps(CUT, gen.with_role(seen, "acme_1", member_of=held))[0] == DisableLogins(("acme_1",))


def test_a_cut_that_a_crash_left_with_the_door_shut_alone_is_finished() -> None:
    seen = gen.with_role(gen.complete(gen.wanted()), "acme_1", member_of=())
    assert steps(CUT, seen) == (DisableLogins(("acme_1",)), EndSessions("acme", ours=("acme", "acme_1")))


def test_access_that_was_cut_by_halves_is_opened_again() -> None:
    found = steps(gen.wanted(), gen.with_role(gen.complete(gen.wanted()), "acme_1", member_of=()))
    assert found == (ConformLogin("acme_1", terms_of(CUT, gen.operator())),)


def test_access_that_is_cut_stays_so_without_a_step() -> None:
    assert steps(CUT, SHUT) == ()


def test_cutting_access_creates_nothing() -> None:
    assert decided(CUT, gen.nothing(warm=("bh_warm_1",))) == Do(())


@pytest.mark.parametrize("role", ["acme_1", ""])
def test_sessions_that_slipped_in_are_ended_after_the_cut(role: str) -> None:
    sessions = (SeenSessions(role=role, stamp=OURS if role else None),)
    assert steps(CUT, gen.but(SHUT, sessions=sessions)) == (EndSessions("acme", ours=("acme", "acme_1")),)


def test_sessions_of_administrators_survive_the_cut() -> None:
    assert steps(CUT, gen.but(SHUT, sessions=(SeenSessions(role="dba", stamp=None),))) == ()


def test_the_cut_passes_over_what_is_not_ours() -> None:
    seen = gen.nothing(
        databases=(gen.database(mark=NEIGHBOUR),),
        roles=(gen.role("acme", mark=None, login=True), gen.role("acme_1", mark=OURS, login=True)),
    )
    assert steps(CUT, seen) == (DisableLogins(("acme_1",)), EndSessions("", ours=("acme_1",)))


BARE = gen.with_database(
    gen.with_role(gen.with_role(gen.complete(gen.wanted()), "acme", stamp=None), "acme_1", stamp=None), stamp=None
)
"""All stamps lost, as a restore without comments leaves it."""
ONCE = gen.wanted(access=Access.CUT, provisioned=True)


@pytest.mark.parametrize("decide", [lambda seen: decided(ONCE, seen), lambda seen: decide_removal(ONCE, seen)])
@pytest.mark.parametrize(
    ("kind", "name", "seen"),
    [
        ("database", "acme", BARE),
        ("role", "acme", gen.but(BARE, databases=())),
        ("role", "acme_1", gen.but(BARE, databases=(), roles=BARE.roles[1:])),
    ],
)
def test_what_was_provisioned_and_has_lost_its_stamp_is_neither_cut_nor_gone(
    decide: Callable[[Seen], Decision], kind: str, name: str, seen: Seen
) -> None:
    assert isinstance(found := decide(seen), Conflict)
    assert (found.kind, found.name) == (kind, name)
    assert f"COMMENT ON {kind.upper()} \"{name}\" IS '{OURS}'" in found.owner


def test_what_still_bears_its_stamp_is_cut_and_removed_before_a_lost_one_is_told() -> None:
    seen = gen.with_role(gen.complete(gen.wanted()), "acme", stamp=None)
    assert DisableLogins(("acme_1",)) in steps(ONCE, seen)
    assert removal(ONCE, seen)[-2:] == (DropDatabase("acme"), DropRole("acme_1"))


def test_what_was_never_provisioned_and_bears_no_stamp_is_passed_over() -> None:
    assert decided(CUT, BARE) == decide_removal(CUT, BARE) == Do(())


def test_what_another_has_taken_the_place_of_is_passed_over() -> None:
    assert decided(ONCE, gen.nothing(databases=(gen.database(mark=NEIGHBOUR),))) == Do(())
    assert decide_removal(ONCE, gen.nothing(databases=(gen.database(mark=NEIGHBOUR),))) == Do(())


def test_a_spec_that_is_refused_does_not_keep_access_from_being_cut() -> None:
    wanted = gen.wanted(access=Access.CUT, extensions=("dblink",))
    assert DisableLogins(("acme_1",)) in steps(wanted, gen.complete(gen.wanted()))


def test_access_is_restored_by_the_same_decision() -> None:
    found = steps(gen.wanted(), gen.with_role(SHUT, "acme_1"))
    assert found == (ConformLogin("acme_1", terms_of(CUT, gen.operator())),)


def test_another_server_is_not_cut() -> None:
    assert isinstance(decided(CUT, gen.but(SHUT, identity="other")), EngineChanged)


def test_removal_shuts_out_before_it_drops_and_drops_the_group_last() -> None:
    seen = gen.complete(
        gen.wanted(),
        sessions=(SeenSessions(role="acme_1", stamp=OURS),),
        prepared=(Prepared(gid="two", owner="acme", database="acme"),),
        footprints=(Footprint(role="acme", database="acme"), Footprint(role="acme_1", database="globex")),
    )
    assert removal(CUT, seen) == (
        RollBackPrepared("acme", "acme", "two"),
        CloseDoor("acme", "acme_1", ""),
        DisableLogins(("acme_1",)),
        EndSessions("acme", ours=("acme", "acme_1")),
        DropDatabase("acme"),
        DropRole("acme_1", Disown("acme_1", "globex", heir="")),
        DropRole("acme"),
    )


def test_nothing_is_left_to_remove_where_nothing_is() -> None:
    assert removal(CUT, gen.nothing()) == ()


def test_removal_of_another_server_is_refused() -> None:
    assert decide_removal(CUT, gen.nothing(identity="other")) == EngineChanged(gen.IDENTITY, "other")


def test_removal_passes_over_what_is_not_ours() -> None:
    seen = gen.nothing(
        databases=(gen.database(mark=None),),
        roles=(gen.role("acme", mark=NEIGHBOUR), gen.role("acme_1", mark=None, login=True)),
    )
    assert removal(CUT, seen) == ()


def test_removal_finds_what_bears_our_stamp_under_another_name() -> None:
    seen = gen.nothing(databases=(gen.database("acme_old", mark=OURS),), roles=(gen.role("acme_old", mark=OURS),))
    assert removal(CUT, seen) == (DropDatabase("acme_old"), DropRole("acme_old"))


def test_removal_takes_a_draft_along() -> None:
    seen = gen.nothing(databases=(gen.database(CUT.draft, open=False),))
    assert removal(CUT, seen) == (DropDatabase(CUT.draft),)


def test_removal_takes_over_a_role_whose_privileges_we_lost() -> None:
    roles = (SeenRole(name="acme", stamp=OURS, login=False, operated=False),)
    seen = gen.nothing(roles=roles, footprints=(Footprint(role="acme", database="globex"),))
    assert removal(CUT, seen) == (TakeOver("acme"), DropRole("acme", Disown("acme", "globex", heir="")))


marks = st.sampled_from((None, OURS, NEIGHBOUR, ELSEWHERE, "a remark"))
names = st.sampled_from(("acme", "acme_1", "acme_2", "globex", gen.wanted().draft))
databases = st.lists(
    st.builds(
        SeenDatabase,
        name=names,
        stamp=marks,
        owned=st.booleans(),
        open=st.booleans(),
        connection_limit=st.integers(-1, 30),
        grants=st.just(()) | st.just((GRANT,)),
    ),
    unique_by=lambda database: database.name,
).map(tuple)
roles = st.lists(
    st.builds(
        SeenRole,
        name=names,
        stamp=marks,
        login=st.booleans(),
        operated=st.booleans(),
        member_of=st.just(()) | st.just((Membership(role="acme", grantor="", usable=True),)),
    ),
    unique_by=lambda role: role.name,
).map(tuple)
footprints = st.lists(st.builds(Footprint, role=st.just("acme_2"), database=st.sampled_from(("acme", "globex")))).map(
    tuple
)
sights = st.builds(gen.nothing, databases=databases, roles=roles, warm=st.sampled_from(((), ("bh_warm_1",))))
wishes = st.builds(
    gen.wanted,
    access=st.sampled_from(Access),
    claimed=st.booleans(),
    provisioned=st.booleans(),
    schemas=st.sampled_from(((), ("app",))),
    extensions=st.sampled_from(((), ("pg_trgm",))),
)


def changed_by(step: object) -> set[tuple[str, str]]:
    """Databases and roles that a step changes."""
    match step:
        case NameDatabase() | UseWarm():
            return {("database", step.name)}
        case ConformDatabase() | DropDatabase() | CreateDatabase():
            return {("database", step.name)}
        case Furnish() | CreateExtension() | RollBackPrepared():
            return {("database", step.database)}
        case CreateGroup() | CreateLogin() | ConformGroup() | ConformLogin() | DropRole():
            return {("role", step.name)}
        case DisableLogins():
            return {("role", name) for name in step.names}
        case EndSessions():
            return {("role", name) for name in step.ours} | ({("database", step.database)} if step.database else set())
        case RevokeMembership():
            return {("role", step.member)}
        case Disown() | TakeOver() | ResetSettings():
            return {("role", step.role)}
        case _:
            raise AssertionError(f"a step that this test does not know: {step!r}")


def strange(seen: Seen) -> set[tuple[str, str]]:
    """What is there and does not bear our stamp, except a draft that was never open."""
    wanted = gen.wanted()
    return {
        ("database", found.name)
        for found in seen.databases
        if found.stamp != OURS and not (found.name == wanted.draft and found.stamp is None and not found.open)
    } | {("role", found.name) for found in seen.roles if found.stamp != OURS}


@given(wishes, sights)
def test_no_step_ever_changes_what_is_not_ours(wanted: Wanted, seen: Seen) -> None:
    decision = decided(wanted, seen)
    found = decision.steps if isinstance(decision, Do) else ()
    assert not strange(seen) & {change for step in found for change in changed_by(step)}


@given(wishes, sights, footprints)
def test_removal_never_changes_what_is_not_ours(wanted: Wanted, seen: Seen, footprints: tuple[Footprint, ...]) -> None:
    decision = decide_removal(wanted, gen.but(seen, footprints=footprints))
    found = decision.steps if isinstance(decision, Do) else ()
    assert not strange(seen) & {change for step in found for change in changed_by(step)}


@given(wishes, sights)
def test_nothing_lost_is_ever_replaced_by_something_empty(wanted: Wanted, seen: Seen) -> None:
    decision = decided(wanted, seen)
    found = decision.steps if isinstance(decision, Do) else ()
    makes = any(isinstance(step, CreateDatabase | NameDatabase | UseWarm) for step in found)
    assert not (makes and wanted.provisioned)


@given(wishes, sights)
def test_nothing_is_created_while_access_is_cut(wanted: Wanted, seen: Seen) -> None:
    decision = decided(gen.wanted(access=Access.CUT, provisioned=wanted.provisioned), seen)
    found = decision.steps if isinstance(decision, Do) else ()
    assert all(isinstance(step, RevokeMembership | DisableLogins | EndSessions) for step in found)


@given(wishes)
def test_what_is_complete_is_left_alone(wanted: Wanted) -> None:
    assert steps(wanted, gen.complete(wanted)) == ()
