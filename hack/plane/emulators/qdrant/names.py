"""Which names collections and vectors may have."""

import json

from hack.plane.emulators.qdrant.errors import ApiError, bad_input, invalid, service_error

PATH = "path parameters"
FORBIDDEN = '<>:"/\\|?*\0\x1f'
FORBIDDEN_IN_OLD_NAMES = "/\0"
COLLECTION_CHARACTERS = 255
COLLECTION_BYTES = 255
VECTOR_BYTES = 200


def require_collection_name(name: str) -> None:
    """The weak rule, for every request that names a collection."""
    _require(name, FORBIDDEN_IN_OLD_NAMES)


def require_new_collection_name(name: str) -> None:
    """The strict rule, for collections that are to be made."""
    _require(name, FORBIDDEN)


def require_storable(name: str) -> None:
    """The server names a directory after the collection, and finds out there that a name is too long."""
    if len(name.encode()) > COLLECTION_BYTES:
        raise service_error("File name too long (os error 36)")


def require_vector_name(name: str, kind: str) -> None:
    """`kind` is "dense" or "sparse"."""
    if complaint := _complaint(name, FORBIDDEN, "vector name"):
        raise bad_input(f"Invalid {kind} vector name `{name}`: {complaint}")
    if len(name.encode()) > VECTOR_BYTES:
        raise bad_input(f"Invalid {kind} vector name `{name}`: vector name must be at most {VECTOR_BYTES} bytes long")


def _require(name: str, forbidden: str) -> None:
    if not 1 <= len(name) <= COLLECTION_CHARACTERS:
        quoted = json.dumps(name, ensure_ascii=False)
        raise _invalid(f"value {quoted} invalid, must be from 1 to {COLLECTION_CHARACTERS} characters")
    if complaint := _complaint(name, forbidden, "collection name"):
        raise _invalid(complaint)


def _complaint(name: str, forbidden: str, kind: str) -> str | None:
    found = next((character for character in forbidden if character in name), None)
    return None if found is None else f'{kind} cannot contain "{found}" char'


def _invalid(text: str) -> ApiError:
    return invalid(PATH, "collection_name", text)
