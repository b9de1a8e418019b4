"""The certificate of the public listener, followed as it is renewed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0


class Tls:
    """A context for the server; TLS 1.3 alone. OSError (also ssl.SSLError) where the files are not usable.

    certificate, key: PEM files. What replaces them counts for handshakes from then on
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen = self._stamps()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(certificate, key)

    async def follow(self) -> None:
        """Take up renewed files for ever; those that are not usable are left alone until they change again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take up the files if they have changed."""
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return
            self.context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            log.warning("certificate_not_usable", error=type(error).__name__)
            return
        self._seen = stamps
        log.info("certificate_renewed")

    def _stamps(self) -> tuple[int, int]:
        return self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns
