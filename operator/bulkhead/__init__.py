"""Bulkhead: a watertight data cluster for every tenant, on shared engines."""

__version__ = "0.1.0"
