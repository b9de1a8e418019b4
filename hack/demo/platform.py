"""The platform before the tenants: their plane joins, and a user's request goes through it to one of them."""

from __future__ import annotations

import json
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console

from bulkhead.protocol.assertions import server_name
from hack.demo.kubectl import Kubectl
from hack.demo.service import Service
from hack.plane.installation import secret
from hack.plane.private import write_private
from hack.plane.process import ProcessError
from hack.plane.state import GatewayFacts, PlatformFacts

T = TypeVar("T")

PLANE: Final = "default"
SLUGS: Final = ("acme", "globex")
WHO: Final = "ada"
READS: Final = ("CLUSTER_READ", "DATASET_READ", "AUDIT_READ")
READER_SECONDS: Final = 30 * 86400
JOIN_SECONDS: Final = 300
CONDITION_SECONDS: Final = 60
EVENT_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1
CONDITIONS: Final = ("Registered", "Connected")
COLUMNS: Final = ",".join(
    (
        "NAME:.metadata.name",
        *(f'{each.upper()}:.status.conditions[?(@.type=="{each}")].status' for each in CONDITIONS),
        "ID AT THE PLATFORM:.status.platform.clusterId",
    )
)


@dataclass(frozen=True, slots=True)
class Access:
    """What one goes on with.

    program: the `bulkhead` of whoever maintains the platform
    admin, reader: files for `curl -K`: whom to trust, and a token
    url: of the platform
    proxied: of acme's Data API, through it
    """

    program: Path
    admin: Path
    reader: Path
    url: str
    proxied: str


class Platform:
    """What is shown of it, in order."""

    def __init__(self, kubectl: Kubectl, platform: PlatformFacts, gateway: GatewayFacts, console: Console) -> None:
        self._kubectl = kubectl
        self._service = Service(platform.url, platform.ca_pem)
        self._ca_pem = platform.ca_pem
        self._program = Path(platform.program)
        self._gateway = gateway
        self._console = console

    def join(self) -> str:
        """What needs no tenant. Returns what is to be shown of it, for it may be done while something else is shown.

        Raises:
            ProcessError: a step failed; it says what was done by then.
        """
        shown = self._console.capture()
        try:
            with shown:
                self._console.rule(f"[bold]The platform: {WHO} of acme administers it")
                admin, _ = self._tokens()
                self._console.rule("[bold]The plane joins it, with a token that is good once")
                self._join(admin)
                self._open(admin)
        except ProcessError as error:
            raise ProcessError(f"{shown.get()}{error}") from None
        return shown.get()

    def use(self) -> Access:
        """Raises ProcessError: a step failed."""
        reader = self._kept("reader")
        clusters = self._registered()
        self._heartbeats(reader)
        self._console.rule(f"[bold]{WHO} reads a row of acme, through the platform")
        asked_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        self._proxied(reader, clusters)
        self._audit(reader, clusters["acme"], asked_at)
        return Access(
            program=self._program,
            admin=self._curl("admin"),
            reader=self._curl("reader"),
            url=self._service.url,
            proxied=f"{self._service.url}{_proxied(clusters['acme'])}",
        )

    def _tokens(self) -> tuple[str, str]:
        """One that administers, and one that only reads. Kept, so that who runs the demo again goes on with them."""
        if self._curl("admin").exists():
            self._console.print(f"  {WHO} has tokens from before")
        else:
            may = [word for ability in (*READS, "TOKEN_ADMIN") for word in ("--ability", ability)]
            self._bulkhead("grant", "organisation", "acme")
            self._bulkhead("grant", "member", WHO, "--organisation", "acme", *may)
            self._bulkhead("grant", "admin", WHO)
            printed = self._bulkhead("grant", "token", WHO, "--name", "demo", "--platform-admin")
            self._keep("admin", printed.rpartition("\n")[2])
        admin = self._kept("admin")
        if not self._curl("reader").exists():
            asked = {"name": "reader", "abilities": READS, "seconds": READER_SECONDS}
            self._keep("reader", self._call(admin, "POST", "/v1/tokens", asked)["token"])
        return admin, self._kept("reader")

    def _keep(self, name: str, token: str) -> None:
        trusted = write_private(self._program.with_name("ca.crt"), self._ca_pem)
        lines = ("silent", "show-error", r'write-out = "\n"', f'cacert = "{trusted}"')
        write_private(self._curl(name), "\n".join((*lines, f'header = "Authorization: Bearer {token}"', "")))

    def _kept(self, name: str) -> str:
        return self._curl(name).read_text().partition("Bearer ")[2].partition('"')[0]

    def _curl(self, name: str) -> Path:
        return self._program.with_name(f"{name}.curl")

    def _join(self, admin: str) -> None:
        if "platform" not in self._kubectl.get("dataplane", PLANE)["spec"]:
            asked = {"kind": "plane", "name": PLANE, "selfConfirming": True, "seconds": JOIN_SECONDS}
            token = self._call(admin, "POST", "/v1/data-planes/tokens", asked)["token"]
            self._kubectl("apply", "-f", "-", text=json.dumps(secret("platform-token", {"token": token})))
            reached = {
                "url": self._service.url,
                "registrationTokenSecretRef": {"name": "platform-token"},
                "caSecretRef": {"name": "engines-ca"},
            }
            patch = json.dumps({"spec": {"platform": reached}})
            command = ("patch", "dataplane", PLANE, "--type=merge", f"--patch={patch}")
            with self._timed(f"kubectl {shlex.join(command)}", style="cyan"):
                self._kubectl(*command)
        with self._timed(f"DataPlane {PLANE} Registered and Connected"):
            self._wait("dataplane", PLANE)

    def _open(self, admin: str) -> None:
        """What people of the platform say of a plane that has joined: whose its tenants are, where its gateway is."""
        plane = self._kubectl.get("dataplane", PLANE)["status"]["platform"]["planeId"]
        for slug in SLUGS:
            organisation = self._call(admin, "POST", "/v1/organisations", {"name": slug})["id"]
            self._call(admin, "PUT", f"/v1/grants/{plane}/organisations/{organisation}")
            self._call(admin, "PUT", f"/v1/grants/{plane}/tenants/{slug}", {"organisation": organisation})
        target = {
            "address": self._gateway.address,
            "ca": self._gateway.ca_pem,
            "clientCertificate": self._gateway.client_certificate,
            "clientKey": self._gateway.client_key,
        }
        self._call(admin, "PUT", f"/v1/data-planes/{plane}/target", target)

    def _registered(self) -> dict[str, str]:
        """The platform's id of each tenant's cluster."""
        with self._timed(f"DataClusters {' and '.join(SLUGS)} Registered and Connected, by themselves"):
            self._wait("datacluster", *SLUGS)
        self._console.print(self._kubectl("get", "dataclusters", *SLUGS, f"--output=custom-columns={COLUMNS}"))
        found = self._kubectl.get("dataclusters")["items"]
        return {each["metadata"]["name"]: each["status"]["platform"]["clusterId"] for each in found}

    def _heartbeats(self, reader: str) -> None:
        def heard() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self._service.done(reader, "GET", "/v1/clusters")["clusters"]
            return [each for each in found if each["lastSeen"] is not None]

        self._console.print("  GET /v1/clusters", style="cyan")
        for each in self._until(heard, "no heartbeat is shown by GET /v1/clusters"):
            seen = max(0, round(time.time() - each["lastSeen"]))
            state = "online" if each["online"] else "offline"
            self._console.print(f"  {each['name']} is {state}: its last heartbeat was {seen} s ago")

    def _proxied(self, token: str, clusters: dict[str, str]) -> None:
        self._until(lambda: self._served(clusters["acme"]), "the gateway does not serve acme")
        for slug, expected in (("acme", HTTPStatus.OK), ("globex", HTTPStatus.NOT_FOUND)):
            path = f"{_proxied(clusters[slug])}/row"
            answer = self._service.ask(token, "GET", path)
            said = json.dumps(answer.body) if answer.status == HTTPStatus.OK else answer.problem
            self._console.print(f"  GET {path}", style="cyan", soft_wrap=True)
            self._console.print(f"  {answer.status} {said}", soft_wrap=True, markup=False)
            if answer.status != expected:
                raise ProcessError(f"the request to {slug} is answered {answer.status}, not {expected}: {said}")

    def _served(self, cluster: str) -> bool:
        """Whether the gateway has a certificate for it: it has read what the operator published."""
        host, _, port = self._gateway.address.rpartition(":")
        context = ssl.create_default_context(cadata=self._gateway.ca_pem)
        try:
            with socket.create_connection((host, int(port)), EVENT_SECONDS) as plain:
                context.wrap_socket(plain, server_hostname=server_name(cluster)).close()
        except OSError:
            return False
        return True

    def _audit(self, token: str, cluster: str, since: str) -> None:
        def rows() -> list[dict[str, Any]]:
            found = self._all_rows(token, "/v1/audit?action=proxy.requested&limit=200")
            return [each for each in found if each["target"]["id"] == cluster and each["at"] >= since]

        line = self._until(rows, "the request is not in the audit")[-1]
        self._console.print("  GET /v1/audit?action=proxy.requested", style="cyan")
        self._console.print(f"  {json.dumps(line)}", soft_wrap=True, markup=False)
        self._console.print(self._bulkhead("verify-audit"), markup=False)
        self._console.print("  (a head of the chain is signed and exported every minute)", style="dim")

    def _all_rows(self, token: str, path: str) -> Iterator[dict[str, Any]]:
        after: int | None = 0
        while after is not None:
            page = self._service.done(token, "GET", f"{path}&after={after}")
            yield from page["rows"]
            after = page["next"]

    def _call(self, token: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        with self._timed(f"{method} {path}", style="cyan"):
            return self._service.done(token, method, path, body)

    def _bulkhead(self, *words: str) -> str:
        """What `bulkhead platform` prints with these words."""
        with self._timed(f"bulkhead platform {shlex.join(words)}", style="cyan"):
            ran = subprocess.run([self._program, "platform", *words], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise ProcessError(f"bulkhead platform {words[0]}: {(ran.stderr or ran.stdout).strip()}")
        return ran.stdout.strip()

    def _wait(self, kind: str, *names: str) -> None:
        """Until they are registered, and so connected; else says what the conditions say."""
        objects = [f"{kind}/{name}" for name in names]
        try:
            self._kubectl("wait", *objects, f"--for=condition={CONDITIONS[-1]}", f"--timeout={CONDITION_SECONDS}s")
        except ProcessError:
            told = [line for name in names for line in self._lacking(kind, name)]
            raise ProcessError("\n".join((f"not {CONDITIONS[-1]} within {CONDITION_SECONDS} s", *told))) from None

    def _lacking(self, kind: str, name: str) -> Iterator[str]:
        """What an object says of each condition that it does not have."""
        said = self._kubectl.get(kind, name).get("status", {}).get("conditions", ())
        conditions = {each["type"]: each for each in said}
        for condition in CONDITIONS:
            found = conditions.get(condition, {"status": "Unknown", "message": "nothing is known of it"})
            if found["status"] != "True":
                yield f"{kind} {name} is not {condition}: {found['message']}"

    def _until(self, look: Callable[[], T], otherwise: str) -> T:
        """What `look` gives once it gives something true."""
        deadline = time.monotonic() + EVENT_SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                raise ProcessError(f"{otherwise} within {EVENT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        return found

    @contextmanager
    def _timed(self, what: str, style: str = "") -> Iterator[None]:
        started = time.monotonic()
        yield
        self._console.print(f"  {what}  [dim]{time.monotonic() - started:.1f} s[/dim]", style=style, soft_wrap=True)


def _proxied(cluster: str) -> str:
    return f"/v1/clusters/{cluster}/proxy"
