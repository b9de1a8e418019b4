-- What a transaction may see is told by settings, which scope.py sets for that transaction alone. One that was never
-- set reads as NULL, one that an earlier transaction of the connection set reads as '': both mean nobody, and nobody
-- sees no row.
--
-- Policies ask (SELECT scope_...()), once for a statement: without SELECT, once for each row. A policy that says nothing
-- of what may be written (WITH CHECK) lets be written what it shows.

CREATE FUNCTION scope_organisation() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('bulkhead.organisation', true), '')::uuid;

CREATE FUNCTION scope_plane() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('bulkhead.plane', true), '')::uuid;

-- The one registration token that is being redeemed: a plane's belongs to no organisation.
CREATE FUNCTION scope_token() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('bulkhead.token', true), '')::uuid;

CREATE FUNCTION scope_platform_admin() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_setting('bulkhead.platform_admin', true) IS NOT DISTINCT FROM 'on';

REVOKE ALL ON FUNCTION scope_organisation(), scope_plane(), scope_token(), scope_platform_admin() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION scope_organisation(), scope_plane(), scope_token(), scope_platform_admin()
    TO bulkhead_platform_api;
