"""Every rule of one DataCluster on Postgres: what is wanted, what is seen, and the steps between them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from bulkhead.api.ownership import Stamp, owner_of
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import (
    Access,
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    engine_changed,
)
from bulkhead.engines.postgres.databases import (
    SEARCH_PATH,
    ConformDatabase,
    CreateDatabase,
    CreateExtension,
    DropDatabase,
    EndSessions,
    Furnish,
    NameDatabase,
    RollBackPrepared,
    UseWarm,
)
from bulkhead.engines.postgres.roles import (
    CloseDoor,
    ConformGroup,
    ConformLogin,
    CreateGroup,
    CreateLogin,
    DisableLogins,
    Disown,
    DropRole,
    LoginTerms,
    ResetSettings,
    RevokeMembership,
    TakeOver,
)
from bulkhead.engines.postgres.seen import (
    GRANTED,
    PUBLIC,
    Membership,
    Operator,
    Seen,
    SeenDatabase,
    SeenRole,
    neighbour,
)
from bulkhead.engines.postgres.statement import SEPARATE_OPTIONS, Statement
from bulkhead.engines.postgres.wanted import DATABASE, Wanted, WantedLogin, permitted, spec_problem

Steps = tuple[Statement, ...]


def decide(wanted: Wanted, seen: Seen, allowed_extensions: Collection[str]) -> Decision:
    """How `seen` becomes what is wanted, or why it must not."""
    if changed := engine_changed(wanted.server, seen.identity):
        return changed
    if wanted.access is Access.CUT:
        return _unless_stamps_are_lost(_cut(wanted, seen), wanted, seen)
    problem = spec_problem(wanted, allowed_extensions)
    if problem and not wanted.provisioned:
        return problem
    if stranger := _first_not_ours(wanted, seen):
        return stranger
    if wanted.provisioned and seen.database(wanted.database) is None:
        return DataMissing("database", wanted.database)
    if not wanted.claimed and _something_is_absent(wanted, seen):
        return ClaimFirst()
    # A spec that asks for too much does not keep what is there from being repaired.
    steps = _open(permitted(wanted, allowed_extensions), seen)
    return problem if problem and not steps else Do(steps, provisions=frozenset({DATABASE}))


def decide_removal(wanted: Wanted, seen: Seen) -> Do | Conflict | EngineChanged:
    """Everything that bears our stamp, under whatever name: logins shut, sessions ended, then databases, then roles."""
    if changed := engine_changed(wanted.server, seen.identity):
        return changed
    databases = [database.name for database in seen.databases if _erasable(database, wanted)]
    roles = roles_to_drop(wanted, seen)
    # The group goes last: its logins are members of it, and dropping them needs our privileges through it.
    roles.sort(key=lambda role: (role.name == wanted.database, role.name))
    steps: Steps = (
        # First: what it has locked, not even the end of its session would free.
        *(RollBackPrepared(held.database, held.owner, held.gid) for held in seen.prepared),
        *_cut(wanted, seen),
        *(DropDatabase(name) for name in databases),
        *(step for role in roles for step in _retire(role, wanted, seen, dropped=databases)),
    )
    return _unless_stamps_are_lost(steps, wanted, seen)


def _unless_stamps_are_lost(steps: Steps, wanted: Wanted, seen: Seen) -> Do | Conflict:
    """To have nothing left to do must mean that access is cut, or that all is erased.

    Once our database was provisioned, what has our names was ours; without a stamp it is most likely so still, and a
    restore has lost the comments. It is not touched, but nobody is told that it is shut or gone either. What bears
    our stamp is done first.
    """
    lost = _unstamped(wanted, seen) if wanted.provisioned and not steps else None
    return lost or Do(steps)


def _unstamped(wanted: Wanted, seen: Seen) -> Conflict | None:
    named = (
        ("database", seen.database(wanted.database)),
        *(("role", seen.role(name)) for name in (wanted.database, *(login.name for login in wanted.logins))),
    )
    for kind, found in named:
        if found is not None and found.stamp is None:
            way_out = f"COMMENT ON {kind.upper()} \"{found.name}\" IS '{wanted.stamp}'"
            return Conflict(kind, found.name, f"{owner_of(None)}; if it is the one that was made here, run: {way_out}")
    return None


def roles_to_drop(wanted: Wanted, seen: Seen) -> list[SeenRole]:
    """Roles of ours that are wanted no more: former generations; while access is cut, all, for it may be a removal."""
    kept = {wanted.database, *(login.name for login in wanted.logins)} if wanted.access is Access.OPEN else set()
    return [role for role in seen.roles if role.stamp == str(wanted.stamp) and role.name not in kept]


def _first_not_ours(wanted: Wanted, seen: Seen) -> Conflict | None:
    for database in seen.databases:
        if database.name == wanted.database and database.stamp != str(wanted.stamp):
            return Conflict("database", database.name, owner_of(database.stamp))
        if database.name == wanted.draft and not _erasable(database, wanted):
            return Conflict("database", database.name, owner_of(database.stamp))
    names = {wanted.database, *(login.name for login in wanted.logins)}
    for role in seen.roles:
        if role.name in names and role.stamp != str(wanted.stamp):
            return Conflict("role", role.name, owner_of(role.stamp))
    return None


def _erasable(database: SeenDatabase, wanted: Wanted) -> bool:
    """Ours by its stamp; or a draft, whose name is made of our stamp, that was never open and so is empty."""
    if database.stamp == str(wanted.stamp):
        return True
    return database.name == wanted.draft and database.stamp is None and not database.open


def _something_is_absent(wanted: Wanted, seen: Seen) -> bool:
    names = (wanted.database, *(login.name for login in wanted.logins))
    return seen.database(wanted.database) is None or any(seen.role(name) is None for name in names)


def _open(wanted: Wanted, seen: Seen) -> Steps:
    """Logins come last, so that nobody is let in before everything behind the door is in place."""
    return (
        *_foundation(wanted, seen),
        *_furniture(wanted, seen),
        *_login_steps(wanted, seen),
        *_retirement(wanted, seen),
        *_expulsion(wanted, seen),
    )


def _foundation(wanted: Wanted, seen: Seen) -> Steps:
    """Group and database."""
    if warm := _warm_choice(wanted, seen):
        return (UseWarm(warm, wanted.database, wanted.stamp, wanted.connection_limit),)
    return (*_group_steps(wanted, seen), *_database_steps(wanted, seen))


def _warm_choice(wanted: Wanted, seen: Seen) -> str | None:
    """A warm database brings its group along, so it serves only where nothing has been begun."""
    begun = seen.database(wanted.database) or seen.database(wanted.draft) or seen.role(wanted.database)
    return seen.warm[0] if seen.warm and begun is None else None


def _group_steps(wanted: Wanted, seen: Seen) -> Steps:
    group = seen.role(wanted.database)
    if group is None:
        return (CreateGroup(wanted.database, wanted.stamp),)
    drifted = group.login or group.powers or not group.operated
    repair = (ConformGroup(group.name, group.powers),) if drifted else ()
    return (*_reset(group), *repair, *_membership_steps(group, wanted, allowed=()))


def _database_steps(wanted: Wanted, seen: Seen) -> Steps:
    database, draft = seen.database(wanted.database), seen.database(wanted.draft)
    if database is None:
        create = () if draft else (CreateDatabase(wanted.draft),)
        return (*create, NameDatabase(wanted.draft, wanted.database, wanted.stamp, wanted.connection_limit))
    leftover = (DropDatabase(wanted.draft),) if draft else ()
    if not _drifted(database, wanted):
        return leftover
    repair = ConformDatabase(
        database.name,
        wanted.stamp,
        wanted.connection_limit,
        intruders_of(database, wanted.stamp),
        foreign_owner=not database.owned,
    )
    return (repair, *leftover)


def _drifted(database: SeenDatabase, wanted: Wanted) -> bool:
    return (
        not database.owned
        or not database.open
        or database.connection_limit != wanted.connection_limit
        or SEARCH_PATH not in database.settings
        or database.granted_to(wanted.database) != GRANTED
        or bool(database.granted_to(PUBLIC))
        or bool(intruders_of(database, wanted.stamp))
    )


def intruders_of(database: SeenDatabase, ours: Stamp) -> tuple[str, ...]:
    """Roles of neighbours that were granted something. Those of administrators are theirs to grant."""
    return tuple(grant.grantee for grant in database.grants if neighbour(grant.stamp, ours))


def _furniture(wanted: Wanted, seen: Seen) -> Steps:
    """What is inside the database. Where it has not been looked at, a warm one is furnished and another is not."""
    create = tuple(CreateExtension(wanted.database, extension) for extension in wanted.extensions)
    if inside := seen.inside:
        missing = tuple(step for step in create if step.extension not in inside.extensions)
        owners = (inside.schemas.get(schema) for schema in ("public", *wanted.schemas))
        furnished = inside.extensions_usable and all(owner == wanted.database for owner in owners)
        return (*(() if furnished else (Furnish(wanted.database, wanted.schemas),)), *missing)
    furnished = _warm_choice(wanted, seen) is not None and not wanted.schemas
    return (*(() if furnished else (Furnish(wanted.database, wanted.schemas),)), *create)


def terms_of(wanted: Wanted, operator: Operator) -> LoginTerms:
    """What holds for each login; where we may not limit temporary files, we do not try for ever."""
    limit = wanted.temp_file_kilobytes if operator.limits_temp_files else None
    return LoginTerms(wanted.database, wanted.connections, limit)


def _login_steps(wanted: Wanted, seen: Seen) -> Steps:
    terms = terms_of(wanted, seen.operator)
    return tuple(
        step
        for login in wanted.logins
        for step in _steps_of_login(login, seen.role(login.name), terms, wanted, estranged=login.name in seen.estranged)
    )


def _steps_of_login(
    login: WantedLogin, role: SeenRole | None, terms: LoginTerms, wanted: Wanted, *, estranged: bool
) -> Steps:
    if role is None:
        return (CreateLogin(login.name, wanted.stamp, Sensitive(login.verifier), terms),)
    forgotten = estranged or role.verifier_digest not in (None, digest_of_verifier(login.verifier))
    drifted = forgotten or _login_drifted(role, terms)
    verifier = Sensitive(login.verifier) if forgotten else None
    repair = (ConformLogin(login.name, terms, role.powers, verifier),) if drifted else ()
    return (*_reset(role), *repair, *_membership_steps(role, wanted, allowed=(terms.group,)))


def _reset(role: SeenRole) -> Steps:
    """What a tenant sets for itself stays, up to a size; ours come back with the repair of what is then missing."""
    return (ResetSettings(role.name),) if role.bloated else ()


def _login_drifted(role: SeenRole, terms: LoginTerms) -> bool:
    return (
        not role.login
        or not role.operated
        or role.expires
        or bool(role.powers)
        or role.connection_limit != terms.connections
        or not set(terms.settings()) <= set(role.settings)
        or not any(held.role == terms.group and held.usable for held in role.member_of)
    )


def _membership_steps(role: SeenRole, wanted: Wanted, allowed: Collection[str]) -> Steps:
    """A tenant is a member of nothing but its group, and no neighbour is a member of it."""
    outward = (RevokeMembership(held.role, role.name, held.grantor) for held in role.member_of)
    inward = (
        RevokeMembership(role.name, member.role, member.grantor)
        for member in role.members
        if neighbour(member.stamp, wanted.stamp)
    )
    return (*(step for step in outward if step.role not in allowed), *inward)


def digest_of_verifier(verifier: str) -> str:
    """As the query computes it on the server, where the stored verifier stays."""
    return hashlib.sha256(verifier.encode()).hexdigest()


def _retirement(wanted: Wanted, seen: Seen) -> Steps:
    former = roles_to_drop(wanted, seen)
    if not former:
        return ()
    ending = EndSessions(wanted.database, ours=tuple(role.name for role in former))
    return (
        *_shut(former, wanted, seen),
        ending,
        *(step for role in former for step in _retire(role, wanted, seen, dropped=())),
    )


def _expulsion(wanted: Wanted, seen: Seen) -> Steps:
    """Sessions that outlived what let them in: of neighbours, and of roles that are gone."""
    strangers = tuple(held.role for held in seen.sessions if neighbour(held.stamp, wanted.stamp))
    orphans = any(not held.role for held in seen.sessions)
    return (EndSessions(wanted.database, strangers=strangers),) if strangers or orphans else ()


def _cut(wanted: Wanted, seen: Seen) -> Steps:
    """No credential opens anything. Whatever is not ours is passed over, and nothing is created."""
    ours = [role for role in seen.roles if role.stamp == str(wanted.stamp)]
    shut = _shut(ours, wanted, seen)
    # Logins that were still open may be used until they are shut, so their sessions are ended unseen.
    unwelcome = any(not held.role or Stamp.parse(held.stamp) for held in seen.sessions) or bool(shut)
    return (*shut, *((_ending(wanted, seen, ours),) if unwelcome else ()))


def _shut(roles: Collection[SeenRole], wanted: Wanted, seen: Seen) -> Steps:
    """No new session of these.

    Out of the group first: only through it may they connect, and of all that makes a log-in possible it is the one
    thing that a tenant can not write to. Its own role it alters at will, and a GRANT that is refused still writes the
    database's row; done over and over, either keeps us from writing there as long as new sessions come in. NOLOGIN is
    what lasts: once it is there, nobody asks for the membership any more.
    """
    alive = [role for role in roles if role.login]
    if not alive:
        return ()
    doors = (
        CloseDoor(held.role, role.name, held.grantor)
        for role in alive
        for held in role.member_of
        if held.role == wanted.database and _revocable(held, seen.operator)
    )
    return (*doors, DisableLogins(tuple(role.name for role in alive)))


def _revocable(held: Membership, operator: Operator) -> bool:
    """From 16 on, what somebody else has granted is theirs to revoke, or a superuser's."""
    return operator.superuser or operator.major < SEPARATE_OPTIONS or held.grantor == operator.name


def _ending(wanted: Wanted, seen: Seen, ours: Iterable[SeenRole]) -> EndSessions:
    database = seen.database(wanted.database)
    inside = database.name if database and database.stamp == str(wanted.stamp) else ""
    strangers = tuple(held.role for held in seen.sessions if neighbour(held.stamp, wanted.stamp))
    return EndSessions(inside, ours=tuple(role.name for role in ours), strangers=strangers)


def _retire(role: SeenRole, wanted: Wanted, seen: Seen, dropped: Collection[str]) -> Steps:
    """Drop a role, freed of everything that it holds in databases other than those that are dropped before."""
    places = [held.database for held in seen.footprints if held.role == role.name and held.database not in dropped]
    own = seen.database(wanted.database)
    heir = wanted.database if own and own.stamp == str(wanted.stamp) and role.name != wanted.database else ""
    partings = tuple(Disown(role.name, place, heir if place == wanted.database else "") for place in places)
    return (
        *(() if role.operated or not places else (TakeOver(role.name),)),
        *partings[:-1],
        DropRole(role.name, partings[-1] if partings else None),
    )
