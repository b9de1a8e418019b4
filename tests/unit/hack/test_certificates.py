import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hack.plane.certificates import Authority
from hack.plane.private import write_private

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def verified(authority: Authority, certificate: str, name: str, at: dt.datetime = NOW) -> None:
    """Raises VerificationError: a client that trusts the authority would refuse the certificate for this name."""
    store = Store([x509.load_pem_x509_certificate(authority.certificate.encode())])
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(name))
    verifier.verify(x509.load_pem_x509_certificate(certificate.encode()), [])


def test_a_server_certificate_is_good_for_localhost() -> None:
    authority = Authority("plane", NOW)
    verified(authority, authority.server("postgres").certificate, "localhost")


def test_a_server_certificate_is_good_for_no_other_name() -> None:
    authority = Authority("plane", NOW)
    with pytest.raises(VerificationError):
        verified(authority, authority.server("postgres").certificate, "example.com")


def test_an_authority_of_the_same_name_does_not_verify_it() -> None:
    with pytest.raises(VerificationError):
        verified(Authority("plane", NOW), Authority("plane", NOW).server("postgres").certificate, "localhost")


def test_a_client_certificate_is_no_server_certificate() -> None:
    authority = Authority("plane", NOW)
    with pytest.raises(VerificationError):
        verified(authority, authority.client("localhost").certificate, "localhost")


def test_a_certificate_ends_after_a_month() -> None:
    authority = Authority("plane", NOW)
    with pytest.raises(VerificationError):
        verified(authority, authority.server("postgres").certificate, "localhost", NOW + dt.timedelta(days=31))


def test_a_key_is_not_shown() -> None:
    pair = Authority("plane", NOW).server("postgres")
    assert pair.key not in repr(pair)


def test_a_private_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
