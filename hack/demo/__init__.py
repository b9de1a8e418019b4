"""`make demo`: a local plane, two tenants on it proven apart, and the platform before them."""
