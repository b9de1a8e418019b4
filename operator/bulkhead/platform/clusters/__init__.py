"""What clusters and planes tell, and what they are told: heartbeats, liveness, desired state, metadata."""
