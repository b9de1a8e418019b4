"""`bulkhead platform token`: what a plane joins with."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, datetime

from bulkhead.cli.terminal import explain, fail, say
from bulkhead.platform.joining import by_hand
from bulkhead.platform.joining.minting import MOST_SECONDS
from bulkhead.platform.settings import Environment, Wrong
from bulkhead.protocol import documents
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import PublicKey
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TokenIssued, TokenRequest

MOST_HOURS = MOST_SECONDS // 3600


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options."""
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
    bulkhead platform token plane-eu --public-key=KEY               the key that the plane shows; nobody else can join
    bulkhead platform token plane-eu --uid UID                      the same plane again after its key pair was lost"""
    parser.add_argument("name", help="of the DataPlane object, which has to be the same")
    parser.add_argument(
        "--hours", type=int, default=24, metavar="N", help=f"how long it can be used, 1 to {MOST_HOURS} (default: 24)"
    )
    parser.add_argument(
        "--uid", help="of the DataPlane object in Kubernetes: good for it alone, and it may come with a new key pair"
    )
    parser.add_argument(
        "--public-key",
        metavar="KEY",
        help="good for this key pair alone, which is then confirmed; may begin with a hyphen, so: --public-key=KEY",
    )
    parser.add_argument(
        "--fingerprint", help="that --public-key has to have, as the plane's people read it out: else nothing is minted"
    )
    parser.add_argument("--self-confirming", action="store_true", help="whoever joins with it is confirmed by that")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        asked = _token_request(options)
        dsn = Environment(os.environ).maintenance().text
        issued = asyncio.run(by_hand.mint(dsn, asked, random=os.urandom))
    except (Wrong, Malformed) as error:
        return fail(error, 2)
    except by_hand.NotMinted as error:
        return fail(error, 1)
    for line in _explained(asked, issued):
        explain(line)
    say(issued.token.reveal())
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
