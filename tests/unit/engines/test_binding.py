"""What all bindings of engines behind a URL have in common."""

from __future__ import annotations

import pytest

from bulkhead.engines.binding import reached_by


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://qdrant.data.svc:6333", "qdrant.data.svc"),
        ("https://[2001:db8::1]:6333", "2001:db8::1"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://xn--a.data.svc", "xn--a.data.svc"),  # looks like Punycode and is none
    ],
)
def test_the_host_is_given_as_it_is_looked_up(url: str, host: str) -> None:
    assert reached_by(url, "qdrant", "qdrant", None)["host"] == host
