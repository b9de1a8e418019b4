"""Pure data: specs and status of our kinds, names, conditions, the record. Nothing here does I/O."""
