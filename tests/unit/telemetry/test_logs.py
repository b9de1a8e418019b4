"""What reaches the log, and what never does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from bulkhead.api.sensitive import Sensitive
from bulkhead.telemetry.logs import configure, scrub

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lIn0.c2lnbmF0dXJl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the process logs to for the time of a test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("info", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    structlog.get_logger("bulkhead.reconcile").info("became ready", data_cluster="acme", seconds=1.5)
    (line,) = lines(stream)
    assert {key: line[key] for key in ("event", "level", "logger", "data_cluster", "seconds")} == {
        "event": "became ready",
        "level": "info",
        "logger": "bulkhead.reconcile",
        "data_cluster": "acme",
        "seconds": 1.5,
    }


def test_what_is_below_the_level_is_not_logged(stream: io.StringIO) -> None:
    structlog.get_logger("bulkhead").debug("observed")
    logging.getLogger("kopf").debug("observed")
    assert lines(stream) == []


def test_other_libraries_log_in_the_same_form(stream: io.StringIO) -> None:
    logging.getLogger("kopf.objects").warning("Request attempt %s failed", "#1")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("Request attempt #1 failed", "kopf.objects", "warning")


def test_a_sensitive_value_is_never_shown(stream: io.StringIO) -> None:
    secret = Sensitive("hunter2-hunter2")
    structlog.get_logger("bulkhead").info("made", value=secret, nested={"deep": [secret, (secret,)]})
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize(
    "key", ["password", "admin_password", "secret", "adminToken", "api_key", "secretKey", "authorization", "x-api-key"]
)
def test_the_value_of_a_key_that_names_a_secret_is_masked(stream: io.StringIO, key: str) -> None:
    structlog.get_logger("bulkhead").info("made", **{key: "hunter2"}, inner={key: "hunter2"})
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("key", ["secret_name", "token_lifetime", "key", "monkey", "passwordless"])
def test_a_key_that_only_speaks_of_secrets_is_shown(stream: io.StringIO, key: str) -> None:
    structlog.get_logger("bulkhead").info("made", **{key: "postgres-admin"})
    assert lines(stream)[0][key] == "postgres-admin"


def test_a_traceback_is_searched_too(stream: io.StringIO) -> None:
    def connect() -> None:
        raise ConnectionError("cannot reach postgresql://admin:hunter2@db:5432/postgres")

    try:
        connect()
    except ConnectionError:
        structlog.get_logger("bulkhead").exception("while connecting")
        logging.getLogger("kopf").exception("while watching")
    assert "hunter2" not in stream.getvalue()
    assert [line["exception"].count("ConnectionError: cannot reach") for line in lines(stream)] == [1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2hunter2",
        "headers: {'Authorization': 'Basic aHVudGVyMg=='}",
        "it sent bearer hunter2hunter2 and left",
        f"the token was {JWT} all along",
        f"token-{JWT}",
        "postgresql://admin:hunter2@db:5432/postgres",
        "ALTER ROLE acme PASSWORD 'hunter2'",
        "host=db password=hunter2 user=admin",
        '{"api_key": "hunter2"}',
        "access_key=hunter2&x=1",
        f"sent bhk_{'0' * 32}_hunter2hunter2_000000",
        f"oat_{'f' * 32}_hunter2",
        "SCRAM-SHA-256$4096:hunter2==$hunter2:hunter2",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2 cut off",
    ],
)
def test_credentials_in_the_form_they_travel_in_are_taken_out_of_texts(text: str) -> None:
    scrubbed = scrub(text)
    for secret in ("hunter2", "aHVudGVyMg", JWT):
        assert secret not in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        'while creating secrets "tenant-acme/postgres-binding": already exists',
        "password authentication failed for user acme",
        "https://qdrant.data.svc:6333/collections",
        'role "acme_1" does not exist',
    ],
)
def test_messages_that_hold_no_secret_stay_as_they_are(text: str) -> None:
    assert scrub(text) == text


def test_a_credential_of_ours_is_shown_by_its_label() -> None:
    label = f"bhk_{'0' * 32}"
    assert scrub(f"sent {label}_hunter2hunter2_000000.") == f"sent {label}_***."


def test_an_unknown_level_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="loud"):
        configure("loud", io.StringIO())
