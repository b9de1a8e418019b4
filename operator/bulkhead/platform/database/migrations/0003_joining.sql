-- How an identity comes to be, and what it proves itself with afterwards.

-- fast_value spares scrypt for a bounded time after a success. It, its end and last_used_at are all that is written
-- often: none is in an index and each page has room, so that they are updated in place (HOT). Rows are never deleted:
-- an exact repeat must be told that its key was retired or revoked since.
CREATE TABLE service_keys (
    id              text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    kind            text NOT NULL CHECK (kind IN ('plane', 'cluster')),
    identity_id     uuid NOT NULL,
    organisation_id uuid,  -- a cluster's
    of_plane        uuid GENERATED ALWAYS AS (CASE kind WHEN 'plane' THEN identity_id END) STORED REFERENCES planes,
    of_cluster      uuid GENERATED ALWAYS AS (CASE kind WHEN 'cluster' THEN identity_id END) STORED,
    label           text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    scopes          text[] NOT NULL
                    CHECK (cardinality(scopes) BETWEEN 1 AND 16 AND array_position(scopes, NULL) IS NULL),
    scrypt_n        integer NOT NULL CHECK (scrypt_n BETWEEN 16384 AND 1048576 AND scrypt_n & (scrypt_n - 1) = 0),
    scrypt_r        integer NOT NULL CHECK (scrypt_r BETWEEN 8 AND 32),
    scrypt_p        integer NOT NULL CHECK (scrypt_p BETWEEN 1 AND 16),
    salt            bytea NOT NULL CHECK (octet_length(salt) BETWEEN 16 AND 64),
    hash            bytea NOT NULL CHECK (octet_length(hash) BETWEEN 32 AND 64),
    fast_value      bytea CHECK (octet_length(fast_value) = 32),
    fast_pepper     text CHECK (length(fast_pepper) BETWEEN 1 AND 64),  -- id of the pepper it was made with
    fast_until      timestamptz,
    claims_digest   bytea NOT NULL CHECK (octet_length(claims_digest) = 32),  -- of the proof: a repeat finds its key
    epoch           bigint NOT NULL CHECK (epoch >= 1),
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz CHECK (expires_at > created_at),
    last_used_at    timestamptz,
    retires_at      timestamptz,  -- the end of the overlap with its successor
    revoked_at      timestamptz,
    UNIQUE (organisation_id, id),
    UNIQUE (kind, identity_id, id),
    UNIQUE (identity_id, claims_digest),
    FOREIGN KEY (organisation_id, of_cluster) REFERENCES clusters (organisation_id, id),
    CHECK ((kind = 'cluster') = (organisation_id IS NOT NULL)),
    CHECK (num_nulls(fast_value, fast_pepper, fast_until) IN (0, 3))
) WITH (fillfactor = 80);

-- A token is redeemed once. What redeemed it and the ids that were given stay in its row: an exact repeat is told the
-- same. The digest of the secret does not: beside it, scrypt would be decoration.
CREATE TABLE registration_tokens (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    digest          bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    kind            text NOT NULL CHECK (kind IN ('plane', 'cluster')),
    organisation_id uuid,  -- a cluster's
    plane_id        uuid,  -- a cluster's
    uid             uuid,  -- none: of whichever object of this name comes first
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 253),
    tenant          text CHECK (length(tenant) BETWEEN 1 AND 253),
    tenant_uid      uuid,
    bound_key       bytea CHECK (octet_length(bound_key) = 32),
    self_confirming boolean NOT NULL DEFAULT false,
    rebinds         boolean NOT NULL DEFAULT false,  -- may replace the public key that its (plane, uid) has
    minted_by       text NOT NULL CHECK (length(minted_by) BETWEEN 1 AND 512),
    minted_by_plane boolean NOT NULL DEFAULT false,
    epoch           bigint NOT NULL CHECK (epoch >= 1),
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL CHECK (expires_at > created_at),
    revoked_at      timestamptz,
    used_at         timestamptz,
    claims_digest   bytea CHECK (octet_length(claims_digest) = 32),
    identity_id     uuid,
    key_id          text,
    FOREIGN KEY (organisation_id, plane_id) REFERENCES plane_grants (organisation_id, plane_id),
    FOREIGN KEY (organisation_id, key_id) REFERENCES service_keys (organisation_id, id),
    FOREIGN KEY (kind, identity_id, key_id) REFERENCES service_keys (kind, identity_id, id),
    CHECK (num_nonnulls(organisation_id, plane_id, tenant, tenant_uid) = CASE kind WHEN 'cluster' THEN 4 ELSE 0 END),
    CHECK (kind = 'plane' OR NOT self_confirming),
    CHECK (NOT rebinds OR uid IS NOT NULL),
    CHECK (NOT minted_by_plane
           OR (kind = 'cluster' AND uid IS NOT NULL AND bound_key IS NOT NULL
               AND expires_at <= created_at + interval '15 minutes')),
    CHECK (num_nulls(used_at, claims_digest, identity_id, key_id) IN (0, 4)),
    CHECK (used_at IS NULL OR revoked_at IS NULL)
);
CREATE INDEX registration_tokens_listing ON registration_tokens (organisation_id, created_at, id);
CREATE INDEX registration_tokens_open ON registration_tokens (plane_id, uid)
    WHERE used_at IS NULL AND revoked_at IS NULL;
CREATE INDEX registration_tokens_sweep ON registration_tokens (coalesce(used_at, expires_at));

-- Here, not in a replica's memory: it is asked from one and answered to another. One is open for each identity and
-- purpose, and is given again while it is valid, so that asking costs nobody a growing table.
CREATE TABLE challenges (
    nonce           bytea PRIMARY KEY CHECK (octet_length(nonce) = 32),
    kind            text NOT NULL CHECK (kind IN ('plane', 'cluster')),
    identity_id     uuid NOT NULL,
    organisation_id uuid,  -- a cluster's
    of_plane        uuid GENERATED ALWAYS AS (CASE kind WHEN 'plane' THEN identity_id END) STORED REFERENCES planes,
    of_cluster      uuid GENERATED ALWAYS AS (CASE kind WHEN 'cluster' THEN identity_id END) STORED,
    purpose         text NOT NULL CHECK (purpose ~ '^[a-z-]{1,32}$'),
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    claims_digest   bytea CHECK (octet_length(claims_digest) = 32),
    key_id          text,
    FOREIGN KEY (organisation_id, of_cluster) REFERENCES clusters (organisation_id, id),
    FOREIGN KEY (organisation_id, key_id) REFERENCES service_keys (organisation_id, id),
    FOREIGN KEY (kind, identity_id, key_id) REFERENCES service_keys (kind, identity_id, id),
    CHECK ((kind = 'cluster') = (organisation_id IS NOT NULL)),
    CHECK (expires_at > created_at AND expires_at <= created_at + interval '60 seconds'),
    CHECK (num_nulls(used_at, claims_digest, key_id) IN (0, 3)),
    CHECK (used_at <= expires_at)
);
CREATE UNIQUE INDEX challenges_open ON challenges (identity_id, purpose) WHERE used_at IS NULL;
CREATE INDEX challenges_sweep ON challenges (expires_at);


ALTER TABLE service_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE service_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON service_keys TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON service_keys TO bulkhead_platform_api
    USING (of_plane = (SELECT scope_plane())
           OR EXISTS (SELECT FROM clusters c WHERE c.id = of_cluster AND c.plane_id = (SELECT scope_plane())));
CREATE POLICY worker ON service_keys TO bulkhead_platform_worker USING (true) WITH CHECK (true);
CREATE POLICY lookup ON service_keys FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON service_keys TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
-- What verifies a secret is read by service_key() alone, one key at a time.
GRANT SELECT (id, kind, identity_id, organisation_id, of_plane, of_cluster, label, scopes, scrypt_n, scrypt_r, scrypt_p,
              fast_pepper, fast_until, claims_digest, epoch, created_at, expires_at, last_used_at, retires_at,
              revoked_at)
    ON service_keys TO bulkhead_platform_api;
GRANT INSERT, UPDATE (label, scrypt_n, scrypt_r, scrypt_p, salt, hash, fast_value, fast_pepper, fast_until, expires_at,
                      last_used_at, retires_at, revoked_at)
    ON service_keys TO bulkhead_platform_api;
GRANT SELECT (id, last_used_at), UPDATE (last_used_at) ON service_keys TO bulkhead_platform_worker;
GRANT SELECT ON service_keys TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON service_keys TO bulkhead_platform_maintenance;

ALTER TABLE registration_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE registration_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON registration_tokens TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON registration_tokens TO bulkhead_platform_api
    USING (plane_id = (SELECT scope_plane())
           AND organisation_id IN (SELECT g.organisation_id FROM plane_grants g
                                   WHERE g.plane_id = (SELECT scope_plane()) AND g.revoked_at IS NULL));
CREATE POLICY token_reads ON registration_tokens FOR SELECT TO bulkhead_platform_api
    USING (id = (SELECT scope_token()));
CREATE POLICY token_redeems ON registration_tokens FOR UPDATE TO bulkhead_platform_api
    USING (id = (SELECT scope_token()));
-- Planes belong to no organisation, and so do their tokens.
CREATE POLICY platform_admin ON registration_tokens TO bulkhead_platform_api
    USING ((SELECT scope_platform_admin()) AND kind = 'plane');
CREATE POLICY worker ON registration_tokens FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY worker_sweeps ON registration_tokens FOR DELETE TO bulkhead_platform_worker
    USING (coalesce(used_at, expires_at) < now() - interval '30 days');
CREATE POLICY lookup ON registration_tokens FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON registration_tokens TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT (id, kind, organisation_id, plane_id, uid, name, tenant, tenant_uid, bound_key, self_confirming, rebinds,
              minted_by, minted_by_plane, epoch, created_at, expires_at, revoked_at, used_at, claims_digest,
              identity_id, key_id)
    ON registration_tokens TO bulkhead_platform_api;
GRANT INSERT, UPDATE (revoked_at, used_at, claims_digest, identity_id, key_id)
    ON registration_tokens TO bulkhead_platform_api;
GRANT SELECT (id, used_at, expires_at), DELETE ON registration_tokens TO bulkhead_platform_worker;
GRANT SELECT ON registration_tokens TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON registration_tokens TO bulkhead_platform_maintenance;

ALTER TABLE challenges ENABLE ROW LEVEL SECURITY;
ALTER TABLE challenges FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON challenges TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON challenges TO bulkhead_platform_api
    USING (of_plane = (SELECT scope_plane())
           OR EXISTS (SELECT FROM clusters c WHERE c.id = of_cluster AND c.plane_id = (SELECT scope_plane())));
CREATE POLICY worker ON challenges FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY worker_sweeps ON challenges FOR DELETE TO bulkhead_platform_worker
    USING (expires_at < now() - interval '30 days');
CREATE POLICY lookup ON challenges FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON challenges TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (nonce, created_at, expires_at, used_at, claims_digest, key_id)
    ON challenges TO bulkhead_platform_api;
GRANT SELECT (used_at, expires_at), DELETE ON challenges TO bulkhead_platform_worker;
GRANT SELECT ON challenges TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON challenges TO bulkhead_platform_maintenance;
