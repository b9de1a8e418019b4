"""Where objects lie on the API server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.kube.errors import Invalid
from bulkhead.kube.resources import DATA_CLUSTERS, NAMESPACES, NETWORK_POLICIES, SECRETS


def test_paths_of_collections() -> None:
    assert SECRETS.collection() == "/api/v1/secrets"
    assert SECRETS.collection("tenant-acme") == "/api/v1/namespaces/tenant-acme/secrets"
    assert DATA_CLUSTERS.collection() == "/apis/bulkhead.dev/v1alpha1/dataclusters"


def test_paths_of_objects() -> None:
    assert NAMESPACES.path("tenant-acme") == "/api/v1/namespaces/tenant-acme"
    assert DATA_CLUSTERS.path("acme", subresource="status") == "/apis/bulkhead.dev/v1alpha1/dataclusters/acme/status"
    assert NETWORK_POLICIES.path("deny", "tenant-acme") == (
        "/apis/networking.k8s.io/v1/namespaces/tenant-acme/networkpolicies/deny"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "a%2fb", "a b", "a\n", "x" * 254])
def test_what_can_not_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        SECRETS.path(name, "tenant-acme")
    with pytest.raises(Invalid):
        SECRETS.path("binding", name)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_name_leads_anywhere_but_to_an_object_of_that_namespace(name: str, namespace: str) -> None:
    try:
        path = SECRETS.path(name, namespace)
    except Invalid:
        return
    assert path.split("/") == ["", "api", "v1", "namespaces", namespace, "secrets", name]


def test_an_object_that_lies_in_a_namespace_needs_one() -> None:
    with pytest.raises(Invalid, match="lie in a namespace"):
        SECRETS.path("binding")


def test_an_object_that_lies_in_no_namespace_takes_none() -> None:
    with pytest.raises(Invalid, match="do not lie in a namespace"):
        DATA_CLUSTERS.path("acme", "tenant-acme")
