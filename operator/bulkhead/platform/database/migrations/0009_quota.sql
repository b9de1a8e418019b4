-- What replicas have leased of each caller's limit: a caller overshoots by what is leased and not used, at most
-- replicas x block.

CREATE TABLE quota_blocks (
    organisation_id uuid NOT NULL REFERENCES organisations,
    subject         text NOT NULL CHECK (length(subject) BETWEEN 1 AND 512),
    window_start    timestamptz NOT NULL,
    window_end      timestamptz NOT NULL CHECK (window_end > window_start),
    granted         bigint NOT NULL CHECK (granted >= 0),
    PRIMARY KEY (organisation_id, subject, window_start, window_end)
) WITH (fillfactor = 80);
CREATE INDEX quota_blocks_sweep ON quota_blocks (window_end);

ALTER TABLE quota_blocks ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_blocks FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON quota_blocks TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY worker ON quota_blocks FOR SELECT TO bulkhead_platform_worker USING (true);
-- The one before is still asked for by a replica that is late.
CREATE POLICY worker_sweeps ON quota_blocks FOR DELETE TO bulkhead_platform_worker
    USING (window_end + (window_end - window_start) < now());
CREATE POLICY maintenance ON quota_blocks TO bulkhead_platform_maintenance USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (granted) ON quota_blocks TO bulkhead_platform_api;
GRANT SELECT (window_start, window_end), DELETE ON quota_blocks TO bulkhead_platform_worker;
GRANT SELECT, INSERT, UPDATE ON quota_blocks TO bulkhead_platform_maintenance;
