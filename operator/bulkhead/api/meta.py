"""Metadata and references that all kinds share."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta as Bounds

from bulkhead.api.rules import Rule, map_by
from bulkhead.api.scalars import ObjectName

GROUP = "bulkhead.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of everything that is read from or written to the API server.

    Docstrings of a spec's or status' classes and fields are the descriptions in the generated schema; their defaults
    and bounds are the schema's.
    """

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """What the API server refuses about the object as a whole."""


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

    name: ObjectName
    """Its name."""


class Condition(Struct, frozen=True, kw_only=True):
    """One condition as in metav1.Condition."""

    type: Annotated[str, Bounds(max_length=316)]
    """What is said something about: the key of the list."""
    status: Annotated[str, Bounds(max_length=7)]
    """`True`, `False` or `Unknown`."""
    reason: Annotated[str, Bounds(max_length=1024)]
    """Why, in one CamelCase word."""
    message: Annotated[str, Bounds(max_length=32768)] = ""
    """What failed while doing what, and what to do."""
    last_transition_time: Annotated[str, Bounds(max_length=64, extra_json_schema={"format": "date-time"})] = ""
    """Since when the status is as it is."""
    observed_generation: Annotated[int, Bounds(ge=0)] = 0
    """The generation of the spec that this is about."""


Conditions = Annotated[tuple[Condition, ...], Bounds(max_length=32), map_by("type")]

NAME_LENGTH = Rule(
    "size(self.metadata.name) <= 63",
    "metadata.name must be at most 63 characters long, because it becomes the value of a label",
)
"""Rule of every kind."""
