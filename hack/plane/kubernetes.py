"""The Kubernetes control plane: API server, controller manager, scheduler."""

import json
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from hack.plane.certificates import Authority, KeyPair, signing_key
from hack.plane.etcd import Etcd
from hack.plane.ports import LOOPBACK
from hack.plane.private import write_private
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site

ADMIN = "plane-admin"
ADMIN_GROUPS = ("system:masters",)
FRONT_PROXY = "front-proxy"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
API_SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
# The log is counted by tests: a rotation would lose lines.
AUDIT_LOG_MEGABYTES = 100_000
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


class Pki:
    """The keys of the cluster, as files."""

    def __init__(self, folder: Path, authority: Authority, front_proxy: Authority) -> None:
        self.authority = authority
        tokens = signing_key()
        server = authority.server("kube-apiserver", API_SERVICE_ADDRESS, *API_SERVICE_NAMES)
        admin = authority.client(ADMIN, ADMIN_GROUPS)
        self.ca_certificate = write_private(folder / "ca.crt", authority.certificate)
        self.ca_key = write_private(folder / "ca.key", authority.key_pair.key)
        self.server_certificate = write_private(folder / "server.crt", server.certificate)
        self.server_key = write_private(folder / "server.key", server.key)
        self.token_public_key = write_private(folder / "service-account.pub", tokens.certificate)
        self.token_key = write_private(folder / "service-account.key", tokens.key)
        # An authority of its own: whoever holds a certificate of it may claim to be any user.
        proxy = front_proxy.client(FRONT_PROXY)
        self.front_proxy_ca = write_private(folder / "front-proxy-ca.crt", front_proxy.certificate)
        self.front_proxy_certificate = write_private(folder / "front-proxy.crt", proxy.certificate)
        self.front_proxy_key = write_private(folder / "front-proxy.key", proxy.key)
        self.admin = admin
        self.admin_certificate = write_private(folder / "admin.crt", admin.certificate)
        self.admin_key = write_private(folder / "admin.key", admin.key)


class ApiServer(Server):
    """kube-apiserver, with RBAC, the Node authorizer, Pod Security and an audit log of every request.

    Attributes:
        url, ca_file, ca_pem: how to reach and verify it.
        admin_certificate, admin_key: client certificate of a cluster administrator, files.
        audit_log: one JSON event per line and request, level Metadata; a watch has a second, ResponseStarted.
    """

    def __init__(self, site: Site, program: Path, pki: Pki, etcd: Etcd) -> None:
        folder = site.folder("kube-apiserver")
        port = site.ports.reserve()
        self.url = f"https://{LOOPBACK}:{port}"
        self.ca_file = pki.ca_certificate
        self.ca_pem = pki.authority.certificate
        self.admin_certificate = pki.admin_certificate
        self.admin_key = pki.admin_key
        self.audit_log = folder / "audit.log"
        self.context = ssl.create_default_context(cadata=self.ca_pem)
        self.context.load_cert_chain(self.admin_certificate, self.admin_key)
        policy = write_private(folder / "audit-policy.json", json.dumps(AUDIT_POLICY))
        argv = [
            str(program),
            f"--etcd-servers={etcd.url}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--advertise-address={LOOPBACK}",
            # It would try for ever to publish a loopback address for its own Service, which validation refuses.
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={pki.server_certificate}",
            f"--tls-private-key-file={pki.server_key}",
            f"--client-ca-file={pki.ca_certificate}",
            f"--requestheader-client-ca-file={pki.front_proxy_ca}",
            f"--requestheader-allowed-names={FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki.front_proxy_certificate}",
            f"--proxy-client-key-file={pki.front_proxy_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki.token_public_key}",
            f"--service-account-signing-key-file={pki.token_key}",
            # As every distribution does: what is privileged is Pod Security's to decide.
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction,PodSecurity",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            f"--audit-log-maxsize={AUDIT_LOG_MEGABYTES}",
            # Without it, a stopping server waits a minute for watches that never end.
            "--shutdown-watch-termination-grace-period=1s",
            "--profiling=false",
        ]
        # Memory for time: it takes more processor than all other servers of a plane, a sixth of it to collect garbage.
        env = {"GOGC": "400"}
        super().__init__(
            "kube-apiserver", site.warden, Launch(argv, folder / "kube-apiserver.log", env=env, cwd=etcd.folder)
        )

    async def answers(self) -> bool:
        return await status_of(f"{self.url}/readyz", self.context) == 200

    async def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Status and decoded body of one request as the administrator. content_type: of `body`, which is sent as JSON

        Raises:
            aiohttp.ClientError: it did not answer.
        """
        connector = aiohttp.TCPConnector(ssl=self.context, force_close=True)
        headers = {} if body is None else {"Content-Type": content_type}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, self.url + path, json=body, headers=headers) as response,
        ):
            return response.status, await response.json(content_type=None)


class Component(Server):
    """A client of the API server that serves its own health."""

    def __init__(self, name: str, site: Site, program: Path, pki: Pki, api: ApiServer, *flags: str) -> None:
        folder = site.folder(name)
        port = site.ports.reserve()
        self._api = api
        self._url = f"https://{LOOPBACK}:{port}"
        own, user = pki.authority.server(name), pki.authority.client(f"system:{name}")
        login = write_private(folder / f"{name}.kubeconfig", kubeconfig(api, client_user(user)))
        argv = [
            str(program),
            f"--kubeconfig={login}",
            f"--authentication-kubeconfig={login}",
            f"--authorization-kubeconfig={login}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--tls-cert-file={write_private(folder / f'{name}.crt', own.certificate)}",
            f"--tls-private-key-file={write_private(folder / f'{name}.key', own.key)}",
            "--leader-elect=false",
            "--profiling=false",
            *flags,
        ]
        super().__init__(name, site.warden, Launch(argv, folder / f"{name}.log"))

    async def answers(self) -> bool:
        return await status_of(f"{self._url}/healthz", self._api.context) == 200


class ControllerManager(Component):
    """kube-controller-manager: garbage collection, namespaces, service accounts, Deployments and their like."""

    def __init__(self, site: Site, program: Path, pki: Pki, api: ApiServer) -> None:
        super().__init__(
            "kube-controller-manager",
            site,
            program,
            pki,
            api,
            "--use-service-account-credentials",
            # Its forty controllers ask for a token each: with the default burst of 30 that alone takes three seconds.
            "--kube-api-burst=200",
            f"--service-account-private-key-file={pki.token_key}",
            f"--root-ca-file={pki.ca_certificate}",
            f"--cluster-signing-cert-file={pki.ca_certificate}",
            f"--cluster-signing-key-file={pki.ca_key}",
        )

    async def answers(self) -> bool:
        """Its health, and the first of its deeds that all else needs: without this account no pod is admitted."""
        if not await super().answers():
            return False
        account = f"{self._api.url}/api/v1/namespaces/default/serviceaccounts/default"
        return await status_of(account, self._api.context) == 200


class Scheduler(Component):
    """kube-scheduler: KWOK plays only pods that have a node."""

    def __init__(self, site: Site, program: Path, pki: Pki, api: ApiServer) -> None:
        super().__init__("kube-scheduler", site, program, pki, api)


def kubeconfig(api: ApiServer, user: Mapping[str, str]) -> str:
    """A kubeconfig that needs no other file; JSON, which is YAML."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "plane",
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "plane"}}],
            "clusters": [
                {"name": "plane", "cluster": {"server": api.url, "certificate-authority-data": encoded(api.ca_pem)}}
            ],
            "users": [{"name": "plane", "user": dict(user)}],
        },
        indent=2,
    )


def client_user(pair: KeyPair) -> dict[str, str]:
    """The user entry of a kubeconfig that logs in by certificate."""
    return {"client-certificate-data": encoded(pair.certificate), "client-key-data": encoded(pair.key)}


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
