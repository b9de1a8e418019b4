"""What a step is here: one statement (or several in one call, which Postgres runs as one transaction) and its proof."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from bulkhead.api.ownership import Stamp

MAINTENANCE = "postgres"
"""The database that the operator's own sessions are in."""
SEPARATE_OPTIONS = 16
"""First release in which a membership says for itself whether it inherits and may be set."""


ANSWER_SECONDS = 10
"""With what the client adds where nothing comes at all (see `sessions`), a call ends within 15."""
MAKE_SECONDS = 60
"""For what copies or runs whole scripts."""
ERASE_SECONDS = 600
"""For what takes the longer, the more data there is; giving up early only starts it again."""

ANY_STAMP = str(Stamp("", "")).rstrip(":") + ":"
"""What every stamp starts with, of whatever installation."""

MOST_SETTINGS = 16 * 1024
"""Bytes as stored, compressed, of a role's settings. A tenant may give its own role settings of a gigabyte: to unpack
them once takes the server longer than it takes to look at all tenants, so they are not even begun to be read."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What the wording of a statement depends on."""

    superuser: bool
    major: int
    """Major release of the server."""


@dataclass(frozen=True, slots=True)
class Place:
    """The session that a statement needs."""

    database: str = MAINTENANCE
    role: str = ""
    """Whom to become at once; empty: nobody else."""
    seconds: int = ANSWER_SECONDS
    """After which the server gives a statement up."""


EVERYWHERE = Place()
"""Roles, databases and what hangs on them are seen from any database."""


class Statement(ABC):
    """One step. Subclasses are frozen dataclasses; `str` is a phrase for people and holds no secret."""

    __slots__ = ()
    stubborn: ClassVar[bool] = False
    """Worth doing again at once when the proof fails: something may have slipped in."""
    optional: ClassVar[bool] = False
    """Where the server refuses it the steps after it are done all the same; a later look tells what is left."""
    overriding: ClassVar[bool] = False
    """No tenant may hold it up: their sessions that hold a lock it waits for are ended. Without this, a tenant that
    leaves `ALTER ROLE … PASSWORD` uncommitted could not be suspended, nor one removed to which a neighbour's open
    transaction has granted something."""

    @property
    def place(self) -> Place:
        """Where `text` runs."""
        return EVERYWHERE

    @property
    def forced(self) -> Statement | None:
        """The step to take instead where others hold on to what is to go; None: there is none."""
        return None

    @property
    def proof_place(self) -> Place:
        """Where `proof` runs."""
        return EVERYWHERE

    @abstractmethod
    def text(self, rights: Rights) -> sql.Composed:
        """The statement."""

    @abstractmethod
    def proof(self) -> sql.Composed:
        """A SELECT of one boolean: whether the effect is there, whoever brought it about."""


def script(*parts: sql.Composable | None) -> sql.Composed:
    """Several statements as one call; those that are None are left out."""
    return sql.SQL("; ").join([part for part in parts if part is not None])


def names(items: tuple[str, ...]) -> sql.Composed:
    """An array of names as a literal, fit for `= ANY (…)`."""
    return sql.SQL("ARRAY[{}]::name[]").format(sql.SQL(", ").join([sql.Literal(item) for item in items]))


def mastery(role: str, rights: Rights) -> sql.Composed | None:
    """Gives a restricted operator the privileges of a role that it makes; None for a superuser, who has them."""
    return None if rights.superuser else granted_to_ourselves(role, rights)


def granted_to_ourselves(role: str, rights: Rights) -> sql.Composed:
    """Gives us the privileges of `role`. From 16 on, whoever makes a role may administer it and no more."""
    return sql.SQL("GRANT {} TO CURRENT_USER{}").format(sql.Identifier(role), _options(rights))


def membership(group: str, member: str, rights: Rights) -> sql.Composed:
    """Makes `member` inherit from `group` and able to become it."""
    return sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(group), sql.Identifier(member), _options(rights))


def _options(rights: Rights) -> sql.SQL:
    return sql.SQL(" WITH INHERIT TRUE, SET TRUE" if rights.major >= SEPARATE_OPTIONS else "")
