"""What a few bytes of YAML may not do: nest so deeply that the process ends, or stand for more than fits into memory.

PyYAML's library in C calls itself for every level and asks nobody how much of the stack is left. Aliases of aliases
cost a line each and multiply what they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# JSON is written no deeper either (orjson): what is nested further could not be sent on.
DEPTH_MAX = 250
NODES_MAX = 1_000_000


def limit(loader: Any) -> None:
    """Have a loader class of PyYAML raise YAMLError for documents that go beyond these limits."""
    loader.depth = 0
    # What is called before and after each node, to find tags by their paths: these loaders have none.
    loader.descend_resolver = _descend
    loader.ascend_resolver = _ascend
    construct = loader.construct_document

    def construct_document(self: Any, node: Any) -> Any:
        _refuse_expansion(node)
        return construct(self, node)

    loader.construct_document = construct_document


def _descend(loader: Any, _parent: Any, _index: Any) -> None:
    loader.depth += 1
    if loader.depth > DEPTH_MAX:
        raise _error(f"exceeded max depth of {DEPTH_MAX}")


def _ascend(loader: Any) -> None:
    loader.depth -= 1


def _refuse_expansion(root: Any) -> None:
    """Raises YAMLError if aliases make the document too large."""
    import yaml

    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is None:
            sizes[id(node)] = 1  # also ends a document that contains itself; building that fails later
            known = 1
            if isinstance(node, yaml.MappingNode):
                known += sum(size(key) + size(value) for key, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                known += sum(map(size, node.value))
            sizes[id(node)] = known
        return known

    if size(root) > NODES_MAX:
        raise _error(f"the document has more than {NODES_MAX} values once its aliases are resolved")


def _error(told: str) -> Exception:
    from yaml.constructor import ConstructorError

    make: Callable[..., Exception] = ConstructorError
    return make(None, None, told, None)
