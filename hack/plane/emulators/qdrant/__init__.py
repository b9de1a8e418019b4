"""A stand-in for Qdrant 1.18.3: its REST API, its authorisation, its answers and its leaks.

`python -m hack.plane.emulators.qdrant --port N --data-dir D` serves it. What is stored survives kill -9.

The vectors' core is `qdrant_client.local`, so ids, order, filters, fusion and recommendation are those of the official
client. What differs from the real server:

- a text condition on a field without a text index ignores case here; the real server finds only the exact case;
- everything is indexed at once and searched exactly: no optimizer runs, `hnsw_ef` and quantization change nothing, and
  an approximate count is exact;
- one node, one shard; no gRPC, no inference, no dashboard; `max_resident_memory_percent` is kept, not enforced;
- a snapshot is a tar of JSON that only this server reads; recovery takes `file://` locations and uploads, not URLs;
- a body about points of a wrong shape is refused with the right status, but with a text of our own.
"""
