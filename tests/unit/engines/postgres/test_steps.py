"""Steps: what they say, what they hide, and that no name breaks out of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.postgres.databases import CreateExtension, EndSessions, Furnish, NameDatabase, RollBackPrepared
from bulkhead.engines.postgres.roles import (
    ConformLogin,
    CreateGroup,
    CreateLogin,
    Disown,
    DropRole,
    LoginTerms,
    RevokeMembership,
)
from bulkhead.engines.postgres.statement import Place, Rights, Statement
from tests.unit.engines.postgres import gen

VERIFIER = "SCRAM-SHA-256$4096:c2FsdA==$stored:server"
TERMS = LoginTerms("acme", 20, 1024)
SUPERUSER = Rights(superuser=True, major=18)
RESTRICTED = Rights(superuser=False, major=18)
RESTRICTED_15 = Rights(superuser=False, major=15)


def text(step: Statement, rights: Rights = SUPERUSER) -> str:
    return step.text(rights).as_string()


@pytest.mark.parametrize(
    "step",
    [
        CreateLogin("acme_1", gen.stamp(), Sensitive(VERIFIER), TERMS),
        ConformLogin("acme_1", TERMS, verifier=Sensitive(VERIFIER)),
    ],
)
def test_a_verifier_is_in_the_statement_and_nowhere_else(step: Statement) -> None:
    assert VERIFIER in text(step)
    assert VERIFIER not in str(step)
    assert VERIFIER not in repr(step)


def test_wanted_logins_do_not_show_their_verifiers() -> None:
    assert "SCRAM" not in repr(gen.wanted())


def test_a_role_and_its_stamp_are_one_call() -> None:
    assert text(CreateGroup("acme", gen.stamp())) == (
        f'CREATE ROLE "acme" NOLOGIN; COMMENT ON ROLE "acme" IS \'{gen.stamp()}\''
    )


def test_a_restricted_operator_gives_itself_the_privileges_of_what_it_makes() -> None:
    step = CreateGroup("acme", gen.stamp())
    assert text(step, RESTRICTED).endswith('GRANT "acme" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE')
    assert text(step, RESTRICTED_15).endswith('GRANT "acme" TO CURRENT_USER')


def test_a_membership_is_revoked_as_its_grantor_where_the_server_tells_them_apart() -> None:
    step = RevokeMembership("acme", "globex_1", "dba")
    assert text(step) == 'REVOKE "acme" FROM "globex_1" GRANTED BY "dba" CASCADE'
    assert text(step, RESTRICTED_15) == 'REVOKE "acme" FROM "globex_1" CASCADE'


def test_a_limit_that_we_may_not_set_is_not_in_the_statement() -> None:
    step = CreateLogin("acme_1", gen.stamp(), Sensitive(VERIFIER), LoginTerms("acme", 20, None))
    assert "temp_file_limit" not in text(step)


def test_extensions_are_kept_out_of_schemas_that_a_tenant_can_write_to() -> None:
    found = text(CreateExtension("acme", "pg_trgm"))
    assert found == 'CREATE EXTENSION IF NOT EXISTS "pg_trgm" WITH SCHEMA "extensions"'


def test_a_prepared_transaction_is_rolled_back_as_its_owner_in_its_database() -> None:
    assert RollBackPrepared("acme", "acme_1", "x").place == Place("acme", role="acme_1")


PARTING = Disown("acme_1", "globex", heir="")


def test_a_role_is_parted_from_its_last_database_and_dropped_in_one_call_there() -> None:
    step = DropRole("acme_1", PARTING)
    assert step.place.database == "globex"
    assert text(step) == (
        'REASSIGN OWNED BY "acme_1" TO CURRENT_USER; DROP OWNED BY "acme_1"; DROP ROLE IF EXISTS "acme_1"'
    )


@pytest.mark.parametrize("step", [PARTING, DropRole("acme_1", PARTING)], ids=["part", "drop"])
def test_nobodys_sessions_are_ended_for_a_role_that_nobody_holds_on_to(step: Statement) -> None:
    assert "pg_terminate_backend" not in text(step)
    assert step.forced is not None
    assert text(step.forced).startswith("SELECT pg_terminate_backend")
    assert step.forced.forced is None


def test_a_role_that_has_nothing_anywhere_is_dropped_without_force() -> None:
    assert text(DropRole("acme_1")) == 'DROP ROLE IF EXISTS "acme_1"'
    assert DropRole("acme_1").forced is None


hostile = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def unquoted(statement: str) -> str:
    """The statement without quoted names, literals and space."""
    return "".join(re.sub(r"""E?'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*\"""", "", statement, flags=re.DOTALL).split())


@given(hostile, hostile)
def test_no_schema_or_extension_breaks_out_of_its_statement(schema: str, extension: str) -> None:
    assert unquoted(text(Furnish("acme", (schema,)))) == unquoted(text(Furnish("acme", ("app",))))
    assert unquoted(text(CreateExtension("acme", extension))) == unquoted(text(CreateExtension("acme", "x")))


@given(hostile)
def test_no_name_breaks_out_of_a_statement_or_its_proof(name: str) -> None:
    for step, plain in (
        (NameDatabase("draft", name, gen.stamp(), 3), NameDatabase("draft", "acme", gen.stamp(), 3)),
        (EndSessions(name, ours=(name,)), EndSessions("acme", ours=("acme",))),
        (RollBackPrepared("acme", "acme", name), RollBackPrepared("acme", "acme", "gid")),
        (
            DropRole(name, Disown(name, name, name), by_force=True),
            DropRole("acme", Disown("acme", "acme", "acme"), by_force=True),
        ),
    ):
        assert unquoted(text(step)) == unquoted(text(plain))
        assert unquoted(step.proof().as_string()) == unquoted(plain.proof().as_string())
