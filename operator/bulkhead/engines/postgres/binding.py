"""The Service Binding Secret: everything that any client of Postgres needs, without knowing the operator."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from bulkhead.api.data_plane import PostgresEndpoint, TlsMode
from bulkhead.api.record import Credential

PROVIDER = "bulkhead"


def binding_of(
    endpoint: PostgresEndpoint, database: str, credential: Credential, ca_pem: str | None
) -> Mapping[str, str]:
    """Keys as in the Service Binding specification, with what drivers ask for beside them.

    A CA is given by content (`ca.crt`): whoever mounts the Secret points `sslrootcert` at the file.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    mode = endpoint.tls.mode.value
    user, password = quote(credential.identity, safe=""), quote(credential.value.reveal(), safe="")
    path = f"{host}:{endpoint.port}/{quote(database, safe='')}"
    login = urlencode({"user": credential.identity, "password": credential.value.reveal(), "sslmode": mode})
    binding = {
        "type": "postgresql",
        "provider": PROVIDER,
        "host": endpoint.host,
        "port": str(endpoint.port),
        "database": database,
        "username": credential.identity,
        "password": credential.value.reveal(),
        "sslmode": mode,
        "uri": f"postgresql://{user}:{password}@{path}?sslmode={mode}",
        "jdbc-url": f"jdbc:postgresql://{path}?{login}",
    }
    if ca_pem is not None and endpoint.tls.mode is not TlsMode.DISABLE:
        binding["ca.crt"] = ca_pem
    return binding
