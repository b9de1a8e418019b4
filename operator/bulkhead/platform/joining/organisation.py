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


@dataclass(frozen=True, slots=True)
class Whose:
    """The organisation. binds: its mapping has to remember this Tenant's UID."""

    organisation_id: UUID
    binds: bool = False


def whose(mapping: Mapping | None, grants: Sequence[UUID], tenant_uid: UUID) -> Whose | Code:
    """The mapping decides; without one the plane's only grant does.

    grants: organisations that the plane may act for now
    tenant_uid: another Tenant under a name that was mapped is nobody's, whatever it is called
    """
    if mapping is not None:
        if mapping.tenant_uid not in (None, tenant_uid):
            return Code.TENANT_CHANGED
        if mapping.organisation_id not in grants:
            return Code.GRANT_MISSING
        return Whose(mapping.organisation_id, binds=mapping.tenant_uid is None)
    if not grants:
        return Code.GRANT_MISSING
    return Whose(grants[0]) if len(grants) == 1 else Code.ORGANISATION_AMBIGUOUS
