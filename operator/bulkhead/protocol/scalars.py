r"""Strings and numbers of messages, each bounded, each with one spelling. Patterns end with `\Z`, see RE2's `$`.

Times are Unix seconds: no zone, no fraction, no thirtieth of February, so equal content has equal digests.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MOST_INTEGER = 2**53 - 1
"""The largest that every reader of JSON keeps exactly."""

Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", description="A UUID in lower case")]
RowId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z", description="16 bytes in hexadecimal: the id of a credential")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="SHA-256 in hexadecimal")]
Token256 = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z", description="32 bytes in base64url")]
Kid = Annotated[Token256, Meta(description="JWK thumbprint (RFC 7638) of a signing key")]
Nonce = Annotated[Token256, Meta(description="32 random bytes in base64url")]

Count = Annotated[int, Meta(ge=0, le=MOST_INTEGER)]
Generation = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""Also bounds what a reported generation can do to the next one."""
UnixSeconds = Annotated[int, Meta(ge=0, le=253402300799, description="Unix time in seconds")]
Seconds = Annotated[int, Meta(ge=1, le=366 * 86400, description="A duration in seconds")]

Name = Annotated[
    str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z", description="Name of a Kubernetes object")
]
Release = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}\Z", description='A version, such as "0.1.0"')]
Compact = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}\Z",
        description="A JWS in compact serialisation (RFC 7515), signed with Ed25519",
    ),
]
PlatformUrl = Annotated[
    str,
    Meta(
        max_length=512,
        pattern=r"^https?://[a-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*\Z",
        description="The platform's URL in its canonical form",
    ),
]
