"""Metadata and references that all kinds share."""

from __future__ import annotations

import msgspec

GROUP = "bulkhead.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of everything that is read from or written to the API server."""


class Meta(Struct, frozen=True, kw_only=True):
    """The part of an object's metadata that decisions need."""

    name: str
    uid: str
    resource_version: str = ""
    generation: int = 0
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


class LocalRef(Struct, frozen=True, kw_only=True):
    """Names another object: a Secret in the operator's own namespace, or one of our cluster-scoped kinds."""

    name: str


class Condition(Struct, frozen=True, kw_only=True):
    """One condition as in metav1.Condition; `type` is the key of the list."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0
