"""One request on its way to a cluster and its answer on the way back, within limits, until somebody ends it.

    send -> head of the answer -> pieces -> end

Nothing is gathered: a piece is taken from one side when the other has taken the one before. Whoever has to end it says
why (`stop`): the caller left, its credential was revoked, a side does not move any more. It ends once (`aclose`), and
what became of it is told to `ended`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import aiohttp
import structlog
from yarl import URL

from bulkhead.platform.destinations import Refused
from bulkhead.platform.http.incoming import Incoming, Left
from bulkhead.platform.http.route import Headers
from bulkhead.platform.proxy import headers
from bulkhead.platform.proxy.gateways import Gateway
from bulkhead.protocol import problems
from bulkhead.protocol.assertions import LEEWAY, Method
from bulkhead.protocol.problems import Code, Problem

log = structlog.get_logger(__name__)

MOST_UNSEEN = 2
"""After so many looks in a row that saw nothing a request is ended: nobody could end it any more."""


class Unseen(Exception):
    """Whether a request may go on could not be found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one request.

    most_body, most_answer: bytes
    stall_seconds: without a step forward until the head of the answer: a piece of the body taken, or the head
    pause_seconds: between two pieces of the answer
    look_seconds: between two looks at whether it may go on
    """

    most_body: int = 1 << 36
    most_answer: int = 1 << 36
    stall_seconds: float = 60.0
    pause_seconds: float = 120.0
    look_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request.

    status: of the cluster's answer; None: there was none
    why: what ended it early; Left: the caller went away, or this replica; None: it is whole
    bytes_in, bytes_out: of its body and of the answer's
    """

    status: int | None
    why: Exception | None
    bytes_in: int
    bytes_out: int


class Passage(AsyncGenerator[bytes, None]):
    """One request; as a generator, the body of its answer.

    look: raises the Problem that ends it, or Unseen
    ended: is told the outcome, once
    """

    def __init__(
        self,
        request: Incoming,
        gateway: Gateway,
        *,
        limits: Limits,
        look: Callable[[], Awaitable[None]],
        ended: Callable[[Outcome], Awaitable[None]],
    ) -> None:
        self._request = request
        self._gateway = gateway
        self._limits = limits
        self._look = look
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.Timeout | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._uploaded = asyncio.Event()
        self._response: aiohttp.ClientResponse | None = None
        self._read_already = b""
        self._why: Exception | None = None
        self._bytes_out = 0
        self._over = False
        self._timer = self._loop.call_later(limits.look_seconds, self._begin_to_look)
        gateway.begin()

    async def send(self, url: URL, sent: dict[str, str], *, look_first: bool = False) -> tuple[int, Headers]:
        """Status and headers of the answer, whose body is to be read from here then.

        look_first: what allowed it was seen so long ago that it may be over

        Raises:
            Problem, Left: what ended it.
        """
        try:
            async with self._stopping_what_stalls():
                if look_first:
                    await self._look()
                response = await self._head(url, sent)
                answer = headers.answer(self._request.method, response.status, response.raw_headers)
                await self._refuse_refusal_of_our_word(response)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends here and is told as one of ours
            await self._fail(error)
        except BaseException:
            await self.aclose()
            raise
        return response.status, answer

    def stop(self, why: Exception) -> None:
        """End it now. The first reason counts."""
        self._why = self._why or why
        if self._watch is not None:
            with contextlib.suppress(RuntimeError):  # the block has ended by itself in this moment
                self._watch.reschedule(0)
        elif self._response is not None:
            self._response.close()

    @contextlib.asynccontextmanager
    async def _stopping_what_stalls(self) -> AsyncIterator[None]:
        """Raises TimeoutError once nothing has moved for too long, or `stop` was called."""
        try:
            async with asyncio.timeout(self._limits.stall_seconds) as self._watch:
                yield
        finally:
            self._watch = None
            if self._leaving is not None:
                self._leaving.cancel()

    async def _head(self, url: URL, sent: dict[str, str]) -> aiohttp.ClientResponse:
        method, body = Method(self._request.method), self._request.has_body
        if not body:
            self._watch_for_leaving()
        self._response = await self._gateway.send(
            method.value, url, sent, self._body() if body else None, repeatable=method.safe and not body
        )
        if body and self._response.status < 400:
            # It answers while it reads. The front drops what is unread of a request once that has an answer.
            await self._uploaded.wait()
        self._watch_for_the_connection(self._response)
        return self._response

    def _watch_for_the_connection(self, response: aiohttp.ClientResponse) -> None:
        """aiohttp ends a connection on which HTTP is broken, but leaves the reader of the body waiting."""
        protocol = None if response.connection is None else response.connection.protocol
        closed = None if protocol is None else protocol.closed
        if closed is not None:
            closed.add_done_callback(lambda _: self._connection_ended(response.content))

    @staticmethod
    def _connection_ended(content: aiohttp.StreamReader) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError())

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._request.stream(self._limits.most_body):
                await self._unless_refused()
                yield piece
                self._moved()
            await self._unless_refused()
        except (Problem, Left) as error:
            self.stop(error)
            raise
        self._uploaded.set()
        self._moved()
        self._watch_for_leaving()

    async def _unless_refused(self) -> None:
        """Wait for ever where the cluster has refused: from then on the front may drop some of the body, and one with a
        hole must never be whole, neither by its next piece nor by its end.
        """
        if self._response is not None and self._response.status >= 400:
            await self._loop.create_future()

    def _moved(self) -> None:
        if self._watch is not None and self._why is None:
            with contextlib.suppress(RuntimeError):
                self._watch.reschedule(self._loop.time() + self._limits.stall_seconds)

    def _watch_for_leaving(self) -> None:
        if self._watch is not None:
            self._leaving = self._loop.create_task(self._left())

    async def _left(self) -> None:
        await self._request.left()
        self.stop(Left())

    async def _refuse_refusal_of_our_word(self, response: aiohttp.ClientResponse) -> None:
        """A caller must not take what the cluster says of the platform's assertion for a word on its own credential."""
        if response.status not in _STATUSES_OF_OUR_WORD or response.content_type != problems.CONTENT_TYPE:
            return
        if response.content_length is None or response.content_length > problems.MOST_BYTES:
            return
        self._read_already = await response.content.read()
        said = problems.read(response.status, response.content_type, self._read_already)
        if said is not None and said.code in _OF_OUR_WORD:
            raise Problem(*_OF_OUR_WORD[said.code])

    async def _fail(self, error: Exception) -> NoReturn:
        self._why = self._why or told(error)
        await self.aclose()
        raise self._why from None

    async def asend(self, _: None) -> bytes:
        """The next piece. Raises what broke it off.

        The end is not recorded here: until the front was told of the end, it takes no next request of the connection.
        """
        piece = await self._piece()
        if not piece:
            raise StopAsyncIteration
        self._bytes_out += len(piece)
        if self._bytes_out > self._limits.most_answer:
            self.stop(headers.refused(f"it is longer than {self._limits.most_answer} bytes"))
        if self._why is not None:
            raise self._why
        return piece

    async def athrow(self, error: Any, *_: Any) -> bytes:
        """Ends it."""
        await self.aclose()
        raise error

    async def aclose(self) -> None:
        """End it, whole or not. A second time does nothing."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
        whole = self._is_whole()
        if self._response is not None:
            self._response.close()
        self._gateway.end()
        await self._ended(
            Outcome(
                status=self._response.status if self._response is not None else None,
                why=None if whole else self._why or Left(),
                bytes_in=self._request.read,
                bytes_out=self._bytes_out,
            )
        )

    def _is_whole(self) -> bool:
        return (
            self._response is not None
            and self._why is None
            and not self._read_already
            and self._response.content.at_eof()
        )

    async def _piece(self) -> bytes:
        if self._read_already:
            piece, self._read_already = self._read_already, b""
            return piece
        try:
            if self._response is not None and self._why is None:
                async with asyncio.timeout(self._limits.pause_seconds):
                    return await self._response.content.readany()
        except Exception as error:  # noqa: BLE001 - as in `send`
            self.stop(told(error))
        raise self._why or Left()

    def _begin_to_look(self) -> None:
        self._looking = self._loop.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        unseen = 0
        while unseen < MOST_UNSEEN:
            seen = await self._seen()
            unseen = 0 if seen else unseen + 1
            if self._why is not None:
                return
            if unseen < MOST_UNSEEN:
                await asyncio.sleep(self._limits.look_seconds)
        self.stop(told(Unseen()))

    async def _seen(self) -> bool:
        try:
            async with asyncio.timeout(self._limits.look_seconds):
                await self._look()
        except Problem as problem:
            self.stop(problem)
        except (Unseen, TimeoutError):
            return False
        except Exception as error:  # noqa: BLE001 - a fault of ours must not let it run for ever, unseen
            log.critical("look_failed", error=type(error).__name__)
            return False
        return True


def told(error: Exception) -> Exception:
    """What a caller is told of whatever went wrong on the way to a cluster; a fault of ours stays what it is."""
    match error:
        case Problem() | Left():
            return error
        case Unseen():
            return Problem(Code.UNAVAILABLE, "whether this may go on can not be found out")
        case aiohttp.ClientConnectorError(os_error=Refused()):
            return Problem(Code.TARGET_UNREACHABLE, "the platform does not connect to the gateway's address")
        case aiohttp.ClientSSLError():
            return Problem(Code.TARGET_UNTRUSTED)
        case TimeoutError():
            return Problem(Code.TARGET_TIMEOUT)
        case aiohttp.ClientResponseError():
            return headers.refused("it is not HTTP/1.1, or its head is too long")
        case aiohttp.ClientError() | OSError():
            return Problem(Code.TARGET_UNREACHABLE)
        case _:
            return error


_NOT_VOUCHED_FOR = (Code.TARGET_ANSWER_REFUSED, "the cluster does not take the platform's word for the request")
_OF_OUR_WORD = {
    Code.ASSERTION_NOT_CURRENT: (Code.CLOCK_SKEW, f"by the cluster's clock, which is over {LEEWAY} seconds off"),
    Code.ASSERTION_INVALID: _NOT_VOUCHED_FOR,
    Code.ASSERTION_REPLAYED: _NOT_VOUCHED_FOR,
}
_STATUSES_OF_OUR_WORD = frozenset(code.status for code in _OF_OUR_WORD)
