"""What comes next of a registration."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from bulkhead.api.record import Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.protocol.assertions import KeyUse, link
from bulkhead.protocol.heartbeat import Desired
from bulkhead.protocol.problems import Code
from bulkhead.registration.decide import (
    NOTHING,
    Aim,
    Learnt,
    Step,
    absorb,
    after_refusal,
    next_step,
    service_key,
    wants,
)
from tests.unit.protocol.gen import KEY, OTHER_KEY, OTHER_PLATFORM, PLATFORM, TOKEN
from tests.unit.registration import gen

HAND = Sensitive(TOKEN.reveal())
ELSEWHERE = gen.cluster_aim(plane=gen.cluster_aim().uid)
FENCED = Learnt(refused=Code.KEY_FENCED, key_id=TOKEN.id)
ROTATE = Learnt(rotation=TOKEN.id)


@pytest.mark.parametrize(
    ("held", "learnt", "step"),
    [
        (None, NOTHING, Step.BEGIN),
        (gen.begun(platform=OTHER_PLATFORM), NOTHING, Step.BEGIN),
        (gen.joined(ELSEWHERE), NOTHING, Step.BEGIN),
        (gen.begun(), NOTHING, Step.ASK_TOKEN),
        (gen.begun(token=HAND), NOTHING, Step.EXCHANGE),
        (gen.joined(), NOTHING, None),
        (gen.joined(), FENCED, Step.ASK_CHALLENGE),
        (gen.joined(), Learnt(refused=Code.KEY_FENCED, key_id="0" * 32), None),
        (gen.joined(), Learnt(refused=Code.IDENTITY_REVOKED, key_id=TOKEN.id), None),
        (gen.joined(), Learnt(refused=Code.CLUSTER_DELETED, key_id=TOKEN.id), None),
        (gen.joined(key_id=""), NOTHING, Step.ASK_CHALLENGE),
        (gen.joined(challenge="c", next_secret=gen.OTHER_SECRET), NOTHING, Step.REJOIN),
        (gen.joined(), ROTATE, Step.PREPARE_KEY),
        (gen.joined(), Learnt(rotation="0" * 32), None),
        (gen.joined(next_secret=gen.OTHER_SECRET), NOTHING, Step.REGISTER_KEY),
        (gen.joined(next_secret=gen.OTHER_SECRET), FENCED, Step.ASK_CHALLENGE),
    ],
)
def test_each_state_has_one_next_step(held: Registration | None, learnt: Learnt, step: Step | None) -> None:
    assert next_step(held, gen.cluster_aim(), learnt) is step


@pytest.mark.parametrize(
    ("desired", "applied", "suspended"),
    [
        (None, 3, False),
        (Desired(generation=2, suspended=True), 3, False),
        (Desired(generation=3, suspended=True), 3, False),
        (Desired(generation=4, suspended=True), 4, True),
    ],
)
def test_a_desired_state_that_is_no_newer_is_ignored(
    desired: Desired | None,
    applied: int,
    suspended: bool,  # noqa: FBT001 - a row
) -> None:
    held = gen.joined(applied_generation=3)
    after = absorb(held, Learnt(desired=desired))
    assert (after.applied_generation, after.suspended) == (applied, suspended)
    assert wants(held, Learnt(desired=desired)) is (after != held)


def test_a_platform_that_says_nothing_leaves_a_suspension_as_it_is() -> None:
    held = gen.joined(applied_generation=3, suspended=True)
    assert absorb(held, NOTHING) == held


def test_signing_keys_follow_their_links_and_two_are_kept() -> None:
    second = link(KEY, OTHER_KEY.public, platform=PLATFORM, use=KeyUse.ASSERTION)
    third = link(OTHER_KEY, gen.OTHER.public, platform=PLATFORM, use=KeyUse.ASSERTION)
    after = absorb(gen.joined(), Learnt(links=(second, third)))
    assert after.trusted == (OTHER_KEY.public.text, gen.OTHER.public.text)


def test_a_link_that_no_trusted_key_signed_changes_nothing_not_even_what_came_before_it() -> None:
    good = link(KEY, OTHER_KEY.public, platform=PLATFORM, use=KeyUse.ASSERTION)
    bad = link(KEY, gen.OTHER.public, platform=PLATFORM, use=KeyUse.ASSERTION)
    held = gen.joined()
    assert absorb(held, Learnt(links=(good, bad))) == held
    assert not wants(held, Learnt(links=(good, bad)))


@pytest.mark.parametrize(
    "code", [Code.TOKEN_EXPIRED, Code.TOKEN_USED, Code.TOKEN_REVOKED, Code.TOKEN_UNKNOWN, Code.TOKEN_WRONG_CLUSTER]
)
def test_a_cluster_whose_token_is_spent_asks_for_another_with_the_same_key_pair(code: Code) -> None:
    held = gen.begun(token=HAND)
    after = after_refusal(held, Step.EXCHANGE, code, gen.cluster_aim())
    assert after == gen.begun()


@pytest.mark.parametrize(("secret", "ends"), [(HAND, True), (Sensitive("another"), False), (Sensitive(""), False)])
def test_a_plane_tries_another_token_once_its_secret_has_another(
    secret: Sensitive,
    ends: bool,  # noqa: FBT001 - a row
) -> None:
    held = gen.begun(token=HAND)
    after = after_refusal(held, Step.EXCHANGE, Code.TOKEN_USED, gen.plane_aim(token=secret))
    assert (after is None) is ends


@pytest.mark.parametrize("step", [Step.ASK_CHALLENGE, Step.REJOIN, Step.REGISTER_KEY])
def test_an_identity_that_the_platform_forgot_joins_again_with_its_key_pair_and_what_it_applied(step: Step) -> None:
    held = gen.joined(challenge="c", next_secret=gen.OTHER_SECRET, applied_generation=7, suspended=True)
    after = after_refusal(held, step, Code.IDENTITY_UNKNOWN, gen.cluster_aim())
    assert after is not None
    assert (after.identity, after.key_id, after.challenge, after.next_secret) == ("", "", "", Sensitive(""))
    assert (after.private_key, after.applied_generation, after.suspended) == (held.private_key, 7, True)


@pytest.mark.parametrize("code", [Code.KEY_FENCED, Code.KEY_REVOKED, Code.KEY_EXPIRED, Code.KEY_UNKNOWN])
def test_an_exchange_that_was_answered_long_ago_and_is_void_since_leads_to_a_rejoin(code: Code) -> None:
    after = after_refusal(gen.begun(token=HAND), Step.EXCHANGE, code, gen.cluster_aim())
    assert after is not None
    assert next_step(after, gen.cluster_aim(), NOTHING) is Step.ASK_CHALLENGE


@pytest.mark.parametrize("step", [Step.ASK_TOKEN, Step.EXCHANGE, Step.ASK_CHALLENGE, Step.REJOIN, Step.REGISTER_KEY])
def test_no_refusal_ever_loses_the_key_pair_or_what_was_applied(step: Step) -> None:
    held = gen.joined(token=HAND, applied_generation=7, suspended=True, challenge="c", next_secret=gen.OTHER_SECRET)
    for aim, code in itertools.product((gen.cluster_aim(), gen.plane_aim()), Code):
        after = after_refusal(held, step, code, aim) or held
        assert (after.platform, after.private_key) == (held.platform, held.private_key)
        assert (after.applied_generation, after.suspended) == (7, True)


def test_an_identity_that_was_ended_stays_as_it_is() -> None:
    for code in (Code.IDENTITY_REVOKED, Code.CLUSTER_DELETED, Code.IDENTITY_BOUND, Code.REJOIN_EXHAUSTED):
        assert after_refusal(gen.joined(), Step.REJOIN, code, gen.cluster_aim()) is None


def test_the_id_that_the_platform_gives_follows_from_the_uids() -> None:
    aims: list[Aim] = [gen.plane_aim(), gen.cluster_aim(), ELSEWHERE]
    assert len({aim.identity for aim in aims}) == 3


def test_the_service_key_is_made_of_the_key_id_and_our_own_secret() -> None:
    held = gen.joined()
    assert service_key(held).reveal().split("_")[1:3] == [TOKEN.id, held.secret.reveal()]


def test_a_registration_shows_no_secret_of_its_own() -> None:
    held = gen.joined(token=HAND, next_secret=gen.OTHER_SECRET)
    shown = repr(held)
    for secret in (held.private_key, held.secret, held.token, held.next_secret):
        assert secret.reveal() not in shown
    assert msgspec.structs.replace(held, token=Sensitive("")) != held
