"""Where the API server is and how we prove who we are: the pod's service account, or a kubeconfig.

What a kubeconfig may say and we do not support (exec plugins, impersonation, proxies, skipped verification) is refused
by name: to ignore it would mean to act as somebody else or over another way than its author asked for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bulkhead.api.sensitive import Sensitive

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_USER_AGENT = "bulkhead"
# Below the 90 s after which kube-apiserver closes an idle connection: a request never meets one that is just closing.
_KEEPALIVE_SECONDS = 60.0

_REFUSED_OF_USER = ("exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra", "username", "password")
_REFUSED_OF_CLUSTER = ("insecure-skip-tls-verify", "proxy-url", "tls-server-name")


class AccessError(Exception):
    """There is no usable way to the API server; the text says what to change."""


class Token:
    """A bearer token, read again when its file changes: the kubelet replaces it long before it expires."""

    def __init__(self, value: Sensitive | None = None, file: Path | None = None) -> None:
        self._value = value or Sensitive("")
        self._file = file
        self._seen: tuple[int, int, int] | None = None

    def current(self) -> Sensitive:
        """The token in force; empty where there is none (client certificates). Raises AccessError when its file is
        unreadable and no token was read before."""
        if self._file is None:
            return self._value
        try:
            self._refresh(self._file)
        except OSError as error:
            if not self._value:
                raise AccessError(f"the token file {self._file} can not be read: {error.strerror}") from error
        return self._value

    def _refresh(self, file: Path) -> None:
        stat = file.stat()
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen == self._seen:
            return
        self._value = Sensitive(file.read_text().strip())
        self._seen = seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One API server and one identity on it."""

    server: str
    """`https://host:port`, without a trailing slash."""
    namespace: str
    """The pod's own namespace, or that of the kubeconfig's context."""
    ca: bytes
    """PEM bundle that the server's certificate is verified with; empty: the system's trust store."""
    token: Token
    certificate: bytes = b""
    """PEM of the client certificate; empty: none."""
    key: Sensitive = field(default=Sensitive(""), repr=False)
    """PEM of its key."""

    def open_session(self, *, connections: int = 32) -> aiohttp.ClientSession:
        """A session that authenticates every request with the token in force. The caller closes it.

        A TLS handshake costs the server more than a small request does, so connections are few and kept.
        """
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, ssl=self._tls(), keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=10
            ),
            # The server would gzip long lists: more CPU on both sides than a cluster's network is worth.
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_bearer(self.token),),
            timeout=aiohttp.ClientTimeout(total=15),
        )

    def _tls(self) -> ssl.SSLContext | bool:
        if not self.server.startswith("https://"):
            return True
        try:
            # A bundle may hold comments in any encoding, and `ssl` takes ASCII only. They are replaced, not dropped:
            # an empty text would mean the system's trust store.
            pem = self.ca.decode("utf-8", "replace").encode("ascii", "replace").decode()
            context = ssl.create_default_context(cadata=pem or None)
            if self.certificate:
                with _files(self.certificate, self.key.reveal().encode()) as (certificate, key):
                    context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise AccessError("the CA, the client certificate or its key is not PEM, or they do not fit") from error
        return context


def find_access(
    environment: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT_DIR, home: Path | None = None
) -> Access:
    """`KUBECONFIG` where it is set, else the pod's service account, else `~/.kube/config`. Raises AccessError."""
    if named := environment.get("KUBECONFIG"):
        return from_kubeconfig([Path(part) for part in named.split(os.pathsep) if part])
    if environment.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").exists():
        return from_service_account(environment, service_account)
    default = (home or Path.home()) / ".kube" / "config"
    if default.exists():
        return from_kubeconfig([default])
    raise AccessError(
        "no way to the API server: set KUBECONFIG, or run in a pod with a service account, or create ~/.kube/config"
    )


def from_service_account(environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT_DIR) -> Access:
    """Access of the pod that we run in. Raises AccessError."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    token = Token(file=directory / "token")
    token.current()
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=_read(directory / "namespace").decode().strip(),
        ca=_read(directory / "ca.crt"),
        token=token,
    )


def from_kubeconfig(paths: list[Path]) -> Access:
    """Access of the current context; the first file that says something wins, as with kubectl. Raises AccessError."""
    files = [_KubeconfigFile.load(path) for path in paths]
    name = next((file.current_context for file in files if file.current_context), "")
    if not name:
        raise AccessError(f"no current-context in {_names(paths)}: choose one with `kubectl config use-context`")
    context = _entry(files, "context", name)
    cluster = _entry(files, "cluster", context.text("cluster"))
    user = _entry(files, "user", context.text("user"))
    if not cluster.text("server").startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise AccessError(f"{cluster.what} has no https:// server: credentials travel over verified connections only")
    cluster.refuse(_REFUSED_OF_CLUSTER, allowed=("", False))
    user.refuse(_REFUSED_OF_USER, allowed=("",))
    return Access(
        server=cluster.text("server").rstrip("/"),
        namespace=context.text("namespace") or "default",
        ca=cluster.content("certificate-authority"),
        token=_token_of(user),
        certificate=user.content("client-certificate"),
        key=Sensitive(user.content("client-key").decode("ascii", "replace")),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One named context, cluster or user, and the folder that its relative paths start from."""

    what: str
    values: Mapping[str, Any] = field(repr=False)
    folder: Path

    def text(self, key: str) -> str:
        return str(self.values.get(key) or "")

    def content(self, key: str) -> bytes:
        """Value of `<key>-data`, decoded, or of the file that `<key>` names; empty where there is neither."""
        if data := self.text(f"{key}-data"):
            try:
                return base64.b64decode(data, validate=True)
            except binascii.Error as error:
                raise AccessError(f"{key}-data of {self.what} is not base64") from error
        path = self.text(key)
        return _read(self.folder / path) if path else b""

    def refuse(self, keys: tuple[str, ...], allowed: tuple[object, ...]) -> None:
        for key in keys:
            if self.values.get(key) not in (None, *allowed):
                raise AccessError(
                    f'{self.what} uses "{key}", which is not supported: use a token, a tokenFile or a client '
                    "certificate, over a connection that is verified"
                )


@dataclass(frozen=True, slots=True)
class _KubeconfigFile:
    path: Path
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> _KubeconfigFile:
        try:
            content = yaml.safe_load(_read(path))
        except yaml.YAMLError as error:
            # The parser's own text quotes the line, which may be a token.
            raise AccessError(f"{path} is not YAML") from error
        if not isinstance(content, dict):
            raise AccessError(f"{path} is not a kubeconfig")
        return cls(path, content)

    @property
    def current_context(self) -> str:
        return str(self.content.get("current-context") or "")

    def find(self, kind: str, name: str) -> _Entry | None:
        for item in self.content.get(f"{kind}s") or ():
            if isinstance(item, dict) and item.get("name") == name:
                return _Entry(f'{kind} "{name}"', item.get(kind) or {}, self.path.parent)
        return None


def _entry(files: list[_KubeconfigFile], kind: str, name: str) -> _Entry:
    for file in files:
        if found := file.find(kind, name):
            return found
    raise AccessError(f'no {kind} "{name}" in {_names([file.path for file in files])}')


def _token_of(user: _Entry) -> Token:
    path = user.text("tokenFile")
    return Token(file=user.folder / path) if path else Token(Sensitive(user.text("token")))


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise AccessError(f"{path} can not be read: {error.strerror}") from error


@contextlib.contextmanager
def _files(*contents: bytes) -> Iterator[tuple[str, ...]]:
    """Short-lived private files, because `ssl` loads a key from nothing else."""
    with contextlib.ExitStack() as stack:
        names = []
        for content in contents:
            file = stack.enter_context(tempfile.NamedTemporaryFile(buffering=0))
            file.write(content)
            names.append(file.name)
        yield tuple(names)


def _bearer(token: Token) -> Callable[..., Any]:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if value := token.current():
            request.headers["Authorization"] = f"Bearer {value.reveal()}"
        return await handler(request)

    return middleware
