"""Statements of the audit."""

from __future__ import annotations

# The time is the transaction's and the database's, written before the rest of the object that a handler gives. Rows are
# numbered as they are given.
RECORD = """
INSERT INTO bulkhead.audit_intake (organisation_id, recorded_at, action, entry)
SELECT organisation, now(), action, convert_to(
    '{"at":"' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",' || substr(text, 2),
    'UTF8')
FROM ROWS FROM (jsonb_to_recordset(%s::jsonb) AS (organisation uuid, action text, text text))
    WITH ORDINALITY AS given (organisation, action, text, number)
ORDER BY number
"""

SEAL = "SELECT bulkhead.seal(%s)"

TRY_SIGNING = "SELECT pg_try_advisory_xact_lock(hashtextextended('bulkhead.audit_heads', 0))"

# Where a database stands, and what it holds where the furthest known row was.
STANDING = """
SELECT s.epoch, coalesce(last.sequence, 0), coalesce(last.hash, ''),
       (SELECT hash FROM bulkhead.audit_chain WHERE sequence = %s)
FROM bulkhead.platform_state s
    LEFT JOIN LATERAL (SELECT sequence, hash FROM bulkhead.audit_chain ORDER BY sequence DESC LIMIT 1) last ON true
"""

UNSIGNED = """
SELECT c.sequence, c.hash, s.epoch, extract(epoch FROM now())::bigint
FROM bulkhead.platform_state s
    CROSS JOIN LATERAL (SELECT sequence, hash FROM bulkhead.audit_chain ORDER BY sequence DESC LIMIT 1) c
WHERE NOT EXISTS (SELECT FROM bulkhead.audit_heads h WHERE h.sequence = c.sequence)
"""

SIGNED = "INSERT INTO bulkhead.audit_heads (sequence, hash, kid, statement) VALUES (%s, %s, %s, %s)"

PAGE = """
SELECT sequence, entry FROM bulkhead.audit_chain
WHERE organisation_id = %(organisation)s AND sequence > %(after)s AND (%(action)s::text IS NULL OR action = %(action)s)
ORDER BY sequence LIMIT %(limit)s
"""

CHAIN = """
SELECT sequence, previous_hash, hash, entry, organisation_id, recorded_at, action
FROM bulkhead.audit_chain ORDER BY sequence, hash
"""

HEADS = "SELECT statement FROM bulkhead.audit_heads ORDER BY sequence"

KEYS = "SELECT public_key, coalesce(link, '') FROM bulkhead.signing_keys WHERE purpose = 'audit_head'"

WAITING = "SELECT count(*), min(recorded_at), now() FROM bulkhead.audit_intake"
