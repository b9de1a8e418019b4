-- Requests insert into the intake; seal() appends what it finds there to the chain.
--
-- The intake's ids are given out in another order than transactions commit: a row may appear after a higher one was
-- sealed. So there is no watermark that could pass it. Whatever stands in the intake is not sealed yet, and the chain's
-- numbers are given when it is.

CREATE TABLE audit_intake (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id uuid REFERENCES organisations,  -- none: the platform's own affairs
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    action          text NOT NULL CHECK (action ~ '^[a-z_]+(\.[a-z_]+)*$' AND length(action) <= 64),
    entry           bytea NOT NULL CHECK (octet_length(entry) BETWEEN 2 AND 32768)  -- as hashed: jsonb would reorder
);

-- Numbers without a gap, each row with the hash of the one before: a wrong hash, a wrong link and a second sealer are
-- refused here. organisation_id, recorded_at and action say again what entry holds, to find it by.
CREATE TABLE audit_chain (
    sequence          bigint PRIMARY KEY CHECK (sequence >= 1),
    organisation_id   uuid REFERENCES organisations,
    recorded_at       timestamptz NOT NULL,
    action            text NOT NULL,
    entry             bytea NOT NULL,
    previous_sequence bigint GENERATED ALWAYS AS (CASE WHEN sequence > 1 THEN sequence - 1 END) STORED,
    previous_hash     bytea NOT NULL,
    hash              bytea NOT NULL CHECK (hash = sha256(previous_hash || int8send(sequence) || entry)),
    UNIQUE (sequence, hash),
    FOREIGN KEY (previous_sequence, previous_hash) REFERENCES audit_chain (sequence, hash),
    CHECK (octet_length(previous_hash) = 32 AND (sequence > 1 OR previous_hash = decode(repeat('00', 32), 'hex')))
);
CREATE INDEX audit_chain_listing ON audit_chain (organisation_id, sequence);

CREATE TABLE audit_heads (
    sequence  bigint PRIMARY KEY,
    hash      bytea NOT NULL,
    kid       text NOT NULL REFERENCES signing_keys,
    signature bytea NOT NULL CHECK (octet_length(signature) = 64),
    signed_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (sequence, hash) REFERENCES audit_chain (sequence, hash)
);

-- Moves up to `most` rows from the intake to the end of the chain and returns how many; 0 while another transaction
-- seals. The lock is a try within a function of several statements, each with a snapshot of its own: what the former
-- holder appended is seen.
CREATE FUNCTION seal(most integer) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = bulkhead, pg_temp AS $$
DECLARE
    found audit_intake;
    sealed bigint[] := '{}';
    last bigint;
    link bytea;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('bulkhead.audit_chain', 0)) THEN
        RETURN 0;
    END IF;
    SELECT c.sequence, c.hash INTO last, link FROM audit_chain c ORDER BY c.sequence DESC LIMIT 1;
    last := coalesce(last, 0);
    link := coalesce(link, decode(repeat('00', 32), 'hex'));
    FOR found IN SELECT * FROM audit_intake i ORDER BY i.id LIMIT most LOOP
        last := last + 1;
        INSERT INTO audit_chain (sequence, organisation_id, recorded_at, action, entry, previous_hash, hash)
            VALUES (last, found.organisation_id, found.recorded_at, found.action, found.entry, link,
                    sha256(link || int8send(last) || found.entry))
            RETURNING audit_chain.hash INTO link;
        sealed := sealed || found.id;
    END LOOP;
    DELETE FROM audit_intake i WHERE i.id = ANY (sealed);
    RETURN cardinality(sealed);
END $$;

-- For everybody, the owner and the sealer too: who must change audit rows has to remove this first, which nobody does
-- by accident.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
REVOKE ALL ON FUNCTION refuse_audit_change() FROM PUBLIC;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON audit_intake
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

ALTER TABLE audit_intake ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_intake FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON audit_intake FOR INSERT TO bulkhead_platform_api
    WITH CHECK (organisation_id = (SELECT scope_organisation()));
CREATE POLICY plane ON audit_intake FOR INSERT TO bulkhead_platform_api
    WITH CHECK ((SELECT scope_plane()) IS NOT NULL
                AND (organisation_id IS NULL
                     OR organisation_id IN (SELECT g.organisation_id FROM plane_grants g
                                            WHERE g.plane_id = (SELECT scope_plane()) AND g.revoked_at IS NULL)));
-- What was tried with a plane's token is recorded before there is a plane.
CREATE POLICY token ON audit_intake FOR INSERT TO bulkhead_platform_api
    WITH CHECK ((SELECT scope_token()) IS NOT NULL AND organisation_id IS NULL);
CREATE POLICY platform_admin ON audit_intake FOR INSERT TO bulkhead_platform_api
    WITH CHECK ((SELECT scope_platform_admin()));
CREATE POLICY worker ON audit_intake FOR INSERT TO bulkhead_platform_worker WITH CHECK (true);
CREATE POLICY maintenance ON audit_intake FOR INSERT TO bulkhead_platform_maintenance WITH CHECK (true);
CREATE POLICY sealer_reads ON audit_intake FOR SELECT TO bulkhead_platform_sealer USING (true);
CREATE POLICY sealer_moves ON audit_intake FOR DELETE TO bulkhead_platform_sealer USING (true);
GRANT INSERT ON audit_intake TO bulkhead_platform_api, bulkhead_platform_worker, bulkhead_platform_maintenance;
GRANT SELECT, DELETE ON audit_intake TO bulkhead_platform_sealer;

ALTER TABLE audit_chain ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_chain FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON audit_chain FOR SELECT TO bulkhead_platform_api
    USING (organisation_id = (SELECT scope_organisation()));
CREATE POLICY worker ON audit_chain FOR SELECT TO bulkhead_platform_worker USING (true);
CREATE POLICY maintenance ON audit_chain FOR SELECT TO bulkhead_platform_maintenance USING (true);
CREATE POLICY sealer_reads ON audit_chain FOR SELECT TO bulkhead_platform_sealer USING (true);
CREATE POLICY sealer_appends ON audit_chain FOR INSERT TO bulkhead_platform_sealer WITH CHECK (true);
GRANT SELECT ON audit_chain TO bulkhead_platform_api, bulkhead_platform_maintenance;
GRANT SELECT (sequence, hash) ON audit_chain TO bulkhead_platform_worker;
GRANT SELECT, INSERT ON audit_chain TO bulkhead_platform_sealer;

-- Heads hold a number, a hash and a signature: nothing of any organisation.
GRANT SELECT ON audit_heads TO bulkhead_platform_api, bulkhead_platform_maintenance;
GRANT SELECT, INSERT ON audit_heads TO bulkhead_platform_worker;

REVOKE ALL ON FUNCTION seal(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION seal(integer) TO bulkhead_platform_worker;
GRANT CREATE ON SCHEMA bulkhead TO bulkhead_platform_sealer;
ALTER FUNCTION seal(integer) OWNER TO bulkhead_platform_sealer;
REVOKE CREATE ON SCHEMA bulkhead FROM bulkhead_platform_sealer;
