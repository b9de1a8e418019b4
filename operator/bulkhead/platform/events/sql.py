"""Statements of events, webhooks and deliveries."""

from __future__ import annotations

EMIT = "INSERT INTO bulkhead.events (organisation_id, type, data) VALUES (%s, %s, %s::jsonb)"

EMIT_OF_PLANE = """
INSERT INTO bulkhead.events (organisation_id, type, data)
SELECT organisation_id, %s, %s::jsonb FROM bulkhead.plane_grants WHERE plane_id = %s AND revoked_at IS NULL
"""

DISPATCH = """
WITH undispatched AS (
    SELECT id, organisation_id, type, data FROM bulkhead.events WHERE dispatched_at IS NULL
    ORDER BY created_at, id LIMIT %s FOR UPDATE SKIP LOCKED
), made AS (
    INSERT INTO bulkhead.deliveries (organisation_id, webhook_id, event_id)
    SELECT e.organisation_id, w.id, e.id
    FROM undispatched e JOIN bulkhead.webhooks w ON w.organisation_id = e.organisation_id
    WHERE w.disabled_at IS NULL
      AND CASE e.type WHEN 'webhook.ping' THEN e.data->>'webhook' = w.id::text ELSE e.type = ANY (w.types) END
    ON CONFLICT (event_id, webhook_id) DO NOTHING
), dispatched AS (
    UPDATE bulkhead.events SET dispatched_at = now() WHERE id IN (SELECT id FROM undispatched) RETURNING id
)
SELECT count(*) FROM dispatched
"""

# One in flight for each webhook: what is taken is the webhook, for as long as the lease. Whoever dies with it is given
# up for lost when the lease ends. Of one organisation so many are taken at once: receivers that answer slowly keep
# nobody else's waiting.
CLAIM = """
UPDATE bulkhead.webhooks SET lease = %(lease)s, free_at = now() + %(seconds)s
WHERE id = (
    SELECT w.id FROM bulkhead.webhooks w CROSS JOIN LATERAL (
        SELECT d.next_attempt_at FROM bulkhead.deliveries d
        WHERE d.webhook_id = w.id AND d.state = 'pending' AND d.next_attempt_at <= now()
        ORDER BY d.next_attempt_at LIMIT 1) due
    WHERE w.disabled_at IS NULL AND w.free_at <= now()
      AND %(most)s > (SELECT count(*) FROM bulkhead.webhooks taken
                      WHERE taken.organisation_id = w.organisation_id AND taken.lease IS NOT NULL
                        AND taken.free_at > now())
    ORDER BY due.next_attempt_at LIMIT 1 FOR UPDATE OF w SKIP LOCKED)
RETURNING id, url, sealed_secret, sealed_under, previous_sealed_secret, previous_sealed_under,
    coalesce(previous_until > now(), false), failures, coalesce(now() - failing_since, interval '0')
"""

# A statement of its own: it sees what the former holder of the lease has settled.
DUE = """
SELECT d.id, d.attempts, e.id, e.organisation_id, e.type, e.data::text, extract(epoch FROM e.created_at)::bigint,
       extract(epoch FROM now())::bigint
FROM bulkhead.deliveries d JOIN bulkhead.events e ON e.id = d.event_id
WHERE d.webhook_id = %s AND d.state = 'pending' AND d.next_attempt_at <= now()
ORDER BY d.next_attempt_at, d.id LIMIT 1
"""

RELEASE = "UPDATE bulkhead.webhooks SET lease = NULL, free_at = now() WHERE id = %s AND lease = %s"

# Only while the lease is one's own: who took longer has lost its word to who came after. A failure has lost it also to
# whoever enabled the webhook meanwhile: the failures that it was to be given up for are forgotten.
SETTLE_WEBHOOK = """
UPDATE bulkhead.webhooks SET
    lease = NULL, free_at = now() + %(rest)s,
    failures = CASE WHEN %(delivered)s THEN 0 ELSE failures + 1 END,
    failing_since = CASE WHEN %(delivered)s THEN NULL ELSE coalesce(failing_since, now()) END,
    disabled_at = CASE WHEN %(disable)s THEN coalesce(disabled_at, now()) ELSE disabled_at END
WHERE id = %(webhook)s AND lease = %(lease)s AND (%(delivered)s OR failures = %(failures)s)
RETURNING disabled_at = now()
"""

SETTLE_DELIVERY = """
UPDATE bulkhead.deliveries SET
    state = %(state)s, attempts = attempts + 1, last_attempt_at = now(),
    last_status = %(status)s, last_error = %(error)s,
    next_attempt_at = now() + %(wait)s, ended_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
WHERE id = %(delivery)s AND state = 'pending'
"""

END_DISABLED = """
UPDATE bulkhead.deliveries d
SET state = 'failed', next_attempt_at = NULL, ended_at = now(), last_error = 'webhook disabled'
FROM bulkhead.webhooks w WHERE w.id = d.webhook_id AND w.disabled_at IS NOT NULL AND d.state = 'pending'
"""

SWEEP = """
DELETE FROM bulkhead.events WHERE dispatched_at IS NOT NULL AND created_at < now() - interval '30 days'
"""

STALE = """
SELECT id, sealed_secret, sealed_under, previous_sealed_secret, previous_sealed_under FROM bulkhead.webhooks
WHERE sealed_under <> %(current)s OR previous_sealed_under <> %(current)s ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
"""

SEAL_ANEW = """
UPDATE bulkhead.webhooks
SET sealed_secret = %s, sealed_under = %s, previous_sealed_secret = %s, previous_sealed_under = %s
WHERE id = %s
"""

COUNT = "SELECT count(*) FROM bulkhead.webhooks"

# Counted under a lock of the organisation: two at once would both be the last that may be.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('bulkhead.webhooks.' || %s, 0))"

CREATE = """
INSERT INTO bulkhead.webhooks (id, organisation_id, url, types, sealed_secret, sealed_under, created_by)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

LIST = """
SELECT id, url, types, created_by, extract(epoch FROM created_at)::bigint, extract(epoch FROM previous_until)::bigint,
       extract(epoch FROM failing_since)::bigint, extract(epoch FROM disabled_at)::bigint
FROM bulkhead.webhooks
WHERE (%(id)s::uuid IS NULL OR id = %(id)s) AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s
"""

CHANGE = """
UPDATE bulkhead.webhooks SET
    url = coalesce(%(url)s, url), types = coalesce(%(types)s, types),
    disabled_at = CASE %(enabled)s::boolean
        WHEN true THEN NULL WHEN false THEN coalesce(disabled_at, now()) ELSE disabled_at END,
    failing_since = CASE %(enabled)s::boolean WHEN true THEN NULL ELSE failing_since END,
    failures = CASE %(enabled)s::boolean WHEN true THEN 0 ELSE failures END
WHERE id = %(id)s
"""

# The former secret is moved aside by a trigger: who serves requests may not read it.
ROTATE = """
UPDATE bulkhead.webhooks
SET sealed_secret = %(secret)s, sealed_under = %(under)s, previous_until = now() + %(overlap)s
WHERE id = %(id)s
"""

DELETE = "DELETE FROM bulkhead.webhooks WHERE id = %s"

DELIVERIES = """
SELECT d.id, d.event_id, e.type, d.state, d.attempts, extract(epoch FROM d.created_at)::bigint,
       extract(epoch FROM d.last_attempt_at)::bigint, d.last_status, d.last_error,
       extract(epoch FROM d.next_attempt_at)::bigint
FROM bulkhead.deliveries d JOIN bulkhead.events e ON e.id = d.event_id
WHERE d.webhook_id = %(webhook)s
  AND (%(after)s::uuid IS NULL
       OR (d.created_at, d.id) < (SELECT created_at, id FROM bulkhead.deliveries WHERE id = %(after)s))
ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s
"""
