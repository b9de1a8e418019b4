from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Insecure
from bulkhead.engines.meilisearch import keys
from tests.unit.engines.meilisearch import gen

GLOBAL = {"metrics", "dumps", "snapshots", "version", "keys", "experimental", "export", "network", "chats", "webhooks"}


def test_a_key_lists_its_indexes_one_by_one_and_may_do_little() -> None:
    key = keys.tenant_key(gen.stamp(), 1, ("acme_entries", "acme_datasets"))
    assert (key.indexes, key.name, key.expires_at) == (("acme_datasets", "acme_entries"), str(gen.stamp()), None)
    assert key.actions == ("documents.add", "documents.delete", "documents.get", "indexes.get", "search")


def test_no_action_reaches_beyond_an_index_or_changes_one() -> None:
    assert not any("*" in action or action.split(".")[0] in GLOBAL for action in keys.ACTIONS)
    assert not {"indexes.update", "indexes.swap", "settings.update", "tasks.get"} & set(keys.ACTIONS)


@pytest.mark.parametrize("indexes", [(), ("*",), ("acme*",), ("acme_entries", "*"), ("",)])
def test_a_key_for_everything_or_a_pattern_is_never_described(indexes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="those of others"):
        keys.tenant_key(gen.stamp(), 1, indexes)


@pytest.mark.parametrize(
    ("uid", "value"),
    [
        ("d7d30ffe-ec60-484f-84f8-1c8b7d0ac352", "623359df9ea4d4a6c676c329c793191601ce7dd15541c2394277eae26aeedf1e"),
        ("c5a18797-621c-42b5-81bd-23fbf0202364", "9decc7baffbed2fa9b9cfa599c3d72ecf8db3fad02b65941caa378e824299482"),
    ],
)
def test_the_value_is_the_one_that_servers_give(uid: str, value: str) -> None:
    """Pairs that the documentation of another tool (preshot 1.0.1) shows for this master key."""
    assert keys.key_value(Sensitive("masterKey"), uid).reveal() == value


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_no_two_generations_share_a_uid(one: int, other: int) -> None:
    assert (keys.key_uid(gen.stamp(), one) == keys.key_uid(gen.stamp(), other)) is (one == other)


def test_no_two_owners_share_a_uid() -> None:
    owners = [gen.stamp(), gen.stamp(uid="other"), gen.stamp(installation="elsewhere")]
    assert len({keys.key_uid(owner, 1) for owner in owners}) == 3


def test_another_master_key_gives_another_value_to_the_same_uid() -> None:
    before, after = (keys.issue(Sensitive(text * 32), gen.stamp(), 1) for text in "ab")
    assert before.identity == after.identity
    assert before.value != after.value
    assert before.signed_by != after.signed_by


def test_a_credential_does_not_show_its_value() -> None:
    credential = keys.issue(gen.MASTER, gen.stamp(), 1)
    assert credential.value.reveal() not in repr(credential)


@pytest.mark.parametrize("master", ["", "m" * 15])
def test_a_master_key_that_could_be_guessed_is_insecure(master: str) -> None:
    with pytest.raises(Insecure, match="16 bytes"):
        keys.require_strong(Sensitive(master))
