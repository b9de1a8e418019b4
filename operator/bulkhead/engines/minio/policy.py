"""The policy of a tenant's users: their own bucket and nothing else. Pure.

Three things in it are not what a first draft would hold. Each was reproduced on the server (commit 7aac2a2).

- `s3:ListBucketMultipartUploads` is not allowed. Unfinished uploads outlive their bucket, and after a restart the
  server can not list them any more, so that nobody can find and abort all of them when a bucket is erased. A namesake
  that could list them would read what a former owner had begun to upload. Without the listing it needs the upload's
  id, which is random; the server drops the rest of such uploads after its `api stale_uploads_expiry` (a day).
- `admin:*` is denied. MinIO lets every user change its own password, make service accounts for itself and look itself
  up unless that is denied; each would be a credential that we do not know of.
- Unsigned-trailer uploads are denied. The server does not verify the signature of some of them (GHSA-9c4q-hq6p-c237,
  GHSA-hv4r-mvr4-25vw: no release of the open-source server has the fix), so that whoever knows an access key, which
  every presigned URL shows, writes into its bucket. A condition can not tell the forged ones from the signed ones.
  SDKs that send them by default are set to `when_required`, see `binding.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bulkhead.api.ownership import Stamp

UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def document(bucket: str, stamp: Stamp) -> dict[str, Any]:
    """The policy for `bucket`. Every statement bears the stamp: policies and users have no other place for one."""
    arn = f"arn:aws:s3:::{bucket}"
    statements: tuple[dict[str, Any], ...] = (
        {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket"], "Resource": [arn]},
        {
            "Effect": "Allow",
            "Action": [
                "s3:AbortMultipartUpload",
                "s3:DeleteObject",
                "s3:GetObject",
                "s3:ListMultipartUploadParts",
                "s3:PutObject",
            ],
            "Resource": [f"{arn}/*"],
        },
        {
            "Effect": "Deny",
            "Action": ["s3:PutObject"],
            "Resource": [f"{arn}/*"],
            "Condition": {"StringEquals": {"s3:x-amz-content-sha256": [UNSIGNED_TRAILER]}},
        },
        {"Effect": "Deny", "Action": ["admin:*"]},
    )
    return {"Version": "2012-10-17", "Statement": [{"Sid": str(stamp), **statement} for statement in statements]}


def canonical(policy: object) -> str:
    """One text for all documents that mean the same: the server gives actions and statements back in any order."""
    return json.dumps(_ordered(policy), sort_keys=True, separators=(",", ":"))


def stamp_of(policy: Mapping[str, Any]) -> Stamp | None:
    """Whose policy it is; None where no statement bears a stamp, or statements bear different ones."""
    stamps = {Stamp.parse(str(statement.get("Sid", ""))) for statement in _statements(policy)} - {None}
    return stamps.pop() if len(stamps) == 1 else None


def buckets_of(policy: Mapping[str, Any]) -> frozenset[str]:
    """Buckets that the policy names as a whole."""
    names = (str(arn).removeprefix("arn:aws:s3:::") for s in _statements(policy) for arn in _listed(s.get("Resource")))
    return frozenset(name for name in names if "/" not in name)


def _statements(policy: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [statement for statement in _listed(policy.get("Statement")) if isinstance(statement, Mapping)]


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _ordered(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((_ordered(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value
