"""Every request that was observed on the real server, with every credential, gets the same answer."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.contract.meilisearch.conftest import StartServer
from tests.contract.meilisearch.observed import Case, differences, filled, load, raw, task_differences
from tests.contract.meilisearch.server import Api, Reply
from tests.contract.meilisearch.world import (
    OTHER,
    OWN,
    OWN2,
    World,
    in_seconds,
    new_uuid,
    token,
    unsigned_token,
    value_of,
)

_CASES = load()
_ALONE = ("too_large.", "compaction.", "token.", "logs.stream.features_on")


def _story(case: Case) -> str:
    """Cases that build on each other are asked together."""
    for story in ("keys.create.repeat", "keys.patch", "chats", "rules"):
        if case.name.startswith(story):
            return f"{story} with features on" if case.name.endswith("features_on") else story
    if case.name in ("keys.create.first",):
        return "keys.create.repeat"
    if "{key_uid}" in case.path.lower().replace("_upper", "") or case.name in (
        "keys.get.nohyphen_uid",
        "search.deleted_key",
    ):
        return "keys.patch"
    return case.name


def _stories(*, features_on: bool) -> list[Any]:
    chosen = [
        case for case in _CASES if case.name.endswith("features_on") is features_on and not case.name.startswith(_ALONE)
    ]
    stories: dict[str, list[Case]] = {}
    for case in chosen:
        stories.setdefault(_story(case), []).append(case)
    return [pytest.param(cases, id=story) for story, cases in stories.items()]


def _headers(case: Case, world: World) -> Mapping[str, str] | None:
    """Headers of the cases that are about them."""
    master = world.api.master_key
    by_case = {
        "auth.header_basic": {"Authorization": "Basic dXNlcjpwYXNz"},
        "auth.header_bearer_only": {"Authorization": "Bearer"},
        "auth.header_lower_bearer": {"Authorization": f"bearer {master}"},
        "auth.header_raw": {"Authorization": master},
        "auth.header_xmeili": {"X-Meili-API-Key": master},
        "auth.header_bearer_none": {"Authorization": "Bearer None"},
    }
    if case.name in by_case:
        return by_case[case.name]
    if case.name.endswith("no_ctype"):
        return {}
    if case.name.endswith("wrong_ctype"):
        return {"Content-Type": "text/plain"}
    return {"Content-Type": "application/json"} if isinstance(raw(case.body), bytes) else None


def _ask(case: Case, credential: str, world: World, names: Mapping[str, str], api: Api | None = None) -> Reply:
    body = raw(filled(case.body, names))
    path = filled(case.path, names)
    bearer = None if credential == "none" else world.credentials[credential]
    return (api or world.api).call(case.method, path, body, token=bearer, headers=_headers(case, world))


def _prepare(case: Case, world: World) -> None:
    if case.name.startswith("listed_but_absent."):
        world.api.done("DELETE", f"/indexes/{OWN2}")


def _settle(case: Case, reply: Reply, expected: Mapping[str, Any], world: World, names: Mapping[str, str]) -> list[str]:
    """Wait for what the request started, and compare its end."""
    if not isinstance(reply.body, dict) or "taskUid" not in reply.body:
        return []
    if case.name == "export.bad_url":
        world.api.done("POST", f"/tasks/cancel?uids={reply.body['taskUid']}")
        return []
    task = world.api.finished(reply.body["taskUid"])
    return task_differences(task, expected.get("task", {}), names)


def _asked_again(case: Case, world: World, names: Mapping[str, str]) -> Iterator[str]:
    for credential, expected in case.expected.items():
        _prepare(case, world)
        temporary = world.make_key(["search"], [OWN])["uid"] if "{tmp_key_uid}" in case.path else ""
        reply = _ask(case, credential, world, {**names, "tmp_key_uid": temporary})
        wrong = differences(reply, expected, world.api.master_key, names)
        wrong += _settle(case, reply, expected, world, names)
        yield from (f"{case.name} as {credential}: {each}" for each in wrong)
        if reply.status in (200, 201, 202) and case.method != "GET":
            _clean_up(case, world, reply)


def _clean_up(case: Case, world: World, reply: Reply) -> None:
    if case.name.startswith("logs.stream"):
        world.api.master("DELETE", "/logs/stream")
    elif ("/search" not in case.path and _story(case) == case.name) or (
        isinstance(reply.body, dict) and "taskUid" in reply.body
    ):
        world.restore()


def _names_of(story: list[Case], world: World) -> dict[str, str]:
    """New tasks, and a throw-away key, for the stories that are about one."""
    if any("_task}" in case.path or "_batch}" in case.path for case in story):
        world.make_tasks()
    if not any("{key_uid}" in case.path for case in story):
        return world.names
    key = world.make_key(["search"], [OWN])
    uid: str = key["uid"]
    forms = {
        "key_uid": uid,
        "key_value": key["key"],
        "KEY_UID_UPPER": uid.upper(),
        "keyuidnohyphen": uid.replace("-", ""),
    }
    # The story ends with the deletion of this key, and its value is tried after that.
    world.credentials["deleted_key"] = key["key"]
    return {**world.names, **forms}


@pytest.mark.parametrize("story", _stories(features_on=False))
def test_the_answer_is_that_of_the_real_server(story: list[Case], world: World) -> None:
    world.set_features(on=False)
    names = _names_of(story, world)
    assert [wrong for case in story for wrong in _asked_again(case, world, names)] == []
    world.restore()


@pytest.mark.parametrize("story", _stories(features_on=True))
def test_the_answer_is_that_of_the_real_server_with_every_feature_on(story: list[Case], world: World) -> None:
    world.set_features(on=True)
    names = _names_of(story, world)
    assert [wrong for case in story for wrong in _asked_again(case, world, names)] == []
    world.restore()
    world.set_features(on=False)


@pytest.mark.parametrize(
    "case", [case for case in _CASES if ".scoped_action_" in case.name], ids=lambda case: case.name
)
@pytest.mark.parametrize("indexes", ["*", "acme*"])
def test_which_actions_a_scoped_key_may_hold(case: Case, indexes: str, world: World) -> None:
    reply = world.api.call("POST", "/keys", {**case.body, "indexes": [indexes]}, token=world.api.master_key)
    assert reply.status == case.expected["master"][f"with_indexes_{indexes}"], reply.text
    world.restore()


@pytest.mark.parametrize(
    "case", [case for case in _CASES if case.name.startswith("too_large.")], ids=lambda case: case.name
)
def test_a_payload_over_the_limit_is_refused(case: Case, start_server: StartServer) -> None:
    small = World(start_server("--http-payload-size-limit", "1000000").api)
    small.credentials = {"master": small.api.master_key, "bad": "not-a-key"}
    for credential, expected in case.expected.items():
        reply = _ask(case, credential, small, {})
        assert differences(reply, expected, small.api.master_key, {}) == []


def test_after_a_compaction_of_the_queue_only_reading_works(start_server: StartServer) -> None:
    own = World(start_server().api)
    own.build()
    own.api.master("PATCH", "/experimental-features", {"taskQueueCompactionRoute": True})
    for case in [case for case in _CASES if case.name.startswith("compaction.")]:
        for credential, expected in case.expected.items():
            reply = _ask(case, credential, own, own.names)
            assert differences(reply, expected, own.api.master_key, own.names) == [], case.name


def test_a_stream_of_logs_opens_for_those_it_opens_for_on_the_real_server(world: World) -> None:
    world.set_features(on=True)
    (case,) = [case for case in _CASES if case.name == "logs.stream.features_on"]
    for credential, expected in case.expected.items():
        bearer = None if credential == "none" else world.credentials[credential]
        with world.api.opened(case.method, case.path, case.body, token=bearer) as status:
            assert status == expected["status"], credential
            world.api.master("DELETE", "/logs/stream")
    world.set_features(on=False)


_Maker = Callable[[World], str]


def _claims(**claims: object) -> _Maker:
    return lambda world: world.search_token(claims)


def _signed(algorithm: str) -> _Maker:
    return lambda world: world.search_token({"searchRules": ["*"]}, algorithm)


def _of_unknown_key(_: World) -> str:
    return token(new_uuid(), {"searchRules": ["*"], "apiKeyUid": new_uuid()})


def _of_key_that_never_was(world: World) -> str:
    uid = new_uuid()
    return token(value_of(world.api.master_key, uid), {"searchRules": ["*"], "apiKeyUid": uid})


def _of_deleted_key(world: World) -> str:
    key = world.make_key(["search"], [OWN])
    world.api.master("DELETE", f"/keys/{key['uid']}")
    return token(key["key"], {"searchRules": ["*"], "apiKeyUid": key["uid"]})


def _of_key_that_came_back(world: World) -> str:
    key = world.make_key(["search"], [OWN])
    world.api.master("DELETE", f"/keys/{key['uid']}")
    world.make_key(["search"], [OWN], uid=key["uid"])
    return token(key["key"], {"searchRules": ["*"], "apiKeyUid": key["uid"]})


_TOKENS: Mapping[str, _Maker] = {
    "list_star": _claims(searchRules=["*"]),
    "list_own": _claims(searchRules=[OWN]),
    "prefix": _claims(searchRules=["acme*"]),
    "map_empty": _claims(searchRules={OWN: {}}),
    "map_null": _claims(searchRules={OWN: None}),
    "map_filter": _claims(searchRules={OWN: {"filter": "genre = x"}}),
    "map_star_filter": _claims(searchRules={"*": {"filter": "genre = x"}}),
    "bad_filter": _claims(searchRules={OWN: {"filter": "title = x"}}),
    "unknown_rule_key": _claims(searchRules={OWN: {"foo": 1}}),
    "empty_list": _claims(searchRules=[]),
    "empty_map": _claims(searchRules={}),
    "string_rules": _claims(searchRules=OWN),
    "only_other": _claims(searchRules=[OTHER]),
    "hs384": _signed("HS384"),
    "hs512": _signed("HS512"),
    "alg_none": lambda world: unsigned_token({"searchRules": ["*"], "apiKeyUid": world.names["key_own_search_uid"]}),
    "signed_master": lambda world: token(
        world.api.master_key, {"searchRules": ["*"], "apiKeyUid": world.names["key_own_search_uid"]}
    ),
    "unknown_parent": _of_unknown_key,
    "no_apiKeyUid": lambda world: token(world.credentials["key_own_search"], {"searchRules": ["*"]}),
    "no_rules": lambda world: token(
        world.credentials["key_own_search"], {"apiKeyUid": world.names["key_own_search_uid"]}
    ),
    "uid_upper": lambda world: world.search_token(
        {"searchRules": ["*"], "apiKeyUid": world.names["key_own_search_uid"].upper()}
    ),
    "exp_future": lambda world: world.search_token({"searchRules": ["*"], "exp": in_seconds(600)}),
    "exp_past": lambda world: world.search_token({"searchRules": ["*"], "exp": in_seconds(-600)}),
    "exp_null": _claims(searchRules=["*"], exp=None),
    "exp_float": _claims(searchRules=["*"], exp=1795354976.5),
    "exp_string": _claims(searchRules=["*"], exp="1795354976"),
    "nbf_future": lambda world: world.search_token({"searchRules": ["*"], "nbf": in_seconds(600)}),
    "aud": _claims(searchRules=["*"], aud="anyone"),
    "extra_claim": _claims(searchRules=["*"], more=1),
    "garbage": lambda _: "a.b.c",
    "parent_never_created_but_hmac_known": _of_key_that_never_was,
    "parent_deleted": _of_deleted_key,
    "parent_recreated_same_uid": _of_key_that_came_back,
    "star_on_other": _claims(searchRules=["*"]),
    "rule_other_on_other": _claims(searchRules=[OTHER]),
}


@pytest.mark.parametrize(
    "case", [case for case in _CASES if case.name.startswith("token.")], ids=lambda case: case.name
)
def test_a_tenant_token_opens_what_it_opens_on_the_real_server(case: Case, world: World) -> None:
    (expected,) = case.expected.values()
    made = _TOKENS[case.name.removeprefix("token.")](world)
    reply = world.api.call(case.method, filled(case.path, {}), case.body, token=made)
    assert differences(reply, expected, world.api.master_key, world.names) == []
