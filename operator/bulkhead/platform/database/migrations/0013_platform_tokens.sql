-- Which API tokens administer the platform: those that were made for it. A token that a platform admin hands to a program
-- does not, whatever its owner may. Made by the command line alone.

ALTER TABLE api_tokens ADD COLUMN platform_admin boolean NOT NULL DEFAULT false;
CREATE POLICY serves_no_platform_admin ON api_tokens AS RESTRICTIVE FOR INSERT TO bulkhead_platform_api
    WITH CHECK (NOT platform_admin);
GRANT SELECT (platform_admin) ON api_tokens TO bulkhead_platform_api;

-- Who administers the platform with this token now; no row: nobody. Asked only once its secret has fitted.
CREATE FUNCTION platform_admin(wanted text) RETURNS TABLE (issuer text, subject text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = bulkhead, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.url, m.subject
        FROM api_tokens t
            JOIN memberships m ON m.id = t.membership_id
            JOIN issuers u ON u.id = m.issuer_id AND u.disabled_at IS NULL
            JOIN platform_admins a ON a.issuer_id = m.issuer_id AND a.subject = m.subject AND a.ended_at IS NULL
        WHERE t.id = wanted AND t.platform_admin;
END $$;
REVOKE ALL ON FUNCTION platform_admin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform_admin(text) TO bulkhead_platform_api;
GRANT CREATE ON SCHEMA bulkhead TO bulkhead_platform_lookup;
ALTER FUNCTION platform_admin(text) OWNER TO bulkhead_platform_lookup;
REVOKE CREATE ON SCHEMA bulkhead FROM bulkhead_platform_lookup;
