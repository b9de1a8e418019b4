"""Refusals in the words of the real server: a status, and a text whose prefix names the family."""


class ApiError(Exception):
    """A request that is answered with an error.

    `plain` marks the answers that are text without an envelope; `retry_after` is in seconds.
    """

    def __init__(self, status: int, text: str, *, plain: bool = False, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.plain = plain
        self.retry_after = retry_after


def bad_input(description: str) -> ApiError:
    return ApiError(400, f"Wrong input: {description}")


def bad_request(description: str) -> ApiError:
    return ApiError(400, f"Bad request: {description}")


def already_exists(collection: str) -> ApiError:
    return ApiError(409, f"Wrong input: Collection `{collection}` already exists!")


def not_found(description: str) -> ApiError:
    return ApiError(404, f"Not found: {description}")


def no_such_collection(name: str) -> ApiError:
    return not_found(f"Collection `{name}` doesn't exist!")


def forbidden(description: str) -> ApiError:
    return ApiError(403, f"Forbidden: {description}")


def service_error(description: str) -> ApiError:
    return ApiError(500, f"Service internal error: {description}")


def over_strict_limit(description: str, remedy: str) -> ApiError:
    return bad_request(f"{description}. Help: {remedy}")


def rate_limited(description: str, retry_after: int | None = None) -> ApiError:
    return ApiError(429, f"Rate limiting exceeded: {description}", retry_after=retry_after)


def malformed(where: str, text: str) -> ApiError:
    """`where` is "JSON body"; the texts are those of the server's JSON library."""
    return ApiError(400, f"Format error in {where}: {text}")


def invalid(where: str, field: str, text: str) -> ApiError:
    """A well-formed request with a value out of range. `where` is "JSON body", "path parameters" or the like."""
    return ApiError(422, f"Validation error in {where}: [{field}: {text}]")
