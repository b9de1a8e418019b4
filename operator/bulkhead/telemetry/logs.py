"""Logs: one JSON object per line on standard output, and no secret in any of them.

Three nets, because a secret that was logged once is lost. A `Sensitive` shows itself as asterisks by itself. The value
of a key that is called like a secret is masked whatever it is. And every text, also tracebacks and what libraries say,
is searched for the forms in which credentials travel: headers, JWTs, our own, passwords in URLs and SQL, private keys.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

MASK = "***"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_DEEPEST = 6

_SECRET_KEY = re.compile(
    r"(?:^|[_\-.]|(?<=[a-z]))(?:password|passwd|secret|token|jwt|authorization|credential|credentials|verifier"
    r"|(?:api|access|secret|private|master|signing|admin|service)[_\-]?key)$",
    re.IGNORECASE,
)
_VALUE = r"""(?:'[^']*'|"[^"]*"|[^\s'",;&})]+)"""
_SECRET_TEXTS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), MASK),
    (re.compile(r"""(?i)(authorization['"]?\s*[:=]\s*['"]?)(?:[a-z]+\s+)?[^\s'",;})]+"""), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{MASK}@"),
    (re.compile(r"(?i)\b(password\s+)'[^']*'"), rf"\1{MASK}"),
    (
        re.compile(
            rf"""(?i)((?:password|passwd|secret|token|(?:api|access|secret|private|master)[_-]?key)['"]?\s*[:=]\s*){_VALUE}"""
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bht|bhk|oat)_([0-9a-f]{32})_[0-9A-Za-z_-]+"), rf"\1_\2_{MASK}"),
    (re.compile(r"SCRAM-SHA-256\$[^\s'\"]+"), MASK),
)
_MAY_BE_SECRET = re.compile(r"[\s:=]|eyJ|_[0-9a-f]{32}_|SCRAM-SHA-256")
"""What every form above has some of. Most texts have none, and a line is written of each refused request: looked for
in all of them, the forms would cost as much as the request."""


def configure(level: str, stream: TextIO) -> None:
    """Send what structlog and the standard library log to `stream`, masked. Called once, at the start of a process.

    level: debug, info, warning or error. ValueError for anything else.
    """
    if level not in _LEVELS:
        raise ValueError(f'log level "{level}" is not one of {", ".join(_LEVELS)}')
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=_LEVELS[level], force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor of structlog: mask what is secret, at any depth."""
    return {key: _masked_value(key, value) for key, value in event.items()}


def scrub(text: str) -> str:
    """`text` without anything that looks like a credential."""
    if not _MAY_BE_SECRET.search(text):
        return text
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def _masked_value(key: str, value: Any) -> Any:
    # structlog's own keys, which never leave the process.
    if key.startswith("_"):
        return value
    return MASK if value and _names_a_secret(key) else _masked(value, _DEEPEST)


@functools.lru_cache(maxsize=1024)
def _names_a_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _masked(value: Any, depth: int) -> Any:
    if depth == 0:
        return MASK
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, Mapping):
        return {
            str(key): MASK if item and _names_a_secret(str(key)) else _masked(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked(item, depth - 1) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return scrub(str(value))
