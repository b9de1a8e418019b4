"""What is wanted of a tenant and what a survey shows of it come to the same digest, and to no other's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bulkhead.engines.contract import Request
from bulkhead.engines.minio.state import User
from bulkhead.engines.minio.survey import digest_wanted, digests_seen
from tests.unit.engines.minio import gen

REQUEST = gen.request()
KEY = gen.names().access_key(1)


def policies(*requests: Request) -> dict[str, Mapping[str, Any]]:
    return {request.names.policy: json.loads(gen.wanted(request).document) for request in requests or (REQUEST,)}


def found(
    *, documents: Mapping[str, Mapping[str, Any]] | None = None, users: Mapping[str, User] | None = None
) -> dict[str, str]:
    """What a survey of `REQUEST` shows, as wanted unless told otherwise."""
    documents = policies() if documents is None else documents
    users = gen.users() if users is None else users
    return digests_seen(gen.INSTALLATION, documents, ("acme-data", "another-data"), users)


def test_a_tenant_as_wanted_shows_its_fingerprint() -> None:
    assert found() == {REQUEST.stamp.uid: digest_wanted(REQUEST)}


def test_a_missing_bucket_shows() -> None:
    assert digests_seen(gen.INSTALLATION, policies(), (), gen.users())[REQUEST.stamp.uid] != digest_wanted(REQUEST)


def test_a_missing_policy_makes_the_tenant_disappear() -> None:
    assert found(documents={}) == {}


def test_a_policy_that_was_changed_shows() -> None:
    policy = policies()["acme"]
    fewer = {**policy, "Statement": policy["Statement"][1:]}
    assert found(documents={"acme": fewer}) != found()


def test_a_missing_a_disabled_and_a_retired_user_show() -> None:
    retired = {**gen.users(), gen.names().access_key(9): gen.user()}
    others = [found(users={}), found(users={KEY: User(enabled=False)}), found(users=retired)]
    assert found() not in others


def test_a_user_with_more_rights_shows() -> None:
    wider = [gen.user(policies=frozenset({"acme", "readwrite"})), gen.user(groups=frozenset({"admins"}))]
    assert found() not in [found(users={KEY: user}) for user in wider]


def test_disabled_users_that_nobody_wants_do_not_show() -> None:
    assert found(users={**gen.users(), gen.names().access_key(9): User(enabled=False)}) == found()


def test_a_tenant_that_is_cut_shows_no_user() -> None:
    cut = gen.cut(REQUEST)
    assert found(users={KEY: User(enabled=False)}) == {cut.stamp.uid: digest_wanted(cut)}


def test_policies_of_other_installations_and_of_nobody_are_passed_over() -> None:
    foreign = gen.request("globex", installation="another-installation")
    documents = {**policies(REQUEST, foreign), "readwrite": {"Statement": []}}
    assert found(documents=documents).keys() == {REQUEST.stamp.uid}


def test_users_of_a_name_that_begins_like_ours_are_not_taken_for_ours() -> None:
    other = gen.request("acme-abcdef-1")
    documents = policies(REQUEST, other)
    both = digests_seen(
        gen.INSTALLATION, documents, ("acme-data", "acme-abcdef-1-data"), {**gen.users(), **gen.users(other)}
    )
    assert both == {request.stamp.uid: digest_wanted(request) for request in (REQUEST, other)}


def test_a_plan_that_is_invalid_still_has_a_fingerprint() -> None:
    assert digest_wanted(gen.request(size="plenty"))
