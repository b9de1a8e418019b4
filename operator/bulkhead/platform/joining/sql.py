"""Statements of joining. Times are the database's."""

from __future__ import annotations

from typing import Final

FIND_BY_DIGEST: Final = """
    SELECT id, organisation_id, plane_id, %s::bytea AS digest FROM registration_token(%s)
"""
# Through the look-up: an identity of another organisation is to be told apart from none.
KNOWN: Final = "SELECT organisation_id, public_key, identity_revoked_at, deleted_at FROM identity(%s)"
SERVICE_KEY: Final = "SELECT * FROM service_key(%s)"
NOW: Final = "SELECT extract(epoch FROM now())::bigint"

# Locked until the exchange is through: of two that race with one token, the second finds it used.
LOCK_BY_ID: Final = """
    SELECT t.kind, t.organisation_id, t.plane_id, t.uid, t.name, t.tenant, t.tenant_uid,
           t.bound_key, t.self_confirming, t.rebinds, t.minted_by_plane,
           t.epoch, t.expires_at, t.revoked_at, t.used_at, t.claims_digest, t.identity_id, t.key_id,
           f.plane_revoked_at, f.grant_revoked_at, f.platform_epoch, f.now
    FROM registration_tokens t CROSS JOIN registration_token(%(digest)s) f
    WHERE t.id = %(id)s
    FOR UPDATE OF t
"""

REDEEM: Final = """
    UPDATE registration_tokens
    SET used_at = now(), claims_digest = %(claims_digest)s, identity_id = %(identity)s, key_id = %(key)s
    WHERE id = %(id)s
"""

MAKE_PLANE: Final = """
    INSERT INTO planes (id, uid, name, public_key, epoch) VALUES (%(id)s, %(uid)s, %(name)s, %(public_key)s, %(epoch)s)
"""

# A confirmation is of a key: it does not pass to the next one.
BIND_PLANE: Final = """
    UPDATE planes
    SET name = %(name)s, epoch = %(epoch)s, public_key = %(public_key)s,
        confirmed_at = CASE WHEN public_key = %(public_key)s THEN confirmed_at END,
        confirmed_by = CASE WHEN public_key = %(public_key)s THEN confirmed_by END,
        confirmed_key = CASE WHEN public_key = %(public_key)s THEN confirmed_key END
    WHERE id = %(id)s
"""

CONFIRM_PLANE: Final = """
    UPDATE planes SET confirmed_at = now(), confirmed_by = %(by)s, confirmed_key = public_key
    WHERE id = %(id)s AND confirmed_at IS NULL
    RETURNING id
"""

MAKE_CLUSTER: Final = """
    INSERT INTO clusters (id, organisation_id, plane_id, uid, name, tenant, tenant_uid, public_key, epoch)
    VALUES (%(id)s, %(organisation)s, %(plane)s, %(uid)s, %(name)s, %(tenant)s, %(tenant_uid)s, %(public_key)s,
            %(epoch)s)
"""

BIND_CLUSTER: Final = """
    UPDATE clusters
    SET name = %(name)s, tenant = %(tenant)s, epoch = %(epoch)s, public_key = %(public_key)s, acknowledged_kid = NULL
    WHERE id = %(id)s
"""

MAKE_LIVENESS: Final = """
    INSERT INTO liveness (identity_id, kind, organisation_id) VALUES (%(id)s, %(kind)s, %(organisation)s)
    ON CONFLICT (identity_id) DO NOTHING
"""

# An exact repeat after a lost answer finds the key that its proof made.
KEY_OF_CLAIMS: Final = "SELECT id FROM service_keys WHERE identity_id = %s AND claims_digest = %s"

MAKE_KEY: Final = """
    INSERT INTO service_keys (id, kind, identity_id, organisation_id, label, scopes, scrypt_n, scrypt_r, scrypt_p,
                              salt, hash, fast_value, fast_pepper, fast_until, claims_digest, epoch, expires_at)
    VALUES (%(id)s, %(kind)s, %(identity)s, %(organisation)s, %(label)s, %(scopes)s, %(n)s, %(r)s, %(p)s,
            %(salt)s, %(hash)s, %(fast_value)s, %(fast_pepper)s, %(fast_until)s, %(claims_digest)s, %(epoch)s,
            now() + %(lifetime)s)
"""

RETIRE_OTHER_KEYS: Final = """
    UPDATE service_keys SET retires_at = now()
    WHERE identity_id = %(identity)s AND id <> %(key)s AND revoked_at IS NULL
      AND (retires_at IS NULL OR retires_at > now())
"""

LIVE_KEYS: Final = """
    SELECT count(*) FROM service_keys
    WHERE identity_id = %s AND revoked_at IS NULL AND (retires_at IS NULL OR retires_at > now())
      AND (expires_at IS NULL OR expires_at > now())
"""

BOUND: Final = """
    SELECT id, kind, organisation_id, plane_id, public_key, epoch, identity_revoked_at, deleted_at, plane_revoked_at,
           grant_revoked_at, platform_epoch, now
    FROM identity(%s)
"""

# One is open for each identity and purpose: it is given again while it is valid, and made anew once it is not.
OPEN_CHALLENGE: Final = """
    INSERT INTO challenges AS c (nonce, kind, identity_id, organisation_id, purpose, expires_at)
    VALUES (%(nonce)s, %(kind)s, %(identity)s, %(organisation)s, %(purpose)s, now() + interval '60 seconds')
    ON CONFLICT (identity_id, purpose) WHERE used_at IS NULL
    DO UPDATE SET nonce = CASE WHEN c.expires_at > now() THEN c.nonce ELSE excluded.nonce END,
                  created_at = CASE WHEN c.expires_at > now() THEN c.created_at ELSE excluded.created_at END,
                  expires_at = CASE WHEN c.expires_at > now() THEN c.expires_at ELSE excluded.expires_at END
    RETURNING nonce, greatest(1, floor(extract(epoch FROM expires_at - now())))::int
"""

LOCK_CHALLENGE: Final = """
    SELECT identity_id, purpose, used_at IS NOT NULL AS used, expires_at <= now() AS over
    FROM challenges WHERE nonce = %s FOR UPDATE
"""

USE_CHALLENGE: Final = """
    UPDATE challenges SET used_at = now(), claims_digest = %(claims_digest)s, key_id = %(key)s WHERE nonce = %(nonce)s
"""

BUDGET_OF_PLANE: Final = """
    SELECT epoch, rejoin_budget, extract(epoch FROM now() - rejoin_budget_at)::float8 AS seconds
    FROM planes WHERE id = %s
"""
BUDGET_OF_CLUSTER: Final = """
    SELECT epoch, rejoin_budget, extract(epoch FROM now() - rejoin_budget_at)::float8 AS seconds
    FROM clusters WHERE id = %s
"""
REJOINED_PLANE: Final = """
    UPDATE planes SET epoch = %(epoch)s, rejoin_budget = %(budget)s, rejoin_budget_at = now() WHERE id = %(id)s
"""
# What it acknowledged is forgotten: it trusts anew the keys of this answer.
REJOINED_CLUSTER: Final = """
    UPDATE clusters
    SET epoch = %(epoch)s, rejoin_budget = %(budget)s, rejoin_budget_at = now(), acknowledged_kid = NULL
    WHERE id = %(id)s
"""

# Two that race for one identity wait for each other; the name is of no row, which may not exist yet.
LOCK_IDENTITY: Final = "SELECT pg_advisory_xact_lock(hashtextextended('bulkhead.identity.' || %s, 0))"

MAPPING: Final = "SELECT organisation_id, tenant_uid FROM tenant_organisations WHERE plane_id = %s AND tenant = %s"
GRANTS_OF_PLANE: Final = """
    SELECT organisation_id FROM plane_grants WHERE plane_id = %s AND revoked_at IS NULL ORDER BY organisation_id
"""
GRANTED_PLANES: Final = "SELECT plane_id FROM plane_grants WHERE revoked_at IS NULL"
BIND_TENANT: Final = """
    UPDATE tenant_organisations SET tenant_uid = %(uid)s
    WHERE plane_id = %(plane)s AND tenant = %(tenant)s AND tenant_uid IS NULL
"""
# Those of planes and those of people apart: whoever may mint for a cluster must not keep its plane from doing so.
OPEN_TOKENS: Final = """
    SELECT count(*) FROM registration_tokens
    WHERE plane_id = %(plane)s AND uid = %(uid)s AND minted_by_plane = %(by_plane)s
      AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
"""
# By the index of the listing: none lives longer than `seconds`.
WAITING: Final = """
    SELECT count(*) FROM registration_tokens
    WHERE organisation_id = %(organisation)s AND created_at > now() - make_interval(secs => %(seconds)s)
      AND plane_id = %(plane)s AND minted_by_plane = %(by_plane)s
      AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
"""
# Who joins and leaves without end makes rows without end: what left counts for a day.
CLUSTERS_OF_PLANE: Final = """
    SELECT count(*) FROM clusters
    WHERE plane_id = %s AND (deleted_at IS NULL OR deleted_at > now() - interval '1 day')
"""
MINT: Final = """
    INSERT INTO registration_tokens (digest, kind, organisation_id, plane_id, uid, name, tenant, tenant_uid, bound_key,
                                     self_confirming, rebinds, minted_by, minted_by_plane, epoch, expires_at)
    SELECT %(digest)s, %(kind)s, %(organisation)s, %(plane)s, %(uid)s, %(name)s, %(tenant)s, %(tenant_uid)s,
           %(bound_key)s, %(self_confirming)s, %(rebinds)s, %(minted_by)s, %(by_plane)s, s.epoch,
           now() + make_interval(secs => %(seconds)s)
    FROM platform_state s
    RETURNING id, extract(epoch FROM expires_at)::bigint, extract(epoch FROM now())::bigint
"""
LIST_TOKENS: Final = """
    SELECT id, kind, name, uid, plane_id AS plane, minted_by, extract(epoch FROM created_at)::bigint AS created_at,
           extract(epoch FROM expires_at)::bigint AS expires_at, extract(epoch FROM revoked_at)::bigint AS revoked_at,
           extract(epoch FROM used_at)::bigint AS used_at, identity_id AS identity
    FROM registration_tokens
    WHERE %(after)s::uuid IS NULL OR (created_at, id) < (SELECT created_at, id FROM registration_tokens
                                                         WHERE id = %(after)s::uuid)
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""
REVOKE_UNUSED: Final = """
    UPDATE registration_tokens SET revoked_at = now()
    WHERE id = %s AND used_at IS NULL AND revoked_at IS NULL
    RETURNING organisation_id
"""

LOCK_PLANE: Final = """
    SELECT p.name, p.public_key, s.epoch AS platform_epoch FROM planes p CROSS JOIN platform_state s
    WHERE p.id = %s FOR UPDATE OF p
"""
LOCK_CLUSTER: Final = """
    SELECT c.name, s.epoch AS platform_epoch FROM clusters c CROSS JOIN platform_state s
    WHERE c.id = %s FOR UPDATE OF c
"""
LIST_PLANES: Final = """
    SELECT p.id, p.uid, p.name, p.public_key, p.confirmed_at IS NOT NULL AS confirmed,
           p.identity_revoked_at IS NOT NULL AS revoked, coalesce(l.online, false) AS online,
           extract(epoch FROM l.last_seen)::bigint AS last_seen,
           ARRAY(SELECT g.organisation_id FROM plane_grants g
                 WHERE g.plane_id = p.id AND g.revoked_at IS NULL ORDER BY 1) AS organisations
    FROM planes p LEFT JOIN liveness l ON l.identity_id = p.id
    WHERE %(after)s::uuid IS NULL OR p.id > %(after)s::uuid
    ORDER BY p.id LIMIT %(limit)s
"""
REVOKE_PLANE: Final = "UPDATE planes SET identity_revoked_at = coalesce(identity_revoked_at, now()) WHERE id = %s"
REVOKE_CLUSTER: Final = "UPDATE clusters SET identity_revoked_at = coalesce(identity_revoked_at, now()) WHERE id = %s"
REVOKE_KEYS: Final = """
    UPDATE service_keys SET revoked_at = now() WHERE identity_id = %s AND revoked_at IS NULL RETURNING id
"""
DELETE_CLUSTER: Final = "UPDATE clusters SET deleted_at = now() WHERE id = %s AND deleted_at IS NULL RETURNING name"

# The policies say the same: of the others nothing can be deleted.
SWEEP_TOKENS: Final = "DELETE FROM registration_tokens WHERE coalesce(used_at, expires_at) < now() - interval '30 days'"
SWEEP_CHALLENGES: Final = "DELETE FROM challenges WHERE expires_at < now() - interval '30 days'"
