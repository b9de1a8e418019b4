"""Sizes of the API."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.quantity import size_in_bytes

DECIMAL = ("", "k", "M", "G", "T", "P", "E")
BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

numbers = st.integers(1, 10**18 - 1)


@given(numbers, st.sampled_from(tuple(pairwise(DECIMAL))))
def test_each_decimal_suffix_is_a_thousand_of_the_one_before(number: int, suffixes: tuple[str, str]) -> None:
    smaller, larger = suffixes
    assert size_in_bytes(f"{number}{larger}") == 1000 * size_in_bytes(f"{number}{smaller}")


@given(numbers, st.sampled_from(tuple(pairwise(BINARY))))
def test_each_binary_suffix_is_1024_of_the_one_before(number: int, suffixes: tuple[str, str]) -> None:
    smaller, larger = suffixes
    assert size_in_bytes(f"{number}{larger}") == 1024 * size_in_bytes(f"{number}{smaller}")


@given(numbers)
def test_a_number_alone_is_bytes(number: int) -> None:
    assert size_in_bytes(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0Gi",
        "01Gi",
        "-1Gi",
        "+1Gi",
        "1.5Gi",
        "1e3",
        "1gi",
        "1K",
        "1ki",
        "1 Gi",
        "1Gi\n",
        "Gi",
        "1GiB",
        "\u0661",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size_in_bytes(text)


@given(st.text(max_size=20))
def test_any_text_is_a_positive_size_or_refused(text: str) -> None:
    try:
        assert size_in_bytes(text) > 0
    except ValueError as error:
        assert "is not a size" in str(error)  # noqa: PT017 - both ends are legal here
