"""The platform over HTTP: one session per plane, and the one place where an answer becomes a type or an error.

A status means nothing by itself: any proxy on the way can answer 401, 404 or 410. What counts is a document of the
protocol, over a connection whose certificate was verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import aiohttp
import yarl

from bulkhead.protocol import documents, problems
from bulkhead.protocol.credentials import Credential, RegistrationToken, ServiceKey
from bulkhead.protocol.documents import PROTOCOL, Answer
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.heartbeat import Heartbeat, HeartbeatAnswer
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import (
    Challenge,
    ChallengeRequest,
    Deleted,
    ExchangeRequest,
    Joined,
    KeyRegistered,
    KeyRegistrationRequest,
    RejoinRequest,
    TokenIssued,
    TokenRequest,
)
from bulkhead.protocol.sync import SyncAnswer, SyncRequest
from bulkhead.registration.errors import Refused, Silent, Unintelligible, Unusable
from bulkhead.registration.silence import Silence

CONNECTIONS = 16
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
MOST_BYTES = documents.MOST_BYTES
"""Of an answer; a longer one is none of the platform's."""

COLLECTIONS: Mapping[IdentityKind, str] = MappingProxyType({
    IdentityKind.PLANE: "data-planes",
    IdentityKind.CLUSTER: "clusters",
})  # fmt: skip

A = TypeVar("A", bound=Answer)


class Platform:
    """The platform at one URL. Every call raises Silent, Unintelligible or Refused."""

    def __init__(self, url: str, ca_pem: str | None, silence: Silence, *, seconds: float = ANSWER_SECONDS) -> None:
        """`ca_pem`: the only CA that is believed; None: those of the system. Raises Unusable where it is none."""
        self.url = url
        self.silence = silence
        self._seconds = seconds
        self._context = _verifying(ca_pem)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def close(self) -> None:
        """Give the connections back. Whoever still has it in hand finds it silent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def token(self, key: ServiceKey, request: TokenRequest) -> TokenIssued:
        """A registration token for a cluster of the plane whose service key this is."""
        return await self._call(TokenIssued, "POST", "/v1/registration-tokens", key, request)

    async def exchange(self, token: RegistrationToken, proof: str) -> Joined:
        """An identity for a registration token."""
        body = ExchangeRequest(protocol=PROTOCOL, proof=proof)
        return await self._call(Joined, "POST", "/v1/registrations", token, body)

    async def challenge(self, proof: str) -> Challenge:
        """What to sign to re-join."""
        body = ChallengeRequest(protocol=PROTOCOL, proof=proof)
        return await self._call(Challenge, "POST", "/v1/registrations/challenge", None, body)

    async def rejoin(self, proof: str) -> Joined:
        """A new service key for an identity that lost its own."""
        body = RejoinRequest(protocol=PROTOCOL, proof=proof)
        return await self._call(Joined, "POST", "/v1/registrations/rejoin", None, body)

    async def register_key(self, kind: IdentityKind, identity: str, key: ServiceKey, proof: str) -> KeyRegistered:
        """A new service key beside `key`."""
        body = KeyRegistrationRequest(protocol=PROTOCOL, proof=proof)
        return await self._call(KeyRegistered, "POST", f"{_path(kind, identity)}/keys", key, body)

    async def heartbeat(self, kind: IdentityKind, identity: str, key: ServiceKey, body: Heartbeat) -> HeartbeatAnswer:
        """Tell how a plane or cluster is."""
        return await self._call(HeartbeatAnswer, "POST", f"{_path(kind, identity)}/heartbeat", key, body)

    async def sync(self, identity: str, key: ServiceKey, body: SyncRequest) -> SyncAnswer:
        """Send what changed of a cluster's metadata."""
        return await self._call(SyncAnswer, "POST", f"{_path(IdentityKind.CLUSTER, identity)}/sync", key, body)

    async def delete(self, identity: str, key: ServiceKey) -> Deleted:
        """Give notice that a cluster is being deleted."""
        return await self._call(Deleted, "DELETE", _path(IdentityKind.CLUSTER, identity), key, None)

    async def _call(
        self, kind: type[A], method: str, path: str, credential: Credential | None, body: documents.Request | None
    ) -> A:
        headers = {"Accept-Encoding": "identity", "Accept": "application/json"}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential.reveal()}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self.silence.listening():
            return await self._answered(kind, method, path, headers, body)

    async def _answered(
        self, kind: type[A], method: str, path: str, headers: dict[str, str], body: documents.Request | None
    ) -> A:
        status, content_type, content = await self._sent(method, path, headers, body)
        if problem := problems.read(status, content_type, content):
            raise Refused(problem)
        if not 200 <= status < 300:
            raise Unintelligible(f"{self.url} answers {status} without a problem document: it is not the platform")
        try:
            return documents.decode(kind, content)
        except Malformed as error:
            raise Unintelligible(f"{self.url} answers {status} with something else than was asked: {error}") from None

    async def _sent(
        self, method: str, path: str, headers: dict[str, str], body: documents.Request | None
    ) -> tuple[int, str, bytes]:
        """Status, media type and content. No exception of aiohttp leaves: some carry the headers of the request."""
        try:
            async with self._opened().request(
                method,
                yarl.URL(f"{self.url}{path}", encoded=True),
                data=None if body is None else documents.encode(body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._seconds, sock_connect=CONNECT_SECONDS),
                allow_redirects=False,  # the key goes to the server that was declared and to no other
            ) as answer:
                content = await _read(answer)
                return answer.status, answer.headers.get("Content-Type", ""), content
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError):
            raise Silent(f"the certificate of {self.url} is not trusted: set spec.platform.caSecretRef") from None
        except TimeoutError:
            raise Silent(f"{self.url} did not answer in time") from None
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, _TooLong):
            raise Unintelligible(f"{self.url} answers something that is not the platform's") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Silent(f"{self.url} can not be reached ({type(error).__name__})") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Silent("the DataPlane has another platform by now")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._context)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session


class _TooLong(Exception):
    """The answer has more bytes than any of the platform's."""


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = b""
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > MOST_BYTES:
            raise _TooLong
    return content


def _verifying(ca_pem: str | None) -> ssl.SSLContext:
    try:
        # An empty text would mean the system's CAs to Python, which is not what somebody who names a Secret asks for.
        context = ssl.create_default_context(cadata=None if ca_pem is None else ca_pem or "empty")
    except (ssl.SSLError, TypeError, ValueError):
        raise Unusable("ca.crt of the Secret that spec.platform.caSecretRef names is no PEM certificate") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _path(kind: IdentityKind, identity: str) -> str:
    return f"/v1/{COLLECTIONS[kind]}/{identity}"


def parsed_token(text: str) -> RegistrationToken:
    """The registration token in a Secret. Raises Unusable."""
    try:
        return RegistrationToken.parse(text)
    except Malformed as error:
        raise Unusable(f"the registration token can not be used: {error}; copy it again, whole") from None
