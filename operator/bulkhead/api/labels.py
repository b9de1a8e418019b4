"""Keys of the labels, annotations and finalizers that Bulkhead reads or writes: the one place where they are spelt."""

from __future__ import annotations

from bulkhead.api.meta import GROUP

DATA_CLUSTER = f"{GROUP}/data-cluster"
"""Label: slug of the DataCluster that an object belongs to, for people and selectors."""
DATA_CLUSTER_UID = f"{GROUP}/data-cluster-uid"
"""Label: UID of the DataCluster that an object belongs to. On a Namespace it is the stamp that confines us."""
TENANT = f"{GROUP}/tenant"
"""Label: name of the Tenant that an object belongs to."""
TENANT_UID = f"{GROUP}/tenant-uid"
"""Label: UID of the Tenant that an object belongs to."""
INSTALLATION = f"{GROUP}/installation"
"""Label: id of the installation that made an object; another installation's objects are never touched."""
RECORD = f"{GROUP}/record"
"""Label on the operator's own Secrets: which kind's record this is, `data-cluster` or `data-plane`."""
RECORD_DATA_CLUSTER = "data-cluster"
RECORD_DATA_PLANE = "data-plane"

MANAGED_BY = "app.kubernetes.io/managed-by"
"""Label of every child; its value is `MANAGED_BY_BULKHEAD`, and the metadata watches select by it."""
MANAGED_BY_BULKHEAD = "bulkhead"

CONTENT_HASH = f"{GROUP}/content-hash"
"""Annotation of a child: digest of the content that we wanted when it was last written."""
OUTLINE = f"{GROUP}/outline"
"""Annotation of a record: what of it may be known without reading a secret, as JSON."""

RECONCILE = f"{GROUP}/reconcile"
"""Request by annotation: a new value asks for one full reconcile."""
RECREATE = f"{GROUP}/recreate"
"""Request by annotation: the engine whose lost data may be made anew, empty."""
ABANDON = f"{GROUP}/abandon"
"""Request by annotation: the engine that an admin gives up, and the time of the deletion that waits for it no longer.
"""
ACCEPT_ENGINE = f"{GROUP}/accept-engine"
"""Request by annotation of a DataPlane: the server that may take the place of a former one, as `EngineChanged` names
the two."""
PAUSED = f"{GROUP}/paused"
"""Annotation: "true" stops everything but suspension and deletion."""

FINALIZER = f"{GROUP}/cleanup"
"""Finalizer of our own kinds."""
