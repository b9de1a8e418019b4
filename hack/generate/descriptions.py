"""Docstrings of structs and of their fields, as descriptions."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap


def of_struct(cls: type) -> str:
    """The docstring of `cls` on one line per paragraph. Raises ValueError where there is none."""
    return _paragraphs(cls.__doc__, cls.__name__)


def of_fields(cls: type) -> dict[str, str]:
    """The string after each annotated name in the body of `cls`, by name. Python drops it; the source has it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        node.target.id: _paragraphs(_string(after), f"{cls.__name__}.{node.target.id}")
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _string(after) is not None
    }


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None


def _paragraphs(text: str | None, where: str) -> str:
    if not text:
        raise ValueError(f"{where} has no description: give it a docstring")
    return "\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))
