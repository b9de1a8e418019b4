"""Whose a cluster is that a plane wants to let join: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from bulkhead.protocol.problems import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Which organisation a tenant of the plane was mapped to. tenant_uid: None until its first use."""

    organisation_id: UUID
    tenant_uid: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """Of one tenant of a plane. grants: organisations that the plane may act for now."""

    mapping: Mapping | None
    grants: Sequence[UUID]


def whose(tenancy: Tenancy, tenant_uid: UUID) -> UUID | Code:
    """The organisation: the mapping decides; without one the plane's only grant does.

    tenant_uid: another Tenant under a name that was mapped is nobody's, whatever it is called
    """
    mapping, grants = tenancy.mapping, tenancy.grants
    if mapping is not None:
        if mapping.tenant_uid not in (None, tenant_uid):
            return Code.TENANT_CHANGED
        return mapping.organisation_id if mapping.organisation_id in grants else Code.GRANT_MISSING
    if not grants:
        return Code.GRANT_MISSING
    return grants[0] if len(grants) == 1 else Code.ORGANISATION_AMBIGUOUS
