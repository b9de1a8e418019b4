"""HTTP with JSON bodies, as the vector and the search engine speak it: one session, verified TLS, bounded time.

Whatever keeps an answer from coming, and every status that is no success, becomes an `EngineError` here and nowhere
else. No exception of aiohttp leaves: its `ClientResponseError` carries the request's headers, and with them the key.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import msgspec
import yarl

from bulkhead.api import sensitive
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import EngineError, Refused, Unavailable

CONNECTIONS = 8
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
ERASE_SECONDS = 120.0
"""For calls that erase: their time grows with the data, and giving up early only starts them again."""
_TEXT_LIMIT = 300
_SENDABLE = re.compile(r"[ -~]*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an answer, whatever the status."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def refused(self, whom: str) -> bool:
        """Whether it is a no to whoever asked. Raises Unavailable where it is neither yes nor no, so that a hiccup of
        the server, `whom`, is never taken for a lock."""
        if self.good or self.status in {401, 403}:
            return not self.good
        raise Unavailable(f"while trying what {whom} refuses: it answered {self.status}")


class HttpClient:
    """One server behind one address, reached with one admin credential."""

    def __init__(self, url: str, *, ca_pem: str | None, headers: Mapping[str, Sensitive]) -> None:
        """`ca_pem`: the only CA that is believed; None: those of the system. `headers`: sent with each call."""
        self._url = url
        self._ca_pem = ca_pem
        self._headers = headers
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        body: object = None,
        headers: Mapping[str, Sensitive] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Reply:
        """Send one request and read its answer. `path` is sent as it is, quoted by the caller.

        `headers` replaces those of the client: probes speak with other credentials, or with none. Raises Unavailable
        or Refused, both saying `while <doing>: …`, where no answer came; a status that is no success is a Reply.
        """
        base = address_of(self._url, doing)
        session = self._opened(base, doing)
        sent = _sendable(self._headers if headers is None else headers, doing)
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with session.request(
                method,
                yarl.URL(f"{str(base).rstrip('/')}{path}", encoded=True),
                data=data,
                headers=sent,
                timeout=timeout,
                allow_redirects=False,  # the key goes to the server that was declared and to no other
            ) as answer:
                return Reply(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise transport_error(error, doing, str(base.origin())) from None

    def _opened(self, base: yarl.URL, doing: str) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls_context(base, self._ca_pem, doing))
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _sendable(headers: Mapping[str, Sensitive], doing: str) -> dict[str, str]:
    """The headers as they are sent. Raises Refused for what can not travel in one: a line break would begin another
    header, so aiohttp raises a plain ValueError there, and servers take no other letters than those of ASCII."""
    sent = {name: value.reveal() for name, value in headers.items()}
    for name, value in sent.items():
        if not _SENDABLE.fullmatch(value):
            raise Refused(
                f"while {doing}: the key for the header {name} holds a line break or another character that no header "
                "can carry; put it as one line of plain ASCII into the Secret that adminSecretRef of the DataPlane "
                "names"
            )
    return sent


def address_of(url: str, doing: str) -> yarl.URL:
    """The address in `url`. Raises Refused where it is none, or one that keys can not be sent to."""
    try:
        address = yarl.URL(url)
        origin = address.origin()
    except ValueError:
        raise Refused(f"while {doing}: the address in the DataPlane is no URL such as https://host:port") from None
    if origin.scheme == "https" or (origin.scheme == "http" and is_loopback(origin.raw_host or "")):
        return address
    raise Refused(f"while {doing}: {origin} would carry keys in the clear; give an https:// address in the DataPlane")


def tls_context(address: yarl.URL, ca_pem: str | None, doing: str) -> ssl.SSLContext:
    """Verifies the server with `ca_pem` alone, or with the system's CAs. Raises Refused where it is no certificate."""
    try:
        # An empty text would mean the system's CAs to Python, which is not what somebody who names a Secret asks for.
        context = ssl.create_default_context(cadata=None if ca_pem is None else ca_pem or "empty")
    except (ssl.SSLError, TypeError, ValueError):  # TypeError: text outside ASCII
        raise Refused(
            f"while {doing}: the CA given for {address.origin()} is no PEM certificate; put one under ca.crt of the "
            "Secret that tls.caSecretRef of the DataPlane names"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine itself, the one place where an unencrypted connection is no leak."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def decoded(reply: Reply, kind: type[T], doing: str) -> T:
    """The body of `reply` as `kind`; Unavailable where it is something else: a proxy's page, a cut-off answer."""
    try:
        return msgspec.json.decode(reply.body, type=kind, dec_hook=sensitive.decode)
    except msgspec.DecodeError as error:
        raise Unavailable(f"while {doing}: the answer is not what was expected: {error}") from None


def transport_error(error: BaseException, doing: str, server: str) -> EngineError:
    """What it means that no answer came. Total: what is not known by its type is `Unavailable`."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return Refused(
                f"while {doing}: the certificate of {server} is not trusted ({_reason(error)}); set tls.caSecretRef of "
                "the DataPlane to the CA that signed it, or renew it for this host name"
            )
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Refused(f"while {doing}: no TLS connection to {server} ({_reason(error)}); does it speak TLS 1.2?")
        case aiohttp.InvalidURL():
            return Refused(f"while {doing}: {server} is no valid address; correct it in the DataPlane")
        case TimeoutError():
            return Unavailable(f"while {doing}: {server} did not answer in time")
        case _:
            return Unavailable(f"while {doing}: {server} can not be reached ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """What the system said of `error`. Never `str` of an aiohttp error with a response: that may hold headers."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return getattr(cause, "verify_message", "") or getattr(cause, "strerror", "") or type(cause).__name__


def status_error(status: int, text: str, doing: str, rights: str) -> EngineError:
    """What a status that is no success means. Total. `rights`: what to do where the admin credential was not enough."""
    said = f"while {doing}: the server answered {status}: {' '.join(text.split())[:_TEXT_LIMIT] or 'without a word'}"
    match status:
        case 401 | 403:
            return Refused(f"{said}; {rights}")
        case 404 | 408 | 425 | 429:
            return Unavailable(said)  # 404: gone since it was observed; the next look sees how things are
        case _ if status >= 500:
            return Unavailable(said)
        case _ if 300 <= status < 400:
            return Refused(f"{said}; it redirects elsewhere: give the address of the server itself in the DataPlane")
        case _:
            return Refused(said)
