"""How much each caller may ask: people by blocks that replicas lease, what has joined by buckets in each process."""
