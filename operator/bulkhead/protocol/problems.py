"""Errors as both ends know them: problem+json (RFC 9457) with a code that stays.

A reader acts on codes alone. A status without a document of ours says nothing: any proxy on the way can answer 401,
404 or 410.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypedDict, Unpack

from bulkhead.protocol.documents import Answer, decode
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.sync import Stream

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:bulkhead:problem:"
MOST_BYTES = 16384
"""Of a document that a reader looks at."""


class Code(StrEnum):
    """Every problem, with its HTTP status, what happened, and what to do. Codes are never renamed or used anew."""

    status: int
    happened: str
    remedy: str

    def __new__(cls, value: str, status: int, happened: str, remedy: str) -> Code:
        code = str.__new__(cls, value)
        code._value_ = value
        code.status = status
        code.happened = happened
        code.remedy = remedy
        return code

    # joining
    TOKEN_UNKNOWN = (
        "token_unknown",
        401,
        "The platform has no such registration token.",
        "Ask for a new one; check that it was made on this platform.",
    )
    TOKEN_EXPIRED = (
        "token_expired",
        401,
        "The registration token's time is over.",
        "Ask for a new one.",
    )
    TOKEN_REVOKED = (
        "token_revoked",
        401,
        "The registration token was revoked, or the platform was restored since it was made.",
        "Ask for a new one.",
    )
    TOKEN_USED = (
        "token_used",
        409,
        "The registration token was used already, with another key pair or other claims.",
        "Ask for a new one; if nobody of yours used it, revoke the identity that it made.",
    )
    TOKEN_WRONG_CLUSTER = (
        "token_wrong_cluster",
        403,
        "The registration token is for another plane, cluster, kind, name or public key.",
        "Use it where it belongs, or ask for one for this cluster.",
    )
    PROOF_INVALID = (
        "proof_invalid",
        401,
        "The proof does not show that the caller holds the private key that it names.",
        "Sign the claims that the protocol lists, for this platform's URL, with the identity's own key.",
    )
    PLANE_UNCONFIRMED = (
        "plane_unconfirmed",
        403,
        "The plane has joined, but no administrator has confirmed its key yet.",
        "Compare the fingerprint that the plane shows with the one that the platform shows, and confirm it.",
    )
    IDENTITY_BOUND = (
        "identity_bound",
        409,
        "This plane or cluster is known here with another public key.",
        "Use the key pair that it joined with, or have its plane bind it anew.",
    )
    IDENTITY_UNKNOWN = (
        "identity_unknown",
        404,
        "The platform does not know this plane or cluster, perhaps because it was restored from a backup.",
        "Join again with a new registration token and the same key pair.",
    )
    IDENTITY_REVOKED = (
        "identity_revoked",
        403,
        "An administrator has ended this identity and its public key for good.",
        "Find out why; to let it come back, an administrator has to admit it with a new key pair.",
    )
    CLUSTER_ELSEWHERE = (
        "cluster_elsewhere",
        409,
        "This cluster belongs to another organisation.",
        "Moving it is an administrator's act; check the mapping of its tenant.",
    )
    CHALLENGE_INVALID = (
        "challenge_invalid",
        409,
        "The challenge is unknown, over, used, or of another identity.",
        "Ask for a new one and answer it within its time.",
    )
    REJOIN_EXHAUSTED = (
        "rejoin_exhausted",
        429,
        "This identity has re-joined too often.",
        "Wait for the time in Retry-After; find out what loses its service key.",
    )
    ORGANISATION_AMBIGUOUS = (
        "organisation_ambiguous",
        409,
        "The plane serves several organisations and the tenant belongs to none of them yet.",
        "Have an administrator map the tenant to its organisation.",
    )
    TENANT_CHANGED = (
        "tenant_changed",
        409,
        "The tenant's name is mapped here, but for a Tenant with another UID.",
        "Have an administrator map the new Tenant.",
    )
    GRANT_MISSING = (
        "grant_missing",
        403,
        "The plane may not act for this organisation.",
        "Have an administrator grant the plane to the organisation.",
    )

    # service keys
    KEY_UNKNOWN = (
        "key_unknown",
        401,
        "The platform has no such service key.",
        "Re-join with the bound key.",
    )
    KEY_REVOKED = (
        "key_revoked",
        401,
        "The service key was revoked, or a newer one has taken its place.",
        "Re-join with the bound key.",
    )
    KEY_EXPIRED = (
        "key_expired",
        401,
        "The service key's time is over.",
        "Re-join with the bound key.",
    )
    KEY_FENCED = (
        "key_fenced",
        401,
        "The platform was restored from a backup, and keys from before must be made anew.",
        "Re-join with the bound key, spread over some minutes.",
    )
    KEY_LIMIT = (
        "key_limit",
        409,
        "The identity has as many live service keys as it may have.",
        "Use the newest one, so that the older ones retire, or revoke one.",
    )
    KEY_REPLACED = (
        "key_replaced",
        409,
        "The proof replaces another key than the one that the call was made with.",
        "Sign the id of the key in use.",
    )
    PLANE_REVOKED = (
        "plane_revoked",
        403,
        "The plane that this cluster lies on was ended by an administrator.",
        "Find out why; the cluster can not act before its plane has joined again.",
    )
    GRANT_WITHDRAWN = (
        "grant_withdrawn",
        403,
        "The plane may no longer act for this cluster's organisation.",
        "Have an administrator grant the plane to the organisation again.",
    )
    IDENTITY_SUSPENDED = (
        "identity_suspended",
        403,
        "The identity is suspended for this call.",
        "Have it resumed; heartbeats go on meanwhile.",
    )
    CLUSTER_DELETED = (
        "cluster_deleted",
        401,
        "The cluster was deleted on the platform.",
        "Remove it here too, or register it anew; nothing is removed by itself.",
    )

    # users
    UNAUTHENTICATED = (
        "unauthenticated",
        401,
        "The call carries no credential.",
        "Send one as Authorization: Bearer.",
    )
    CREDENTIAL_MALFORMED = (
        "credential_malformed",
        401,
        "The credential is not of a form that the platform knows: it was cut or mistyped.",
        "Copy it again, whole.",
    )
    CREDENTIAL_WRONG_KIND = (
        "credential_wrong_kind",
        403,
        "A credential of this kind opens nothing here.",
        "Use one of the kind that this call's documentation names.",
    )
    API_TOKEN_UNKNOWN = (
        "api_token_unknown",
        401,
        "The platform has no such API token.",
        "Make a new one.",
    )
    API_TOKEN_EXPIRED = (
        "api_token_expired",
        401,
        "The API token's time is over.",
        "Make a new one.",
    )
    API_TOKEN_REVOKED = (
        "api_token_revoked",
        401,
        "The API token was revoked, was rotated, or ended with the membership behind it.",
        "Make a new one.",
    )
    LOGIN_INVALID = (
        "login_invalid",
        401,
        "The identity provider's token is not valid here: signature, issuer, audience or time do not fit.",
        "Log in again; if that does not help, compare issuer and audience with the platform's settings.",
    )
    ISSUER_UNAVAILABLE = (
        "issuer_unavailable",
        503,
        "The identity provider does not answer, so its token can not be checked.",
        "Try again, or use an API token: those work without it.",
    )
    MEMBERSHIP_MISSING = (
        "membership_missing",
        403,
        "This user is no member of an organisation here.",
        "Have an administrator add the user.",
    )
    ABILITY_MISSING = (
        "ability_missing",
        403,
        "The credential lacks the ability that this call needs.",
        "Use one that has it, or ask for it.",
    )
    SCOPE_MISSING = (
        "scope_missing",
        403,
        "The service key lacks the scope that this call needs.",
        "Use a key that has it.",
    )

    # any request
    REQUEST_MALFORMED = (
        "request_malformed",
        400,
        "The request is not HTTP as the platform takes it.",
        "Correct what the detail says.",
    )
    BODY_INVALID = (
        "body_invalid",
        422,
        "The body does not have the form that this call takes.",
        "Correct the field that the detail names; the OpenAPI document has the form.",
    )
    BODY_TOO_LARGE = (
        "body_too_large",
        413,
        "The body has more bytes than this call takes.",
        "Send less at once.",
    )
    HEADERS_TOO_LARGE = (
        "headers_too_large",
        431,
        "The headers have more bytes than the platform takes.",
        "Send fewer or shorter headers.",
    )
    MEDIA_TYPE = (
        "media_type",
        415,
        "The body's media type is not the one that this call takes.",
        "Send application/json.",
    )
    TOO_SLOW = (
        "too_slow",
        408,
        "The request did not arrive within its time.",
        "Try again over a better connection.",
    )
    NOT_FOUND = (
        "not_found",
        404,
        "There is no such thing, or this credential may not know of it.",
        "Check the address and the id.",
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        405,
        "This address does not take this method.",
        "Use one of those in Allow.",
    )
    CONFLICT = (
        "conflict",
        409,
        "The thing exists already, or has changed since it was read.",
        "Read it again, then decide.",
    )
    LIMIT_REACHED = (
        "limit_reached",
        409,
        "There are as many of these as there may be.",
        "Remove what is not needed any more.",
    )
    ADDRESS_REFUSED = (
        "address_refused",
        422,
        "The platform does not connect to this address.",
        "Give a public https address, or have the operator of the platform allow it.",
    )
    RATE_LIMITED = (
        "rate_limited",
        429,
        "Too many requests.",
        "Wait for the time in Retry-After.",
    )
    BUSY = (
        "busy",
        429,
        "The platform is checking as many credentials as it can.",
        "Wait for the time in Retry-After; a key that was checked lately is not affected.",
    )
    UNAVAILABLE = (
        "unavailable",
        503,
        "The platform can not answer now, for instance because its database does not.",
        "Try again; nothing was decided.",
    )
    INTERNAL = (
        "internal",
        500,
        "The platform failed; the fault is its own.",
        "Report the trace id to who runs the platform.",
    )

    # sync
    STREAM_SUPERSEDED = (
        "stream_superseded",
        409,
        "The stream is not the one in use.",
        "Send a snapshot that replaces the stream that this answer names.",
    )
    SEQUENCE_GAP = (
        "sequence_gap",
        409,
        "The delta is not the one after what was applied last.",
        "Go on after the sequence that this answer names.",
    )
    DIGEST_MISMATCH = (
        "digest_mismatch",
        409,
        "This sequence was applied already, with another content.",
        "Send a snapshot.",
    )
    NAMES_NOT_ALLOWED = (
        "names_not_allowed",
        403,
        "A row holds a dataset's name, which this tenant has not opted in to.",
        "Send the row without the name.",
    )

    # proxy
    CLUSTER_OFFLINE = (
        "cluster_offline",
        503,
        "The cluster has not been heard of for two minutes.",
        "Try again later; who runs its plane can see why.",
    )
    CLUSTER_SUSPENDED = (
        "cluster_suspended",
        503,
        "The cluster is suspended; its data is kept.",
        "Have it resumed.",
    )
    PATH_REFUSED = (
        "path_refused",
        400,
        "The path has a dot segment, an encoded slash, a backslash or a NUL.",
        "Send the path in its plain form.",
    )
    FRAMING_REFUSED = (
        "framing_refused",
        400,
        "The request says its length in two ways, or asks for another protocol.",
        "Send either Content-Length or Transfer-Encoding, and no Upgrade.",
    )
    TARGET_UNSET = (
        "target_unset",
        503,
        "No administrator has told the platform where this plane's gateway is.",
        "Have the plane's target set.",
    )
    TARGET_UNREACHABLE = (
        "target_unreachable",
        502,
        "The plane's gateway can not be connected to, or broke off.",
        "Try again; a request that changes something may have arrived.",
    )
    TARGET_UNTRUSTED = (
        "target_untrusted",
        502,
        "What answers at the gateway's address does not prove to be this cluster.",
        "Have the target's address and CA compared with the plane's.",
    )
    TARGET_TIMEOUT = (
        "target_timeout",
        504,
        "The cluster did not answer within the time.",
        "Try again; a request that changes something may have been carried out.",
    )
    TARGET_ANSWER_REFUSED = (
        "target_answer_refused",
        502,
        "The cluster's answer is not HTTP as the platform passes it on, or is too large.",
        "Ask for less at once; report it to who runs the cluster.",
    )
    CLOCK_SKEW = (
        "clock_skew",
        502,
        "The clocks of platform and cluster differ by more than a minute, so requests can not be vouched for.",
        "Set the clock that is off.",
    )

    # Data API
    ASSERTION_INVALID = (
        "assertion_invalid",
        401,
        "The request carries no assertion of the platform for it.",
        "Call through the platform.",
    )
    ASSERTION_NOT_CURRENT = (
        "assertion_not_current",
        401,
        "The assertion is of another time than this cluster's clock shows.",
        "Set the clock that is off.",
    )
    ASSERTION_REPLAYED = (
        "assertion_replayed",
        409,
        "The assertion was used already.",
        "Send the request anew through the platform.",
    )


class Extension(TypedDict, total=False):
    """What a problem may say beyond its code."""

    retry_after: int
    """Seconds; the header Retry-After says the same."""
    server_time: int
    """Unix seconds."""
    stream: Stream
    sequence: int


class ProblemDocument(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer that is an error."""

    type: str
    title: str
    """What happened; the same for each problem of this code."""
    status: int
    code: Code
    remedy: str
    """What to do; the same for each problem of this code."""
    detail: str = ""
    """What is special about this one."""
    trace: str = ""
    """The trace id under which the platform's logs have it; of a source that fails to authenticate, once a minute."""
    retry_after: int | None = None
    server_time: int | None = None
    stream: Stream | None = None
    """The stream in use."""
    sequence: int | None = None
    """The sequence that is applied."""


class Problem(Exception):
    """Ends a request with a problem. `detail` reaches the caller: never put a secret or another's data into it.

    `audit` is what the front writes into the audit after the request's transaction was rolled back; opaque here.
    """

    def __init__(self, code: Code, detail: str = "", *, audit: object = None, **extension: Unpack[Extension]) -> None:
        super().__init__(f"{code}: {detail or code.happened}")
        self.code = code
        self.detail = detail
        self.audit = audit
        self.extension = extension

    def document(self, trace: str = "") -> ProblemDocument:
        """What the caller is sent."""
        return ProblemDocument(
            type=f"{TYPE_PREFIX}{self.code}",
            title=self.code.happened,
            status=self.code.status,
            code=self.code,
            remedy=self.code.remedy,
            detail=self.detail,
            trace=trace,
            **self.extension,
        )


def read(status: int, content_type: str, body: bytes) -> ProblemDocument | None:
    """The problem that an answer tells, None where it is not a document of ours: then it tells nothing."""
    if content_type.split(";", maxsplit=1)[0].strip().lower() != CONTENT_TYPE:
        return None
    try:
        document = decode(ProblemDocument, body, most=MOST_BYTES)
    except Malformed:
        return None
    if not status == document.status == document.code.status:
        return None
    return document if document.type == f"{TYPE_PREFIX}{document.code}" else None
