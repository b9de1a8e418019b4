"""Finds the endpoint of a request by its method and the segments of its path.

The path is split before it is decoded: a collection may be asked for by a name with a slash, and is then refused by
the check of names, not lost in the routes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

Endpoint = Callable[..., Any]


@dataclass(slots=True)
class Node:
    """One place in the tree of paths. `anything` is the branch of a parameter."""

    literals: dict[str, "Node"] = field(default_factory=dict)
    anything: "Node | None" = None
    endpoints: dict[str, Endpoint] = field(default_factory=dict)


class Router:
    def __init__(self) -> None:
        self._root = Node()

    def add(self, method: str, pattern: str, endpoint: Endpoint) -> None:
        """`pattern` is a path in which `*` stands for one parameter, as in "/collections/*/points"."""
        node = self._root
        for segment in pattern.strip("/").split("/"):
            node = _branch(node, segment)
        node.endpoints[method] = endpoint

    def find(self, method: str, raw_path: str) -> tuple[Endpoint, tuple[str, ...]] | None:
        """The endpoint and the decoded parameters of a path as it came over the wire; None when there is none."""
        segments = [unquote(segment) for segment in raw_path.strip("/").split("/")]
        return next(_matches(self._root, method, segments, ()), None)


def _branch(node: Node, segment: str) -> Node:
    if segment != "*":
        return node.literals.setdefault(segment, Node())
    if node.anything is None:
        node.anything = Node()
    return node.anything


def _matches(
    node: Node, method: str, segments: list[str], found: tuple[str, ...]
) -> Iterator[tuple[Endpoint, tuple[str, ...]]]:
    """Literal branches first: "/points/scroll" is not the point "scroll"."""
    if not segments:
        if method in node.endpoints:
            yield node.endpoints[method], found
        return
    head, *rest = segments
    if head in node.literals:
        yield from _matches(node.literals[head], method, rest, found)
    if node.anything is not None:
        yield from _matches(node.anything, method, rest, (*found, head))
