-- People, and the tokens that they make.

-- Configuration of the platform, not of any organisation; still under row-level security, for an issuer's URL names a
-- customer. Authentication reads the one that a token names, by issuer().
CREATE TABLE issuers (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    url         text NOT NULL UNIQUE CHECK (length(url) BETWEEN 1 AND 512),  -- as in `iss`, to the letter
    audiences   text[] NOT NULL
                CHECK (cardinality(audiences) BETWEEN 1 AND 16 AND array_position(audiences, NULL) IS NULL),
    -- Signatures with a shared secret, and none at all, are not in the list: a public key would be taken for such a
    -- secret.
    algorithms  text[] NOT NULL CHECK (cardinality(algorithms) >= 1
                                       AND algorithms <@ ARRAY['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512',
                                                               'ES256', 'ES384', 'ES512', 'EdDSA']),
    created_at  timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);

CREATE TABLE issuer_organisations (
    issuer_id       uuid NOT NULL REFERENCES issuers,
    organisation_id uuid NOT NULL REFERENCES organisations,
    ended_at        timestamptz,  -- not deleted: memberships that were made under it go on to refer to it
    PRIMARY KEY (issuer_id, organisation_id)
);
CREATE INDEX issuer_organisations_organisation ON issuer_organisations (organisation_id);

-- (iss, sub) is a person. One living membership each: the organisation comes from the credential, and a JWT names but a
-- person. Whoever comes back gets a new row: tokens of the former one stay dead.
CREATE TABLE memberships (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id uuid NOT NULL,
    issuer_id       uuid NOT NULL,
    subject         text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    name            text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    abilities       text[] NOT NULL CHECK (abilities <@ ARRAY['CLUSTER_READ', 'CLUSTER_WRITE', 'DATASET_READ',
                                                              'DATASET_WRITE', 'TOKEN_ADMIN', 'AUDIT_READ']),
    created_by      text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 512),
    created_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    UNIQUE (organisation_id, id),
    FOREIGN KEY (issuer_id, organisation_id) REFERENCES issuer_organisations (issuer_id, organisation_id)
);
CREATE UNIQUE INDEX memberships_living ON memberships (issuer_id, subject) WHERE ended_at IS NULL;
CREATE INDEX memberships_issuer_organisation ON memberships (issuer_id, organisation_id);

-- No ability of an organisation, and nobody who serves requests may write or list it.
CREATE TABLE platform_admins (
    issuer_id  uuid NOT NULL REFERENCES issuers,
    subject    text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    created_by text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 512),
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    PRIMARY KEY (issuer_id, subject)
);

-- Verified as service keys are (0003), and updated in place as they are. A rotation keeps the id, and the former secret
-- works until previous_until; rotation counts them, so that the outcome of a slow comparison is never written beside
-- another secret.
CREATE TABLE api_tokens (
    id                   text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    organisation_id      uuid NOT NULL,
    membership_id        uuid NOT NULL,
    minted_by_token      text,
    name                 text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    abilities            text[] NOT NULL CHECK (cardinality(abilities) >= 1
                                                AND abilities <@ ARRAY['CLUSTER_READ', 'CLUSTER_WRITE', 'DATASET_READ',
                                                                       'DATASET_WRITE', 'TOKEN_ADMIN', 'AUDIT_READ']),
    source               text NOT NULL CHECK (source IN ('human', 'worker', 'mcp')),
    scrypt_n             integer NOT NULL CHECK (scrypt_n BETWEEN 16384 AND 1048576 AND scrypt_n & (scrypt_n - 1) = 0),
    scrypt_r             integer NOT NULL CHECK (scrypt_r BETWEEN 8 AND 32),
    scrypt_p             integer NOT NULL CHECK (scrypt_p BETWEEN 1 AND 16),
    salt                 bytea NOT NULL CHECK (octet_length(salt) BETWEEN 16 AND 64),
    hash                 bytea NOT NULL CHECK (octet_length(hash) BETWEEN 32 AND 64),
    fast_value           bytea CHECK (octet_length(fast_value) = 32),
    fast_pepper          text CHECK (length(fast_pepper) BETWEEN 1 AND 64),
    fast_until           timestamptz,
    rotation             integer NOT NULL DEFAULT 0 CHECK (rotation >= 0),
    rotated_at           timestamptz,
    -- First use of the current value; none: to rotate again replaces it and keeps the previous.
    value_used_at        timestamptz,
    previous_scrypt_n    integer,
    previous_scrypt_r    integer,
    previous_scrypt_p    integer,
    previous_salt        bytea,
    previous_hash        bytea,
    previous_fast_value  bytea CHECK (octet_length(previous_fast_value) = 32),
    previous_fast_pepper text CHECK (length(previous_fast_pepper) BETWEEN 1 AND 64),
    previous_fast_until  timestamptz,
    previous_until       timestamptz,
    epoch                bigint NOT NULL CHECK (epoch >= 1),
    created_at           timestamptz NOT NULL DEFAULT now(),
    expires_at           timestamptz NOT NULL CHECK (expires_at > created_at),
    last_used_at         timestamptz,
    revoked_at           timestamptz,
    UNIQUE (organisation_id, id),
    FOREIGN KEY (organisation_id, membership_id) REFERENCES memberships (organisation_id, id),
    FOREIGN KEY (organisation_id, minted_by_token) REFERENCES api_tokens (organisation_id, id),
    CHECK (minted_by_token <> id),
    CHECK (num_nulls(fast_value, fast_pepper, fast_until) IN (0, 3)),
    CHECK (num_nulls(previous_fast_value, previous_fast_pepper, previous_fast_until) IN (0, 3)),
    CHECK (num_nulls(previous_scrypt_n, previous_scrypt_r, previous_scrypt_p, previous_salt, previous_hash,
                     previous_until) IN (0, 6)),
    CHECK (previous_fast_value IS NULL OR previous_hash IS NOT NULL),
    CHECK ((rotation = 0) = (rotated_at IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX api_tokens_membership ON api_tokens (membership_id);
CREATE INDEX api_tokens_minted ON api_tokens (organisation_id, minted_by_token) WHERE minted_by_token IS NOT NULL;
CREATE INDEX api_tokens_listing ON api_tokens (organisation_id, created_at, id);


ALTER TABLE issuers ENABLE ROW LEVEL SECURITY;
ALTER TABLE issuers FORCE ROW LEVEL SECURITY;
CREATE POLICY platform_admin ON issuers TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY lookup ON issuers FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON issuers TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (audiences, algorithms, disabled_at) ON issuers TO bulkhead_platform_api;
GRANT SELECT ON issuers TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON issuers TO bulkhead_platform_maintenance;

ALTER TABLE issuer_organisations ENABLE ROW LEVEL SECURITY;
ALTER TABLE issuer_organisations FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON issuer_organisations FOR SELECT TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY platform_admin ON issuer_organisations TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY lookup ON issuer_organisations FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON issuer_organisations TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (ended_at) ON issuer_organisations TO bulkhead_platform_api;
GRANT SELECT ON issuer_organisations TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON issuer_organisations TO bulkhead_platform_maintenance;

ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON memberships TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY lookup ON memberships FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON memberships TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (name, abilities, ended_at) ON memberships TO bulkhead_platform_api;
GRANT SELECT ON memberships TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON memberships TO bulkhead_platform_maintenance;

ALTER TABLE platform_admins ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform_admins FORCE ROW LEVEL SECURITY;
CREATE POLICY lookup ON platform_admins FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON platform_admins TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT ON platform_admins TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON platform_admins TO bulkhead_platform_maintenance;

ALTER TABLE api_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON api_tokens TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY worker ON api_tokens TO bulkhead_platform_worker USING (true) WITH CHECK (true);
CREATE POLICY lookup ON api_tokens FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON api_tokens TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
-- What verifies a secret is read by api_token() alone, one token at a time; abilities, source and membership are for
-- life.
GRANT SELECT (id, organisation_id, membership_id, minted_by_token, name, abilities, source, scrypt_n, scrypt_r,
              scrypt_p, fast_pepper, fast_until, rotation, rotated_at, value_used_at, previous_fast_pepper,
              previous_fast_until, previous_until, epoch, created_at, expires_at, last_used_at, revoked_at)
    ON api_tokens TO bulkhead_platform_api;
GRANT INSERT, UPDATE (name, scrypt_n, scrypt_r, scrypt_p, salt, hash, fast_value, fast_pepper, fast_until, rotation,
                      rotated_at, value_used_at, previous_scrypt_n, previous_scrypt_r, previous_scrypt_p, previous_salt,
                      previous_hash, previous_fast_value, previous_fast_pepper, previous_fast_until, previous_until,
                      epoch, expires_at, last_used_at, revoked_at)
    ON api_tokens TO bulkhead_platform_api;
GRANT SELECT (id, last_used_at), UPDATE (last_used_at) ON api_tokens TO bulkhead_platform_worker;
GRANT SELECT ON api_tokens TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON api_tokens TO bulkhead_platform_maintenance;
