"""Sizes in specs: whole numbers of bytes with a suffix, as Kubernetes writes them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([1-9][0-9]{0,17})([A-Za-z]{0,2})")
"""Narrower than a Kubernetes quantity: no fraction, sign or exponent, which no size in bytes needs."""

_FACTORS: dict[str, int] = {
    "": 1,
    **{suffix: 1000**power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def size_in_bytes(text: str) -> int:
    """Bytes in `text`, such as 1073741824 for `1Gi`. Raises ValueError where it is no size."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f'"{text}" is not a size such as "10Gi"')
    return int(match[1]) * _FACTORS[match[2]]
