-- Signatures as they are handed on: a JWS holds what it covers, so that nobody has to write that anew, to the letter, to
-- look at it. No release has written the columns that go.

ALTER TABLE signing_keys
    DROP COLUMN signature,
    ADD COLUMN link text CHECK (length(link) BETWEEN 1 AND 4096),  -- signed by the predecessor
    ADD CHECK ((predecessor IS NULL) = (link IS NULL));
GRANT SELECT (link) ON signing_keys TO bulkhead_platform_maintenance;

ALTER TABLE audit_heads
    DROP COLUMN signature,
    ADD COLUMN statement text NOT NULL CHECK (length(statement) BETWEEN 1 AND 4096);

-- Who verifies the chain says how much waits beside it.
CREATE POLICY maintenance_counts ON audit_intake FOR SELECT TO bulkhead_platform_maintenance USING (true);
GRANT SELECT (id, recorded_at) ON audit_intake TO bulkhead_platform_maintenance;
