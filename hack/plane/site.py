"""The place where the servers of one plane are set up."""

from dataclasses import dataclass
from pathlib import Path

from hack.plane.accounts import Account
from hack.plane.certificates import Authority
from hack.plane.ports import Ports
from hack.plane.process import Warden


@dataclass(frozen=True, slots=True)
class Site:
    """What every server of a plane needs.

    Attributes:
        root: the folder of the plane; each server has its own below.
        authority: issues the certificates of the engines. Kubernetes has another: there, a certificate is a log-in.
        account: whom Postgres runs as; None: as this process.
        fsync: whether what is written is forced to disk, as in production.
    """

    root: Path
    warden: Warden
    ports: Ports
    authority: Authority
    account: Account | None
    fsync: bool

    def folder(self, name: str) -> Path:
        """A new folder that others may pass but not list; what is secret in it is readable by its owner alone."""
        folder = self.root / name
        folder.mkdir()
        folder.chmod(0o711)
        return folder
