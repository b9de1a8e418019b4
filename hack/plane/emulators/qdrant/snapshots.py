"""The endpoints of snapshots: of a collection, of its only shard, and of the whole server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.responses import Response

from hack.plane.emulators.qdrant.access import Need
from hack.plane.emulators.qdrant.answers import accepted
from hack.plane.emulators.qdrant.archive import Archive, Content, checksum_mismatch, tar
from hack.plane.emulators.qdrant.calls import Call
from hack.plane.emulators.qdrant.catalog import Catalog, Collection
from hack.plane.emulators.qdrant.errors import ApiError, bad_input, bad_request, forbidden, not_found
from hack.plane.emulators.qdrant.names import require_new_collection_name
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.routing import Router
from hack.plane.emulators.qdrant.settings import named_vectors

ONLY_SHARD = "0"

Handler = Callable[[Call], Any]


class Snapshots:
    def __init__(self, catalog: Catalog, archive: Archive) -> None:
        self._catalog = catalog
        self._archive = archive

    def register(self, router: Router) -> None:
        self._register_collections(router)
        self._register_shards(router)
        router.add("GET", "/snapshots", self.list_full)
        router.add("POST", "/snapshots", _unless_waiting(self.create_full))
        router.add("GET", "/snapshots/*", _in_plain_text(self.download_full))
        router.add("DELETE", "/snapshots/*", _unless_waiting(self.delete_full))

    def _register_collections(self, router: Router) -> None:
        base = "/collections/*/snapshots"
        router.add("GET", base, self.list_of_collection)
        router.add("POST", base, _unless_waiting(self.create))
        router.add("GET", f"{base}/*", _in_plain_text(self.download))
        router.add("DELETE", f"{base}/*", _unless_waiting(self.delete))
        router.add("POST", f"{base}/upload", self.upload)
        router.add("PUT", f"{base}/recover", _unless_waiting(self.recover))

    def _register_shards(self, router: Router) -> None:
        base = "/collections/*/shards/*/snapshots"
        router.add("GET", base, self.list_of_shard)
        router.add("POST", base, _unless_waiting(self.create_of_shard))
        router.add("GET", f"{base}/*", _in_plain_text(self.download_of_shard))
        router.add("DELETE", f"{base}/*", _unless_waiting(self.delete_of_shard))
        router.add("POST", f"{base}/upload", self.upload_to_shard)
        router.add("PUT", f"{base}/recover", _unless_waiting(self.recover_shard))
        router.add("GET", "/collections/*/shards/*/snapshot", _in_plain_text(self.stream_shard))
        router.add("POST", "/collections/*/shards/*/snapshot/partial/create", _in_plain_text(self.stream_shard))
        router.add("GET", "/collections/*/shards/*/snapshot/partial/manifest", self.manifest)

    def list_of_collection(self, call: Call) -> list[Json]:
        collection = self._open(call, Need.EXTRAS)
        return self._archive.listed(self._archive.of_collection(collection.name))

    def create(self, call: Call) -> Json:
        return self._create(self._open(call, Need.WRITE | Need.EXTRAS))

    def download(self, call: Call) -> Response:
        collection = self._open(call, Need.EXTRAS)
        return _binary(self._archive.read(self._archive.of_collection(collection.name), call.path[1]))

    def delete(self, call: Call) -> bool:
        collection = self._open(call, Need.WRITE | Need.EXTRAS)
        self._archive.delete(self._archive.of_collection(collection.name), call.path[1])
        return True

    def upload(self, call: Call) -> Any:
        with _plain_text():
            call.access.require_global(Need.MANAGE)
        require_new_collection_name(call.path[0])
        return _unless_waiting(self._upload)(call)

    def recover(self, call: Call) -> bool:
        body = call.json()
        location = str(body.fields.get("location", ""))
        if urlsplit(location).scheme in {"http", "https"}:
            raise forbidden("Snapshot recovery from remote URLs is disabled in the configuration")
        call.access.require_global(Need.MANAGE)
        file = Path(unquote(urlsplit(location).path))
        if not file.is_file():
            raise bad_request(f'Snapshot file "{file}" does not exist')
        return self._restore(call.collection, file.read_bytes(), checksum=body.fields.get("checksum"))

    def list_of_shard(self, call: Call) -> list[Json]:
        return self._archive.listed(self._shard_folder(call, self._open(call, Need.EXTRAS)))

    def create_of_shard(self, call: Call) -> Json:
        collection = self._open(call, Need.WRITE | Need.EXTRAS)
        folder = self._shard_folder(call, collection)
        return self._archive.write(folder, f"{collection.name}-shard-{call.path[1]}", _content(collection))

    def download_of_shard(self, call: Call) -> Response:
        folder = self._shard_folder(call, self._open(call, Need.EXTRAS))
        return _binary(self._archive.read(folder, call.path[2]))

    def delete_of_shard(self, call: Call) -> bool:
        folder = self._shard_folder(call, self._open(call, Need.WRITE | Need.EXTRAS))
        self._archive.delete(folder, call.path[2])
        return True

    def upload_to_shard(self, call: Call) -> Any:
        with _plain_text():
            call.access.require_global(Need.MANAGE)
        self._shard_folder(call, self._catalog.get(call.collection))
        return _unless_waiting(self._upload_to_shard)(call)

    def recover_shard(self, call: Call) -> bool:
        location = str(call.json().fields.get("location", ""))
        call.access.require_global(Need.MANAGE)
        folder = self._shard_folder(call, self._catalog.get(call.collection))
        if scheme := urlsplit(location).scheme:
            raise bad_input(f"Invalid snapshot URL {location}: URLs with {scheme} scheme are not supported")
        return self._restore(call.collection, self._archive.read(folder, location))

    def stream_shard(self, call: Call) -> Response:
        collection = self._open(call, Need.WRITE | Need.EXTRAS)
        self._shard_folder(call, collection)
        return _binary(_content(collection))

    def manifest(self, call: Call) -> Json:
        call.access.require_global(Need.EXTRAS)
        self._shard_folder(call, self._catalog.get(call.collection))
        return {}

    def list_full(self, call: Call) -> list[Json]:
        call.access.require_global()
        return self._archive.listed(self._archive.of_server())

    def create_full(self, call: Call) -> Json:
        """A snapshot of each collection, which stays, and all of them in one file."""
        call.access.require_global(Need.MANAGE)
        folder, files = self._archive.of_server(), []
        for name in self._catalog.names():
            made = self._create(self._catalog.get(name))["name"]
            files.append((made, self._archive.read(self._archive.of_collection(name), made)))
        return self._archive.write(folder, "full-snapshot", tar(files))

    def download_full(self, call: Call) -> Response:
        call.access.require_global()
        return _binary(self._archive.read(self._archive.of_server(), call.path[0]))

    def delete_full(self, call: Call) -> bool:
        call.access.require_global(Need.MANAGE)
        self._archive.delete(self._archive.of_server(), call.path[0])
        return True

    def _upload(self, call: Call) -> bool:
        filename, content = _uploaded(call)
        if expected := call.query.get("checksum"):
            _require_checksum(expected, content)
        self._archive.keep(self._archive.of_collection(call.path[0]), filename, content)
        return self._restore(call.path[0], content)

    def _upload_to_shard(self, call: Call) -> bool:
        _, content = _uploaded(call)
        return self._restore(call.collection, content)

    def _open(self, call: Call, need: Need) -> Collection:
        call.access.require(call.collection, need)
        return self._catalog.get(call.collection)

    def _shard_folder(self, call: Call, collection: Collection) -> Path:
        if call.path[1] != ONLY_SHARD:
            raise not_found(f"Shard {call.path[1]} not found")
        return self._archive.of_shard(collection.name, ONLY_SHARD)

    def _create(self, collection: Collection) -> Json:
        self._catalog.snapshot_counts[collection.name] += 1
        folder = self._archive.of_collection(collection.name)
        return self._archive.write(folder, self._archive.prefix(collection.name), _content(collection))

    def _restore(self, name: str, archive: bytes, *, checksum: str | None = None) -> bool:
        """Put a snapshot in the place of a collection's points; where there is no such collection, make it."""
        if checksum is not None:
            _require_checksum(checksum, archive)
        content = Content.unpacked(archive)
        if not self._catalog.exists(name):
            self._catalog.create(name, content.config, content.schema)
        collection = self._catalog.get(name)
        vectors = named_vectors(content.config["params"])
        if collection.vector_params != vectors:
            raise bad_input(
                "Snapshot is not compatible with existing collection: "
                f"Collection vectors: {collection.vector_params} Snapshot Vectors: {vectors}"
            )
        collection.schema = content.schema
        self._catalog.save(collection)
        collection.replace_points(content.points)
        return True


def _unless_waiting(handler: Handler) -> Handler:
    """With `wait=false` the answer comes first, whatever then becomes of the request, a refusal included."""

    def answer(call: Call) -> Any:
        if call.flag("wait", default=True):
            return handler(call)
        with suppress(ApiError):
            handler(call)
        return accepted()

    return answer


def _in_plain_text(handler: Handler) -> Handler:
    def answer(call: Call) -> Any:
        with _plain_text():
            return handler(call)

    return answer


@contextmanager
def _plain_text() -> Iterator[None]:
    """Refusals without an envelope, as all that is not JSON when it succeeds has them."""
    try:
        yield
    except ApiError as error:
        raise ApiError(error.status, error.text, plain=True) from error


def _content(collection: Collection) -> bytes:
    return Content(collection.config, collection.schema, collection.stored_points()).packed()


def _binary(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


def _require_checksum(expected: str, content: bytes) -> None:
    if error := checksum_mismatch(expected, content):
        raise error


def _uploaded(call: Call) -> tuple[str, bytes]:
    """Name and content of the file in a multipart form."""
    boundary = _headers(b"Content-Type: " + call.headers.get("content-type", "").encode()).get_boundary()
    for part in call.body.split(b"--" + str(boundary).encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        described = _headers(head.strip())
        if described.get_param("name", header="content-disposition") == "snapshot":
            return Path(described.get_filename() or "uploaded.snapshot").name, content.removesuffix(b"\r\n")
    raise ApiError(400, "Field with name 'snapshot' is required", plain=True)


def _headers(lines: bytes) -> Message:
    return BytesHeaderParser().parsebytes(lines + b"\r\n\r\n")
