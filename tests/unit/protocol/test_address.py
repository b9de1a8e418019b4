"""The platform's URL: one form, so that both ends sign the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol.address import platform_url
from bulkhead.protocol.errors import Malformed


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("https://platform.example.com", "https://platform.example.com"),
        ("https://platform.example.com/", "https://platform.example.com"),
        ("HTTPS://Platform.Example.COM", "https://platform.example.com"),
        ("https://platform.example.com:443", "https://platform.example.com"),
        ("https://platform.example.com:08443/", "https://platform.example.com:8443"),
        ("https://example.com/Bulkhead/v2/", "https://example.com/Bulkhead/v2"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
        ("https://[2001:DB8::0:1]:443/x", "https://[2001:db8::1]/x"),
    ],
)
def test_each_address_has_one_form(written: str, canonical: str) -> None:
    assert platform_url(written) == canonical
    assert platform_url(canonical) == canonical


@pytest.mark.parametrize(
    "written",
    [
        "", "platform.example.com", "ftp://platform.example.com", "http://platform.example.com", "http://127.0.0.2",
        "http://localhost.example.com", "https://", "https:///x", "https://user@platform.example.com",
        "https://user:password@platform.example.com", "https://platform.example.com?x=1", "https://platform.example.com/#x",
        "https://platform.example.com/../x", "https://platform.example.com/./x", "https://platform.example.com/%2e",
        "https://platform.example.com//x", "https://platform.example.com:0", "https://platform.example.com:65536",
        "https://platform.example.com:x", "https://platform.example.com:", "https://plat form.example.com",
        "https://platform.example.com\n", "https://platform.example.com/x\\y", "https://-x.example.com", "https://[::1",
        "https://[:::]", "https://[127.0.0.1]", "https://[::1%25eth0]", "https://plätform.example.com",
        "https://\u212aelvin.example.com", "https://x.com/" + "a" * 512,
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(written: str) -> None:
    with pytest.raises(Malformed):
        platform_url(written)


@given(st.from_regex(r"(?i:https?)://[A-Za-z0-9.\[\]:-]{1,30}(/[a-z.~]{0,5}){0,3}", fullmatch=True))
def test_the_form_of_a_form_is_itself(written: str) -> None:
    try:
        canonical = platform_url(written)
    except Malformed:
        return
    assert platform_url(canonical) == canonical
