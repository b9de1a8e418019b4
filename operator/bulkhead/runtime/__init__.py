"""What a reconciler runs on: queue, gates, the seam for mutations, metrics."""
