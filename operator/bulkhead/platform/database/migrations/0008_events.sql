-- The outbox: an event is written with the change that it tells of, and delivered afterwards.

-- dispatched_at, not a watermark: ids and times are given out in another order than transactions commit.
CREATE TABLE events (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id uuid NOT NULL REFERENCES organisations,
    type            text NOT NULL CHECK (type ~ '^[a-z_]+(\.[a-z_]+)*$' AND length(type) <= 64),
    data            jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object' AND length(data::text) <= 16384),
    created_at      timestamptz NOT NULL DEFAULT now(),
    dispatched_at   timestamptz,  -- since when there is a delivery for every webhook that wants it
    UNIQUE (organisation_id, id)
);
CREATE INDEX events_undispatched ON events (created_at, id) WHERE dispatched_at IS NULL;
CREATE INDEX events_listing ON events (organisation_id, created_at, id);
CREATE INDEX events_sweep ON events (created_at);

CREATE TABLE webhooks (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id uuid NOT NULL REFERENCES organisations,
    url             text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    types           text[] NOT NULL CHECK (cardinality(types) BETWEEN 1 AND 64 AND array_position(types, NULL) IS NULL),
    -- Needed in the clear to sign with, so sealed (AES-256-GCM: nonce, text, tag) under a key that is not in the
    -- database.
    sealed_secret   bytea NOT NULL CHECK (octet_length(sealed_secret) BETWEEN 12 + 16 + 16 AND 512),
    sealed_under    text NOT NULL CHECK (length(sealed_under) BETWEEN 1 AND 64),
    previous_sealed_secret bytea CHECK (octet_length(previous_sealed_secret) BETWEEN 12 + 16 + 16 AND 512),
    previous_sealed_under  text CHECK (length(previous_sealed_under) BETWEEN 1 AND 64),
    previous_until  timestamptz,
    created_by      text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 512),
    created_at      timestamptz NOT NULL DEFAULT now(),
    failing_since   timestamptz,
    disabled_at     timestamptz,
    UNIQUE (organisation_id, id),
    CHECK (num_nulls(previous_sealed_secret, previous_sealed_under, previous_until) IN (0, 3))
);

CREATE TABLE deliveries (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id uuid NOT NULL,
    webhook_id      uuid NOT NULL,
    event_id        uuid NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz DEFAULT now(),  -- while one is under way: when it is given up for lost
    last_attempt_at timestamptz,
    last_status     integer CHECK (last_status BETWEEN 100 AND 599),
    last_error      text CHECK (length(last_error) BETWEEN 1 AND 200),  -- our word for it, never theirs
    created_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    UNIQUE (event_id, webhook_id),
    FOREIGN KEY (organisation_id, webhook_id) REFERENCES webhooks (organisation_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organisation_id, event_id) REFERENCES events (organisation_id, id) ON DELETE CASCADE,
    CHECK ((state = 'pending') = (ended_at IS NULL)),
    CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_listing ON deliveries (organisation_id, webhook_id, created_at, id);

ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation_reads ON events FOR SELECT TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY organisation_emits ON events FOR INSERT TO bulkhead_platform_api
    WITH CHECK (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane_emits ON events FOR INSERT TO bulkhead_platform_api
    WITH CHECK (organisation_id IN (SELECT g.organisation_id FROM plane_grants g
                                    WHERE g.plane_id = (SELECT scope_plane()) AND g.revoked_at IS NULL));
CREATE POLICY platform_admin_emits ON events FOR INSERT TO bulkhead_platform_api
    WITH CHECK ((SELECT scope_platform_admin()));
CREATE POLICY worker_reads ON events FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY worker_emits ON events FOR INSERT TO bulkhead_platform_worker WITH CHECK (true);
CREATE POLICY worker_dispatches ON events FOR UPDATE TO bulkhead_platform_worker USING (true);
CREATE POLICY worker_sweeps ON events FOR DELETE TO bulkhead_platform_worker
    USING (dispatched_at IS NOT NULL AND created_at < now() - interval '30 days');
CREATE POLICY maintenance ON events TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON events TO bulkhead_platform_api;
GRANT SELECT, INSERT, UPDATE (dispatched_at), DELETE ON events TO bulkhead_platform_worker;
GRANT SELECT, INSERT, UPDATE ON events TO bulkhead_platform_maintenance;

ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON webhooks TO bulkhead_platform_api USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY worker ON webhooks TO bulkhead_platform_worker USING (true) WITH CHECK (true);
CREATE POLICY maintenance ON webhooks TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
-- Who serves requests writes secrets and never reads them back; to rotate moves the former one by the statement itself.
GRANT SELECT (id, organisation_id, url, types, previous_until, created_by, created_at, failing_since, disabled_at)
    ON webhooks TO bulkhead_platform_api;
GRANT INSERT, UPDATE (url, types, sealed_secret, sealed_under, previous_sealed_secret, previous_sealed_under,
                      previous_until, failing_since, disabled_at), DELETE
    ON webhooks TO bulkhead_platform_api;
GRANT SELECT, UPDATE (failing_since, disabled_at) ON webhooks TO bulkhead_platform_worker;
GRANT SELECT, INSERT, UPDATE ON webhooks TO bulkhead_platform_maintenance;

ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON deliveries FOR SELECT TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY worker ON deliveries TO bulkhead_platform_worker USING (true) WITH CHECK (true);
CREATE POLICY maintenance ON deliveries TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT ON deliveries TO bulkhead_platform_api;
GRANT SELECT, INSERT, UPDATE (state, attempts, next_attempt_at, last_attempt_at, last_status, last_error, ended_at)
    ON deliveries TO bulkhead_platform_worker;
GRANT SELECT, INSERT, UPDATE ON deliveries TO bulkhead_platform_maintenance;
