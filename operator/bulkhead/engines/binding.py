"""What the Service Binding Secrets of all engines behind a URL have in common."""

from __future__ import annotations

from bulkhead.engines.http import address_of


def reached_by(url: str, kind: str, provider: str, ca_pem: str | None) -> dict[str, str]:
    """What the binding is, and how its server is reached: the CA only where it is none of the system's. Raises Refused
    where `url` is none that keys can be sent to."""
    address = address_of(url, f"writing the binding of {provider}")
    reached = {
        "type": kind,
        "provider": provider,
        "uri": url,
        "host": address.raw_host or "",  # as it is looked up: reading it as Punycode raises where it is none
        "port": str(address.port),
        "tls": "true" if address.scheme == "https" else "false",
    }
    return reached if ca_pem is None else {**reached, "ca.crt": ca_pem}
