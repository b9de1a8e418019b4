from __future__ import annotations

import jwt
import pytest

from bulkhead.engines.errors import Insecure
from bulkhead.engines.qdrant.probe import require_release, unsigned_token


@pytest.mark.parametrize("version", ["1.16.0", "1.16.0-dev", "1.18.3", "2.0.0", "v1.20.1"])
def test_a_release_with_metadata_on_collections_will_do(version: str) -> None:
    require_release(version)


@pytest.mark.parametrize("version", ["1.15.9", "1.9.0", "0.11.0", "", "nightly", "1.16"])
def test_an_older_or_unnamed_release_is_insecure(version: str) -> None:
    with pytest.raises(Insecure, match=r"1\.16\.0 or later"):
        require_release(version)


def test_the_unsigned_token_is_a_token_for_whoever_takes_an_empty_key() -> None:
    header = jwt.get_unverified_header(unsigned_token().reveal())
    claims = jwt.decode(unsigned_token().reveal(), options={"verify_signature": False})
    assert (header["alg"], claims["access"]) == ("HS256", [{"collection": "bulkhead_decoy", "access": "r"}])
