from __future__ import annotations

import pytest

from bulkhead.engines.meilisearch.steps import (
    CancelTasks,
    ConfigureIndex,
    CreateIndex,
    CreateKey,
    DeleteIndex,
    DeleteKey,
    DeleteTasks,
    MeilisearchStep,
    ReleaseIndexes,
    StampIndexes,
    WriteIdentity,
)
from tests.unit.engines.meilisearch import gen

BOTH = '"acme_datasets", "acme_entries"'


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (WriteIdentity(gen.stamp(), "i"), "write the server's identity into the operator's register"),
        (CreateIndex("acme_entries"), 'create index "acme_entries"'),
        (StampIndexes(gen.stamp(), gen.INDEXES), f"stamp indexes {BOTH}"),
        (ConfigureIndex("acme_entries"), 'configure index "acme_entries"'),
        (CreateKey(gen.key()), f"create key {gen.key().uid}"),
        (DeleteKey(gen.key().uid), f"delete key {gen.key().uid}"),
        (CancelTasks(gen.INDEXES), f"cancel waiting tasks of indexes {BOTH}"),
        (DeleteIndex("acme_entries"), 'delete index "acme_entries"'),
        (DeleteTasks(gen.INDEXES), f"delete the task history of indexes {BOTH}"),
        (ReleaseIndexes(gen.INDEXES), f"remove the stamps of indexes {BOTH}"),
    ],
)
def test_a_step_says_what_it_does(step: MeilisearchStep, words: str) -> None:
    assert str(step) == words
