"""What calls can cost at most, and how large their results can be.

Sources: github.com/google/cel-go/checker/cost.go, k8s.io/apiserver/pkg/cel/library/cost.go
"""

from __future__ import annotations

from collections.abc import Callable

from apimachinery.cel.declared_sizes import LOST, Declared
from apimachinery.cel.ranges import MAX, ONE, UNKNOWN, Known, Range
from apimachinery.cel.syntax import Call, Literal, Node

_TRAVERSAL, _REGEX = 0.1, 0.25
_LIST = Range.fixed(10)
_CHECK = Range.fixed(350_000)
_ADDRESS = Range(4, 16)
_FORMAT_REGEX = 128
_CONSTANT_EQUALITY = frozenset(
    ("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.authorization.Authorizer")
)
_ORDERS = frozenset(("_<_", "_<=_", "_>_", "_>=_"))
Estimate = Callable[[Call, "Known | None", list[Known]], Known | None]


def call_estimate(node: Call, target: Known | None, args: list[Known], root: Declared) -> Known:
    """The cost of a call without that of its operands, and the size of its result."""
    if node.function == "_[_]":
        return _index(args[0], root)
    estimate = _ESTIMATES.get(node.function)
    found = estimate(node, target, args) if estimate is not None else None
    return found or Known(ONE, None)


def _size(known: Known | None) -> Range:
    return known.size if known is not None and known.size is not None else UNKNOWN


def _kind(node: Node) -> str:
    return node.type.kind


def _traversal_of_argument(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(args[0]).scaled(_TRAVERSAL), None) if args else None


def _traversal_of_target(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(target).scaled(_TRAVERSAL), _size(target)) if target is not None else None


def _equality(node: Call, target: Known | None, args: list[Known]) -> Known:
    left, right = (arg.type for arg in node.args)
    if left == right and left.name in _CONSTANT_EQUALITY and node.function == "_==_":
        return Known(ONE, None)
    largest = min(_size(args[0]).max, _size(args[1]).max)
    return Known(Range(min(largest, 1), largest).scaled(_TRAVERSAL), None)


def _order(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    kinds = {param.kind for overload in node.overloads for param in overload.params}
    return _equality(node, target, args) if kinds & {"string", "bytes"} else None


def _sum(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    kinds = {overload.params[0].kind for overload in node.overloads}
    if not kinds & {"string", "bytes", "list"}:
        return None
    size = _size(args[0]) + _size(args[1])
    costs = [ONE if kind not in ("string", "bytes") else size.scaled(_TRAVERSAL) for kind in kinds]
    return args[0].union(args[1])._replace(cost=Range.around(costs), size=size)


def _index(container: Known, root: Declared) -> Known:
    element = root if container.declared is None else container.declared.element or LOST
    size = container.value
    if size is None and element is not LOST:
        size = Range(0, element.max_size)
    return Known(ONE, size, declared=element)


def _in(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    is_list = any(overload.params[1].kind == "list" for overload in node.overloads)
    return Known(_size(args[1]), None) if is_list else None


def _matches(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    if target is None:
        return None
    text = (_size(target) + ONE).scaled(_TRAVERSAL)
    return Known(text * _size(args[0]).scaled(_REGEX), None)


def _find(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    found = _matches(node, target, args)
    return found and found._replace(size=Range(0, _size(target).max))


def _contains(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(target).scaled(_TRAVERSAL) * _size(args[0]).scaled(_TRAVERSAL), None)


def _string(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    if _kind(node.args[0]) != "bytes":
        return None
    size = _size(args[0])
    return Known(size.scaled(_TRAVERSAL), Range(size.min // 4, size.max))


def _bytes(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    if _kind(node.args[0]) != "string":
        return None
    size = _size(args[0])
    return Known(size.scaled(_TRAVERSAL), Range(size.min, min(size.max * 4, MAX)))


def _quote(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    size = _size(args[0])
    return Known(size.scaled(_TRAVERSAL), Range(size.min + 2, min(size.max * 2 + 2, MAX)))


def _format(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(target).scaled(_TRAVERSAL), None)


def _replace(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    size, old, new = _size(target), _size(args[0]), _size(args[1])
    most, longest = _replacements(size.max, old.min, new.max <= old.min)
    least, shortest = _replacements(size.min, old.max, old.max <= new.min)
    return Known(size.scaled(0.2), Range(least, most) * new + Range(shortest, longest))


def _replacements(size: int, old: int, is_no_change: bool) -> tuple[int, int]:
    """(how often something is replaced, how much of the text stays) for the extreme that is looked for."""
    if old == 0:
        return min(size + 1, MAX), size
    return (0, size) if is_no_change else (-(-size // old), 0)


def _split(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    size = _size(target)
    limit = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], Literal) else None
    most = limit % 2**64 if isinstance(limit, int) else size.max
    return Known(size.scaled(0.2), Range(0, most))


def _element(target: Known | None) -> Range:
    """The size of the elements of a list, as far as the schema tells it."""
    element = target.declared.element if target is not None and target.declared is not None else None
    return Range(0, element.max_size) if element is not None else UNKNOWN


def _join(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    count = _size(target)
    size = count * _element(target)
    if args:
        size = size + _size(args[0]) * Range(max(count.min - 1, 0), max(count.max - 1, 0))
    return Known(size.scaled(_TRAVERSAL), size)


def _list_traversal(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    assert node.target is not None
    if not node.target.type.params:
        return Known(_size(target).scaled(_TRAVERSAL), None)
    one = ONE
    if node.target.type.params[0].kind in ("string", "bytes"):
        one = ONE + _element(target).scaled(_TRAVERSAL)
    return Known(_size(target) * one, None)


def _new_list(factor: float, size: Range, based_on: Range) -> Known:
    return Known(based_on.scaled(factor) + ONE + _LIST, size)


def _reverse(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return _new_list(1, _size(target), _size(target))


def _literal_int(node: Node, default: int) -> int:
    if not isinstance(node, Literal) or type(node.value) is not int:
        return default
    return max(node.value, 0)


def _slice(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    start, end = _literal_int(node.args[0], 0), _literal_int(node.args[1], _size(target).max)
    size = Range.fixed((end - start) % 2**64)
    return _new_list(1, size, size)


def _range(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    size = Range.fixed(_literal_int(node.args[0], MAX))
    return _new_list(1, size, size)


def _flatten(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    depth = _literal_int(node.args[0], MAX) if node.args else 1
    return _new_list(float(depth), _size(target), _size(target))


def _all_pairs(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    size = _size(target) * _size(target)
    kinds = {param.params[0].kind for overload in node.overloads for param in overload.params[:1] if param.params}
    is_text = node.function == "sort" and bool(kinds & {"string", "bytes"})
    return _new_list(2.1 if is_text else 2.0, size, size)


def _sets(factor: float) -> Estimate:
    return lambda node, target, args: Known((_size(args[0]) * _size(args[1])).scaled(factor) + ONE, None)


def _ip(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(ONE, None) if target is not None else _traversal_of_argument(node, target, args)


def _canonical(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(args[0]).scaled(0.2), None)


def _contains_address(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    cost = (_ADDRESS + _ADDRESS).scaled(_TRAVERSAL)
    if node.function == "containsCIDR":
        cost = cost + _ADDRESS.scaled(_TRAVERSAL) + ONE
    if _kind(node.args[0]) == "string":
        cost = cost + _size(args[0]).scaled(_TRAVERSAL)
    return Known(cost, None)


def _validate(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(args[0]).scaled(_TRAVERSAL).scaled(_FORMAT_REGEX * _REGEX), None)


def _selector(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    size = _size(args[0])
    return Known(_LIST + size.scaled(_TRAVERSAL) + size.scaled(0.5).scaled(50), None)


def _affix(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(args[0]).scaled(_TRAVERSAL), None)


def _url(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_size(args[0]).scaled(_TRAVERSAL), _size(args[0]))


def _check(node: Call, target: Known | None, args: list[Known]) -> Known | None:
    return Known(_CHECK, None)


_ESTIMATES: dict[str, Estimate] = {
    **dict.fromkeys(("_==_", "_!=_"), _equality),
    **dict.fromkeys(_ORDERS, _order),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _traversal_of_target),
    **dict.fromkeys(
        ("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _traversal_of_argument
    ),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _list_traversal),
    **dict.fromkeys(("startsWith", "endsWith"), _affix),
    **dict.fromkeys(("find", "findAll"), _find),
    **dict.fromkeys(("sort", "distinct"), _all_pairs),
    **dict.fromkeys(("containsIP", "containsCIDR"), _contains_address),
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets(1)),
    **dict.fromkeys(("url", "jsonpatch.escapeKey"), _url),
    "sets.equivalent": _sets(2),
    "_+_": _sum,
    "@in": _in,
    "matches": _matches,
    "contains": _contains,
    "string": _string,
    "bytes": _bytes,
    "strings.quote": _quote,
    "format": _format,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "reverse": _reverse,
    "slice": _slice,
    "lists.range": _range,
    "flatten": _flatten,
    "ip": _ip,
    "ip.isCanonical": _canonical,
    "validate": _validate,
    "check": _check,
}
