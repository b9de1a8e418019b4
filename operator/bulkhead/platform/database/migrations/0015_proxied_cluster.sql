-- What decides about a request to a cluster, in one statement where a transaction takes three: every proxied request
-- asks. The scope holds for the statement, as scope.py's holds for a transaction. SECURITY INVOKER: row-level security
-- shows what it would show anyway, the organisation's clusters alone. plpgsql keeps its plan for the life of a
-- connection.
CREATE FUNCTION proxied_cluster(whose uuid, wanted uuid) RETURNS TABLE (
        plane_id uuid, name text, deleted boolean, revoked boolean, suspended boolean, acknowledged_kid text,
        online boolean, granted boolean, plane_revoked boolean,
        address text, ca text, client_certificate text, sealed_client_key bytea, sealed_under text, now bigint)
    LANGUAGE plpgsql VOLATILE SECURITY INVOKER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('bulkhead.organisation', whose::text, true);
    RETURN QUERY
        SELECT c.plane_id, c.name, c.deleted_at IS NOT NULL, c.identity_revoked_at IS NOT NULL,
               c.desired_state = 'suspended', c.acknowledged_kid,
               coalesce(l.online, false), p.id IS NOT NULL, p.identity_revoked_at IS NOT NULL,
               t.address, t.ca, t.client_certificate, t.sealed_client_key, t.sealed_under,
               extract(epoch FROM pg_catalog.now())::bigint
        FROM clusters c
            LEFT JOIN liveness l ON l.identity_id = c.id
            LEFT JOIN planes p ON p.id = c.plane_id
            LEFT JOIN plane_targets t ON t.plane_id = c.plane_id
        WHERE c.id = wanted;
END $$;
REVOKE ALL ON FUNCTION proxied_cluster(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION proxied_cluster(uuid, uuid) TO bulkhead_platform_api;
