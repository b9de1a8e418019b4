"""The Service Binding Secret of a tenant's bucket."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.api.data_plane import ObjectStoreEndpoint
from bulkhead.api.record import Credential
from bulkhead.engines.binding import reached_by


def binding(
    endpoint: ObjectStoreEndpoint, bucket: str, credential: Credential, ca_pem: str | None
) -> Mapping[str, str]:
    """Content for any S3 client. The `AWS_*` keys configure the SDKs of AWS when the Secret is given as environment:
    with their default they send uploads of a kind that the policy denies (`policy.py` says why)."""
    access_key, secret_key = credential.identity, credential.value.reveal()
    return {
        **reached_by(endpoint.endpoint, "s3", "minio", ca_pem),
        "endpoint": endpoint.endpoint,
        "bucket": bucket,
        "region": endpoint.region,
        "path-style": "true",
        "username": access_key,
        "password": secret_key,
        "access-key": access_key,
        "secret-key": secret_key,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": endpoint.region,
        "AWS_ENDPOINT_URL_S3": endpoint.endpoint,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
