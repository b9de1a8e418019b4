"""Requests to the API server: raw objects in and out, one error tree, bounded retries, one seam for every change.

Every request has a deadline. Only what is safe is sent again in here: after 429, which says that nothing was done, and
after a broken connection while reading. The rest is the caller's, whose reconcile looks at the world before it acts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from bulkhead.kube.errors import Disconnected, KubeError, NotServed, TooManyRequests, Unavailable, error_from
from bulkhead.kube.resources import SECRETS, Resource

Json = dict[str, Any]
T = TypeVar("T")

FIELD_MANAGER = "bulkhead"
PAGE_SIZE = 100
"""A page is held whole, and decoded, by every watch that lists at the same time: with 500 a start among 1,000 tenants
took 20 MiB more, and kept them."""
REQUEST_SECONDS = 15.0
CONCURRENT_WRITES = 16
"""The API server's default is 200 mutating requests in flight for everybody; more than this only adds latency."""

_ATTEMPTS = 5
_LONGEST_PAUSE = 10.0
_LONGEST_LINE = 4 * 1024 * 1024

_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_AS_US = {"fieldManager": FIELD_MANAGER}
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_GERUNDS = {
    "get": "reading",
    "list": "listing",
    "watch": "watching",
    "create": "creating",
    "update": "updating",
    "patch": "patching",
    "delete": "deleting",
}


class Mutations(Protocol):
    """The seam that every change passes: it is counted there, and faults are placed there."""

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` once and give back what it gives."""


class Unrecorded:
    """Mutations that are nobody's concern: what is done before anybody leads, and renewals of the Lease."""

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002 - protocol
        """Run `call`."""
        return await call()


class RequestObserver(Protocol):
    """Takes note of every request, for metrics. `code` is 0 where no answer came."""

    def __call__(self, verb: str, resource: str, code: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Page:
    """One chunk of a list."""

    body: bytes = field(repr=False)
    resource_version: str
    """Of the whole list: the same in each chunk."""

    def objects(self) -> Sequence[Json]:
        """The items, decoded."""
        try:
            return msgspec.json.decode(self.body, type=_Objects).items or ()
        except msgspec.DecodeError as error:
            raise Unavailable("a page of a list is not from an API server") from error


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continuation: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta


class _Kind(msgspec.Struct):
    name: str


class _Kinds(msgspec.Struct):
    resources: list[_Kind]


class _Objects(msgspec.Struct):
    # `null` where a list of metadata is empty.
    items: list[Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One request, ready to be sent and sent again."""

    verb: str
    resource: Resource
    target: str
    """What it is about, for messages: `secrets "namespace/name"`."""
    url: URL
    accept: str = _JSON
    content_type: str = _JSON
    body: bytes | None = field(default=None, repr=False)

    @property
    def doing(self) -> str:
        return f"{_GERUNDS[self.verb]} {self.target}"

    @property
    def action(self) -> str:
        """Verb and kind, without names: what it is counted under."""
        return f"{self.verb} {self.target.partition(' ')[0]}"

    @property
    def headers(self) -> Mapping[str, str]:
        if self.body is None:
            return {"Accept": self.accept}
        return {"Accept": self.accept, "Content-Type": self.content_type}

    def decode(self, body: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"while {self.doing}: the answer is not from an API server") from error

    def error(self, response: aiohttp.ClientResponse, body: bytes) -> KubeError:
        confidential = self.resource == SECRETS
        return error_from(response.status, body, response.headers, doing=self.doing, confidential=confidential)


class KubeClient:
    """The API server, as one identity.

    session: authenticates and bounds connections; closed by who made it
    mutations: the seam for every change
    observe: told of every request
    jitter: a random number in [0, 1)
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: str,
        mutations: Mutations,
        *,
        observe: RequestObserver,
        jitter: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._session = session
        self._server = server
        self._mutations = mutations
        self._observe = observe
        self._jitter = jitter
        self._sleep = sleep
        self._limits = aiohttp.ClientTimeout(total=request_seconds)
        self._writes = asyncio.Semaphore(CONCURRENT_WRITES)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        """One whole object. Raises NotFound."""
        return await self._get(resource, name, namespace, _JSON)

    async def get_metadata(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        """Metadata of one object: of a Secret no value is sent. Raises NotFound."""
        return await self._get(resource, name, namespace, _METADATA)

    async def served(self, group: str, version: str) -> frozenset[str]:
        """Plural names of the kinds that the server serves in this version; none where the group is unknown."""
        kinds = Resource(group, version, "", "", namespaced=False)
        call = _Call(verb="get", resource=kinds, target=f"kinds of {group}", url=self._url(f"/apis/{group}/{version}"))
        try:
            found = call.decode(await self._read(call), _Kinds)
        except NotServed:
            return frozenset()
        return frozenset(kind.name for kind in found.resources if "/" not in kind.name)

    async def list(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> AsyncIterator[Json]:
        """All objects, chunk by chunk. Raises Gone where the server's history ended before the list did."""
        async for page in self.pages(resource, namespace, label_selector=label_selector):
            for item in page.objects():
                yield item

    async def list_metadata(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> AsyncIterator[Json]:
        """Metadata of all objects, chunk by chunk. Raises Gone where the server's history ended before the list did."""
        async for page in self.pages(resource, namespace, label_selector=label_selector, metadata_only=True):
            for item in page.objects():
                yield item

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> AsyncIterator[Page]:
        """Chunks of one consistent list, undecoded: who needs three fields of each item decodes three fields."""
        path = resource.collection(namespace)
        query = {"limit": str(page_size), "labelSelector": label_selector, "continue": ""}
        accept = _METADATA_LIST if metadata_only else _JSON
        while True:
            url = self._url(path, query)
            call = _Call(verb="list", resource=resource, target=resource.plural, url=url, accept=accept)
            body = await self._read(call)
            meta = call.decode(body, _List).metadata
            yield Page(body, meta.resource_version)
            if not meta.continuation:
                return
            query["continue"] = meta.continuation

    @contextlib.asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        seconds: int,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Metadata-only events since `resource_version`, one JSON document each, for at most `seconds`.

        Bookmarks are asked for. Raises Gone, and Unavailable where the connection breaks; silence is the caller's to
        measure.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "timeoutSeconds": str(seconds),
        }
        url = self._url(resource.collection(namespace), query)
        call = _Call(verb="watch", resource=resource, target=resource.plural, url=url, accept=_METADATA)
        response = await self._open(call)
        try:
            yield _lines(response.content, call.doing)
        finally:
            # Closed, not released: the rest of an endless body would be waited for.
            response.close()

    async def create(self, resource: Resource, content: Json, namespace: str | None = None) -> Json:
        """Make an object and give it back. Raises AlreadyExists."""
        url = self._url(resource.collection(namespace), _AS_US)
        target = _target(resource, content["metadata"].get("name", ""), namespace)
        return await self._change(
            _Call(verb="create", resource=resource, target=target, url=url, body=msgspec.json.encode(content))
        )

    async def replace(self, resource: Resource, name: str, content: Json, namespace: str | None = None) -> Json:
        """Put `content` in the object's place. With `metadata.resourceVersion` it raises Conflict where that is old."""
        url = self._url(resource.path(name, namespace), _AS_US)
        target = _target(resource, name, namespace)
        return await self._change(
            _Call(verb="update", resource=resource, target=target, url=url, body=msgspec.json.encode(content))
        )

    async def merge_patch(self, resource: Resource, name: str, patch: Json, namespace: str | None = None) -> Json:
        """Merge `patch` into the object. With `metadata.resourceVersion` it raises Conflict where that is old."""
        return await self._patch(resource, name, namespace, patch)

    async def patch_status(
        self, resource: Resource, name: str, status: Json, namespace: str | None = None, *, resource_version: str = ""
    ) -> Json:
        """Merge `status` into the object's status. With `resource_version` it raises Conflict where that is old."""
        patch: Json = {"status": status}
        if resource_version:
            patch["metadata"] = {"resourceVersion": resource_version}
        return await self._patch(resource, name, namespace, patch, subresource="status")

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """Ask for the deletion of an object. Raises NotFound, and Conflict where UID or resourceVersion is another."""
        wanted = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {key: value for key, value in wanted.items() if value},
        }
        url = self._url(resource.path(name, namespace))
        target = _target(resource, name, namespace)
        await self._change(
            _Call(verb="delete", resource=resource, target=target, url=url, body=msgspec.json.encode(options))
        )

    async def _patch(
        self, resource: Resource, name: str, namespace: str | None, content: Json, *, subresource: str = ""
    ) -> Json:
        call = _Call(
            verb="patch",
            resource=resource,
            target=_target(resource, name, namespace, subresource),
            url=self._url(resource.path(name, namespace, subresource), _AS_US),
            content_type=_MERGE_PATCH,
            body=msgspec.json.encode(content),
        )
        return await self._change(call)

    async def _get(self, resource: Resource, name: str, namespace: str | None, accept: str) -> Json:
        url = self._url(resource.path(name, namespace))
        target = _target(resource, name, namespace)
        call = _Call(verb="get", resource=resource, target=target, url=url, accept=accept)
        return call.decode(await self._read(call), Json)

    async def _change(self, call: _Call) -> Json:
        return call.decode(await self._persist(call, (TooManyRequests,), self._write), Json)

    async def _read(self, call: _Call) -> bytes:
        return await self._persist(call, (TooManyRequests, Disconnected), self._once)

    async def _write(self, call: _Call) -> bytes:
        """To the seam each attempt is a change: while we waited for room, or after a 429, we may have lost the say."""
        async with self._writes:
            return await self._mutations.perform("kubernetes", call.action, lambda: self._once(call))

    async def _persist(
        self, call: _Call, again: tuple[type[Unavailable], ...], send: Callable[[_Call], Awaitable[bytes]]
    ) -> bytes:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await send(call)
            except again as error:
                await self._sleep(self._pause(error, attempt))
        return await send(call)

    def _pause(self, error: Unavailable, attempt: int) -> float:
        base = error.retry_after if isinstance(error, TooManyRequests) else 0.05 * 2**attempt
        return min(base, _LONGEST_PAUSE) * (1 + 0.5 * self._jitter())

    async def _once(self, call: _Call) -> bytes:
        with self._observed(call) as seen, _translated(call.doing):
            async with self._send(call, self._limits) as response:
                seen.code = response.status
                body = await response.read()
        if response.status >= 300:
            raise call.error(response, body)
        return body

    async def _open(self, call: _Call) -> aiohttp.ClientResponse:
        """The head of an endless answer: it has the usual deadline, the body has none."""
        with self._observed(call) as seen, _translated(call.doing):
            async with asyncio.timeout(self._limits.total):
                response = await self._send(call, aiohttp.ClientTimeout(total=None))
                seen.code = response.status
                body = await response.read() if response.status >= 300 else b""
        if response.status >= 300:
            raise call.error(response, body)
        return response

    def _send(self, call: _Call, limits: aiohttp.ClientTimeout) -> aiohttp.client._RequestContextManager:
        method = _METHODS.get(call.verb, "GET")
        return self._session.request(
            method, call.url, data=call.body, headers=call.headers, timeout=limits, allow_redirects=False
        )

    @contextlib.contextmanager
    def _observed(self, call: _Call) -> Iterator[_Seen]:
        clock = asyncio.get_running_loop().time
        started, seen = clock(), _Seen()
        try:
            yield seen
        finally:
            self._observe(call.verb, call.resource.plural, seen.code, clock() - started)

    def _url(self, path: str, query: Mapping[str, str] | None = None) -> URL:
        given = {key: value for key, value in (query or {}).items() if value}
        return URL(f"{self._server}{path}{'?' if given else ''}{urlencode(given)}", encoded=True)


class _Seen:
    """Status code of an answer; 0 until there is one."""

    __slots__ = ("code",)

    def __init__(self) -> None:
        self.code = 0


def _target(resource: Resource, name: str, namespace: str | None, subresource: str = "") -> str:
    kind = f"{resource.plural}/{subresource}" if subresource else resource.plural
    return f'{kind} "{namespace}/{name}"' if namespace else f'{kind} "{name}"'


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turns what a connection raises into our errors; a timeout first, as aiohttp's are also connection errors."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(f"while {doing}: no answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Disconnected(f"while {doing}: the connection failed ({type(error).__name__})") from error


async def _lines(content: aiohttp.StreamReader, doing: str) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own iteration fails beyond 128 KiB, which one object's managedFields can reach."""
    rest = b""
    while True:
        with _translated(doing):
            data = await content.readany()
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > _LONGEST_LINE:
            raise Unavailable(f"while {doing}: an event is longer than {_LONGEST_LINE} bytes")
