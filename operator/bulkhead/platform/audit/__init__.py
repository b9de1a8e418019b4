"""What was done by whom: recorded with the act, chained, signed, exported, and verified."""
