"""Statements of clusters. Times are the database's."""

from __future__ import annotations

from typing import Final

# In order of their ids: two replicas that flush the same rows wait for each other instead of locking each other out.
FLUSH: Final = """
    WITH heard AS (
        SELECT * FROM jsonb_to_recordset(%(heard)s::jsonb) AS h (id uuid, at timestamptz, report jsonb)
    ), locked AS (
        SELECT identity_id FROM liveness WHERE identity_id IN (SELECT id FROM heard)
        ORDER BY identity_id FOR NO KEY UPDATE
    )
    UPDATE liveness l
    SET last_seen = greatest(l.last_seen, h.at),
        report = CASE WHEN l.reported_at >= h.at THEN l.report ELSE h.report END,
        reported_at = greatest(l.reported_at, h.at)
    FROM heard h JOIN locked ON locked.identity_id = h.id
    WHERE l.identity_id = h.id
"""

# A lease that lapsed is not renewed: silence is counted from the beginning of a new one.
RENEW_LEASE: Final = """
    UPDATE replicas SET flushed_at = now()
    WHERE id = %(id)s AND flushed_at > now() - make_interval(secs => %(lease)s)
    RETURNING id
"""
BEGIN_LEASE: Final = "INSERT INTO replicas (id, name) VALUES (%(id)s, %(name)s)"
END_LEASE: Final = "DELETE FROM replicas WHERE id = %(id)s"
END_LAPSED_LEASES: Final = "DELETE FROM replicas WHERE flushed_at < now() - interval '1 day'"

_TOLD: Final = """
    SELECT c.organisation_id, 'cluster.' || changed.became,
           jsonb_build_object('cluster', c.id, 'name', c.name, 'tenant', c.tenant,
                              'since', extract(epoch FROM changed.at)::bigint)
    FROM changed JOIN clusters c ON c.id = changed.identity_id
    WHERE c.deleted_at IS NULL
    UNION ALL
    SELECT g.organisation_id, 'plane.' || changed.became,
           jsonb_build_object('plane', p.id, 'name', p.name, 'since', extract(epoch FROM changed.at)::bigint)
    FROM changed JOIN planes p ON p.id = changed.identity_id
        JOIN plane_grants g ON g.plane_id = p.id AND g.revoked_at IS NULL
"""

# Of replicas that hear the same identity at the same time one finds it not online, and tells.
COME_ONLINE: Final = f"""
    WITH changed AS (
        UPDATE liveness
        SET online = true, since = now(), last_seen = greatest(last_seen, now()), report = %(report)s::jsonb,
            reported_at = now()
        WHERE identity_id = %(id)s AND NOT online
        RETURNING identity_id, 'online' AS became, since AS at
    )
    INSERT INTO events (organisation_id, type, data) {_TOLD}
"""  # noqa: S608 - of two constants

# Silence counts up to what every live replica has written, and only if one of them has listened for all of it. Rows
# that somebody else has locked are being heard of now, or told of by another replica.
GO_OFFLINE: Final = f"""
    WITH heard AS (
        SELECT min(flushed_at) AS until FROM replicas WHERE flushed_at > now() - make_interval(secs => %(lease)s)
        HAVING min(started_at) <= min(flushed_at) - make_interval(secs => %(silence)s)
    ), silent AS (
        SELECT l.identity_id FROM liveness l CROSS JOIN heard
        WHERE l.online AND l.last_seen < heard.until - make_interval(secs => %(silence)s)
        ORDER BY l.identity_id FOR NO KEY UPDATE OF l SKIP LOCKED
    ), changed AS (
        UPDATE liveness l SET online = false, since = now() FROM silent
        WHERE l.identity_id = silent.identity_id AND l.online
        RETURNING l.identity_id, 'offline' AS became, l.last_seen AS at
    ), told AS (
        INSERT INTO events (organisation_id, type, data) {_TOLD}
    )
    SELECT count(*) FROM changed
"""  # noqa: S608 - of two constants

REPORTED: Final = """
    UPDATE clusters SET applied_generation = %(applied)s, acknowledged_kid = %(acknowledged)s WHERE id = %(id)s
"""

LOCK_DESIRED: Final = """
    SELECT name, tenant, deleted_at IS NOT NULL AS deleted, desired_generation, desired_state, applied_generation
    FROM clusters WHERE id = %s FOR NO KEY UPDATE
"""
SET_DESIRED: Final = """
    UPDATE clusters SET desired_generation = %(generation)s, desired_state = %(state)s WHERE id = %(id)s
"""

_CLUSTER: Final = """
    SELECT c.id, c.uid, c.name, c.tenant, c.plane_id AS plane, extract(epoch FROM c.created_at)::bigint AS created_at,
           extract(epoch FROM c.deleted_at)::bigint AS deleted_at, c.identity_revoked_at IS NOT NULL AS revoked,
           coalesce(l.online, false) AS online, extract(epoch FROM l.since)::bigint AS since,
           extract(epoch FROM l.last_seen)::bigint AS last_seen, l.report,
           c.desired_generation, c.desired_state, c.applied_generation
    FROM clusters c LEFT JOIN liveness l ON l.identity_id = c.id
"""
CLUSTER: Final = f"{_CLUSTER} WHERE c.id = %s"
CLUSTERS: Final = f"""
    {_CLUSTER}
    WHERE c.deleted_at IS NULL AND (%(after)s::uuid IS NULL OR c.id > %(after)s::uuid)
    ORDER BY c.id LIMIT %(limit)s
"""

# The cluster's row, for a stream's may not exist yet.
LOCK_CLUSTER: Final = "SELECT deleted_at IS NOT NULL FROM clusters WHERE id = %s FOR NO KEY UPDATE"
STREAM: Final = """
    SELECT s.epoch AS platform_epoch, extract(epoch FROM now())::bigint AS now, t.epoch, t.number,
           t.replaced_epoch, t.replaced_number, t.snapshot_digest, t.sequence, t.digest
    FROM platform_state s LEFT JOIN streams t ON t.cluster_id = %s
"""
OPEN_STREAM: Final = """
    INSERT INTO streams (cluster_id, organisation_id, epoch, number, replaced_epoch, replaced_number, snapshot_digest,
                         sequence, digest)
    VALUES (%(cluster)s, %(organisation)s, %(epoch)s, %(number)s, %(replaced_epoch)s, %(replaced_number)s, %(digest)s,
            0, %(digest)s)
    ON CONFLICT (cluster_id) DO UPDATE
    SET epoch = excluded.epoch, number = excluded.number, replaced_epoch = excluded.replaced_epoch,
        replaced_number = excluded.replaced_number, snapshot_digest = excluded.snapshot_digest, sequence = 0,
        digest = excluded.digest, opened_at = now(), applied_at = now()
"""
ADVANCE_STREAM: Final = """
    UPDATE streams SET sequence = %(sequence)s, digest = %(digest)s, applied_at = now() WHERE cluster_id = %(cluster)s
"""
# All but these.
KEEP_DOCUMENTS: Final = """
    DELETE FROM documents d
    WHERE d.cluster_id = %(cluster)s
      AND NOT EXISTS (SELECT FROM jsonb_to_recordset(%(keys)s::jsonb) AS kept (kind text, id text)
                      WHERE kept.kind = d.kind AND kept.id = d.id)
"""
REMOVE_DOCUMENTS: Final = """
    DELETE FROM documents d USING jsonb_to_recordset(%(keys)s::jsonb) AS gone (kind text, id text)
    WHERE d.cluster_id = %(cluster)s AND d.kind = gone.kind AND d.id = gone.id
"""
# After a restart of an operator its snapshots say what is here already: such rows are not written.
WRITE_DOCUMENTS: Final = """
    INSERT INTO documents AS d (cluster_id, organisation_id, kind, id, body)
    SELECT %(cluster)s::uuid, %(organisation)s::uuid, new.kind, new.id, new.body
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (kind text, id text, body jsonb)
    ON CONFLICT (cluster_id, kind, id) DO UPDATE SET body = excluded.body, synced_at = now()
    WHERE d.body <> excluded.body
"""
COUNT_DOCUMENTS: Final = "SELECT count(*) FROM documents WHERE cluster_id = %s"
DOCUMENTS: Final = """
    SELECT kind, id, body FROM documents
    WHERE cluster_id = %(cluster)s AND (kind, id) > (%(kind)s, %(id)s)
    ORDER BY kind, id LIMIT %(limit)s
"""
