"""Statements of the quota."""

from __future__ import annotations

from typing import Final

# One block more of the window that is now, by the database's clock, while the limit is not reached. No row of `lease`:
# it is. What is granted beyond the limit is less than a block.
LEASE: Final = """
    WITH now_ AS (
        SELECT date_bin(make_interval(secs => %(seconds)s), now(), timestamptz '2000-01-01Z') AS start
    ), lease AS (
        INSERT INTO quota_blocks (organisation_id, subject, window_start, window_end, granted)
        SELECT %(organisation)s, %(subject)s, start, start + make_interval(secs => %(seconds)s), %(block)s FROM now_
        ON CONFLICT (organisation_id, subject, window_start, window_end)
            DO UPDATE SET granted = quota_blocks.granted + EXCLUDED.granted WHERE quota_blocks.granted < %(limit)s
        RETURNING granted
    )
    SELECT (SELECT granted FROM lease),
           extract(epoch FROM start + make_interval(secs => %(seconds)s) - now())::double precision
    FROM now_
"""

SWEEP: Final = "DELETE FROM quota_blocks WHERE window_end + (window_end - window_start) < now()"
"""The policy says the same: of the others nothing can be deleted."""
