-- Who there is: organisations, planes, clusters, and which plane may act for whom.

-- One row. The epoch is raised by the fence after a restore: whatever carries an older one was issued in a life that is
-- over.
CREATE TABLE platform_state (
    singleton      boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch          bigint NOT NULL DEFAULT 1 CHECK (epoch >= 1),
    schema_release integer NOT NULL DEFAULT 1 CHECK (schema_release >= 1)
);
INSERT INTO platform_state DEFAULT VALUES;

-- One row per replica of the service, renewed by each flush of last-seen that succeeded: while one of them could not
-- flush, silence proves nothing.
CREATE TABLE replicas (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 253),
    started_at timestamptz NOT NULL DEFAULT now(),
    flushed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (flushed_at >= started_at)
) WITH (fillfactor = 50);  -- each replica updates its row every few seconds, in its page

CREATE TABLE organisations (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A plane belongs to no organisation: it acts for those that it was granted. id is derived from uid (UUIDv5), so that a
-- plane that registers anew after a restore is the one it was. Rows are never deleted: what was one's id is never
-- another's.
CREATE TABLE planes (
    id                  uuid PRIMARY KEY,
    uid                 uuid NOT NULL UNIQUE,  -- of the DataPlane object
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 253),  -- a label: never looked up, never unique
    public_key          bytea NOT NULL CHECK (octet_length(public_key) = 32),
    confirmed_at        timestamptz,
    confirmed_by        text CHECK (length(confirmed_by) BETWEEN 1 AND 512),
    confirmed_key       bytea,  -- a confirmation is of a key: it does not pass to the next one
    identity_revoked_at timestamptz,
    epoch               bigint NOT NULL CHECK (epoch >= 1),  -- in which it joined or re-joined last
    rejoin_budget       double precision NOT NULL DEFAULT 5 CHECK (rejoin_budget BETWEEN 0 AND 5),
    rejoin_budget_at    timestamptz NOT NULL DEFAULT now(),
    created_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nulls(confirmed_at, confirmed_by, confirmed_key) IN (0, 3)),
    CHECK (confirmed_key IS NULL OR confirmed_key = public_key)
);

-- For which organisations a plane may act. A row stays when its grant ends: what was made under it goes on to refer to
-- it.
CREATE TABLE plane_grants (
    organisation_id uuid NOT NULL REFERENCES organisations,
    plane_id        uuid NOT NULL REFERENCES planes,
    granted_by      text NOT NULL CHECK (length(granted_by) BETWEEN 1 AND 512),
    granted_at      timestamptz NOT NULL DEFAULT now(),
    revoked_at      timestamptz,
    PRIMARY KEY (organisation_id, plane_id)
);
CREATE INDEX plane_grants_plane ON plane_grants (plane_id);

-- Where the proxy reaches the clusters of a plane. A table of its own, because the service connects to whatever stands
-- here: no policy lets a service key or an organisation write it.
CREATE TABLE plane_targets (
    plane_id           uuid PRIMARY KEY REFERENCES planes,
    address            text NOT NULL CHECK (length(address) BETWEEN 1 AND 512),
    ca                 text NOT NULL CHECK (length(ca) BETWEEN 1 AND 65536),  -- PEM
    client_certificate text CHECK (length(client_certificate) BETWEEN 1 AND 65536),  -- PEM
    -- AES-256-GCM: nonce, text, tag.
    sealed_client_key  bytea CHECK (octet_length(sealed_client_key) BETWEEN 12 + 1 + 16 AND 16384),
    sealed_under       text CHECK (length(sealed_under) BETWEEN 1 AND 64),  -- id of the key that seals
    set_by             text NOT NULL CHECK (length(set_by) BETWEEN 1 AND 512),
    set_at             timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nulls(client_certificate, sealed_client_key, sealed_under) IN (0, 3))
);

-- Whose a tenant is, where a plane serves several organisations. The first Tenant of that name binds its UID: another
-- one that is made under the name later is nobody's.
CREATE TABLE tenant_organisations (
    plane_id        uuid NOT NULL,
    tenant          text NOT NULL CHECK (length(tenant) BETWEEN 1 AND 253),
    tenant_uid      uuid,
    organisation_id uuid NOT NULL,
    set_by          text NOT NULL CHECK (length(set_by) BETWEEN 1 AND 512),
    set_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plane_id, tenant),
    FOREIGN KEY (organisation_id, plane_id) REFERENCES plane_grants (organisation_id, plane_id)
);
CREATE INDEX tenant_organisations_organisation ON tenant_organisations (organisation_id, plane_id);

-- A data cluster. id is derived from plane and uid (UUIDv5), as a plane's is. One (plane, uid) is in one organisation,
-- and only where its plane was granted it. Rows are never deleted.
CREATE TABLE clusters (
    id                  uuid PRIMARY KEY,
    organisation_id     uuid NOT NULL,
    plane_id            uuid NOT NULL,
    uid                 uuid NOT NULL,  -- of the DataCluster object
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 253),  -- a label: never looked up, never unique
    tenant              text NOT NULL CHECK (length(tenant) BETWEEN 1 AND 253),
    tenant_uid          uuid NOT NULL,
    public_key          bytea NOT NULL CHECK (octet_length(public_key) = 32),
    identity_revoked_at timestamptz,
    deleted_at          timestamptz,
    epoch               bigint NOT NULL CHECK (epoch >= 1),  -- in which it joined or re-joined last
    rejoin_budget       double precision NOT NULL DEFAULT 5 CHECK (rejoin_budget BETWEEN 0 AND 5),
    rejoin_budget_at    timestamptz NOT NULL DEFAULT now(),
    desired_generation  bigint NOT NULL DEFAULT 1 CHECK (desired_generation BETWEEN 1 AND 2147483647),
    desired_state       text NOT NULL DEFAULT 'active' CHECK (desired_state IN ('active', 'suspended')),
    -- As reported: after a restore it exceeds what is remembered as desired, which then has to go beyond it. Bounded,
    -- so that no cluster can leave no number to go to.
    applied_generation  bigint NOT NULL DEFAULT 0 CHECK (applied_generation BETWEEN 0 AND 2000000000),
    acknowledged_kid    text CHECK (length(acknowledged_kid) BETWEEN 1 AND 64),
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, id),
    UNIQUE (plane_id, uid),
    FOREIGN KEY (organisation_id, plane_id) REFERENCES plane_grants (organisation_id, plane_id)
) WITH (fillfactor = 90);

-- Apart, because it is written all the time. No index holds what a heartbeat changes, and half of each page is free: an
-- update stays in its page and touches no index (HOT), and the next one clears what it left. The sweep for the silent
-- reads the whole table: 10,000 rows are 2 MB, cheaper than an index that every heartbeat would have to write.
CREATE TABLE liveness (
    identity_id     uuid PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('plane', 'cluster')),
    organisation_id uuid,  -- a cluster's
    of_plane        uuid GENERATED ALWAYS AS (CASE kind WHEN 'plane' THEN identity_id END) STORED REFERENCES planes,
    of_cluster      uuid GENERATED ALWAYS AS (CASE kind WHEN 'cluster' THEN identity_id END) STORED,
    last_seen       timestamptz,
    online          boolean NOT NULL DEFAULT false,
    since           timestamptz NOT NULL DEFAULT now(),  -- of `online`
    report          jsonb CHECK (jsonb_typeof(report) = 'object'),  -- as last heard
    reported_at     timestamptz,
    FOREIGN KEY (organisation_id, of_cluster) REFERENCES clusters (organisation_id, id),
    CHECK ((kind = 'cluster') = (organisation_id IS NOT NULL)),
    CHECK (NOT online OR last_seen IS NOT NULL),
    CHECK ((report IS NULL) = (reported_at IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);


-- Neither holds anything of an organisation: no row-level security.
GRANT SELECT ON platform_state TO bulkhead_platform_api, bulkhead_platform_worker;
GRANT SELECT, UPDATE ON platform_state TO bulkhead_platform_maintenance;
GRANT SELECT (epoch) ON platform_state TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE (flushed_at), DELETE ON replicas TO bulkhead_platform_worker;
GRANT SELECT ON replicas TO bulkhead_platform_maintenance;

ALTER TABLE organisations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organisations FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON organisations FOR SELECT TO bulkhead_platform_api
    USING (id = (SELECT scope_organisation()));
CREATE POLICY plane ON organisations FOR SELECT TO bulkhead_platform_api
    USING (EXISTS (SELECT FROM plane_grants g
                   WHERE g.organisation_id = organisations.id AND g.plane_id = (SELECT scope_plane())
                       AND g.revoked_at IS NULL));
CREATE POLICY platform_admin ON organisations TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY maintenance ON organisations TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (name) ON organisations TO bulkhead_platform_api;
GRANT SELECT, INSERT, UPDATE ON organisations TO bulkhead_platform_maintenance;

ALTER TABLE planes ENABLE ROW LEVEL SECURITY;
ALTER TABLE planes FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON planes FOR SELECT TO bulkhead_platform_api
    USING (EXISTS (SELECT FROM plane_grants g
                   WHERE g.plane_id = planes.id AND g.organisation_id = (SELECT scope_organisation())
                       AND g.revoked_at IS NULL));
CREATE POLICY plane ON planes TO bulkhead_platform_api USING (id = (SELECT scope_plane()));
CREATE POLICY platform_admin ON planes TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY worker ON planes FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY lookup ON planes FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON planes TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (name, public_key, confirmed_at, confirmed_by, confirmed_key, identity_revoked_at, epoch,
                              rejoin_budget, rejoin_budget_at)
    ON planes TO bulkhead_platform_api;
GRANT SELECT ON planes TO bulkhead_platform_worker, bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON planes TO bulkhead_platform_maintenance;

ALTER TABLE plane_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE plane_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON plane_grants FOR SELECT TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON plane_grants FOR SELECT TO bulkhead_platform_api USING (plane_id = (SELECT scope_plane()));
CREATE POLICY platform_admin ON plane_grants TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY worker ON plane_grants FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY lookup ON plane_grants FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON plane_grants TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (granted_by, granted_at, revoked_at) ON plane_grants TO bulkhead_platform_api;
GRANT SELECT ON plane_grants TO bulkhead_platform_worker, bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON plane_grants TO bulkhead_platform_maintenance;

ALTER TABLE plane_targets ENABLE ROW LEVEL SECURITY;
ALTER TABLE plane_targets FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON plane_targets FOR SELECT TO bulkhead_platform_api
    USING (EXISTS (SELECT FROM plane_grants g
                   WHERE g.plane_id = plane_targets.plane_id AND g.organisation_id = (SELECT scope_organisation())
                       AND g.revoked_at IS NULL));
CREATE POLICY platform_admin ON plane_targets TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY maintenance ON plane_targets TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (address, ca, client_certificate, sealed_client_key, sealed_under, set_by, set_at), DELETE
    ON plane_targets TO bulkhead_platform_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON plane_targets TO bulkhead_platform_maintenance;

ALTER TABLE tenant_organisations ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_organisations FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON tenant_organisations FOR SELECT TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON tenant_organisations FOR SELECT TO bulkhead_platform_api
    USING (plane_id = (SELECT scope_plane()));
-- All that those who join may change, once. To map a tenant to another organisation, the row is deleted and made anew by an
-- admin: nobody who serves requests may update organisation_id.
CREATE POLICY plane_binds ON tenant_organisations FOR UPDATE TO bulkhead_platform_api
    USING (plane_id = (SELECT scope_plane()) AND tenant_uid IS NULL)
    WITH CHECK (plane_id = (SELECT scope_plane()) AND tenant_uid IS NOT NULL);
CREATE POLICY organisation_binds ON tenant_organisations FOR UPDATE TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()) AND tenant_uid IS NULL)
    WITH CHECK (organisation_id = (SELECT scope_organisation()) AND tenant_uid IS NOT NULL);
CREATE POLICY platform_admin ON tenant_organisations TO bulkhead_platform_api USING ((SELECT scope_platform_admin()));
CREATE POLICY maintenance ON tenant_organisations TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (tenant_uid), DELETE ON tenant_organisations TO bulkhead_platform_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_organisations TO bulkhead_platform_maintenance;

ALTER TABLE clusters ENABLE ROW LEVEL SECURITY;
ALTER TABLE clusters FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON clusters TO bulkhead_platform_api USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON clusters TO bulkhead_platform_api
    USING (plane_id = (SELECT scope_plane())
           AND organisation_id IN (SELECT g.organisation_id FROM plane_grants g
                                   WHERE g.plane_id = (SELECT scope_plane()) AND g.revoked_at IS NULL));
CREATE POLICY worker ON clusters FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY lookup ON clusters FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON clusters TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (name, tenant, public_key, identity_revoked_at, deleted_at, epoch, rejoin_budget,
                              rejoin_budget_at, desired_generation, desired_state, applied_generation, acknowledged_kid)
    ON clusters TO bulkhead_platform_api;
GRANT SELECT ON clusters TO bulkhead_platform_worker, bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON clusters TO bulkhead_platform_maintenance;

ALTER TABLE liveness ENABLE ROW LEVEL SECURITY;
ALTER TABLE liveness FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON liveness TO bulkhead_platform_api USING (organisation_id = (SELECT scope_organisation()));
-- The row-level security of clusters decides within: a plane finds its own there, where it is granted their
-- organisation.
CREATE POLICY plane ON liveness TO bulkhead_platform_api
    USING (of_plane = (SELECT scope_plane())
           OR EXISTS (SELECT FROM clusters c WHERE c.id = of_cluster AND c.plane_id = (SELECT scope_plane())));
CREATE POLICY worker ON liveness TO bulkhead_platform_worker USING (true) WITH CHECK (true);
CREATE POLICY lookup ON liveness FOR SELECT TO bulkhead_platform_lookup USING (true);
CREATE POLICY maintenance ON liveness TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (last_seen, online, since, report, reported_at) ON liveness TO bulkhead_platform_api;
GRANT SELECT, UPDATE (last_seen, online, since, report, reported_at) ON liveness TO bulkhead_platform_worker;
GRANT SELECT ON liveness TO bulkhead_platform_lookup;
GRANT SELECT, INSERT, UPDATE ON liveness TO bulkhead_platform_maintenance;
