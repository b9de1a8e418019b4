"""Search on Meilisearch: indexes and settings made by the operator, and keys that open these indexes and no others."""
