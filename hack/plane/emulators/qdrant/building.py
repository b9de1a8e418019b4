"""How the models of the official client are imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from pydantic import BaseModel


@contextmanager
def built_on_use() -> Iterator[None]:
    """Models that are declared in this block are built when they are first used. The client builds all of its six
    hundred when it is imported, which takes a second, of which a few are used here."""
    with (
        patch.dict(BaseModel.model_config, defer_build=True),
        patch.object(BaseModel, "model_rebuild", classmethod(lambda _, **__: None)),
    ):
        yield
