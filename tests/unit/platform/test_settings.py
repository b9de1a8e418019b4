"""What the service is told, and how it says what is wrong with it: by the variable's name, never by its value."""

from __future__ import annotations

import base64
import ipaddress
from pathlib import Path

import pytest

from bulkhead.platform.settings import PREFIX, Environment, Key, Keys, Settings, TlsFiles, Wrong

SECRET = "hunter2secret"
PEPPER, SEALING = b"p" * 32, b"s" * 32


def coded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def variables(**changes: str) -> dict[str, str]:
    """All that serve needs, and these; an empty one is one that is not set."""
    wanted = {
        "API_DSN": f"postgresql://api:{SECRET}@db/bulkhead",
        "WORKER_DSN": f"postgresql://worker:{SECRET}@db/bulkhead",
        "PEPPER": coded(PEPPER),
        "KEY_ENCRYPTION_KEY": coded(SEALING),
        "URL": "https://platform.example.com",
        "WITHOUT_EXPORT": "" if changes.get("EXPORT_DIRECTORY") else "true",
        **changes,
    }
    return {PREFIX + name: value for name, value in wanted.items() if value}


def serve(**changes: str) -> Settings:
    return Environment(variables(**changes)).serve()


def test_what_is_needed_is_enough() -> None:
    settings = serve()
    assert settings.pepper == Keys(Key(PEPPER))
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.export_directory is None
    assert settings.trusted_proxies == ()


def test_operations_have_a_listener_of_their_own_and_a_certificate_needs_its_key() -> None:
    settings = serve(
        OPERATIONS_LISTEN="10.0.0.1:9999", TLS_CERTIFICATE_FILE="/tls/tls.crt", TLS_KEY_FILE="/tls/tls.key"
    )
    assert (settings.operations_host, settings.operations_port) == ("10.0.0.1", 9999)
    assert settings.tls == TlsFiles(certificate=Path("/tls/tls.crt"), key=Path("/tls/tls.key"))
    assert serve().tls is None


def test_a_secret_comes_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "pepper"
    file.write_text(coded(PEPPER) + "\n")
    assert serve(PEPPER="", PEPPER_FILE=str(file)).pepper.current == Key(PEPPER)


def test_a_former_key_is_known_by_its_id() -> None:
    keys = serve(PEPPER_PREVIOUS=coded(b"o" * 32)).pepper
    assert keys.named(Key(b"o" * 32).id) == Key(b"o" * 32)
    assert keys.named(Key(PEPPER).id) == Key(PEPPER)
    assert keys.named(Key(b"x" * 32).id) is None


def test_networks_addresses_and_bounds_are_read(tmp_path: Path) -> None:
    settings = serve(
        LISTEN="[::]:9000",
        TRUSTED_PROXIES="10.0.0.0/8, fd00::/8",
        EXPORT_DIRECTORY=str(tmp_path),
        API_CONNECTIONS="40",
        STATEMENT_SECONDS="3",
    )
    assert (settings.host, settings.port) == ("::", 9000)
    assert settings.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    assert settings.export_directory == tmp_path
    assert (settings.api_bounds.most, settings.api_bounds.statement_seconds) == (40, 3)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("API_DSN", "", "is not set"),
        ("API_DSN", f"://api:{SECRET}@db", "is no connection string"),
        ("WORKER_DSN", f"password={SECRET} nonsense", "is no connection string"),
        ("PEPPER", "", "is not set"),
        ("PEPPER", f"{SECRET}!", "is not base64"),
        ("PEPPER", coded(b"short"), "has 5 bytes"),
        ("KEY_ENCRYPTION_KEY", "", "openssl rand"),
        ("KEY_ENCRYPTION_KEY_PREVIOUS", coded(b"short"), "has 5 bytes"),
        ("URL", "", "is not set"),
        ("URL", "http://platform.example.com", "https://"),
        ("URL", "https://platform.example.com/", "without a slash"),
        ("URL", f"https://me:{SECRET}@platform.example.com", "alone"),
        ("URL", "https://platform.example.com:none", "is no URL"),
        ("URL", "https://[broken", "is no URL"),
        ("LISTEN", "8080", "host:port"),
        ("LISTEN", "0.0.0.0:99999", "host:port"),
        ("OPERATIONS_LISTEN", "9090", "host:port"),
        ("TLS_KEY_FILE", "/tls/tls.key", "go together"),
        ("TLS_CERTIFICATE_FILE", "/tls/tls.crt", "go together"),
        ("DRAIN_DELAY_SECONDS", "-1", "whole number"),
        ("DRAIN_SECONDS", "0", "whole number"),
        ("LISTEN", "0.0.0.0:٨٠", "host:port"),
        ("EXPORT_DIRECTORY", "/nowhere/at/all", "is no directory"),
        ("WITHOUT_EXPORT", "yes", "true or false"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "has host bits set"),
        ("ALLOWED_ADDRESSES", "example.com", "does not appear to be"),
        ("API_CONNECTIONS", "0", "whole number from 2 to 500"),
        ("SCRYPT_AT_ONCE", "many", "whole number"),
        ("STATEMENT_SECONDS", "1.5", "whole number"),
    ],
)
def test_what_is_wrong_is_named_by_its_variable_and_no_secret_is_shown(name: str, value: str, reason: str) -> None:
    with pytest.raises(Wrong) as wrong:
        serve(**{name: value})
    assert f"{PREFIX}{name}" in str(wrong.value)
    assert reason in str(wrong.value)
    assert SECRET not in str(wrong.value)
    assert wrong.value.__cause__ is None


def test_an_export_is_wanted_unless_it_is_said_that_there_is_none(tmp_path: Path) -> None:
    for absent in ("", "false"):
        with pytest.raises(Wrong, match=r"EXPORT_DIRECTORY is not set: .* --without-export"):
            serve(WITHOUT_EXPORT=absent)
    assert Environment(variables(WITHOUT_EXPORT="")).serve(without_export=True).export_directory is None
    for said in (True, False):
        both = variables(EXPORT_DIRECTORY=str(tmp_path), WITHOUT_EXPORT="" if said else "true")
        with pytest.raises(Wrong, match="EXPORT_DIRECTORY is set, and"):
            Environment(both).serve(without_export=said)


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_no_secret(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pepper"
    file.write_text(content)
    with pytest.raises(Wrong, match=r"PEPPER_FILE: .* is empty"):
        serve(PEPPER="", PEPPER_FILE=str(file))


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match=r"PEPPER_FILE: .* can not be read: No such file"):
        serve(PEPPER="", PEPPER_FILE=str(tmp_path / "none"))
    raw = tmp_path / "raw"
    raw.write_bytes(b"\xff\xfe")
    with pytest.raises(Wrong, match="can not be read: it is not text"):
        serve(PEPPER="", PEPPER_FILE=str(raw))


def test_a_secret_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="are both set"):
        serve(PEPPER_FILE=str(tmp_path / "pepper"))


def test_who_serves_needs_no_log_in_of_the_owner_and_who_migrates_no_key() -> None:
    assert "OWNER" not in "".join(variables())
    assert Environment({f"{PREFIX}OWNER_DSN": "host=db"}).owner().text == "host=db"
    assert Environment({f"{PREFIX}MAINTENANCE_DSN": "host=db"}).maintenance().text == "host=db"


def test_http_is_for_loopback_alone() -> None:
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80"):
        assert serve(URL=f"http://{host}").url == f"http://{host}"


def test_settings_show_no_secret() -> None:
    shown = repr(serve(PEPPER_PREVIOUS=coded(b"o" * 32)))
    for secret in (SECRET, repr(PEPPER), coded(PEPPER), repr(SEALING), repr(b"o" * 32)):
        assert secret.strip("b'") not in shown
    assert PEPPER.hex() not in Key(PEPPER).id


def test_variables_that_kubernetes_adds_for_a_service_of_our_name_change_nothing() -> None:
    injected = {f"{PREFIX}PORT": "tcp://10.0.0.1:80", f"{PREFIX}SERVICE_HOST": "10.0.0.1"}
    assert Environment({**variables(), **injected}).serve() == serve()
