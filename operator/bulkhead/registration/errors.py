"""Why a call to the platform came to nothing. Nothing in a message is secret, and nobody else's text is in one.

PlatformError
├── Silent           no answer: not reached, not in time
├── Unintelligible   something answered that is not the platform's protocol: it says nothing, so nothing changes
├── Refused          the platform's own word, by one of its codes
├── Unusable         the DataPlane's spec gives no way to call it
└── TokenMissing     there is no registration token to join with
"""

from __future__ import annotations

from bulkhead.protocol.problems import Code, ProblemDocument

TRANSIENT = frozenset({Code.RATE_LIMITED, Code.BUSY, Code.UNAVAILABLE, Code.INTERNAL, Code.TOO_SLOW})
"""Codes that decide nothing: try again."""


class PlatformError(Exception):
    """The message says what happened and what to do, fit for a condition."""


class Silent(PlatformError):
    """No answer came."""


class Unintelligible(PlatformError):
    """An answer came that is not the platform's: of a proxy, of another server, or of a broken one."""


class Refused(PlatformError):
    """The platform refused, and said why."""

    def __init__(self, document: ProblemDocument) -> None:
        # The texts of our own table alone: `detail` is written by whoever answers.
        super().__init__(f"the platform answers {document.code.value}: {document.code.happened} {document.code.remedy}")
        self.document = document

    @property
    def code(self) -> Code:
        return self.document.code

    @property
    def transient(self) -> bool:
        """Whether the same call may be taken next time."""
        return self.code in TRANSIENT


class Unusable(PlatformError):
    """A CA that is none, a token that is none: a person must correct it."""


class TokenMissing(PlatformError):
    """A plane has nothing to join with."""
