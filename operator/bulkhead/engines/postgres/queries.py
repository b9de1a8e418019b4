"""SELECTs that look. Each answers with one JSON text, so that a look is one round trip and is decoded by type.

Every one runs with `search_path` pinned to pg_catalog, so no name in them can be a tenant's.
"""

from __future__ import annotations

from psycopg import sql

from bulkhead.engines.postgres.statement import MOST_SETTINGS, SEPARATE_OPTIONS, Rights

OPERATOR = sql.SQL("""json_build_object(
    'name', current_user,
    'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
    'release', current_setting('server_version_num')::int,
    'limits_temp_files', has_parameter_privilege(current_user, 'temp_file_limit', 'SET'))""")

IDENTITY = sql.SQL("(SELECT system_identifier::text FROM pg_control_system())")

_LONGEST_SETTING = 128
"""Characters, more than any of ours has."""


def _own_settings(stored: str) -> sql.Composed:
    """Those of the stored settings that we set ourselves; none where there is too much of them to be read."""
    return sql.SQL(
        "CASE WHEN pg_column_size({stored}) <= {most} THEN ("
        "SELECT json_agg(left(c, {longest})) FROM unnest({stored}) c "
        "WHERE split_part(c, '=', 1) IN ('role', 'search_path', 'temp_file_limit')) END"
    ).format(stored=sql.SQL(stored), most=sql.Literal(MOST_SETTINGS), longest=sql.Literal(_LONGEST_SETTING))


_DATABASE = sql.SQL("""json_build_object(
    'name', d.datname,
    'stamp', d.stamp,
    'owned', pg_get_userbyid(d.datdba) = current_user,
    'open', d.datallowconn,
    'connection_limit', d.datconnlimit,
    'settings', coalesce(
        (SELECT {settings} FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0), '[]'),
    'grants', coalesce((
        SELECT json_agg(json_build_object('grantee', g.grantee, 'stamp', g.stamp, 'privileges', g.privileges)
                        ORDER BY g.grantee)
        FROM (
            SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END AS grantee,
                   shobj_description(a.grantee, 'pg_authid') AS stamp,
                   array_agg(DISTINCT a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END) AS privileges
            FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
            WHERE a.grantee <> d.datdba
            GROUP BY a.grantee
        ) g), '[]'))""").format(settings=_own_settings("s.setconfig"))

_ROLE = """json_build_object(
    'name', r.rolname,
    'stamp', r.stamp,
    'login', r.rolcanlogin,
    'connection_limit', r.rolconnlimit,
    'powers', array_remove(ARRAY[
        CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
        CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
        CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
    'expires', coalesce(r.rolvaliduntil <> 'infinity', false),
    'settings', coalesce({settings}, '[]'),
    'bloated', coalesce(pg_column_size(r.rolconfig) > {most_settings}, false),
    'operated', {operated},
    'verifier_digest', {digest},
    'member_of', coalesce((
        SELECT json_agg(json_build_object(
            'role', pg_get_userbyid(m.roleid), 'grantor', pg_get_userbyid(m.grantor), 'usable', {usable}))
        FROM pg_auth_members m WHERE m.member = r.oid), '[]'),
    'members', coalesce((
        SELECT json_agg(json_build_object(
            'role', pg_get_userbyid(m.member), 'stamp', shobj_description(m.member, 'pg_authid'),
            'grantor', pg_get_userbyid(m.grantor)))
        FROM pg_auth_members m
        WHERE m.roleid = r.oid AND pg_get_userbyid(m.member) <> current_user), '[]'))"""

_OPERATED = sql.SQL("""EXISTS (
        SELECT FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.member
        WHERE m.roleid = r.oid AND o.rolname = current_user AND {usable})""")

_STAMPED_DATABASES = sql.SQL("""
    SELECT d.*, c.description AS stamp FROM pg_database d
    LEFT JOIN pg_shdescription c ON c.objoid = d.oid AND c.classoid = 'pg_database'::regclass""")

_STAMPED_ROLES = sql.SQL("""
    SELECT r.*, c.description AS stamp FROM pg_roles r
    LEFT JOIN pg_shdescription c ON c.objoid = r.oid AND c.classoid = 'pg_authid'::regclass""")

_TENANT = """
WITH d AS MATERIALIZED ({databases} WHERE d.datname = ANY (%(databases)s) OR c.description = %(stamp)s),
     r AS MATERIALIZED ({roles} WHERE r.rolname = ANY (%(roles)s) OR c.description = %(stamp)s)
SELECT json_build_object(
    'identity', {identity},
    'operator', {operator},
    'databases', coalesce((SELECT json_agg({database}) FROM d), '[]'),
    'roles', coalesce((SELECT json_agg({role} ORDER BY r.rolname) FROM r), '[]'),
    'sessions', coalesce((
        SELECT json_agg(json_build_object('role', s.role, 'stamp', s.stamp) ORDER BY s.role)
        FROM (
            SELECT DISTINCT coalesce(u.rolname::text, '') AS role, shobj_description(u.oid, 'pg_authid') AS stamp
            FROM pg_stat_activity a LEFT JOIN pg_roles u ON u.oid = a.usesysid
            WHERE a.usesysid IS NOT NULL AND u.rolname IS DISTINCT FROM current_user
              AND coalesce(a.backend_type, 'client backend') = 'client backend'
              AND (a.datid IN (SELECT oid FROM d WHERE stamp = %(stamp)s)
                   OR a.usesysid IN (SELECT oid FROM r WHERE stamp = %(stamp)s))
        ) s), '[]'),
    'prepared', coalesce((
        SELECT json_agg(json_build_object(
            'gid', p.gid, 'owner', coalesce(p.owner, ''), 'database', p.database) ORDER BY p.gid)
        FROM pg_prepared_xacts p JOIN d ON d.datname = p.database WHERE d.stamp = %(stamp)s), '[]'),
    'warm', coalesce((
        SELECT json_agg(w.datname ORDER BY w.datname) FROM pg_database w JOIN pg_roles g ON g.rolname = w.datname
        WHERE starts_with(w.datname::text, %(warm)s) AND w.datallowconn
          AND pg_get_userbyid(w.datdba) = current_user AND NOT g.rolcanlogin
          AND starts_with(shobj_description(w.oid, 'pg_database'), %(installation)s)
          AND starts_with(shobj_description(g.oid, 'pg_authid'), %(installation)s)
          AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = w.oid)
          AND NOT EXISTS (
              SELECT FROM aclexplode(coalesce(w.datacl, acldefault('d', w.datdba))) a WHERE a.grantee = 0)), '[]')
)::text"""

# A tenant may own millions of things (large objects, for one), so no more than some are read: while these are in one
# database others may stay unseen, and are seen once that is dropped, or the role is parted from it.
FOOTPRINTS = sql.SQL("""
SELECT coalesce(
    json_agg(json_build_object('role', f.role, 'database', f.database) ORDER BY f.role, f.database), '[]')::text
FROM (
    SELECT DISTINCT r.rolname AS role, coalesce(b.datname, %(maintenance)s) AS database
    FROM pg_roles r
    CROSS JOIN LATERAL (
        SELECT * FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid AND classid <> 'pg_auth_members'::regclass
        LIMIT 10000) s
    LEFT JOIN pg_database b ON b.oid = s.dbid
    WHERE r.rolname = ANY (%(roles)s)
      AND (s.classid <> 'pg_database'::regclass
           OR shobj_description(s.objid, 'pg_database') IS DISTINCT FROM %(stamp)s)
) f""")
"""Parameters: roles, stamp, maintenance."""

INSIDE = sql.SQL("""
SELECT json_build_object(
    'schemas', coalesce((
        SELECT json_object_agg(nspname, pg_get_userbyid(nspowner)) FROM pg_namespace
        WHERE nspname = ANY (%(schemas)s)), '{}'),
    'extensions', (SELECT json_agg(extname) FROM pg_extension),
    'extensions_usable', coalesce((
        SELECT has_schema_privilege(%(group)s, n.oid, 'USAGE') FROM pg_namespace n
        WHERE n.nspname = %(extensions_schema)s), false)
)::text""")

_SURVEY = """
WITH d AS MATERIALIZED ({databases} WHERE starts_with(c.description, %(installation)s)),
     r AS MATERIALIZED ({roles} WHERE starts_with(c.description, %(installation)s))
SELECT json_build_object(
    'databases', coalesce((SELECT json_agg({database}) FROM d), '[]'),
    'roles', coalesce((SELECT json_agg({role}) FROM r), '[]'))::text"""

SERVER = sql.SQL("""
SELECT json_build_object(
    'identity', {identity},
    'operator', {operator},
    'version', current_setting('server_version'),
    'standby', pg_is_in_recovery(),
    'search_path', current_setting('search_path'),
    'encrypted', coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
    'creates', (SELECT rolsuper OR (rolcreaterole AND rolcreatedb) FROM pg_roles WHERE rolname = current_user),
    'signals', pg_has_role('pg_signal_backend', 'USAGE'),
    'prepares', current_setting('max_prepared_transactions')::int > 0,
    'public', coalesce((
        SELECT json_agg(json_build_object('name', d.datname, 'ours', pg_has_role(d.datdba, 'USAGE')) ORDER BY d.datname)
        FROM pg_database d
        WHERE d.datallowconn AND EXISTS (
            SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
            WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')), '[]'),
    'warm', coalesce((
        SELECT json_agg(json_build_object(
            'name', coalesce(d.datname, g.rolname), 'database', d.oid IS NOT NULL,
            'open', coalesce(d.datallowconn, false), 'owned', coalesce(pg_get_userbyid(d.datdba) = current_user, false),
            'stamp', shobj_description(d.oid, 'pg_database'), 'group_stamp', shobj_description(g.oid, 'pg_authid')))
        FROM (SELECT * FROM pg_database WHERE starts_with(datname::text, %(warm)s)) d
        FULL JOIN (SELECT * FROM pg_roles WHERE starts_with(rolname::text, %(warm)s)) g ON g.rolname = d.datname
        WHERE pg_has_role(coalesce(d.datdba, g.oid), 'USAGE')), '[]')
)::text""").format(identity=IDENTITY, operator=OPERATOR)


END_BLOCKERS = sql.SQL("""
SELECT pg_terminate_backend(a.pid)
FROM unnest(pg_blocking_pids(%(pid)s)) b JOIN pg_stat_activity a ON a.pid = b
LEFT JOIN pg_roles r ON r.oid = a.usesysid
WHERE r.oid IS NULL OR starts_with(shobj_description(r.oid, 'pg_authid'), %(stamps)s)""")


def tenant(rights: Rights) -> sql.Composed:
    """Everything of one DataCluster that is seen from outside its database.

    Parameters: databases, roles, stamp, installation, warm.
    """
    return sql.SQL(_TENANT).format(
        databases=_STAMPED_DATABASES,
        roles=_STAMPED_ROLES,
        identity=IDENTITY,
        operator=OPERATOR,
        database=_DATABASE,
        role=_role(rights, verifiers=rights.superuser),
    )


def survey(rights: Rights) -> sql.Composed:
    """All databases and roles that bear a stamp of ours. Parameter: installation."""
    return sql.SQL(_SURVEY).format(
        databases=_STAMPED_DATABASES,
        roles=_STAMPED_ROLES,
        database=_DATABASE,
        role=_role(rights, verifiers=False),
    )


def _role(rights: Rights, *, verifiers: bool) -> sql.Composed:
    # Memberships are read as they are. pg_has_role() would follow all of ours anew for each role: with a thousand
    # tenants that is most of the time of a look. Before 16, membership was enough to become a role.
    usable = sql.SQL("m.inherit_option AND m.set_option" if rights.major >= SEPARATE_OPTIONS else "r.rolinherit")
    # A digest: what is stored never leaves the server. Naming pg_authid at all needs a superuser.
    digest = (
        "(SELECT coalesce(encode(sha256(convert_to(p.rolpassword, 'UTF8')), 'hex'), '') FROM pg_authid p"
        " WHERE p.oid = r.oid)"
    )
    return sql.SQL(_ROLE).format(
        operated=sql.SQL("true") if rights.superuser else _OPERATED.format(usable=usable),
        usable=usable,
        settings=_own_settings("r.rolconfig"),
        most_settings=sql.Literal(MOST_SETTINGS),
        digest=sql.SQL(digest if verifiers else "NULL"),
    )
