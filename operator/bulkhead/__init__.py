"""Bulkhead: a watertight data cluster for every tenant, on shared engines."""
