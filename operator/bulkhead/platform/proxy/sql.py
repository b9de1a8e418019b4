"""Statements of the proxy. Row-level security shows a user the clusters of its organisation alone, and of a plane
whose grant has ended neither row nor target."""

from __future__ import annotations

from typing import Final

STATE: Final = "SELECT * FROM proxied_cluster(%s, %s)"

PLANE = "SELECT name FROM bulkhead.planes WHERE id = %s"

SET_TARGET = """
INSERT INTO bulkhead.plane_targets
    (plane_id, address, ca, client_certificate, sealed_client_key, sealed_under, set_by, set_at)
VALUES (%(plane)s, %(address)s, %(ca)s, %(certificate)s, %(sealed)s, %(under)s, %(by)s, now())
ON CONFLICT (plane_id) DO UPDATE SET
    address = excluded.address, ca = excluded.ca, client_certificate = excluded.client_certificate,
    sealed_client_key = excluded.sealed_client_key, sealed_under = excluded.sealed_under,
    set_by = excluded.set_by, set_at = excluded.set_at
RETURNING extract(epoch FROM set_at)::bigint
"""

TARGET = """
SELECT address, ca, client_certificate, set_by, extract(epoch FROM set_at)::bigint
FROM bulkhead.plane_targets WHERE plane_id = %s
"""
