"""What nobody foresaw: an exception that is none of those which a call says it raises.

Of one engine's driver it is that engine's verdict and nobody else's: the other engines go on, and above all access goes
on being cut there.
"""

from __future__ import annotations

import traceback

import structlog

from bulkhead.api.record import EngineName
from bulkhead.engines.errors import EngineError
from bulkhead.reconcile.key import Key

log = structlog.get_logger(__name__)


class Unforeseen(EngineError):
    """A bug, of ours or of a client. Nothing is known of the engine then, least of all that it is in order."""


def unforeseen(key: Key, engine: EngineName, error: Exception) -> Unforeseen:
    """`error` as that engine's verdict; the log has where it came from."""
    kind = type(error).__name__
    log.critical("engine_broke", key=str(key), engine=engine.value, error=kind, at=places(error))
    return Unforeseen(f'{_fault(kind)} ("engine_broke"): nothing is known of {engine.value} now; it is tried again')


def broken(key: Key, error: Exception) -> str:
    """What is to be said of an object whose whole flow ended with `error`; the log has where it came from."""
    kind = type(error).__name__
    log.critical("reconcile_broke", key=str(key), error=kind, at=places(error))
    return f'{_fault(kind)} ("reconcile_broke"): nothing is known of it now; it is tried again'


def _fault(kind: str) -> str:
    return f"an unforeseen {kind}, which is a fault of the operator, whose log has the place"


def places(error: BaseException) -> list[str]:
    """Each frame of its traceback, outermost first. Never its text or its locals: they may quote anything."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
