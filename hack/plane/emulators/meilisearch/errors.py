"""Errors as the server words them: a code, the HTTP status and type that belong to it, and a link made of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypedDict

ErrorType = Literal["invalid_request", "auth", "internal", "system"]

# Every code that is not an `invalid_request` with status 400.
_STATUS: Mapping[str, tuple[int, ErrorType]] = MappingProxyType(
    {
        "api_key_already_exists": (409, "invalid_request"),
        "api_key_not_found": (404, "invalid_request"),
        "batch_not_found": (404, "invalid_request"),
        "chat_not_found": (404, "invalid_request"),
        "document_not_found": (404, "invalid_request"),
        "dynamic_search_rule_not_found": (404, "invalid_request"),
        "index_already_exists": (409, "invalid_request"),
        "index_not_found": (404, "invalid_request"),
        "internal": (500, "internal"),
        "invalid_api_key": (403, "auth"),
        "invalid_content_type": (415, "invalid_request"),
        "missing_authorization_header": (401, "auth"),
        "missing_content_type": (415, "invalid_request"),
        "missing_master_key": (401, "auth"),
        "not_emulated": (501, "internal"),
        "payload_too_large": (413, "invalid_request"),
        "remote_could_not_send_request": (502, "system"),
        "render_document_not_found": (404, "invalid_request"),
        "task_file_not_found": (404, "invalid_request"),
        "task_not_found": (404, "invalid_request"),
        "webhook_not_found": (404, "invalid_request"),
    }
)


class ErrorBody(TypedDict):
    """What a client reads, in answers and in failed tasks alike."""

    message: str
    code: str
    type: str
    link: str


class ApiError(Exception):
    """A refusal with its code; `status` overrides the one that belongs to the code."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _STATUS.get(code, (400, "invalid_request"))[0]

    def body(self) -> ErrorBody:
        """The JSON of the answer."""
        kind = _STATUS.get(self.code, (400, "invalid_request"))[1]
        link = f"https://docs.meilisearch.com/errors#{self.code}"
        return {"message": self.message, "code": self.code, "type": kind, "link": link}


def not_emulated(what: str) -> ApiError:
    """The answer to what the real server can and this one can not."""
    return ApiError("not_emulated", f"The emulator does not have {what}.")


def index_not_found(uid: str) -> ApiError:
    """The index that a path, a query or a task names is not there."""
    return ApiError("index_not_found", f"Index `{uid}` not found.")


def within_index(uid: str, error: ApiError) -> ApiError:
    """The same error, naming the index that it happened in."""
    return ApiError(error.code, f"Index `{uid}`: {error.message}", status=error.status)
