"""Statements on signing_keys. Row-level security shows each role the keys of its own purpose alone."""

from __future__ import annotations

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('bulkhead.signing_keys.' || %s, 0))"

KEYS = """
SELECT kid, public_key, sealed_private, sealed_under, predecessor, link, now() - created_at AS age
FROM bulkhead.signing_keys WHERE purpose = %s
"""

INSERT = """
INSERT INTO bulkhead.signing_keys (kid, purpose, public_key, sealed_private, sealed_under, predecessor, link)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

SEAL_ANEW = "UPDATE bulkhead.signing_keys SET sealed_private = %s, sealed_under = %s WHERE kid = %s"
