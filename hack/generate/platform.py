"""The platform's OpenAPI document, from the table that it serves."""

from __future__ import annotations

import base64

from bulkhead.platform import app, health
from bulkhead.platform.database.pools import pool
from bulkhead.platform.http import openapi
from bulkhead.platform.settings import PREFIX, Environment
from bulkhead.protocol.documents import PROTOCOL

_NOWHERE = "postgresql://localhost/nowhere"
_NO_KEY = base64.b64encode(bytes(32)).decode()
_SETTINGS = {
    "API_DSN": _NOWHERE,
    "WORKER_DSN": _NOWHERE,
    "PEPPER": _NO_KEY,
    "KEY_ENCRYPTION_KEY": _NO_KEY,
    "URL": "https://platform.example.com",
    "WITHOUT_EXPORT": "true",
}


def document() -> str:
    """The text of docs/openapi.json. Nothing is opened for it."""
    settings = Environment({f"{PREFIX}{name}": value for name, value in _SETTINGS.items()}).serve()
    base = app.base_of(
        settings,
        pool(settings.api.text, "api", settings.api_bounds),
        pool(settings.worker.text, "worker", settings.worker_bounds),
    )
    return openapi.text(health.with_document(app.parts_of(base).rows), version=str(PROTOCOL))
