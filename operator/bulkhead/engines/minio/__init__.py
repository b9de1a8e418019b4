"""The object store as MinIO gives it: a bucket, a policy that reaches this bucket alone, and a user per generation.

`minio` is one driver; `spec.objectStore.driver` of a DataPlane names it. The interface of a driver is the engine's
contract (`engines/contract.py`) with an `ObjectStoreEndpoint` and the two keys of the admin Secret. Another driver is
another package that implements it; it is added to the enum of that field and to the composition root, and must show
the same tests of isolation.
"""
