"""Everything that reading in this package raises.

    ProtocolError
    ├── Malformed           not of the form: a credential, a key, an address, a document
    ├── ProofInvalid        a proof of possession that proves nothing
    ├── AssertionInvalid    an assertion that opens nothing
    │   └── NotCurrent      signed and meant for us, but by our clock of another time
    └── Untrusted           a key that no trusted key has signed

No message holds a value that was read: it may be a secret in the wrong field.
"""

from __future__ import annotations


class ProtocolError(ValueError):
    """What came from the other end can not be used; the message says why."""


class Malformed(ProtocolError):
    """Not of the form that the protocol gives it."""


class ProofInvalid(ProtocolError):
    """The proof does not show what its bearer claims."""


class AssertionInvalid(ProtocolError):
    """The assertion is not one of the platform for this request."""


class NotCurrent(AssertionInvalid):
    """The assertion is over, or not yet to be believed: one of two clocks is off by more than the leeway."""


class Untrusted(ProtocolError):
    """A link of a succession is not signed by the key before it."""
