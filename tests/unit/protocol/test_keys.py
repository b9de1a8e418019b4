"""Ed25519 keys: which are accepted, how they are spelt, what people compare."""

from __future__ import annotations

import base64
import hashlib
import re

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol.encoding import base64url
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import PublicKey, SigningKey
from tests.unit.protocol import gen

P = 2**255 - 19
SIGN = 1 << 255
ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
SMALL_ORDER = (0, 1, P - 1, *(int.from_bytes(bytes.fromhex(text), "little") for text in ORDER_8))
RFC_8032 = {
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    ),
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    ),
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    ),
}


@given(gen.signing_keys)
def test_an_honest_key_is_accepted_and_spelt_in_one_way(key: SigningKey) -> None:
    assert PublicKey.parse(key.public.text) == key.public
    assert SigningKey.parse(key.reveal()).public == key.public


@pytest.mark.parametrize(("seed", "public"), RFC_8032.items())
def test_the_vectors_of_rfc_8032_hold(seed: str, public: str) -> None:
    assert SigningKey(bytes.fromhex(seed)).public.raw.hex() == public


@pytest.mark.parametrize("y", SMALL_ORDER)
@pytest.mark.parametrize("sign", [0, SIGN])
def test_a_point_of_small_order_is_refused(y: int, sign: int) -> None:
    with pytest.raises(Malformed, match="small order"):
        PublicKey((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [*range(P, 2**255)])
@pytest.mark.parametrize("sign", [0, SIGN])
def test_a_coordinate_beyond_the_field_is_refused(y: int, sign: int) -> None:
    with pytest.raises(Malformed, match="beyond the field"):
        PublicKey((y | sign).to_bytes(32, "little"))


@given(st.binary(min_size=32, max_size=32))
def test_random_bytes_are_a_key_where_the_curve_has_that_point(raw: bytes) -> None:
    y = int.from_bytes(raw, "little") % SIGN
    d = -121665 * pow(121666, -1, P)
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    candidate = pow(x_squared, (P + 3) // 8, P)
    root = any(x * x % P == x_squared for x in (candidate, candidate * pow(2, (P - 1) // 4, P) % P))
    if root and y < P and y not in SMALL_ORDER:
        assert PublicKey(raw).raw == raw
    else:
        with pytest.raises(Malformed):
            PublicKey(raw)


@given(st.binary(max_size=64).filter(lambda raw: len(raw) != 32))
def test_a_key_of_another_size_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        PublicKey(raw)
    with pytest.raises(Malformed):
        PublicKey.parse(base64url(raw))


@given(gen.signing_keys, gen.signing_keys, st.binary(max_size=64))
def test_a_signature_is_that_of_its_key_and_message_alone(key: SigningKey, other: SigningKey, message: bytes) -> None:
    signature = key.sign(message)
    assert key.public.verifies(message, signature)
    assert not key.public.verifies(message + b"x", signature)
    assert key.public == other.public or not other.public.verifies(message, signature)
    assert not key.public.verifies(message, signature[:-1])


@given(gen.signing_keys)
def test_a_signature_has_one_form_so_a_larger_scalar_is_refused(key: SigningKey) -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = key.sign(b"x")
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not key.public.verifies(b"x", signature[:32] + scalar.to_bytes(32, "little"))


@given(gen.signing_keys)
def test_a_fingerprint_is_short_enough_to_read_aloud_and_long_enough_to_trust(key: SigningKey) -> None:
    assert re.fullmatch(r"([A-Z2-7]{4}-){7}[A-Z2-7]{4}", key.public.fingerprint)
    assert key.public.fingerprint != gen.KEY.public.fingerprint or key.public == gen.KEY.public


def test_the_kid_is_the_thumbprint_of_rfc_7638() -> None:
    known = PublicKey.parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert known.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": known.text}).key.public_bytes_raw() == known.raw


@given(gen.signing_keys)
def test_a_private_key_is_shown_by_reveal_alone(key: SigningKey) -> None:
    assert not [shown for shown in (repr(key), str(key), f"{key}") if key.reveal() in shown]


def test_the_fingerprint_is_a_hash_that_any_shell_computes() -> None:
    digest = hashlib.sha256(gen.KEY.public.raw).hexdigest()
    assert base64.b32encode(bytes.fromhex(digest[:40])).decode() == gen.KEY.public.fingerprint.replace("-", "")
