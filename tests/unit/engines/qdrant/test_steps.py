from __future__ import annotations

import pytest

from bulkhead.engines.qdrant.steps import (
    CreateCollection,
    CreateRegister,
    DeleteCollection,
    DeleteSnapshot,
    IndexField,
    LimitCollection,
    QdrantStep,
    Register,
    Snapshot,
    StampCollection,
    Unregister,
)
from tests.unit.engines.qdrant import gen


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (CreateRegister(gen.stamp(), "i"), "create the operator's register of tokens"),
        (CreateCollection("acme_entries", gen.stamp(), 4, "Dot", gen.LIMITS), 'create collection "acme_entries"'),
        (StampCollection("acme_entries", gen.stamp()), 'stamp collection "acme_entries"'),
        (LimitCollection("acme_entries", gen.LIMITS), 'limit collection "acme_entries"'),
        (IndexField("acme_entries", "dataset"), 'index field "dataset" of collection "acme_entries"'),
        (Register(gen.entry(1)), 'register tokens of collection "acme_entries"'),
        (Register(gen.entry()), 'revoke tokens of collection "acme_entries"'),
        (Unregister(gen.stamp()), "remove an entry from the register of tokens"),
        (DeleteSnapshot("acme_entries", Snapshot("s")), 'delete snapshot "s" of collection "acme_entries"'),
        (DeleteCollection("acme_entries"), 'delete collection "acme_entries"'),
    ],
)
def test_a_step_says_what_it_does(step: QdrantStep, words: str) -> None:
    assert str(step) == words
