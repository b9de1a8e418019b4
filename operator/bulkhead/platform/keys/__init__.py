"""Secrets that are shown to the platform: how they rest, and how they are checked at heartbeat rate."""
