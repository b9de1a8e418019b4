"""Errors of Postgres and of its client, mapped onto the errors of every engine.

The server's primary message is passed on, never the whole text: that quotes the statement, and with it the verifier.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.engines.postgres.statement import MAINTENANCE

CLASSES: dict[str, type[EngineError]] = {
    "08": Unavailable,  # connection exception
    "25": Unavailable,  # invalid transaction state: the server has become read-only
    "40": Unavailable,  # transaction rollback: serialization failure, deadlock
    "53": Unavailable,  # insufficient resources: connections, disk, memory
    "55": Unavailable,  # object not in prerequisite state: in use, lock not available
    "57": Unavailable,  # operator intervention: shutdown, cancelled, cannot connect now
    "58": Unavailable,  # system error: input, output
    "XX": Unavailable,  # internal error: "tuple concurrently updated"
}
"""By SQLSTATE class. All others are an answer that stays the same when asked again: `Refused`."""

LASTING = {
    "55P02": Refused,  # cant_change_runtime_param
    "58P01": Refused,  # undefined_file: the programs of an extension are not installed
    "XX001": Refused,  # data_corrupted
    "XX002": Refused,  # index_corrupted
}
"""Exceptions to `CLASSES`."""

TRANSIENT = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55006",  # object_in_use: a session is just leaving the database
        "XX000",  # internal_error: "tuple concurrently updated"
    }
)
"""Worth trying again at once, a few times."""

_RIGHTS = "see the rights that the role of spec.postgres.adminSecretRef needs"
_SECRET = "correct the Secret of spec.postgres.adminSecretRef in the DataPlane"  # noqa: S105 - a sentence
_TLS = "check spec.postgres.host, and that the Secret of spec.postgres.tls.caSecretRef holds the CA of the server"

_HBA = "pg_hba.conf must let the operator in, by hostssl where TLS is on"

_CONNECTION_PROBLEMS: tuple[tuple[str, type[EngineError], str], ...] = (
    ("authentication method requirement", Insecure, "pg_hba.conf must ask for scram-sha-256 and nothing weaker"),
    ("server does not support ssl", Refused, "give it a certificate, or set spec.postgres.tls.mode to disable"),
    ("certificate", Refused, _TLS),
    ("password authentication failed", Refused, _SECRET),
    ("no password supplied", Refused, _SECRET),
    ("too many connections", Unavailable, "others use them all"),
    (f'database "{MAINTENANCE}" does not exist', Refused, "the operator works from that database: make it again"),
    ('role "', Refused, _SECRET),
    ("permission denied", Refused, _RIGHTS),
    ("pg_hba.conf", Refused, _HBA),
    ("unsupported startup parameter", Refused, "spec.postgres.host must name the server itself, not a pooler"),
)
"""What a failed connection says, lower case, and what it means. It carries no SQLSTATE."""

_WRONG_PASSWORD = ("password authentication failed", "server requested a hashed password")
"""The second: what is stored is an MD5 hash, and the operator stores none."""

_LONGEST = 400


@contextmanager
def during(doing: str) -> Iterator[None]:
    """Map whatever the client raises while `doing` something, for example `create database "acme"`."""
    try:
        yield
    except (psycopg.Error, OSError) as error:
        # Not chained: a logged chain would show the statement.
        raise error_of(error, doing) from None


def is_wrong_password(error: BaseException) -> bool:
    """Whether a log-in failed for its password, and not for anything else."""
    return any(sign in str(error) for sign in _WRONG_PASSWORD)


def error_of(error: BaseException, doing: str) -> EngineError:
    """The engine's error for any error of the client. Total."""
    if isinstance(error, TimeoutError):
        return Unavailable(f"while {doing}: no answer in time")
    state = getattr(error, "sqlstate", None)
    if state is None:
        return _without_state(error, doing)
    kind = LASTING.get(state) or CLASSES.get(state[:2], Refused)
    said = getattr(error, "diag", None)
    text = (said and said.message_primary) or type(error).__name__
    hint = f"; {_RIGHTS}" if state == "42501" else ""
    return kind(f"while {doing}: {line_of(text)} ({state}){hint}")


def _without_state(error: BaseException, doing: str) -> EngineError:
    text = line_of(str(error)) or type(error).__name__
    if not isinstance(error, psycopg.OperationalError | OSError):
        # Of the client itself, such as a value that can not be sent; its text could quote that.
        own: type[EngineError] = Unavailable if isinstance(error, psycopg.InterfaceError) else Refused
        return own(f"while {doing}: {type(error).__name__}")
    for sign, kind, way_out in _CONNECTION_PROBLEMS:
        if sign in text.lower():
            return kind(f"while {doing}: {text}; {way_out}")
    return Unavailable(f"while {doing}: {text}")


def line_of(text: str) -> str:
    """One line of bounded length: it goes into a condition."""
    return " ".join(text.split())[:_LONGEST]
