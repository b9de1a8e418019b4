"""The platform's HTTP API, as its users call it."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from hack.plane.process import ProcessError

ANSWER_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. body: decoded JSON, None where there is none."""

    status: int
    body: Any

    @property
    def problem(self) -> str:
        """What it says is wrong, and what to do (docs/protocol.md)."""
        said = self.body if isinstance(self.body, dict) else {}
        detail = f"({said['detail']})" if said.get("detail") else ""
        return " ".join(filter(None, (said.get("title"), detail, said.get("remedy")))) or str(self.body)


class Service:
    """A platform at a URL without a path, verified with a CA."""

    def __init__(self, url: str, ca_pem: str) -> None:
        self.url = url
        self._context = ssl.create_default_context(cadata=ca_pem)

    def ask(self, token: str, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Raises ProcessError: it does not answer."""
        place = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            place.hostname or "", place.port, context=self._context, timeout=ANSWER_SECONDS
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps({"protocol": 1, **body})
        try:
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ProcessError(f"the platform does not answer at {self.url}: {error}") from None
        finally:
            connection.close()
        return Answer(response.status, json.loads(text) if text else None)

    def done(self, token: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The body of a good answer. Raises ProcessError: it was none."""
        answer = self.ask(token, method, path, body)
        if answer.status >= http.client.BAD_REQUEST:
            raise ProcessError(f"{method} {path} answers {answer.status}: {answer.problem}")
        return answer.body
