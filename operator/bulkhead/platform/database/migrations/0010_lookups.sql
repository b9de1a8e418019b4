-- What is read before it is known who asks: one row, by an id or digest that only its holder can name. Each function
-- belongs to bulkhead_platform_lookup, which sees all rows and which nobody logs in as; search_path is pinned, so that
-- no other schema's names are found. plpgsql keeps its plans for the life of a connection, and the first of these runs
-- at every heartbeat. The clock is the database's.

-- Everything that decides about a call with a service key: the key, its identity, its plane, and the grant that it
-- lives under; and what a plain heartbeat is answered from. A plane is its own plane.
CREATE FUNCTION service_key(wanted text) RETURNS TABLE (
        id text, kind text, identity_id uuid, organisation_id uuid, plane_id uuid, scopes text[],
        scrypt_n integer, scrypt_r integer, scrypt_p integer, salt bytea, hash bytea,
        fast_value bytea, fast_pepper text, fast_until timestamptz,
        epoch bigint, expires_at timestamptz, retires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz,
        public_key bytea, identity_revoked_at timestamptz, deleted_at timestamptz,
        plane_confirmed_at timestamptz, plane_revoked_at timestamptz, grant_revoked_at timestamptz,
        desired_generation bigint, desired_state text, applied_generation bigint, acknowledged_kid text,
        online boolean, last_seen timestamptz, stream_epoch bigint, stream_number bigint,
        platform_epoch bigint, now timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT k.id, k.kind, k.identity_id, k.organisation_id, p.id, k.scopes,
               k.scrypt_n, k.scrypt_r, k.scrypt_p, k.salt, k.hash,
               k.fast_value, k.fast_pepper, k.fast_until,
               k.epoch, k.expires_at, k.retires_at, k.revoked_at, k.last_used_at,
               coalesce(c.public_key, p.public_key),
               CASE k.kind WHEN 'plane' THEN p.identity_revoked_at ELSE c.identity_revoked_at END, c.deleted_at,
               p.confirmed_at, p.identity_revoked_at, g.revoked_at,
               c.desired_generation, c.desired_state, c.applied_generation, c.acknowledged_kid,
               coalesce(l.online, false), l.last_seen, t.epoch, t.number, s.epoch, pg_catalog.now()
        FROM service_keys k
            LEFT JOIN clusters c ON c.id = k.of_cluster
            JOIN planes p ON p.id = coalesce(c.plane_id, k.of_plane)
            LEFT JOIN plane_grants g ON g.organisation_id = k.organisation_id AND g.plane_id = c.plane_id
            LEFT JOIN liveness l ON l.identity_id = k.identity_id
            LEFT JOIN streams t ON t.cluster_id = k.of_cluster
            CROSS JOIN platform_state s
        WHERE k.id = wanted;
END $$;

-- What a token is bound to, and the state of its plane.
CREATE FUNCTION registration_token(wanted bytea) RETURNS TABLE (
        id uuid, kind text, organisation_id uuid, plane_id uuid, uid uuid, name text,
        epoch bigint, expires_at timestamptz, revoked_at timestamptz, used_at timestamptz,
        plane_public_key bytea, plane_confirmed_at timestamptz, plane_revoked_at timestamptz,
        grant_revoked_at timestamptz,
        platform_epoch bigint, now timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT t.id, t.kind, t.organisation_id, t.plane_id, t.uid, t.name,
               t.epoch, t.expires_at, t.revoked_at, t.used_at,
               p.public_key, p.confirmed_at, p.identity_revoked_at, g.revoked_at,
               s.epoch, pg_catalog.now()
        FROM registration_tokens t
            LEFT JOIN planes p ON p.id = t.plane_id
            LEFT JOIN plane_grants g ON g.organisation_id = t.organisation_id AND g.plane_id = t.plane_id
            CROSS JOIN platform_state s
        WHERE t.digest = wanted;
END $$;

-- A plane or a cluster, by its id: for a challenge, and to tell whether a (plane, uid) is known in another
-- organisation.
CREATE FUNCTION identity(wanted uuid) RETURNS TABLE (
        id uuid, kind text, organisation_id uuid, plane_id uuid, uid uuid, public_key bytea, epoch bigint,
        identity_revoked_at timestamptz, deleted_at timestamptz,
        plane_confirmed_at timestamptz, plane_revoked_at timestamptz, grant_revoked_at timestamptz,
        platform_epoch bigint, now timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT c.id, 'cluster', c.organisation_id, c.plane_id, c.uid, c.public_key, c.epoch,
               c.identity_revoked_at, c.deleted_at,
               p.confirmed_at, p.identity_revoked_at, g.revoked_at,
               s.epoch, pg_catalog.now()
        FROM clusters c
            JOIN planes p ON p.id = c.plane_id
            JOIN plane_grants g ON g.organisation_id = c.organisation_id AND g.plane_id = c.plane_id
            CROSS JOIN platform_state s
        WHERE c.id = wanted
        UNION ALL
        SELECT p.id, 'plane', NULL, p.id, p.uid, p.public_key, p.epoch,
               p.identity_revoked_at, NULL,
               p.confirmed_at, p.identity_revoked_at, NULL,
               s.epoch, pg_catalog.now()
        FROM planes p CROSS JOIN platform_state s
        WHERE p.id = wanted;
END $$;

CREATE FUNCTION challenge(wanted bytea) RETURNS TABLE (
        kind text, identity_id uuid, organisation_id uuid, purpose text, expires_at timestamptz, used_at timestamptz,
        claims_digest bytea, key_id text, now timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT c.kind, c.identity_id, c.organisation_id, c.purpose, c.expires_at, c.used_at,
               c.claims_digest, c.key_id, pg_catalog.now()
        FROM challenges c
        WHERE c.nonce = wanted;
END $$;

-- The token with its membership and the token that minted it: what it may do now is told from all three.
CREATE FUNCTION api_token(wanted text) RETURNS TABLE (
        id text, organisation_id uuid, membership_id uuid, issuer text, subject text, source text,
        abilities text[], member_abilities text[], member_ended_at timestamptz, minter_revoked_at timestamptz,
        scrypt_n integer, scrypt_r integer, scrypt_p integer, salt bytea, hash bytea,
        fast_value bytea, fast_pepper text, fast_until timestamptz, rotation integer, value_used_at timestamptz,
        previous_scrypt_n integer, previous_scrypt_r integer, previous_scrypt_p integer,
        previous_salt bytea, previous_hash bytea,
        previous_fast_value bytea, previous_fast_pepper text, previous_fast_until timestamptz,
        previous_until timestamptz,
        epoch bigint, expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz,
        platform_epoch bigint, now timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT t.id, t.organisation_id, t.membership_id, u.url, m.subject, t.source,
               t.abilities, m.abilities, coalesce(m.ended_at, o.ended_at, u.disabled_at), minter.revoked_at,
               t.scrypt_n, t.scrypt_r, t.scrypt_p, t.salt, t.hash,
               t.fast_value, t.fast_pepper, t.fast_until, t.rotation, t.value_used_at,
               t.previous_scrypt_n, t.previous_scrypt_r, t.previous_scrypt_p, t.previous_salt, t.previous_hash,
               t.previous_fast_value, t.previous_fast_pepper, t.previous_fast_until, t.previous_until,
               t.epoch, t.expires_at, t.revoked_at, t.last_used_at,
               s.epoch, pg_catalog.now()
        FROM api_tokens t
            JOIN memberships m ON m.id = t.membership_id
            JOIN issuers u ON u.id = m.issuer_id
            JOIN issuer_organisations o ON o.issuer_id = m.issuer_id AND o.organisation_id = m.organisation_id
            LEFT JOIN api_tokens minter ON minter.id = t.minted_by_token
            CROSS JOIN platform_state s
        WHERE t.id = wanted;
END $$;

CREATE FUNCTION issuer(wanted text) RETURNS TABLE (id uuid, url text, audiences text[], algorithms text[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.url, u.audiences, u.algorithms FROM issuers u WHERE u.url = wanted AND u.disabled_at IS NULL;
END $$;

-- What a person is now: a member (membership_id, organisation_id and abilities), a platform admin, both, or no row.
CREATE FUNCTION membership(wanted_issuer text, wanted_subject text) RETURNS TABLE (
        membership_id uuid, organisation_id uuid, abilities text[], platform_admin boolean, now timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT m.id, m.organisation_id, m.abilities, a.subject IS NOT NULL, pg_catalog.now()
        FROM issuers u
            LEFT JOIN (memberships m
                       JOIN issuer_organisations o
                           ON o.issuer_id = m.issuer_id AND o.organisation_id = m.organisation_id
                               AND o.ended_at IS NULL)
                ON m.issuer_id = u.id AND m.subject = wanted_subject AND m.ended_at IS NULL
            LEFT JOIN platform_admins a ON a.issuer_id = u.id AND a.subject = wanted_subject AND a.ended_at IS NULL
        WHERE u.url = wanted_issuer AND u.disabled_at IS NULL AND (m.id IS NOT NULL OR a.subject IS NOT NULL);
END $$;

REVOKE ALL ON FUNCTION service_key(text), registration_token(bytea), identity(uuid), challenge(bytea), api_token(text),
    issuer(text), membership(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION service_key(text), registration_token(bytea), identity(uuid), challenge(bytea),
    api_token(text), issuer(text), membership(text, text) TO bulkhead_platform_api;
GRANT CREATE ON SCHEMA bulkhead TO bulkhead_platform_lookup;
ALTER FUNCTION service_key(text) OWNER TO bulkhead_platform_lookup;
ALTER FUNCTION registration_token(bytea) OWNER TO bulkhead_platform_lookup;
ALTER FUNCTION identity(uuid) OWNER TO bulkhead_platform_lookup;
ALTER FUNCTION challenge(bytea) OWNER TO bulkhead_platform_lookup;
ALTER FUNCTION api_token(text) OWNER TO bulkhead_platform_lookup;
ALTER FUNCTION issuer(text) OWNER TO bulkhead_platform_lookup;
ALTER FUNCTION membership(text, text) OWNER TO bulkhead_platform_lookup;
REVOKE CREATE ON SCHEMA bulkhead FROM bulkhead_platform_lookup;
