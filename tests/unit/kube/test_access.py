"""Finding the API server, and refusing what we can not follow."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, web

from bulkhead.api.sensitive import Sensitive
from bulkhead.kube.access import AccessError, Token, find_access

TOKEN = "hunter2-token"


class Kubeconfig:
    """A kubeconfig that works, to be broken in one place."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config"
        self.cluster: dict[str, Any] = {
            "server": "https://10.0.0.1:6443/",
            "certificate-authority-data": base64.b64encode(b"PEM").decode(),
        }
        self.user: dict[str, Any] = {"token": TOKEN}
        self.context: dict[str, Any] = {"cluster": "c", "user": "u", "namespace": "bulkhead-system"}

    def write(self, **more: object) -> dict[str, str]:
        """Write it, and give the environment that names it."""
        content = {
            "current-context": "main",
            "contexts": [{"name": "main", "context": self.context}],
            "clusters": [{"name": "c", "cluster": self.cluster}],
            "users": [{"name": "u", "user": self.user}],
        }
        self.path.write_text(yaml.safe_dump(content | more))
        return {"KUBECONFIG": str(self.path)}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Kubeconfig:
    return Kubeconfig(tmp_path)


def test_a_kubeconfig_with_a_token(kubeconfig: Kubeconfig) -> None:
    access = find_access(kubeconfig.write())
    assert (access.server, access.namespace, access.ca) == ("https://10.0.0.1:6443", "bulkhead-system", b"PEM")
    assert access.token.current().reveal() == TOKEN


def test_a_kubeconfig_whose_files_lie_beside_it(kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"CA")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    kubeconfig.cluster = {"server": "https://10.0.0.1:6443", "certificate-authority": "ca.crt"}
    kubeconfig.user = {"tokenFile": "token"}
    access = find_access(kubeconfig.write())
    assert (access.ca, access.token.current().reveal()) == (b"CA", TOKEN)


def test_a_kubeconfig_with_a_client_certificate(kubeconfig: Kubeconfig) -> None:
    kubeconfig.user = {
        "client-certificate-data": base64.b64encode(b"CERT").decode(),
        "client-key-data": base64.b64encode(b"KEY").decode(),
    }
    access = find_access(kubeconfig.write())
    assert (access.certificate, access.key.reveal()) == (b"CERT", "KEY")


def test_of_several_kubeconfigs_the_first_that_says_something_counts(kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "other"}}]}))
    paths = os.pathsep.join((str(first), kubeconfig.write()["KUBECONFIG"]))
    assert find_access({"KUBECONFIG": paths}).token.current().reveal() == "other"


@pytest.mark.parametrize("key", ["exec", "auth-provider", "as", "username", "password"])
def test_a_login_that_we_can_not_follow_is_refused_by_name(kubeconfig: Kubeconfig, key: str) -> None:
    kubeconfig.user[key] = {"command": "x"} if key == "exec" else "somebody"
    with pytest.raises(AccessError, match=f'user "u" uses "{key}"'):
        find_access(kubeconfig.write())


@pytest.mark.parametrize(
    ("key", "value"), [("insecure-skip-tls-verify", True), ("proxy-url", "http://proxy"), ("tls-server-name", "x")]
)
def test_a_connection_that_we_can_not_follow_is_refused_by_name(
    kubeconfig: Kubeconfig, key: str, value: object
) -> None:
    kubeconfig.cluster[key] = value
    with pytest.raises(AccessError, match=f'cluster "c" uses "{key}"'):
        find_access(kubeconfig.write())


def test_verification_that_is_explicitly_not_skipped_is_fine(kubeconfig: Kubeconfig) -> None:
    kubeconfig.cluster["insecure-skip-tls-verify"] = False
    assert find_access(kubeconfig.write()).server == "https://10.0.0.1:6443"


@pytest.mark.parametrize("server", ["http://10.0.0.1:8080", "", "ftp://x", "http://127.0.0.1.example.com:80"])
def test_credentials_do_not_travel_unencrypted(kubeconfig: Kubeconfig, server: str) -> None:
    kubeconfig.cluster["server"] = server
    with pytest.raises(AccessError, match="https"):
        find_access(kubeconfig.write())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"current-context": ""}, "no current-context"),
        ({"contexts": []}, 'no context "main"'),
        ({"clusters": None}, 'no cluster "c"'),
        ({"users": [{"name": "other"}]}, 'no user "u"'),
    ],
)
def test_what_is_missing_is_named(kubeconfig: Kubeconfig, more: dict[str, object], message: str) -> None:
    with pytest.raises(AccessError, match=message):
        find_access(kubeconfig.write(**more))


@pytest.mark.parametrize("content", [f"users: [{TOKEN}", f"- {TOKEN}", TOKEN])
def test_a_file_that_is_no_kubeconfig_is_not_quoted(kubeconfig: Kubeconfig, content: str) -> None:
    kubeconfig.path.write_text(content)
    with pytest.raises(AccessError) as caught:
        find_access({"KUBECONFIG": str(kubeconfig.path)})
    assert TOKEN not in str(caught.value)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="absent can not be read"):
        find_access({"KUBECONFIG": str(tmp_path / "absent")})


def test_data_that_is_not_base64_is_named_and_not_quoted(kubeconfig: Kubeconfig) -> None:
    kubeconfig.user = {"client-key-data": f"{TOKEN}!"}
    with pytest.raises(AccessError, match='client-key-data of user "u" is not base64') as caught:
        find_access(kubeconfig.write())
    assert TOKEN not in str(caught.value)


async def test_a_certificate_that_is_none_is_an_error_of_access(kubeconfig: Kubeconfig) -> None:
    kubeconfig.cluster["certificate-authority-data"] = base64.b64encode(b"\xff\xfe").decode()
    with pytest.raises(AccessError, match="not PEM"):
        find_access(kubeconfig.write()).open_session()


class Pod:
    """The files and variables that a pod has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "token").write_text(TOKEN)
        (folder / "namespace").write_text("bulkhead-system\n")
        (folder / "ca.crt").write_bytes(b"CA")
        self.environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_a_pod_uses_its_service_account(pod: Pod, tmp_path: Path) -> None:
    access = find_access(pod.environment, service_account=pod.folder, home=tmp_path)
    assert (access.server, access.namespace, access.ca) == ("https://10.96.0.1:443", "bulkhead-system", b"CA")


def test_an_address_of_ip_version_6_is_bracketed(pod: Pod) -> None:
    access = find_access(pod.environment | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, service_account=pod.folder)
    assert access.server == "https://[fd00::1]:443"


def test_a_kubeconfig_that_is_named_is_preferred_to_the_service_account(pod: Pod, kubeconfig: Kubeconfig) -> None:
    environment = pod.environment | kubeconfig.write()
    assert find_access(environment, service_account=pod.folder).server == "https://10.0.0.1:6443"


def test_outside_of_a_pod_the_users_own_kubeconfig_is_taken(kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".kube").mkdir(parents=True)
    kubeconfig.path = home / ".kube" / "config"
    kubeconfig.write()
    assert find_access({}, service_account=tmp_path, home=home).server == "https://10.0.0.1:6443"


def test_where_there_is_nothing_the_ways_out_are_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="set KUBECONFIG"):
        find_access({}, service_account=tmp_path, home=tmp_path)


def test_a_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = Token(file=file)
    assert token.current().reveal() == "first"
    file.write_text("second-one")
    assert token.current().reveal() == "second-one"


def test_a_token_is_read_again_when_its_file_is_replaced_by_a_link(tmp_path: Path) -> None:
    for name in ("first", "other"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "token"
    link.symlink_to("first")
    token = Token(file=link)
    assert token.current().reveal() == "first"
    (tmp_path / "next").symlink_to("other")
    (tmp_path / "next").replace(link)
    assert token.current().reveal() == "other"


def test_a_token_whose_file_is_gone_for_a_moment_stays_in_use(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = Token(file=file)
    token.current()
    file.unlink()
    assert token.current().reveal() == "first"


def test_a_token_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="token file"):
        Token(file=tmp_path / "absent").current()


def test_no_secret_shows_in_the_representation(kubeconfig: Kubeconfig) -> None:
    kubeconfig.user["client-key-data"] = base64.b64encode(b"hunter2-key").decode()
    assert "hunter2" not in repr(find_access(kubeconfig.write()))


async def test_every_request_bears_the_token_in_force(tmp_path: Path) -> None:
    seen: list[str | None] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", note)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    file = tmp_path / "token"
    kubeconfig = Kubeconfig(tmp_path)
    kubeconfig.cluster = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    kubeconfig.user = {"tokenFile": "token"}
    file.write_text("first")
    access = find_access(kubeconfig.write())
    async with access.open_session() as session:
        await get(session, access.server)
        file.write_text("second-one")
        await get(session, access.server)
    await runner.cleanup()
    assert seen == ["Bearer first", "Bearer second-one"]


async def get(session: ClientSession, url: str) -> None:
    async with session.get(url) as response:
        assert response.status == 200


def test_a_token_that_is_given_needs_no_file() -> None:
    assert Token(Sensitive(TOKEN)).current().reveal() == TOKEN
