"""Vectors on Qdrant: one collection per DataCluster, and tokens that open nothing else and die at once when told to."""
