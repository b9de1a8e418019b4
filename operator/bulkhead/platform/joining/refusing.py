"""Refusals that the audit keeps: each source has so many, for who may try without end would fill it without end."""

from __future__ import annotations

from bulkhead.platform.http.limits import Failures
from bulkhead.protocol.problems import Problem


def counted(failures: Failures, source: str, refusal: Problem) -> Problem:
    """`refusal`, for which `source` gave one of its tries. Raises Problem rate_limited, which leaves no row, where it
    has none left; who is let in is never asked."""
    failures.check(source)
    if refusal.code.status != 401:  # the front counts those
        failures.failed(source)
    return refusal
