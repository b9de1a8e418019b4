-- The platform's own keys. Each is announced by its predecessor's signature, so that whoever trusts one finds the way
-- to the next: for each purpose one chain, without a fork.

CREATE TABLE signing_keys (
    kid            text PRIMARY KEY CHECK (kid ~ '^[A-Za-z0-9_-]{43}$'),
    purpose        text NOT NULL CHECK (purpose IN ('assertion', 'audit_head')),
    public_key     bytea NOT NULL UNIQUE CHECK (octet_length(public_key) = 32),
    -- AES-256-GCM under a key that is not in the database: nonce, then the 32 bytes, then the tag.
    sealed_private bytea NOT NULL CHECK (octet_length(sealed_private) = 12 + 32 + 16),
    sealed_under   text NOT NULL CHECK (length(sealed_under) BETWEEN 1 AND 64),  -- id of that key
    predecessor    text,
    signature      bytea CHECK (octet_length(signature) = 64),  -- by the predecessor
    created_at     timestamptz NOT NULL DEFAULT now(),
    retired_at     timestamptz,
    UNIQUE (purpose, kid),
    UNIQUE (predecessor, purpose),
    FOREIGN KEY (purpose, predecessor) REFERENCES signing_keys (purpose, kid),
    CHECK (predecessor <> kid),
    CHECK ((predecessor IS NULL) = (signature IS NULL))
);
-- NULLs are distinct in the constraint above: two replicas that start on an empty table would both make a first key.
CREATE UNIQUE INDEX signing_keys_first ON signing_keys (purpose) WHERE predecessor IS NULL;

-- No organisation's, but secret from one another: who signs assertions has no business with the audit's heads.
ALTER TABLE signing_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE signing_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY assertions ON signing_keys TO bulkhead_platform_api USING (purpose = 'assertion');
CREATE POLICY audit_heads ON signing_keys TO bulkhead_platform_worker
    USING (purpose = 'audit_head') WITH CHECK (purpose = 'audit_head');
CREATE POLICY maintenance ON signing_keys FOR SELECT TO bulkhead_platform_maintenance USING (true);
GRANT SELECT, INSERT, UPDATE (sealed_private, sealed_under, retired_at)
    ON signing_keys TO bulkhead_platform_api, bulkhead_platform_worker;
GRANT SELECT (kid, purpose, public_key, predecessor, signature, created_at, retired_at)
    ON signing_keys TO bulkhead_platform_maintenance;
