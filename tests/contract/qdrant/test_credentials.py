"""Who gets in, and for how long: keys, tokens, their claims, and the point that a token hangs on."""

import base64
import hashlib
import hmac
import time
from itertools import count
from typing import Any

import pytest

from tests.contract.qdrant import tokens
from tests.contract.qdrant.conftest import StartServer
from tests.contract.qdrant.server import ALTERNATIVE_KEY, API_KEY, BOTH_KEYS, Server
from tests.contract.qdrant.world import SIZE

NUMBERS = count(1)
LIST = ("GET", "/collections")
NO_CREDENTIAL = "plain 401 Must provide an API key or an Authorization bearer token"
NOT_ACCEPTED = "plain 401 Invalid API key or JWT"
ENDED = "plain 401 Invalid JWT, stateful validation failed"


def collection(server: Server, kind: str = "tenant") -> str:
    name = f"{kind}-{next(NUMBERS)}"
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    return name


def revocable(server: Server) -> tuple[str, str, str]:
    """A tenant's collection, the collection that its token hangs on, and the token, which has been used."""
    name, ledger = collection(server), collection(server, "ledger")
    server.ask("PUT", f"/collections/{ledger}/index?wait=true", {"field_name": "t", "field_schema": "keyword"}).expect()
    issue(server, ledger, name)
    token = tokens.for_collection(name, "prw", value_exists=tokens.value_exists(ledger, t=name))
    assert count_points(server, name, token) == "200"
    return name, ledger, token


def issue(server: Server, ledger: str, value: str) -> None:
    point = {"id": 1, "vector": [1.0, 0.0, 0.0, 0.0], "payload": {"t": value}}
    server.ask("PUT", f"/collections/{ledger}/points?wait=true", {"points": [point]}).expect()


def revoke(server: Server, ledger: str) -> None:
    server.ask("POST", f"/collections/{ledger}/points/delete?wait=true", {"points": [1]}).expect()


def count_points(server: Server, name: str, token: str) -> str:
    return server.ask("POST", f"/collections/{name}/points/count", {}, key=token).outcome


def describe(server: Server, name: str, credential: str) -> str:
    return server.ask("GET", f"/collections/{name}", key=credential).outcome


def test_without_a_credential_nobody_gets_in(server: Server) -> None:
    assert server.ask(*LIST, key=None).outcome == NO_CREDENTIAL


@pytest.mark.parametrize("key", [API_KEY, ALTERNATIVE_KEY], ids=["key", "alternative key"])
def test_a_key_is_taken_as_a_bearer_token_too(server: Server, key: str) -> None:
    assert server.ask(*LIST, key=None, headers={"authorization": f"Bearer {key}"}).status == 200


@pytest.mark.parametrize("key", ["wrong", ""], ids=["wrong", "empty"])
def test_the_key_header_wins_over_a_good_bearer_token(server: Server, key: str) -> None:
    assert server.ask(*LIST, key=key, headers={"authorization": f"Bearer {API_KEY}"}).outcome == NOT_ACCEPTED


def test_a_refusal_of_the_credential_has_no_content_type(server: Server) -> None:
    assert "content-type" not in server.ask(*LIST, key="wrong").headers


def test_an_unknown_path_tells_strangers_nothing(server: Server) -> None:
    assert server.ask("GET", "/no-such-path", key=None).outcome == NO_CREDENTIAL


def test_a_token_signed_with_either_key_is_good(server: Server) -> None:
    name = collection(server)
    token = tokens.signed({"access": [{"collection": name, "access": "r"}]}, key=ALTERNATIVE_KEY)
    assert count_points(server, name, token) == "200"


def test_a_token_outlives_its_time_by_the_leeway(server: Server) -> None:
    name = collection(server)
    assert count_points(server, name, tokens.expired(name, 20)) == "200"
    assert count_points(server, name, tokens.expired(name, 40)) == "plain 403 ExpiredSignature"


def test_a_token_without_a_time_never_ends(server: Server) -> None:
    name = collection(server)
    assert count_points(server, name, tokens.for_collection(name, "r", exp=None)) == "200"


def test_a_token_without_access_is_an_administrator(server: Server) -> None:
    name = f"made-{next(NUMBERS)}"
    server.ask("PUT", f"/collections/{name}", SIZE, key=tokens.signed({})).expect()
    assert server.ask("DELETE", f"/collections/{name}", key=tokens.signed({})).expect()


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_one_algorithm_is_accepted(server: Server, algorithm: str) -> None:
    long_enough = API_KEY * 2
    assert server.ask(*LIST, key=tokens.signed({}, key=long_enough, algorithm=algorithm)).outcome == NOT_ACCEPTED


@pytest.mark.parametrize("claims", [{"nbf": int(time.time()) + 3600}, {"aud": "x", "iss": "y", "jti": "z", "new": 1}])
def test_claims_that_are_not_known_are_ignored(server: Server, claims: dict[str, Any]) -> None:
    assert server.ask(*LIST, key=tokens.signed(claims)).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"access": "rw"},
        {"access": "everything"},
        {"access": [{"collection": "a"}]},
        {"access": [{"collection": "a", "access": "m"}]},
        {"access": None},
        {"exp": "tomorrow"},
        {"sub": 5},
        {"value_exists": {"collection": "a"}},
        {"value_exists": {"collection": "a", "matches": [{"key": "t", "value": [1]}]}},
    ],
    ids=str,
)
def test_a_token_with_a_malformed_claim_is_refused(server: Server, claims: dict[str, Any]) -> None:
    # With two keys the text is about the second one, which did not sign it.
    assert server.ask(*LIST, key=tokens.signed(claims)).status in {401, 403}


def test_a_collection_is_named_once_in_a_token(server: Server) -> None:
    twice = [{"collection": "a", "access": "r"}, {"collection": "a", "access": "rw"}]
    assert "Collection name should be unique" in server.ask(*LIST, key=tokens.signed({"access": twice})).outcome


def test_a_tenant_sees_its_own_collections_only(server: Server) -> None:
    name, _ = collection(server), collection(server)
    listed = server.ask(*LIST, key=tokens.for_collection(name, "prw")).expect()
    assert listed == {"collections": [{"name": name}]}


def test_a_tenant_sees_no_aliases_of_others(server: Server) -> None:
    name, other = collection(server), collection(server)
    action = {"create_alias": {"collection_name": other, "alias_name": f"{other}-alias"}}
    server.ask("POST", "/collections/aliases", {"actions": [action]}).expect()
    assert server.ask("GET", "/aliases", key=tokens.for_collection(name, "rw")).expect() == {"aliases": []}


def test_a_longer_name_is_another_collection(server: Server) -> None:
    name = collection(server)
    server.ask("PUT", f"/collections/{name}-2", SIZE).expect()
    token = tokens.for_collection(name, "rw")
    expected = f"403 Forbidden: Access to collection {name}-2 is required"
    assert count_points(server, f"{name}-2", token) == expected


def test_a_token_of_the_former_owner_opens_a_collection_made_anew(server: Server) -> None:
    name = collection(server)
    token = tokens.for_collection(name, "prw")
    server.ask("DELETE", f"/collections/{name}").expect()
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    assert count_points(server, name, token) == "200"


def test_a_token_ends_at_once_with_its_point(server: Server) -> None:
    name, ledger, token = revocable(server)
    revoke(server, ledger)
    assert count_points(server, name, token) == ENDED


def test_a_point_made_again_revives_its_tokens(server: Server) -> None:
    name, ledger, token = revocable(server)
    revoke(server, ledger)
    issue(server, ledger, name)
    assert count_points(server, name, token) == "200"


def test_a_point_with_another_value_ends_the_token(server: Server) -> None:
    name, ledger, token = revocable(server)
    issue(server, ledger, f"{name}-of-the-next-generation")
    assert count_points(server, name, token) == ENDED


def test_a_payload_that_is_replaced_ends_the_token(server: Server) -> None:
    name, ledger, token = revocable(server)
    server.ask("PUT", f"/collections/{ledger}/points/payload?wait=true", {"payload": {}, "points": [1]}).expect()
    assert count_points(server, name, token) == ENDED


def test_without_its_collection_the_token_is_forbidden(server: Server) -> None:
    name, ledger, token = revocable(server)
    server.ask("DELETE", f"/collections/{ledger}").expect()
    assert count_points(server, name, token) == "plain 403 Invalid JWT, stateful validation failed"


def test_a_tenant_can_neither_read_nor_write_what_its_token_hangs_on(server: Server) -> None:
    _, ledger, token = revocable(server)
    expected = f"403 Forbidden: Access to collection {ledger} is required"
    assert count_points(server, ledger, token) == expected
    deleted = server.ask("POST", f"/collections/{ledger}/points/delete?wait=true", {"points": [1]}, key=token)
    assert deleted.outcome == expected


def test_every_match_must_be_in_the_same_point(server: Server) -> None:
    name, ledger = collection(server), collection(server, "ledger")
    points = [
        {"id": 1, "vector": [1.0, 0.0, 0.0, 0.0], "payload": {"tenant": "a", "generation": 1}},
        {"id": 2, "vector": [1.0, 0.0, 0.0, 0.0], "payload": {"tenant": "b", "generation": 2}},
    ]
    server.ask("PUT", f"/collections/{ledger}/points?wait=true", {"points": points}).expect()
    good = tokens.value_exists(ledger, tenant="a", generation=1)
    mixed = tokens.value_exists(ledger, tenant="a", generation=2)
    assert count_points(server, name, tokens.for_collection(name, "r", value_exists=good)) == "200"
    assert count_points(server, name, tokens.for_collection(name, "r", value_exists=mixed)) == ENDED


@pytest.mark.parametrize("value", [True, "1", 2], ids=repr)
def test_a_value_of_another_type_is_another_value(server: Server, value: object) -> None:
    name, ledger = collection(server), collection(server, "ledger")
    point = {"id": 1, "vector": [1.0, 0.0, 0.0, 0.0], "payload": {"t": 1}}
    server.ask("PUT", f"/collections/{ledger}/points?wait=true", {"points": [point]}).expect()
    token = tokens.for_collection(name, "r", value_exists=tokens.value_exists(ledger, t=value))
    assert count_points(server, name, token) == ENDED


def test_no_matches_at_all_are_met_by_any_point(server: Server) -> None:
    name, ledger, _ = revocable(server)
    token = tokens.for_collection(name, "r", value_exists={"collection": ledger, "matches": []})
    assert count_points(server, name, token) == "200"
    revoke(server, ledger)
    assert count_points(server, name, token) == ENDED


def test_keys_are_rotated_without_a_refusal(start_server: StartServer) -> None:
    new = "the-key-that-comes-after-the-others-have-gone"
    server = start_server({"API_KEY": API_KEY, "JWT_RBAC": "true"})
    name = collection(server)
    old_token = tokens.for_collection(name, "prw")
    new_token = tokens.signed({"access": [{"collection": name, "access": "prw"}]}, key=new)
    for first, second in [(API_KEY, new), (new, API_KEY)]:
        server.restart(settings={"API_KEY": first, "ALT_API_KEY": second, "JWT_RBAC": "true"})
        assert [describe(server, name, key) for key in (old_token, new_token, new, API_KEY)] == ["200"] * 4
    server.restart(settings={"API_KEY": new, "JWT_RBAC": "true"})
    assert describe(server, name, new_token) == "200"
    assert describe(server, name, old_token) == "plain 403 InvalidSignature"
    assert describe(server, name, API_KEY) == NOT_ACCEPTED


def test_tokens_are_no_credentials_where_they_are_not_switched_on(start_server: StartServer) -> None:
    server = start_server({"API_KEY": API_KEY})
    assert server.ask(*LIST, key=tokens.signed({})).outcome == NOT_ACCEPTED
    assert server.ask(*LIST).status == 200


def test_a_server_without_keys_is_open(start_server: StartServer) -> None:
    server = start_server({})
    server.ask("PUT", "/collections/anybodys", SIZE, key=None).expect()


@pytest.mark.parametrize("empty", ["API_KEY", "ALT_API_KEY"])
def test_an_empty_key_lets_everybody_write(start_server: StartServer, empty: str) -> None:
    server = start_server(BOTH_KEYS | {empty: ""})
    assert server.ask(*LIST, key=None).outcome == NO_CREDENTIAL
    server.ask("PUT", "/collections/by-an-empty-header", SIZE, key="").expect()
    forged = token_with_an_empty_secret()
    server.ask("PUT", "/collections/by-an-empty-secret", SIZE, key=forged).expect()


def token_with_an_empty_secret() -> str:
    """By hand: a library that cares refuses to sign with nothing."""
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"HS256"}', b"{}")]
    signature = hmac.new(b"", b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
