"""`bulkhead platform`: the platform service and what its maintainers do."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

import uvloop

from bulkhead.cli import grant
from bulkhead.platform import app, fence
from bulkhead.platform.audit import verify
from bulkhead.platform.audit.export import Damaged, Export, Unwritable
from bulkhead.platform.audit.look import Restored
from bulkhead.platform.database import migrate
from bulkhead.platform.database.pools import TooPowerful
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.joining import by_hand
from bulkhead.platform.joining.minting import MOST_SECONDS
from bulkhead.platform.settings import Environment, Wrong
from bulkhead.protocol import documents
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import PublicKey
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TokenIssued, TokenRequest
from bulkhead.telemetry import logs

MOST_HOURS = MOST_SECONDS // 3600


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options: what does it, and gives the exit status."""
    parser.description = "Settings are variables BULKHEAD_PLATFORM_...; each command names those that it lacks."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _serve(commands.add_parser("serve", help="run the service"))
    _migrate(commands.add_parser("migrate", help="bring the database to this release's schema"))
    _token(commands.add_parser("token", help="mint the token with which a plane joins, once"))
    grant.configure(commands.add_parser("grant", help="make organisations, members, platform admins and API tokens"))
    _fence(commands.add_parser("fence", help="after a restore: end what was issued before it, and revoke again"))
    _verify_audit(commands.add_parser("verify-audit", help="say whether the audit is what was signed and exported"))


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve until SIGTERM: then say so to balancers, finish what runs, and end. A second SIGTERM ends at once. "
        "Exit status 2: wrong settings, or a database that was restored from a backup and has to be fenced first."
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--without-export",
        action="store_true",
        help="there is no export: nobody notices that the database was restored, and what was revoked lives again",
    )
    parser.set_defaults(run=_run_serve)


def _run_serve(options: argparse.Namespace) -> int:
    logs.configure(options.log_level, sys.stdout)
    try:
        settings = Environment(os.environ).serve(without_export=options.without_export)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(app.serve(settings, bounds=Bounds()))
    except (Wrong, TooPowerful, Restored, Damaged) as error:
        return _fail(error, 2)
    except (Unwritable, OSError) as error:
        return _fail(error, 1)
    return 0


def _migrate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Bring the database of BULKHEAD_PLATFORM_OWNER_DSN to this release's schema. "
        "The former release may serve while it runs, and after it."
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--check", action="store_true", help="only say whether there is anything to do: 1 if there is")
    parser.add_argument("--wait-seconds", type=float, default=60.0, help="for another migration to end")
    parser.add_argument("--lock-seconds", type=float, default=5.0, help="for a table that is in use")
    parser.set_defaults(run=_run_migrate)


def _run_migrate(options: argparse.Namespace) -> int:
    try:
        dsn = Environment(os.environ).owner().text
        if options.check:
            return _report(asyncio.run(migrate.check(dsn)))
        asyncio.run(
            migrate.migrate(dsn, wait_seconds=options.wait_seconds, lock_seconds=options.lock_seconds, tell=_say)
        )
    except Wrong as error:
        return _fail(error, 2)
    except migrate.Stopped as error:
        return _fail(error, 1)
    return 0


def _token(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = """\
Mint a registration token for a plane: a Kubernetes cluster that runs the operator and is to join this platform.
The operator exchanges it, once and in time, for its identity and its own key. Whoever holds it until then can join
in the plane's place: hand it over as a secret. It is printed once, on standard output, and can not be shown again.

Reads BULKHEAD_PLATFORM_MAINTENANCE_DSN, a log-in of bulkhead_platform_maintenance; the audit names that log-in."""
    parser.epilog = """\
A plane that joined mints nothing for its clusters before a person has confirmed its key, by comparing fingerprints.
To spare that step, bind the token to the key with --public-key, or trust whoever joins first with --self-confirming.

    bulkhead platform token plane-eu                                joins, then waits to be confirmed
    bulkhead platform token plane-eu --public-key KEY               the key that the plane shows; nobody else can join
    bulkhead platform token plane-eu --uid UID                      the same plane again after its key pair was lost"""
    parser.add_argument("name", help="of the DataPlane object, which has to be the same")
    parser.add_argument(
        "--hours", type=int, default=24, metavar="N", help=f"how long it can be used, 1 to {MOST_HOURS} (default: 24)"
    )
    parser.add_argument(
        "--uid", help="of the DataPlane object in Kubernetes: good for it alone, and it may come with a new key pair"
    )
    parser.add_argument("--public-key", metavar="KEY", help="good for this key pair alone, which is then confirmed")
    parser.add_argument(
        "--fingerprint", help="that --public-key has to have, as the plane's people read it out: else nothing is minted"
    )
    parser.add_argument("--self-confirming", action="store_true", help="whoever joins with it is confirmed by that")
    parser.set_defaults(run=_run_token)


def _run_token(options: argparse.Namespace) -> int:
    try:
        asked = _token_request(options)
        dsn = Environment(os.environ).maintenance().text
        issued = asyncio.run(by_hand.mint(dsn, asked, random=os.urandom))
    except (Wrong, Malformed) as error:
        return _fail(error, 2)
    except by_hand.NotMinted as error:
        return _fail(error, 1)
    for line in _explained(asked, issued):
        print(line, file=sys.stderr)  # noqa: T201 - for the person at the terminal
    _say(issued.token.reveal())
    return 0


def _token_request(options: argparse.Namespace) -> TokenRequest:
    """What the options ask for. Raises Malformed, with the name of the option."""
    if not 1 <= options.hours <= MOST_HOURS:
        raise Malformed(f"--hours is a whole number from 1 to {MOST_HOURS}")
    key = _public_key(options.public_key, options.fingerprint)
    request = TokenRequest(
        protocol=PROTOCOL,
        kind=IdentityKind.PLANE,
        name=options.name,
        seconds=options.hours * 3600,
        uid=options.uid,
        public_key=key,
        self_confirming=options.self_confirming,
    )
    # Made by hand, it was not looked at yet: as a request that has come, it is.
    return documents.decode(TokenRequest, documents.encode(request))


def _public_key(text: str | None, fingerprint: str | None) -> PublicKey | None:
    if text is None:
        if fingerprint is not None:
            raise Malformed("--fingerprint is compared with --public-key: give both")
        return None
    try:
        key = PublicKey.parse(text)
    except Malformed as error:
        raise Malformed(f"--public-key: {error}") from None
    if fingerprint is not None and fingerprint.strip().upper() != key.fingerprint:
        raise Malformed(f"--fingerprint: the key has another, {key.fingerprint}: it may be another plane's")
    return key


def _explained(asked: TokenRequest, issued: TokenIssued) -> tuple[str, ...]:
    """What the token is good for; all of it but the token itself."""
    until = datetime.fromtimestamp(issued.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    whose = f"the key pair with the fingerprint {asked.public_key.fingerprint}" if asked.public_key else "any key pair"
    confirmed = asked.public_key is not None or asked.self_confirming
    return (
        f"{issued.token.label}: plane {asked.name}, UID {asked.uid or 'any'}, {whose}; once, until {until}.",
        "The plane is confirmed by joining with it."
        if confirmed
        else "After joining the plane waits until its fingerprint is confirmed.",
        "The token is a secret, and is not shown again:",
    )


def _fence(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = """\
Begin a new epoch after the database was restored from a backup, and before it serves again. All or nothing; to say it
twice does no harm.

  registration tokens   that nobody redeemed end: mint new ones
  service keys          end; planes and clusters re-join by themselves, within minutes
  revocations           that the export holds are applied again, whatever the backup says
  API tokens            live on, but for those that the export says were revoked or rotated

Reads BULKHEAD_PLATFORM_MAINTENANCE_DSN and BULKHEAD_PLATFORM_EXPORT_DIRECTORY.
Exit status 0: fenced; 1: not fenced, and nothing was changed; 2: wrong settings."""
    parser.epilog = """\
After a restore: end all replicas, restore, `bulkhead platform migrate`, `bulkhead platform fence`, serve. Then
`bulkhead platform verify-audit` names what was lost, and should say: intact."""
    parser.add_argument(
        "--without-export",
        action="store_true",
        help="there is none: every API token is revoked instead, and whatever else was revoked since lives again",
    )
    parser.add_argument(
        "--while-serving", action="store_true", help="although replicas are live: they go on afterwards"
    )
    parser.set_defaults(run=_run_fence)


def _run_fence(options: argparse.Namespace) -> int:
    try:
        environment = Environment(os.environ)
        dsn = environment.maintenance().text
        directory = None if options.without_export else environment.needed_export_directory()
        export = Export(directory, replica=f"fence-{uuid4()}", clock=time.time) if directory else None
        outcome = asyncio.run(fence.fence(dsn, directory, export, while_serving=options.while_serving))
    except (Wrong, TooPowerful) as error:
        return _fail(error, 2)
    except fence.Unfenced as error:
        return _fail(error, 1)
    for line in fence.lines_for_people(outcome):
        _say(line)
    return 0


def _verify_audit(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read the audit of BULKHEAD_PLATFORM_MAINTENANCE_DSN beside the export of BULKHEAD_PLATFORM_EXPORT_DIRECTORY, "
        "and say whether any row was changed, removed, moved or added since. Changes nothing. "
        "Exit status 0: intact; 1: not intact; 2: no verdict."
    )
    parser.add_argument(
        "--without-export", action="store_true", help="believe the database's own heads, which can be cut off with rows"
    )
    parser.add_argument(
        "--first-key",
        metavar="FINGERPRINT",
        default="",
        help="of the first signing key, as somebody noted it",
    )
    parser.set_defaults(run=_run_verify_audit)


def _run_verify_audit(options: argparse.Namespace) -> int:
    try:
        environment = Environment(os.environ)
        dsn = environment.maintenance().text
        export = None if options.without_export else environment.needed_export_directory()
        outcome = asyncio.run(verify.verify(dsn, export, first_key=options.first_key))
    except (Wrong, verify.NoVerdict) as error:
        return _fail(error, 2)
    for line in verify.lines_for_people(outcome):
        _say(line)
    return 0 if outcome.report.intact else 1


def _report(shortfall: str) -> int:
    _say(shortfall or "the schema is current")
    return 1 if shortfall else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for the person at the terminal


def _fail(error: Exception, status: int) -> int:
    print(f"bulkhead: {error}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
    return status
