"""What the platform service costs, and how it stands: the service as it ships, on real Postgres."""
