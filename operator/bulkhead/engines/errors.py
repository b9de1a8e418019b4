"""Errors of every engine.

EngineError
  Unavailable        the engine did not answer, or said "later": retry with back-off, park its breaker
  Refused            it answered no: our rights, our credentials or its limits; a person must act
    Insecure         it is configured or of a version so that isolation can not hold: nothing is done on it

Each engine maps its vendor's errors onto these in one function, and a test feeds every class through it. Messages say
what failed
while doing what (`while creating database "acme": …`) and never hold a secret.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all; its text goes into a condition, so it is written for the person who reads that."""


class Unavailable(EngineError):
    """The engine did not answer or is not able to now; trying again helps."""


class Refused(EngineError):
    """The engine answered no; trying again helps only after somebody has acted."""


class Insecure(Refused):
    """The server must not hold tenants: an advisory, an empty key, an experimental feature. The text names it."""
