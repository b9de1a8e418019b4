"""Bodies about points, as the models of the official client, which is what the core takes.

The models forbid unknown fields everywhere, the real server only in a few places, so elsewhere they are taken out.
"""

import uuid
from collections.abc import Iterable
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qdrant_client.http import models

from hack.plane.emulators.qdrant.bodies import BODY, Body
from hack.plane.emulators.qdrant.errors import malformed

LARGEST_ID = 2**64 - 1

# Where the real server refuses unknown fields: a clause with a typing error would select every point.
EXACT = (models.Filter, models.PayloadSelectorInclude, models.PayloadSelectorExclude)

Model = TypeVar("Model", bound=BaseModel)


def parsed(body: Body, model: type[Model], value: object) -> Model:
    """`value`, a part of `body` or made from it, as a `model`; raises the 400 that a body of another shape gets."""
    try:
        return model.model_validate(_pruned(value, model))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise body.unfit(f"{where}: {first['msg']}") from error


def require_point_ids(ids: Iterable[object]) -> None:
    for point in ids:
        if not is_point_id(point):
            raise malformed(
                BODY, f"value {point} is not a valid point ID, valid values are either an unsigned integer or a UUID"
            )


def is_point_id(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value <= LARGEST_ID
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


def _pruned(value: Any, annotation: Any) -> Any:
    """`value` without the fields that its type does not know."""
    if not isinstance(value, dict | list):
        return value
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union:
        member = _fitting(value, arguments)
        return value if member is None else _pruned(value, member)
    if isinstance(value, list):
        return [_pruned(element, arguments[0]) for element in value] if origin is list and _nested(value) else value
    if origin is dict:
        return {key: _pruned(element, arguments[1]) for key, element in value.items()}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _pruned_model(value, annotation)
    return value


def _pruned_model(value: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    annotations = {field.alias or name: field.annotation for name, field in _fields(model).items()}
    kept = value if model in EXACT else {name: value[name] for name in value if name in annotations}
    return {name: _pruned(element, annotations.get(name)) for name, element in kept.items()}


def _nested(values: list[Any]) -> bool:
    """Whether there is anything to prune in it; a vector has thousands of elements and nothing."""
    return bool(values) and isinstance(values[0], dict | list)


def _fitting(value: dict[str, Any] | list[Any], members: tuple[Any, ...]) -> Any:
    """The member of a union that `value` is meant as: of the models that it could be, the one that knows most of it."""
    if isinstance(value, list):
        return next((member for member in members if get_origin(member) is list and _list_fits(value, member)), None)
    models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
    possible = [model for model in models if _required(model) <= value.keys()]
    if possible:
        return max(possible, key=lambda model: len(value.keys() & _fields(model).keys()))
    return next((member for member in members if get_origin(member) is dict), None)


def _list_fits(values: list[Any], annotation: Any) -> bool:
    """Whether the elements are lists or objects as the list type wants them; a list of scalars fits any."""
    (element,) = get_args(annotation)
    wants_list = get_origin(element) is list
    return not _nested(values) or isinstance(values[0], list) == wants_list


def _required(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in _fields(model).items() if field.is_required()}


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields with their types, which are names as long as a model is not built."""
    model.model_rebuild()
    return model.model_fields
