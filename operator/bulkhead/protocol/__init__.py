"""What the platform and those who join it say to each other: forms of secrets, signatures, closed schemas.

Pure: no I/O, no clock, no randomness of its own, nothing else of ours. The rules are those of docs/protocol.md.
"""
