"""Statements about people and what they were granted."""

from __future__ import annotations

from typing import Final

API_TOKEN: Final = "SELECT * FROM api_token(%s)"  # noqa: S105 - a look-up
PLATFORM_ADMIN: Final = "SELECT issuer, subject FROM platform_admin(%s)"
ISSUER_BY_URL: Final = "SELECT * FROM issuer(%s)"
MEMBERSHIP: Final = "SELECT * FROM membership(%s, %s)"

# `rotation`: the outcome of a slow comparison is never written beside another secret.
REMEMBER: Final = """
    UPDATE api_tokens
    SET fast_value = %(fast_value)s, fast_pepper = %(fast_pepper)s, fast_until = %(fast_until)s
    WHERE id = %(id)s AND rotation = %(rotation)s
"""
REMEMBER_PREVIOUS: Final = """
    UPDATE api_tokens
    SET previous_fast_value = %(fast_value)s, previous_fast_pepper = %(fast_pepper)s,
        previous_fast_until = %(fast_until)s
    WHERE id = %(id)s AND rotation = %(rotation)s AND previous_until IS NOT NULL
"""
HASH_ANEW: Final = """
    UPDATE api_tokens SET scrypt_n = %(n)s, scrypt_r = %(r)s, scrypt_p = %(p)s, salt = %(salt)s, hash = %(hash)s
    WHERE id = %(id)s AND rotation = %(rotation)s
"""
FIRST_USE: Final = """
    UPDATE api_tokens SET value_used_at = now() WHERE id = %(id)s AND rotation = %(rotation)s AND value_used_at IS NULL
"""
# In order of their ids, as that of service keys.
LAST_USED: Final = """
    UPDATE api_tokens t SET last_used_at = now()
    FROM (SELECT id FROM api_tokens WHERE id IN (SELECT jsonb_array_elements_text(%s::jsonb)) ORDER BY id
          FOR NO KEY UPDATE) used
    WHERE t.id = used.id
"""

WHO: Final = "SELECT session_user::text"

ADD_ORGANISATION: Final = "INSERT INTO organisations (name) VALUES (%s) ON CONFLICT (name) DO NOTHING RETURNING id"
ORGANISATION: Final = "SELECT id FROM organisations WHERE name = %s"

PLANE: Final = "SELECT name FROM planes WHERE id = %s"
GRANT_PLANE: Final = """
    INSERT INTO plane_grants (organisation_id, plane_id, granted_by) VALUES (%(organisation)s, %(plane)s, %(by)s)
    ON CONFLICT (organisation_id, plane_id)
        DO UPDATE SET granted_by = EXCLUDED.granted_by, granted_at = now(), revoked_at = NULL
        WHERE plane_grants.revoked_at IS NOT NULL
    RETURNING plane_id
"""
LIVING_GRANT: Final = """
    SELECT true FROM plane_grants WHERE organisation_id = %s AND plane_id = %s AND revoked_at IS NULL
"""

MAP_TENANT: Final = """
    INSERT INTO tenant_organisations (plane_id, tenant, organisation_id, set_by)
    VALUES (%(plane)s, %(tenant)s, %(organisation)s, %(by)s)
    ON CONFLICT (plane_id, tenant) DO NOTHING
    RETURNING plane_id
"""
MAPPED: Final = "SELECT organisation_id FROM tenant_organisations WHERE plane_id = %s AND tenant = %s"

ISSUER: Final = "SELECT id, audiences, algorithms, disabled_at IS NULL FROM issuers WHERE url = %s FOR NO KEY UPDATE"
ADD_ISSUER: Final = """
    INSERT INTO issuers (url, audiences, algorithms) VALUES (%s, %s, %s) ON CONFLICT (url) DO NOTHING RETURNING id
"""
CHANGE_ISSUER: Final = """
    UPDATE issuers SET audiences = %s, algorithms = %s, disabled_at = NULL WHERE id = %s
"""
# Shared with others who bind it, against its end: a binding that came after that would speak again once the issuer is
# believed again.
BELIEVED: Final = "SELECT true FROM issuers WHERE id = %s AND disabled_at IS NULL FOR SHARE"
# Members of a binding that had ended are no more: whoever of them is to come back is named anew.
END_MEMBERS: Final = """
    UPDATE memberships SET ended_at = now() WHERE issuer_id = %s AND organisation_id = %s AND ended_at IS NULL
    RETURNING id, subject
"""
BIND_ISSUER: Final = """
    INSERT INTO issuer_organisations (issuer_id, organisation_id) VALUES (%s, %s)
    ON CONFLICT (issuer_id, organisation_id)
        DO UPDATE SET ended_at = NULL WHERE issuer_organisations.ended_at IS NOT NULL
    RETURNING issuer_id
"""
SPEAKS_FOR: Final = """
    SELECT true FROM issuer_organisations WHERE issuer_id = %s AND organisation_id = %s AND ended_at IS NULL
"""

MEMBER: Final = """
    SELECT id, organisation_id, abilities, name FROM memberships
    WHERE issuer_id = %s AND subject = %s AND ended_at IS NULL FOR NO KEY UPDATE
"""
ADD_MEMBER: Final = """
    INSERT INTO memberships (organisation_id, issuer_id, subject, name, abilities, created_by)
    VALUES (%(organisation)s, %(issuer)s, %(subject)s, %(name)s, %(abilities)s, %(by)s)
    ON CONFLICT (issuer_id, subject) WHERE ended_at IS NULL DO NOTHING
    RETURNING id
"""
CHANGE_MEMBER: Final = "UPDATE memberships SET abilities = %s, name = %s WHERE id = %s"

ADD_ADMIN: Final = """
    INSERT INTO platform_admins (issuer_id, subject, created_by) VALUES (%(issuer)s, %(subject)s, %(by)s)
    ON CONFLICT (issuer_id, subject)
        DO UPDATE SET created_by = EXCLUDED.created_by, created_at = now(), ended_at = NULL
        WHERE platform_admins.ended_at IS NOT NULL
    RETURNING subject
"""
END_ADMIN: Final = """
    UPDATE platform_admins SET ended_at = now() WHERE issuer_id = %s AND subject = %s AND ended_at IS NULL
    RETURNING subject
"""
LIVING_ADMIN: Final = "SELECT true FROM platform_admins WHERE issuer_id = %s AND subject = %s AND ended_at IS NULL"

MINT: Final = """
    INSERT INTO api_tokens (id, organisation_id, membership_id, minted_by_token, name, abilities, source, scrypt_n,
                            scrypt_r, scrypt_p, salt, hash, fast_value, fast_pepper, fast_until, epoch, expires_at)
    SELECT %(id)s, %(organisation)s, %(membership)s, %(minter)s, %(name)s, %(abilities)s, %(source)s, %(n)s,
           %(r)s, %(p)s, %(salt)s, %(hash)s, %(fast_value)s, %(fast_pepper)s, %(fast_until)s, epoch,
           least(now() + make_interval(secs => %(seconds)s), %(latest)s::timestamptz)
    FROM platform_state
    RETURNING extract(epoch FROM expires_at)::bigint
"""
MARK_PLATFORM_ADMIN: Final = "UPDATE api_tokens SET platform_admin = true WHERE id = %s"

# The membership is locked: what is counted stays so until the token is there, and nobody ends it meanwhile.
OWN_MEMBERSHIP: Final = "SELECT abilities FROM memberships WHERE id = %s AND ended_at IS NULL FOR NO KEY UPDATE"
LIVING_TOKENS: Final = """
    SELECT count(*) FROM api_tokens WHERE membership_id = %s AND revoked_at IS NULL AND expires_at > now()
"""
# Shared with others who mint by it, against its revocation.
MINTER: Final = """
    SELECT expires_at FROM api_tokens WHERE id = %s AND revoked_at IS NULL AND expires_at > now() FOR SHARE
"""

_SHOWN: Final = """
    t.id, t.name, m.subject, t.abilities, t.source, t.minted_by_token, t.platform_admin,
    extract(epoch FROM t.created_at)::bigint AS created_at, extract(epoch FROM t.expires_at)::bigint AS expires_at,
    extract(epoch FROM t.rotated_at)::bigint AS rotated_at,
    extract(epoch FROM t.previous_until)::bigint AS previous_until,
    extract(epoch FROM t.last_used_at)::bigint AS last_used_at, extract(epoch FROM t.revoked_at)::bigint AS revoked_at
"""
LIST_TOKENS: Final = f"""
    SELECT {_SHOWN} FROM api_tokens t JOIN memberships m ON m.id = t.membership_id
    WHERE %(after)s::text IS NULL
       OR (t.created_at, t.id) > (SELECT created_at, id FROM api_tokens WHERE id = %(after)s)
    ORDER BY t.created_at, t.id LIMIT %(limit)s
"""  # noqa: S608 - of constants
FOR_ROTATION: Final = """
    SELECT name, membership_id, abilities, source, minted_by_token, platform_admin, rotation FROM api_tokens
    WHERE id = %s AND revoked_at IS NULL AND expires_at > now() FOR NO KEY UPDATE
"""
ROTATE: Final = """
    UPDATE api_tokens
    SET rotation = rotation + 1, rotated_at = now(), value_used_at = NULL, scrypt_n = %(n)s, scrypt_r = %(r)s,
        scrypt_p = %(p)s, salt = %(salt)s, hash = %(hash)s, fast_value = %(fast_value)s,
        fast_pepper = %(fast_pepper)s, fast_until = %(fast_until)s,
        previous_until = CASE WHEN value_used_at IS NULL THEN previous_until
                              ELSE now() + make_interval(secs => %(grace)s) END
    WHERE id = %(id)s
    RETURNING rotation, extract(epoch FROM expires_at)::bigint, extract(epoch FROM previous_until)::bigint
"""
# With all that it has minted, and they again: what was made by something that is gone is gone.
REVOKE: Final = """
    WITH RECURSIVE line AS (
        SELECT id FROM api_tokens WHERE id = %s
        UNION SELECT t.id FROM api_tokens t JOIN line ON t.minted_by_token = line.id
    )
    UPDATE api_tokens t SET revoked_at = now() FROM line WHERE t.id = line.id AND t.revoked_at IS NULL
    RETURNING t.id, t.name
"""
EXISTS: Final = "SELECT true FROM api_tokens WHERE id = %s"
EPOCH: Final = "SELECT epoch FROM platform_state"

LIST_ORGANISATIONS: Final = """
    SELECT id::text, name, extract(epoch FROM created_at)::bigint AS created_at FROM organisations
    WHERE %(after)s::uuid IS NULL OR id > %(after)s ORDER BY id LIMIT %(limit)s
"""
ONE_ORGANISATION: Final = """
    SELECT id::text, name, extract(epoch FROM created_at)::bigint AS created_at FROM organisations WHERE id = %s
"""
ORGANISATION_EXISTS: Final = "SELECT true FROM organisations WHERE id = %s"
LIST_GRANTS: Final = """
    SELECT plane_id::text AS plane, organisation_id::text AS organisation, granted_by,
           extract(epoch FROM granted_at)::bigint AS granted_at, extract(epoch FROM revoked_at)::bigint AS withdrawn_at
    FROM plane_grants WHERE plane_id = %s ORDER BY organisation_id
"""
LIST_MAPPINGS: Final = """
    SELECT tenant, organisation_id::text AS organisation, tenant_uid IS NOT NULL AS bound, set_by
    FROM tenant_organisations WHERE plane_id = %(plane)s AND tenant > coalesce(%(after)s, '')
    ORDER BY tenant LIMIT %(limit)s
"""
WITHDRAW_PLANE: Final = """
    UPDATE plane_grants SET revoked_at = now()
    WHERE plane_id = %s AND organisation_id = %s AND revoked_at IS NULL RETURNING plane_id
"""
UNMAP_TENANT: Final = "DELETE FROM tenant_organisations WHERE plane_id = %s AND tenant = %s RETURNING organisation_id"
LIST_ISSUERS: Final = """
    SELECT i.id::text, i.url, i.audiences, i.algorithms, extract(epoch FROM i.disabled_at)::bigint AS disabled_at,
           ARRAY(SELECT o.organisation_id::text FROM issuer_organisations o
                 WHERE o.issuer_id = i.id AND o.ended_at IS NULL ORDER BY 1) AS organisations
    FROM issuers i WHERE (%(id)s::uuid IS NULL OR i.id = %(id)s) AND (%(after)s::uuid IS NULL OR i.id > %(after)s)
    ORDER BY i.id LIMIT %(limit)s
"""
DISABLE_ISSUER: Final = "UPDATE issuers SET disabled_at = now() WHERE id = %s AND disabled_at IS NULL RETURNING url"
END_BINDINGS: Final = """
    UPDATE issuer_organisations SET ended_at = now()
    WHERE issuer_id = %(issuer)s AND organisation_id = coalesce(%(organisation)s::uuid, organisation_id)
      AND ended_at IS NULL
    RETURNING organisation_id::text
"""
LIST_MEMBERS: Final = """
    SELECT m.id::text, i.url AS issuer, m.subject, m.name, m.abilities, m.created_by,
           extract(epoch FROM m.created_at)::bigint AS created_at
    FROM memberships m JOIN issuers i ON i.id = m.issuer_id
    WHERE m.organisation_id = %(organisation)s AND m.ended_at IS NULL AND (%(id)s::uuid IS NULL OR m.id = %(id)s)
      AND (%(after)s::uuid IS NULL OR m.id > %(after)s)
    ORDER BY m.id LIMIT %(limit)s
"""
END_MEMBER: Final = """
    UPDATE memberships SET ended_at = now() WHERE id = %s AND organisation_id = %s AND ended_at IS NULL
    RETURNING subject
"""
