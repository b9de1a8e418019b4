"""The mapping of Postgres' errors is total, keeps secrets to itself and names the way out."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as vendor

from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.engines.postgres.errors import during, error_of, is_wrong_password

STATES: tuple[str, ...] = tuple(
    sorted(
        {
            state
            for each in vars(vendor).values()
            if isinstance(each, type) and issubclass(each, psycopg.Error) and (state := each.sqlstate)
        }
    )
)


class _Stated(psycopg.Error):
    """As the server would raise it, without a server."""

    def __init__(self, state: str) -> None:
        super().__init__("LINE 1: CREATE ROLE x PASSWORD 'SCRAM-SHA-256$4096:secret'")
        self.sqlstate = state


def test_there_are_states_to_map() -> None:
    assert len(STATES) > 200


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_the_server_is_mapped_and_its_statement_is_not_shown(state: str) -> None:
    found = error_of(_Stated(state), 'create login "acme_1"')
    assert isinstance(found, EngineError)
    assert str(found).startswith('while create login "acme_1": ')
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", Unavailable),  # connection_failure
        ("25006", Unavailable),  # read_only_sql_transaction
        ("40P01", Unavailable),  # deadlock_detected
        ("53100", Unavailable),  # disk_full
        ("53300", Unavailable),  # too_many_connections
        ("55006", Unavailable),  # object_in_use
        ("55P03", Unavailable),  # lock_not_available
        ("57014", Unavailable),  # query_canceled
        ("57P01", Unavailable),  # admin_shutdown
        ("57P03", Unavailable),  # cannot_connect_now
        ("58030", Unavailable),  # io_error
        ("XX000", Unavailable),  # internal_error
        ("XX001", Refused),  # data_corrupted
        ("58P01", Refused),  # undefined_file
        ("28P01", Refused),  # invalid_password
        ("42501", Refused),  # insufficient_privilege
        ("42601", Refused),  # syntax_error
        ("2BP01", Refused),  # dependent_objects_still_exist
        ("0A000", Refused),  # feature_not_supported
        ("ZZZZZ", Refused),
    ],
)
def test_a_state_says_whether_waiting_helps(state: str, kind: type[EngineError]) -> None:
    assert type(error_of(_Stated(state), "x")) is kind


@pytest.mark.parametrize(
    ("text", "kind", "way_out"),
    [
        ("connection refused", Unavailable, ""),
        ("server closed the connection unexpectedly", Unavailable, ""),
        ("SSL SYSCALL error: EOF detected", Unavailable, ""),
        ('FATAL:  too many connections for role "acme_1"', Unavailable, ""),
        ("SSL error: certificate verify failed", Refused, "spec.postgres.tls.caSecretRef"),
        ('server certificate for "a" does not match host name "b"', Refused, "spec.postgres.host"),
        ("server does not support SSL, but SSL was required", Refused, "spec.postgres.tls.mode"),
        ('FATAL:  password authentication failed for user "bh_op"', Refused, "spec.postgres.adminSecretRef"),
        ("fe_sendauth: no password supplied", Refused, "spec.postgres.adminSecretRef"),
        ('FATAL:  role "bh_op" is not permitted to log in', Refused, "spec.postgres.adminSecretRef"),
        ('FATAL:  database "postgres" does not exist', Refused, "make it again"),
        ('FATAL:  database "acme" does not exist', Unavailable, ""),
        ('FATAL:  permission denied for database "erp"', Refused, "rights"),
        ('FATAL:  role "bh_op" does not exist', Refused, "spec.postgres.adminSecretRef"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', Refused, "pg_hba.conf must let the operator in"),
        ("FATAL:  unsupported startup parameter: options", Refused, "not a pooler"),
        ('authentication method requirement "scram-sha-256" failed', Insecure, "scram-sha-256 and nothing weaker"),
    ],
)
def test_a_failed_connection_is_told_by_its_text(text: str, kind: type[EngineError], way_out: str) -> None:
    found = error_of(psycopg.OperationalError(f"connection failed: {text}\n\tmore"), "x")
    assert type(found) is kind
    assert way_out in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('FATAL:  password authentication failed for user "acme_1"', True),
        ('authentication method requirement "scram-sha-256" failed: server requested a hashed password', True),
        ('authentication method requirement "scram-sha-256" failed: server requested a cleartext password', False),
        ('authentication method requirement "scram-sha-256" failed: server did not complete authentication', False),
        ('FATAL:  too many connections for role "acme_1"', False),
        ('FATAL:  too many connections for database "acme"', False),
        ('FATAL:  role "acme_1" is not permitted to log in', False),
        ('FATAL:  pg_hba.conf rejects connection for host "10.0.0.1"', False),
        ("FATAL:  the database system is shutting down", False),
        ("connection refused", False),
    ],
)
def test_only_what_the_server_says_of_a_password_is_a_wrong_password(text: str, wrong: bool) -> None:  # noqa: FBT001 - a case
    assert is_wrong_password(psycopg.OperationalError(f"connection failed: {text}")) is wrong


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), psycopg.InterfaceError("closed")], ids=repr)
def test_no_answer_is_no_wrong_password(error: Exception) -> None:
    assert not is_wrong_password(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("deadline"), Unavailable),
        (ConnectionResetError("reset"), Unavailable),
        (psycopg.InterfaceError("the connection is closed"), Unavailable),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL: secret"), Refused),
        (psycopg.ProgrammingError("secret"), Refused),
    ],
)
def test_errors_of_the_client_itself_are_mapped_without_their_text(error: Exception, kind: type[EngineError]) -> None:
    found = error_of(error, "x")
    assert type(found) is kind
    assert "secret" not in str(found)


@given(st.sampled_from((psycopg.OperationalError, OSError)), st.text())
def test_no_text_escapes_the_mapping_or_its_bounds(kind: type[Exception], text: str) -> None:
    found = error_of(kind(text), "x")
    assert isinstance(found, EngineError)
    assert len(str(found)) < 1024


def test_the_vendors_error_is_not_chained_to_ours() -> None:
    with pytest.raises(Refused) as caught, during("x"):
        raise _Stated("42601")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
