"""Targets as administrators of the platform set them."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, TargetKind
from bulkhead.platform.audit.entry import Target as Acted
from bulkhead.platform.audit.record import record
from bulkhead.platform.destinations import Refused
from bulkhead.platform.http.route import Admin, Call, Tx
from bulkhead.platform.proxy import sql
from bulkhead.platform.proxy import target as targets
from bulkhead.platform.proxy.gateways import Gateways
from bulkhead.platform.proxy.target import Unusable
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.documents import Answer, Request
from bulkhead.protocol.problems import Code, Problem

MOST_BODY = 262144

_MOST_WHO = 512

Pem = Annotated[str, Meta(min_length=1, max_length=65536, pattern=r"^[\x20-\x7e\r\n\t]+\Z")]
KeyPem = Annotated[str, Meta(min_length=1, max_length=16000, pattern=r"^[\x20-\x7e\r\n\t]+\Z")]


class NewTarget(Request, frozen=True, kw_only=True):
    """Where a plane's clusters are reached, and with what.

    address: host:port of the gateway
    ca: PEM; what the certificates of clusters are verified with
    client_certificate, client_key: PEM; what the platform shows the gateway. The key is never shown again
    """

    address: Annotated[str, Meta(min_length=1, max_length=512)]
    ca: Pem
    client_certificate: Pem
    client_key: KeyPem

    def __repr__(self) -> str:
        return f"NewTarget({self.address})"


class PlaneTarget(Answer, frozen=True, kw_only=True):
    """What is set. Fingerprints: SHA-256 of the certificate in DER, in hexadecimal. set_at: Unix seconds"""

    address: str
    ca_fingerprint: str
    client_certificate_fingerprint: str
    set_by: str
    set_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Sets targets and shows them."""

    sealing: Sealing
    gateways: Gateways

    async def put(self, call: Call[Admin, NewTarget]) -> PlaneTarget:
        """Set the target of a plane; requests that run to the one before end at their next look."""
        plane, new = call.id("id"), call.body
        canonical = self._checked(new)
        sealed = self.sealing.seal(new.client_key.encode(), targets.place(plane))
        tx = await call.tx()
        name = await _plane(tx, plane)
        by = f"{call.caller.subject} ({call.caller.issuer})"[:_MOST_WHO]
        values = {
            "plane": plane,
            "address": canonical,
            "ca": new.ca,
            "certificate": new.client_certificate,
            "sealed": sealed.text,
            "under": sealed.under,
            "by": by,
        }
        row = await (await tx.execute(sql.SET_TARGET, values)).fetchone()
        assert row is not None  # noqa: S101 - RETURNING of an INSERT
        fingerprint = _fingerprint(new.ca)
        await record(
            tx,
            None,
            actor(call.caller, call.source),
            Action.PLANE_TARGET_SET,
            Acted(kind=TargetKind.PLANE, id=str(plane), name=name),
            Details(host=canonical, fingerprint=fingerprint),
        )
        return PlaneTarget(
            address=canonical,
            ca_fingerprint=fingerprint,
            client_certificate_fingerprint=_fingerprint(new.client_certificate),
            set_by=by,
            set_at=row[0],
        )

    async def get(self, call: Call[Admin, None]) -> PlaneTarget:
        """What is set for a plane."""
        tx = await call.tx()
        row = await (await tx.execute(sql.TARGET, (call.id("id"),))).fetchone()
        if row is None:
            raise Problem(Code.NOT_FOUND, "no target is set for this plane")
        address, ca, certificate, by, at = row
        return PlaneTarget(
            address=address,
            ca_fingerprint=_fingerprint(ca),
            client_certificate_fingerprint=_fingerprint(certificate),
            set_by=by,
            set_at=at,
        )

    def _checked(self, new: NewTarget) -> str:
        """The address in its one spelling. Problem for what could not be used."""
        try:
            address = targets.address(new.address)
            targets.context(ca=new.ca, certificate=new.client_certificate, key=new.client_key)
            self.gateways.check(address)
        except Unusable as error:
            raise Problem(Code.BODY_INVALID, str(error)) from None
        except Refused:
            raise Problem(Code.ADDRESS_REFUSED, "a gateway is not on this host, and not link-local") from None
        return str(address)


async def _plane(tx: Tx, plane: UUID) -> str:
    row = await (await tx.execute(sql.PLANE, (plane,))).fetchone()
    if row is None:
        raise Problem(Code.NOT_FOUND, "there is no such plane")
    return str(row[0])


def _fingerprint(pem: str) -> str:
    """Of the first certificate; empty where nobody can read one."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, found, rest = pem.partition(begin)
    body, closed, _ = rest.partition(end)
    if not (found and closed):
        return ""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(begin + body + end)).hexdigest()
