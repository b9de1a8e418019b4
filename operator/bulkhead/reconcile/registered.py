"""How a DataPlane and its DataClusters are registered with the platform: from record and answers to conditions.

Nothing here is needed for a tenant to work, and nothing is ever stopped or deleted because the platform is silent or
says something else. What the loop of heartbeats learnt is written into the record before it is acted upon.
"""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from bulkhead.api.conditions import ConditionType, Reason, Status, condition
from bulkhead.api.data_cluster import NOT_JOINED as CLUSTER_NOT_JOINED
from bulkhead.api.data_cluster import DataCluster, PlatformCluster
from bulkhead.api.data_plane import NOT_JOINED, DataPlane, PlatformPlane
from bulkhead.api.meta import Condition
from bulkhead.api.record import Outline, PlaneRecord, Record, Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.kube.errors import KubeError
from bulkhead.protocol.address import platform_url
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.problems import Code
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TenantRef, cluster_id, plane_id
from bulkhead.reconcile import key, planes, status
from bulkhead.reconcile.context import platform_of
from bulkhead.reconcile.deps import DONE, RETRY, Deps, Outcome
from bulkhead.reconcile.records import OpenRecord, RecordUnreadable
from bulkhead.reconcile.report import PLATFORM_CONDITIONS, READY, Verdict, says_of_platform, waiting, with_platform
from bulkhead.reconcile.view import View
from bulkhead.registration import decide
from bulkhead.registration.beats import Contact, Member, Told
from bulkhead.registration.client import Platform
from bulkhead.registration.decide import Aim
from bulkhead.registration.errors import PlatformError, Refused, Silent, TokenMissing, Unintelligible, Unusable
from bulkhead.registration.join import Tools, join, leave
from bulkhead.registration.report import cluster_heartbeat, plane_heartbeat, rows

NOTICE_SECONDS = 600.0
"""For which the platform is told of a deletion; then it learns of it by the silence."""
ROLL_SECONDS = 5.0
"""Before the records are read again where that failed."""
BUSY_SECONDS = 2.0
"""Until a joining is tried again for which there was no room."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a plane's look at its platform came to. retry: a step is left to take."""

    verdicts: Verdicts = field(default_factory=dict)
    retry: bool = False


NO_PLATFORM = Standing()

Values = Mapping[str, Mapping[str, str] | None]
Verdicts = dict[ConditionType, Verdict]

log = structlog.get_logger(__name__)

_PLANE_FIRST = waiting(Reason.REGISTERING, "its DataPlane has not joined the platform yet")
_NOT_JOINED = Verdict(Status.UNKNOWN, Reason.REGISTERING, "not registered yet")


async def open_platform(
    plane: DataPlane, record: PlaneRecord, secrets: Values, deps: Deps
) -> Platform | Verdict | None:
    """The plane's platform, with the plane itself beating where it has joined; or why there is none. No call yet."""
    endpoint = plane.spec.platform
    if endpoint is None:
        await close(plane, deps)
        return None
    ca = secrets.get(endpoint.ca_secret_ref.name) if endpoint.ca_secret_ref is not None else None
    if endpoint.ca_secret_ref is not None and (ca is None or not ca.get(planes.CA_KEY)):
        await close(plane, deps)
        return waiting(
            Reason.SECRET_MISSING,
            f'spec.platform.caSecretRef names the Secret "{endpoint.ca_secret_ref.name}", which the operator\'s '
            f'namespace does not have with the key "{planes.CA_KEY}": create it there',
        )
    before = deps.beats.platform(plane.metadata.name)
    try:
        url = platform_url(endpoint.url)
        platform = await deps.beats.connect(plane.metadata.name, url, ca[planes.CA_KEY] if ca else None)
    except (Malformed, Unusable) as error:
        await close(plane, deps)
        return waiting(Reason.INVALID_SPEC, f"spec.platform: {error}")
    held = record.registration
    if held is not None and held.key_id and held.platform == url and held.identity == _plane_aim(plane, url).identity:
        deps.beats.enrol(_member(key.data_plane(plane.metadata.name), plane.metadata.uid, plane, held))
    if platform is not before:
        # Who waits for the one before to answer, or for there to be one, waits in vain.
        deps.enqueue_data_clusters_on(plane.metadata.name)
    return platform


async def close(plane: DataPlane, deps: Deps) -> None:
    """The plane has no platform any more, and neither have its DataClusters."""
    await deps.beats.disconnect(plane.metadata.name)
    deps.beats.withdraw(plane.metadata.uid)


async def join_plane(
    plane: DataPlane, record: OpenRecord[PlaneRecord], platform: Platform | Verdict | None, secrets: Values, deps: Deps
) -> Standing:
    """Join or re-join where that is asked for; how it stands then."""
    if platform is None:
        return NO_PLATFORM
    if not isinstance(platform, Platform):
        return Standing({ConditionType.REGISTERED: platform, ConditionType.CONNECTED: _NOT_JOINED}, retry=True)
    uid, endpoint = plane.metadata.uid, plane.spec.platform
    token = (secrets.get(endpoint.registration_token_secret_ref.name) or {}).get("token", "") if endpoint else ""
    aim = _plane_aim(plane, platform.url, Sensitive(token))

    async def save(held: Registration) -> None:
        record.record = msgspec.structs.replace(record.record, registration=held)
        await record.save()

    was = deps.beats.plane_member(plane.metadata.name)
    learnt = deps.beats.learnt(uid)
    known = record.record.registration
    if known is not None and known.trusted:
        await save(decide.absorb(known, learnt))
    tools = Tools(platform=platform, perform=deps.mutations.perform, save=save, random=randomness.token_bytes)
    try:
        held = await join(record.record.registration, aim, learnt, tools)
    except PlatformError as error:
        return Standing(_failed(error, record.record.registration, plane), retry=True)
    member = _member(key.data_plane(plane.metadata.name), uid, plane, held)
    deps.beats.enrol(member)
    if was is None or was.registration.identity != held.identity or was.registration.platform != held.platform:
        log.info("plane_joined", plane=plane.metadata.name, identity=held.identity)
        deps.enqueue_data_clusters_on(plane.metadata.name)
    return Standing(_verdicts(deps.beats.contact(uid)))


def conditions(plane: DataPlane, standing: Standing) -> list[Condition]:
    """`Registered` and `Connected` of a plane; of what is not known anew as it was."""
    found = [condition(kind, v.status, v.reason, v.message) for kind, v in standing.verdicts.items()]
    before = [c for c in plane.status.conditions if c.type in PLATFORM_CONDITIONS and c.type not in standing.verdicts]
    return [*found, *(before if standing.verdicts else ())]


def plane_status(record: PlaneRecord, plane: DataPlane, deps: Deps) -> PlatformPlane:
    """Id, fingerprint and clock, for people; empty without a platform."""
    held = record.registration
    if plane.spec.platform is None or held is None:
        return NOT_JOINED
    return PlatformPlane(
        plane_id=held.identity,
        fingerprint=decide.signing_key(held).public.fingerprint,
        clock_skew_minutes=_skew(deps.beats.contact(plane.metadata.uid), plane.status.platform),
    )


async def absorb(cluster: DataCluster, deps: Deps) -> None:
    """Write what the platform wants, and which keys it signs with, into the record: the flow acts on that."""
    uid = cluster.metadata.uid
    if not deps.beats.has_news(uid):
        return
    try:
        record = await deps.records.load(Record, uid)
    except RecordUnreadable:
        return  # the flow says so
    held = record.record.registration if record is not None else None
    if record is None or held is None or not held.trusted:
        return
    news = decide.absorb(held, deps.beats.learnt(uid))
    await _save(news, record)
    deps.beats.take_over(uid, news)
    if news.suspended != held.suspended:
        log.info("platform_suspends" if news.suspended else "platform_resumes", data_cluster=cluster.metadata.name)


async def keep(cluster: DataCluster, plane: DataPlane, deps: Deps) -> Outcome:
    """Join or re-join where that is asked for, beat from then on, and say how it stands."""
    if plane.spec.platform is None:
        deps.beats.withdraw(cluster.metadata.uid)
        if says_of_platform(cluster.status):
            await _tell(cluster, {}, "", deps)
        return DONE
    platform, leader = deps.beats.platform(plane.metadata.name), deps.beats.plane_member(plane.metadata.name)
    # A plane that changes its platform has not joined the new one yet, and the old one's key is not for that.
    if platform is None or leader is None or leader.registration.platform != platform.url:
        await _tell_without(cluster, plane, deps)
        return DONE
    identity = cluster_id(leader.registration.identity, cluster.metadata.uid)
    if _is_current(cluster, platform, identity, deps):
        if _is_settled(cluster, deps):
            deps.beats.acknowledge(cluster.metadata.uid)
        await _tell(cluster, _verdicts(deps.beats.contact(cluster.metadata.uid)), identity, deps)
        return DONE
    if platform.silence.closed:
        platform.silence.wait(key.data_cluster(cluster.metadata.name))
        if not _joined(deps.view.outline(cluster.metadata.uid)):
            await _tell(cluster, _failed(Silent(platform.silence.why), None, plane), "", deps)
        return DONE
    if deps.joining.locked():
        return Outcome(at=deps.clock().timestamp() + BUSY_SECONDS)
    async with deps.joining:
        return await _join(cluster, plane, platform, leader, deps)


async def _tell_without(cluster: DataCluster, plane: DataPlane, deps: Deps) -> None:
    """Of one whose plane can not be asked now. Who had joined this platform is told to be lost once that is so, and not
    before: after a restart the plane's own first look may not be through."""
    outline, contact = deps.view.outline(cluster.metadata.uid), deps.beats.contact(cluster.metadata.uid)
    if outline is None or not outline.identity or outline.platform != platform_of(plane):
        await _tell(cluster, {ConditionType.REGISTERED: _PLANE_FIRST, ConditionType.CONNECTED: _NOT_JOINED}, "", deps)
    elif contact is not None:
        await _tell(cluster, _verdicts(contact), outline.identity, deps)


async def _join(cluster: DataCluster, plane: DataPlane, platform: Platform, leader: Member, deps: Deps) -> Outcome:
    uid, me = cluster.metadata.uid, key.data_cluster(cluster.metadata.name)
    try:
        record = await deps.records.load(Record, uid)
    except RecordUnreadable:
        return DONE  # the flow says so
    if record is None:
        return DONE  # nothing is made yet, so there is nothing to join with
    before, aim = record.record.registration, _cluster_aim(record.record, platform, leader.registration.identity)
    tools = Tools(
        platform=platform,
        perform=deps.mutations.perform,
        save=partial(_save, record=record),
        random=randomness.token_bytes,
        plane_key=decide.service_key(leader.registration),
    )
    try:
        held = await join(before, aim, deps.beats.learnt(uid), tools)
    except PlatformError as error:
        reached = record.record.registration
        identity = reached.identity if reached is not None else ""
        await _tell(cluster, _failed(error, reached, plane), identity, deps)
        if isinstance(error, Silent) and platform.silence.silent:
            platform.silence.wait(me)
            return DONE
        return RETRY
    deps.beats.enrol(_member(me, uid, plane, held, record.outline))
    await _tell(cluster, _verdicts(deps.beats.contact(uid)), held.identity, deps)
    if before is None or before.trusted != held.trusted:
        deps.enqueue(me)  # its Data API is to know whom to believe
    return DONE


async def _save(held: Registration, record: OpenRecord[Record]) -> None:
    """With other signing keys the children are no longer as wanted; whatever else changes leaves them settled."""
    before, outline = record.record.registration, record.outline
    record.record = msgspec.structs.replace(record.record, registration=held)
    settled = outline.settled if outline is not None else ""
    if (before.trusted if before is not None else ()) != held.trusted:
        settled = ""
    children, said = (outline.children, outline.status) if outline is not None else ("", "")
    record.outline = record.record.outline(settled=settled, children=children, status=said)
    await record.save()


def _is_current(cluster: DataCluster, platform: Platform, identity: str, deps: Deps) -> bool:
    """Whether no step is to be taken, told without reading a secret."""
    outline = deps.view.outline(cluster.metadata.uid)
    if outline is None or (outline.platform, outline.identity) != (platform.url, identity):
        return False
    if deps.beats.member(cluster.metadata.uid) is None:
        return not deps.beats.complete  # it is read with all others, or looked at once they are
    return not deps.beats.has_news(cluster.metadata.uid)


async def _tell(cluster: DataCluster, verdicts: Verdicts, identity: str, deps: Deps) -> None:
    """Write the two conditions where they are not so yet; what is not in `verdicts` although it has joined is kept."""
    newest = deps.view.data_cluster(cluster.metadata.name)
    if newest is not None and newest.metadata.uid == cluster.metadata.uid:
        skew = _skew(deps.beats.contact(cluster.metadata.uid), newest.status.platform)
        platform = PlatformCluster(cluster_id=identity, clock_skew_minutes=skew) if identity else CLUSTER_NOT_JOINED
        await status.write(newest, with_platform(newest, verdicts, platform, deps.clock()), deps)


async def give_notice(cluster: DataCluster, record: OpenRecord[Record], deps: Deps) -> Verdict:
    """Tell the platform that it is being deleted. Ready: it knows, need not know, or could not be told in time."""
    held, plane = record.record.registration, deps.view.data_plane(record.record.plane)
    platform = deps.beats.platform(record.record.plane)
    deps.beats.withdraw(cluster.metadata.uid)
    if held is None or plane is None or platform_of(plane) != held.platform:
        return READY
    if platform is None or platform.url != held.platform:
        return _not_told(cluster, "its DataPlane does not reach it now, see the conditions there", deps)
    tools = Tools(
        platform=platform,
        perform=deps.mutations.perform,
        save=partial(_save, record=record),
        random=randomness.token_bytes,
    )
    try:
        await leave(held, _cluster_aim(record.record, platform, plane_id(plane.metadata.uid)), tools)
    except Refused as error:
        if error.code in _GONE:
            return READY
        return _not_told(cluster, str(error), deps)
    except PlatformError as error:
        return _not_told(cluster, str(error), deps)
    return READY


_GONE = frozenset({Code.CLUSTER_DELETED, Code.IDENTITY_UNKNOWN, Code.KEY_UNKNOWN, Code.IDENTITY_REVOKED})


def _not_told(cluster: DataCluster, why: str, deps: Deps) -> Verdict:
    if deps.beats.leaving_for(cluster.metadata.uid) < NOTICE_SECONDS:
        return waiting(Reason.DELETING, f"the platform is not told yet: {why}")
    log.warning("platform_not_told", data_cluster=cluster.metadata.name, why=why)
    return READY


async def roll(deps: Deps) -> AsyncIterator[Member]:
    """All DataClusters that have joined, from their records, a page at a time; until they were read through once."""
    while True:
        try:
            async for member in _joined_members(deps):
                yield member
        except KubeError as error:
            log.warning("roll_failed", error=str(error))
            await asyncio.sleep(ROLL_SECONDS)
        else:
            _look_at_who_was_left_out(deps)
            return


def _look_at_who_was_left_out(deps: Deps) -> None:
    """One whose re-join was interrupted has no key to beat with, and passed for one that was still to be read. Its look
    begins after `complete` is set, because nothing is awaited in between."""
    for outline in deps.view.outlines():
        if _joined(outline) and deps.beats.member(outline.uid) is None:
            deps.enqueue(key.data_cluster(outline.slug))


async def _joined_members(deps: Deps) -> AsyncIterator[Member]:
    async for record in deps.records.all():
        held, outline = record.record.registration, record.outline
        cluster = deps.view.data_cluster(record.record.slug)
        plane = deps.view.data_plane(record.record.plane)
        if held is None or not held.key_id or cluster is None or plane is None:
            continue
        if cluster.metadata.uid == record.record.uid and not cluster.metadata.deletion_timestamp:
            yield _member(key.data_cluster(record.record.slug), record.record.uid, plane, held, outline)


def describe(member: Member, view: View, release: str) -> Told | None:
    """What a member tells now, as its status has it; None: its object is not there."""
    plane = view.data_plane(member.plane)
    if plane is None:
        return None
    if member.kind is IdentityKind.PLANE:
        clusters = view.data_clusters_on(member.plane)
        beat = plane_heartbeat(plane, clusters, release=release, acknowledged=member.acknowledged)
        return Told(beat, skew=plane.status.platform.clock_skew_minutes)
    cluster = view.data_cluster(member.subject[1])
    if cluster is None or cluster.metadata.uid != member.uid:
        return None
    applied, versions = member.registration.applied_generation, plane.status.versions
    beat = cluster_heartbeat(cluster, versions, release=release, applied=applied, acknowledged=member.acknowledged)
    return Told(beat, rows(cluster, versions), skew=cluster.status.platform.clock_skew_minutes)


def _plane_aim(plane: DataPlane, url: str, token: Sensitive = decide.NO_TOKEN) -> Aim:
    return Aim(platform=url, kind=IdentityKind.PLANE, uid=plane.metadata.uid, name=plane.metadata.name, token=token)


def _cluster_aim(record: Record, platform: Platform, plane: str) -> Aim:
    return Aim(
        platform=platform.url,
        kind=IdentityKind.CLUSTER,
        uid=record.uid,
        name=record.slug,
        plane=plane,
        tenant=TenantRef(name=record.tenant, uid=record.tenant_uid),
    )


def _member(subject: key.Key, uid: str, plane: DataPlane, held: Registration, outline: Outline | None = None) -> Member:
    """What its Data API was given is acknowledged: until its Secrets are in place again, the older key alone."""
    keys = decide.jwks(held).keys
    published = keys[-1] if subject.kind == "DataPlane" or (outline is not None and outline.settled) else keys[0]
    return Member(
        subject=subject,
        uid=uid,
        kind=IdentityKind.PLANE if subject.kind == "DataPlane" else IdentityKind.CLUSTER,
        plane=plane.metadata.name,
        registration=held,
        acknowledged=published.kid,
    )


def _is_settled(cluster: DataCluster, deps: Deps) -> bool:
    outline = deps.view.outline(cluster.metadata.uid)
    return outline is not None and bool(outline.settled)


def _joined(outline: Outline | None) -> bool:
    return outline is not None and bool(outline.identity)


def _verdicts(contact: Contact | None) -> Verdicts:
    """Of one that has joined. Without a contact nothing new is known of the connection."""
    if contact is None:
        return {ConditionType.REGISTERED: READY}
    if contact.connected:
        connected = Verdict(Status.TRUE, Reason.READY, _said_of_clocks(contact.skew))
        return {ConditionType.REGISTERED: READY, ConditionType.CONNECTED: connected}
    reason = Reason.PLATFORM_UNAVAILABLE if contact.code is None else Reason.PLATFORM_REFUSED
    connected = waiting(reason, contact.why)
    ended = contact.code in decide.ENDED
    return {ConditionType.REGISTERED: connected if ended else READY, ConditionType.CONNECTED: connected}


def _said_of_clocks(skew: int) -> str:
    if not skew:
        return ""
    return f"this cluster's clock is {abs(skew)} min {'ahead of' if skew > 0 else 'behind'} the platform's"


def _skew(contact: Contact | None, before: PlatformCluster | PlatformPlane) -> int:
    """Minutes; where no heartbeat was answered since, as it was."""
    return contact.skew if contact is not None and contact.connected else before.clock_skew_minutes


def _failed(error: PlatformError, held: Registration | None, plane: DataPlane) -> Verdicts:
    """Why it has not joined; one that had joined before stays registered while nobody says otherwise."""
    refused = _refusal(error, plane)
    undecided = isinstance(error, Silent | Unintelligible) or (isinstance(error, Refused) and error.transient)
    if held is not None and held.identity and undecided:
        return {ConditionType.REGISTERED: READY, ConditionType.CONNECTED: refused}
    return {
        ConditionType.REGISTERED: refused,
        ConditionType.CONNECTED: refused if held is not None and held.identity else _NOT_JOINED,
    }


def _refusal(error: PlatformError, plane: DataPlane) -> Verdict:
    match error:
        case TokenMissing():
            name = plane.spec.platform.registration_token_secret_ref.name if plane.spec.platform else ""
            return waiting(
                Reason.SECRET_MISSING,
                f'the Secret "{name}" (spec.platform.registrationTokenSecretRef) has no "token" in the operator\'s '
                "namespace: put a registration token of the platform for this plane there",
            )
        case Unusable():
            return waiting(Reason.SECRET_INCOMPLETE, str(error))
        case Refused() if error.code is Code.PLANE_UNCONFIRMED:
            return waiting(Reason.PLANE_UNCONFIRMED, str(error))
        case Refused() if not error.transient:
            return waiting(Reason.PLATFORM_REFUSED, str(error))
        case _:
            return waiting(Reason.PLATFORM_UNAVAILABLE, str(error))
