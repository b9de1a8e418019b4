"""Deliveries are signed as Standard Webhooks says."""

from __future__ import annotations

import base64

from bulkhead.platform.events import signature


def test_a_signature_is_the_one_of_the_standard() -> None:
    """The example of the specification's own libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    given = signature.headers([secret], event="msg_p5jXN8AQM9LWM0D4loKWxJek", at=1614265330, body=body)
    assert given == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_rotated_both_sign() -> None:
    both = signature.headers([b"n" * 32, b"o" * 32], event="e", at=1, body=b"{}")["webhook-signature"]
    each = [
        signature.headers([key], event="e", at=1, body=b"{}")["webhook-signature"] for key in (b"n" * 32, b"o" * 32)
    ]
    assert both.split(" ") == each


def test_a_secret_is_shown_in_the_form_of_the_standard() -> None:
    shown = signature.shown(b"s" * 32)
    assert shown.startswith("whsec_")
    assert base64.b64decode(shown.removeprefix("whsec_")) == b"s" * 32
