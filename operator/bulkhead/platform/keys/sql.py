"""Statements about service keys that concern every call made with one."""

from __future__ import annotations

from typing import Final

SERVICE_KEY: Final = "SELECT * FROM service_key(%s)"

SERVICE_KEYS: Final = """
    SELECT found.* FROM jsonb_array_elements_text(%s::jsonb) AS wanted, service_key(wanted) AS found
"""

REMEMBER: Final = """
    UPDATE service_keys
    SET fast_value = %(fast_value)s, fast_pepper = %(fast_pepper)s, fast_until = %(fast_until)s
    WHERE id = %(id)s
"""

HASH_ANEW: Final = """
    UPDATE service_keys
    SET scrypt_n = %(n)s, scrypt_r = %(r)s, scrypt_p = %(p)s, salt = %(salt)s, hash = %(hash)s
    WHERE id = %(id)s
"""

# In order of their ids: two replicas that flush the same keys then wait for each other instead of locking each other
# out.
LAST_USED: Final = """
    UPDATE service_keys k SET last_used_at = now()
    FROM (SELECT id FROM service_keys WHERE id IN (SELECT jsonb_array_elements_text(%s::jsonb)) ORDER BY id
          FOR NO KEY UPDATE) used
    WHERE k.id = used.id
"""

# The first use of a key ends the overlap with the ones before it; who calls with an older one until then is served.
FIRST_USE: Final = """
    WITH first AS (
        UPDATE service_keys SET last_used_at = now() WHERE id = %(id)s AND last_used_at IS NULL
        RETURNING identity_id, created_at
    )
    UPDATE service_keys k SET retires_at = least(k.retires_at, now() + make_interval(secs => %(overlap)s))
    FROM first
    WHERE k.identity_id = first.identity_id AND k.id <> %(id)s AND k.created_at < first.created_at
      AND k.revoked_at IS NULL
"""
