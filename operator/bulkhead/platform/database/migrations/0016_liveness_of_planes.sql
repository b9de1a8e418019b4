-- Who administers the platform lists its planes, and whether each is online; clusters are their organisations' affair.

CREATE POLICY platform_admin ON liveness FOR SELECT TO bulkhead_platform_api
    USING ((SELECT scope_platform_admin()) AND kind = 'plane');
