"""The policy of a tenant, and how documents are compared."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.engines.minio.policy import UNSIGNED_TRAILER, buckets_of, canonical, document, stamp_of
from tests.unit.engines.minio import gen

POLICY = document("a-data", gen.stamp())


def statements(effect: str) -> list[dict[str, Any]]:
    return [statement for statement in POLICY["Statement"] if statement["Effect"] == effect]


def shuffled(policy: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The same policy with statements, actions and keys in another order, as the server gives it back."""
    order = random.Random(seed)  # noqa: S311 - the order of a test
    copies = [{key: _shuffled(value, order) for key, value in reversed(s.items())} for s in policy["Statement"]]
    order.shuffle(copies)
    return {**policy, "Statement": copies}


def _shuffled(value: object, order: random.Random) -> object:
    return order.sample(value, len(value)) if isinstance(value, list) else value


def test_only_the_bucket_itself_and_what_is_in_it_is_allowed() -> None:
    resources = {arn for statement in statements("Allow") for arn in statement["Resource"]}
    assert resources == {"arn:aws:s3:::a-data", "arn:aws:s3:::a-data/*"}


def test_no_action_is_allowed_by_a_wildcard_and_uploads_can_not_be_listed() -> None:
    actions = {action for statement in statements("Allow") for action in statement["Action"]}
    assert not [action for action in actions if "*" in action]
    assert "s3:ListBucketMultipartUploads" not in actions


def test_the_admin_api_and_unsigned_trailers_are_denied() -> None:
    trailer, admin = sorted(statements("Deny"), key=len, reverse=True)
    assert trailer["Condition"] == {"StringEquals": {"s3:x-amz-content-sha256": [UNSIGNED_TRAILER]}}
    assert trailer["Action"] == ["s3:PutObject"]
    assert admin["Action"] == ["admin:*"]


@given(st.integers())
def test_the_order_in_which_the_server_gives_it_back_does_not_matter(seed: int) -> None:
    assert canonical(json.loads(json.dumps(shuffled(POLICY, seed)))) == canonical(POLICY)


@given(st.data())
def test_any_action_more_or_less_is_noticed(data: st.DataObject) -> None:
    changed = json.loads(json.dumps(POLICY))
    statement = data.draw(st.sampled_from(changed["Statement"]))
    more = data.draw(st.booleans())
    if more:
        statement["Action"].append("s3:GetBucketPolicy")
    else:
        statement["Action"].pop()
    assert canonical(changed) != canonical(POLICY)


def test_the_stamp_is_found_again() -> None:
    assert stamp_of(POLICY) == gen.stamp()


def test_a_statement_that_somebody_added_does_not_make_the_policy_theirs() -> None:
    added = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"], "Sid": "Mine"}
    assert stamp_of({**POLICY, "Statement": [*POLICY["Statement"], added]}) == gen.stamp()


def test_two_stamps_are_as_good_as_none() -> None:
    other = document("a-data", gen.stamp(uid="another"))
    assert stamp_of({**POLICY, "Statement": [*POLICY["Statement"], *other["Statement"]]}) is None


@pytest.mark.parametrize(
    "policy",
    [{}, {"Statement": []}, {"Statement": None}, {"Statement": "x"}, {"Statement": {"Sid": "x"}}, {"Statement": [1]}],
)
def test_whatever_a_policy_looks_like_it_is_just_not_ours(policy: Mapping[str, Any]) -> None:
    assert stamp_of(policy) is None
    assert buckets_of(policy) == frozenset()
    assert canonical(policy)


def test_the_bucket_of_a_policy_is_found() -> None:
    assert buckets_of(POLICY) == {"a-data"}
