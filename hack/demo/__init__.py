"""`make demo`: a plane of real servers, two tenants on it proven apart, and the platform before them."""
