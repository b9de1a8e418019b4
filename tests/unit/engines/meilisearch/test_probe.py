from __future__ import annotations

import pytest

from bulkhead.engines.errors import Insecure
from bulkhead.engines.meilisearch.probe import require_release


@pytest.mark.parametrize("version", ["1.48.3", "1.50.0", "1.50.0-rc.1", "2.0.0"])
def test_a_release_that_denies_global_actions_to_scoped_keys_will_do(version: str) -> None:
    require_release(version)


@pytest.mark.parametrize("version", ["1.48.2", "1.9.0", "0.30.5", "", "prototype", "1.48"])
def test_an_older_or_unnamed_release_is_insecure(version: str) -> None:
    with pytest.raises(Insecure, match=r"1\.48\.3 or later"):
        require_release(version)
