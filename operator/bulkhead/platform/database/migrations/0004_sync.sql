-- What a cluster tells of itself: one stream at a time, and the rows as they were last synced.

-- (epoch, number) orders streams and only grows: a client that was cloned or restored speaks of an older one and is
-- refused. The snapshot that opens a stream names the one that it replaces; the same snapshot again is a repeat.
CREATE TABLE streams (
    cluster_id      uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    epoch           bigint NOT NULL CHECK (epoch >= 1),
    number          bigint NOT NULL CHECK (number >= 1),
    replaced_epoch  bigint,
    replaced_number bigint,
    snapshot_digest bytea NOT NULL CHECK (octet_length(snapshot_digest) = 32),
    sequence        bigint NOT NULL CHECK (sequence >= 0),  -- what was applied; 0: the snapshot
    digest          bytea NOT NULL CHECK (octet_length(digest) = 32),  -- of the message with that sequence
    opened_at       timestamptz NOT NULL DEFAULT now(),
    applied_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, cluster_id),
    FOREIGN KEY (organisation_id, cluster_id) REFERENCES clusters (organisation_id, id),
    CHECK ((replaced_epoch IS NULL) = (replaced_number IS NULL)),
    CHECK (replaced_epoch IS NULL OR (replaced_epoch, replaced_number) < (epoch, number))
) WITH (fillfactor = 70);

CREATE TABLE documents (
    cluster_id      uuid NOT NULL,
    organisation_id uuid NOT NULL,
    kind            text NOT NULL CHECK (kind ~ '^[a-zA-Z][a-zA-Z0-9_]{0,62}$'),
    id              text NOT NULL CHECK (length(id) BETWEEN 1 AND 253),
    body            jsonb NOT NULL CHECK (jsonb_typeof(body) = 'object'),
    synced_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_id, kind, id),
    FOREIGN KEY (organisation_id, cluster_id) REFERENCES streams (organisation_id, cluster_id)
) WITH (fillfactor = 80);
CREATE INDEX documents_organisation ON documents (organisation_id, kind);

ALTER TABLE streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE streams FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON streams TO bulkhead_platform_api USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON streams FOR SELECT TO bulkhead_platform_api
    USING (EXISTS (SELECT FROM clusters c WHERE c.id = cluster_id AND c.plane_id = (SELECT scope_plane())));
CREATE POLICY lookup ON streams FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON streams TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (epoch, number, replaced_epoch, replaced_number, snapshot_digest, sequence, digest,
                              opened_at, applied_at)
    ON streams TO bulkhead_platform_api;
GRANT SELECT ON streams TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON streams TO bulkhead_platform_maintenance;

ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON documents TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON documents FOR SELECT TO bulkhead_platform_api
    USING (EXISTS (SELECT FROM clusters c WHERE c.id = cluster_id AND c.plane_id = (SELECT scope_plane())));
CREATE POLICY maintenance ON documents TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (body, synced_at), DELETE ON documents TO bulkhead_platform_api;
GRANT SELECT, INSERT, UPDATE ON documents TO bulkhead_platform_maintenance;
