"""What the real server answered, credential by credential: status, error text and envelope.

`observed.json` holds requests that were sent to Qdrant 1.18.3 with sixteen credentials. `answers` are the distinct
patterns of answers, `cases` the requests with the number of the pattern for each situation of the collection they are
about: the token's own, another's, one that is missing, and the token's own that is missing. The credentials under
`refused` are refused alike wherever a pattern does not say otherwise.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.qdrant.server import Server
from tests.contract.qdrant.wire import Answer
from tests.contract.qdrant.world import World, Worlds

OBSERVED = json.loads(Path(__file__).with_name("observed.json").read_text())
EVERY_CREDENTIAL = 9
UPLOAD = "<multipart snapshot=garbage bytes>"
FORM = (
    b'--x\r\ncontent-disposition: form-data; name="snapshot"; filename="a.snapshot"\r\n\r\ngarbage bytes\r\n--x--\r\n'
)
# What may be asked again and again without a trace.
READING = re.compile(
    r"/(points|scroll|count|facet|query|search|recommend|discover|pairs|offsets)(/(batch|groups))?(\?.*)?$"
)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    method: str
    path: str
    situation: str
    expected: dict[str, str] = field(repr=False)
    body: Any = None
    setup: dict[str, Any] | None = None

    @property
    def target(self) -> str:
        return self.situation if self.situation in {"own", "other", "missing"} else "own"

    @property
    def leaves_no_trace(self) -> bool:
        return self.method == "GET" or (self.method == "POST" and bool(READING.search(self.path)))


def cases() -> Iterator[Any]:
    for case in OBSERVED["cases"]:
        for situation, number in case["answers"].items():
            expected = expectations(OBSERVED["answers"][str(number)])
            made = Case(
                case["case"], case["method"], case["path"], situation, expected, case.get("body"), case.get("setup")
            )
            yield pytest.param(made, id=f"{made.name}-{situation}")


def expectations(pattern: dict[str, list[str]]) -> dict[str, str]:
    """The outcome that each credential is to have."""
    expected = {credential: outcome for outcome, credentials in pattern.items() for credential in credentials}
    return OBSERVED["refused"] | expected if len(expected) >= EVERY_CREDENTIAL else expected


@pytest.fixture(scope="module")
def worlds(server: Server) -> Worlds:
    return Worlds(server)


@pytest.mark.parametrize("case", list(cases()))
def test_every_credential_gets_the_answer_that_the_real_server_gave(case: Case, server: Server, worlds: Worlds) -> None:
    got, expected = {}, {}
    for credential, outcome in case.expected.items():
        world = worlds.kept(own=case.situation != "own_absent") if case.setup is None else worlds.fresh()
        got[credential], expected[credential] = answered(case, server, world, credential, outcome)
        if case.setup is not None or not (got[credential].startswith(("4", "plain")) or case.leaves_no_trace):
            worlds.disturbed(world)
    assert got == expected


def answered(case: Case, server: Server, world: World, credential: str, outcome: str) -> tuple[str, str]:
    """What came back, and what should have: the former where it fits a wildcard in the latter."""
    if case.path == "/snapshots/{snapshot}":
        case = replace(case, path=f"/snapshots/{server.ask('POST', '/snapshots').expect()['name']}")
    prepare(case, server, world, credential)
    got = send(case, server, world, credential).outcome
    expected = world.fill(outcome, case.target)
    wildcard = re.escape(expected).replace(re.escape("{any}"), ".*")
    return got, got if re.fullmatch(wildcard, got) else expected


def prepare(case: Case, server: Server, world: World, credential: str) -> None:
    setup = case.setup or {}
    if "alias" in setup:
        alias, collection = world.fill(setup["alias"], case.target).split(" -> ")
        action = {"create_alias": {"collection_name": collection, "alias_name": alias}}
        server.ask("POST", "/collections/aliases", {"actions": [action]}).expect()
    if "strict_mode_config" in setup:
        limits = {"strict_mode_config": setup["strict_mode_config"]}
        server.ask("PATCH", f"/collections/{world.names['own']}", limits).expect()
    for _ in range(setup.get("preceding_calls", 0)):
        send(case, server, world, credential)


def send(case: Case, server: Server, world: World, credential: str) -> Answer:
    key = world.credentials[credential]
    headers = {} if key is None else {"api-key": key}
    path = world.fill(case.path, case.target)
    if case.body == UPLOAD:
        return server.send_raw(case.method, path, FORM, headers | {"content-type": "multipart/form-data; boundary=x"})
    if isinstance(case.body, str) and case.body.startswith("<raw>"):
        raw = case.body.removeprefix("<raw>").encode()
        return server.send_raw(case.method, path, raw, headers | {"content-type": "application/json"})
    body = None if case.body is None else json.loads(world.fill(json.dumps(case.body), case.target))
    return server.ask(case.method, path, body, key=key)
