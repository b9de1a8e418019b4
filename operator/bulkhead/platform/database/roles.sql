-- What the migrations presuppose. Roles belong to the server, not to a database, so that a restored database may come
-- without them: this runs before every migration, and changes nothing where all is there.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['bulkhead_platform_api', 'bulkhead_platform_worker', 'bulkhead_platform_maintenance',
                                  'bulkhead_platform_lookup', 'bulkhead_platform_sealer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- the migration of another database of this server was faster
            END;
        END IF;
    END LOOP;
    -- The owner gives the look-ups and seal() to the roles that own them, and sets the role of maintenance to change
    -- data. It inherits nothing of them: their policies show every row.
    FOREACH wanted IN ARRAY ARRAY['bulkhead_platform_maintenance', 'bulkhead_platform_lookup',
                                  'bulkhead_platform_sealer'] LOOP
        IF NOT pg_has_role(wanted, 'SET') THEN
            EXECUTE format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', wanted, current_user);
        END IF;
    END LOOP;
END $$;

CREATE SCHEMA IF NOT EXISTS bulkhead;
REVOKE ALL ON SCHEMA bulkhead FROM PUBLIC;
GRANT USAGE ON SCHEMA bulkhead TO bulkhead_platform_api, bulkhead_platform_worker, bulkhead_platform_maintenance,
    bulkhead_platform_lookup, bulkhead_platform_sealer;

CREATE TABLE IF NOT EXISTS bulkhead.migrations (
    number     integer PRIMARY KEY CHECK (number >= 1),
    name       text NOT NULL UNIQUE,
    checksum   bytea NOT NULL CHECK (octet_length(checksum) = 32),
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT current_user
);
GRANT SELECT ON bulkhead.migrations TO bulkhead_platform_api, bulkhead_platform_worker, bulkhead_platform_maintenance;
