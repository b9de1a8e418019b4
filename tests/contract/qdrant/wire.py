"""Requests exactly as they are written: raw paths, raw bodies, any header."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

SECONDS = 30


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def expect(self, status: int = 200) -> Any:
        """The result that was asked for; fails the test when the server answered something else."""
        assert self.status == status, self.outcome
        return self.json.get("result")

    @property
    def outcome(self) -> str:
        """The answer in one line: the status, the error text, and "plain" before both where there is no envelope."""
        content = self._envelope()
        if content is None:
            text = self.body.decode() if self.status >= 400 else ""
            return f"plain {self.status} {text}".strip()
        error = content.get("status", {}).get("error", "") if isinstance(content.get("status"), dict) else ""
        return f"{self.status} {error}".strip()

    def _envelope(self) -> dict[str, Any] | None:
        try:
            content = self.json
        except ValueError:
            return None
        return content if isinstance(content, dict) else None


class Connection:
    """One connection to a server, opened again when the server has closed it."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        host = urlsplit(url).netloc
        self._connection = (
            http.client.HTTPConnection(host, timeout=SECONDS)
            if context is None
            else http.client.HTTPSConnection(host, timeout=SECONDS, context=context)
        )

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body` is sent as compact JSON; `raw` as it is, which is JSON too unless `headers` says otherwise."""
        content = json.dumps(body, separators=(",", ":")).encode() if raw is None and body is not None else raw
        described = {} if content is None else {"content-type": "application/json"}
        try:
            self._connection.request(method, path, content, described | dict(headers or {}))
        except (ConnectionError, http.client.CannotSendRequest):
            self._connection.close()
            self._connection.request(method, path, content, described | dict(headers or {}))
        response = self._connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def close(self) -> None:
        self._connection.close()
