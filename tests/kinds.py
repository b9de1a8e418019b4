"""Kinds that the operator itself has nothing to do with, for tests of how it speaks to an API server."""

from __future__ import annotations

from bulkhead.kube.resources import Resource

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
