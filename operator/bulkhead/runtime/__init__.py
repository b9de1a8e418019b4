"""What a reconciler runs on: queue, gates, the seam for mutations, logs, metrics and probes."""
