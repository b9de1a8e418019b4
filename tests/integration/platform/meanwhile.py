"""What happens while a secret waits for scrypt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bulkhead.platform.keys.slow import Slow
from bulkhead.platform.keys.verify import Outcome


def while_scrypt_is_waited_for(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], Awaitable[None]]) -> None:
    """Have it happen before the outcome of the next comparison is known, and not again."""
    once = Slow.once

    async def slowly(slow: Slow[Outcome], *values: Any, **others: Any) -> Outcome:
        monkeypatch.setattr(Slow, "once", once)
        outcome = await once(slow, *values, **others)
        await happen()
        return outcome

    monkeypatch.setattr(Slow, "once", slowly)
