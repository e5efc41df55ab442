"""From an expression to its syntax tree: recursive descent over the grammar of CEL.

Its limits are those of Kubernetes' parser, so that no text can exhaust the stack or the time: 100,000 characters,
250 levels of nesting. The first syntax error ends the parsing.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apimachinery.cel.errors import CelCompileError, Issue, compile_error
from apimachinery.cel.lexer import Token, tokens, unquote, unquote_bytes
from apimachinery.cel.macros import expand
from apimachinery.cel.names import RESERVED
from apimachinery.cel.syntax import Call, Entry, Ident, ListLiteral, Literal, MapLiteral, Node, Select, StructLiteral
from apimachinery.cel.values import INT_MAX, INT_MIN, UINT_MAX, UInt

_LENGTH_MAX = 100_000
_DEPTH_MAX = 250
_EXPRESSION_START = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_RELATIONS = {"<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "==": "_==_", "!=": "_!=_", "in": "@in"}
# Operator → (function, how tightly it binds).
_BINARY = {
    "||": ("_||_", 0),
    "&&": ("_&&_", 1),
    **{text: (function, 2) for text, function in _RELATIONS.items()},
    "+": ("_+_", 3),
    "-": ("_-_", 3),
    "*": ("_*_", 4),
    "/": ("_/_", 4),
    "%": ("_%_", 4),
}


def parse(expression: str) -> Node:
    """The tree of an expression. Raises CelCompileError."""
    if len(expression) > _LENGTH_MAX:
        message = f"expression code point size exceeds limit: size: {len(expression)}, limit {_LENGTH_MAX}"
        raise compile_error(expression, [Issue(-1, message)])
    return _Parser(expression).parse()


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._issues: list[Issue] = []
        self._tokens = list(tokens(expression, self._issues))
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        tree = self._expr()
        if self._peek().kind != "end":
            raise self._unexpected("<EOF>")
        if self._issues:
            raise compile_error(self._expression, self._issues)
        return tree

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _accept(self, text: str) -> Token | None:
        token = self._tokens[self._at]
        return self._next() if token.kind == "op" and token.text == text else None

    def _expect(self, text: str) -> Token:
        return self._accept(text) or self._fail(f"'{text}'")

    def _fail(self, expecting: str) -> Token:
        raise self._unexpected(expecting)

    def _unexpected(self, expecting: str) -> CelCompileError:
        token = self._peek()
        return self._error(token.offset, f"Syntax error: mismatched input '{token.text}' expecting {expecting}")

    def _error(self, offset: int, message: str) -> CelCompileError:
        return compile_error(self._expression, [*self._issues, Issue(offset, message)])

    def _expr(self) -> Node:
        self._deeper()
        condition = self._binary(0)
        question = self._accept("?")
        if question is not None:
            then = self._binary(0)
            self._expect(":")
            otherwise = self._expr()
            self._depth -= 1
            return _operator(question, "_?_:_", condition, then, otherwise)
        self._depth -= 1
        return condition

    def _deeper(self, levels: int = 1) -> None:
        self._depth += levels
        if self._depth > _DEPTH_MAX:
            raise self._error(-1, f"expression recursion limit exceeded: {_DEPTH_MAX}")

    def _binary(self, lowest: int) -> Node:
        """Operators that bind at least as tightly as `lowest`: one loop for all levels keeps the stack short."""
        left = self._unary()
        chain: Call | None = None
        levels = 0
        while True:
            token = self._peek()
            function, binding = _BINARY.get(token.text, ("", -1)) if token.kind == "op" else ("", -1)
            if binding < lowest:
                self._depth -= levels
                return left
            self._next()
            right = self._binary(binding + 1)
            if chain is not None and chain.function == function:
                chain.args.append(right)
                continue
            # A chain of left-associative operators is as deep as it is long.
            self._deeper()
            levels += 1
            left = operator = _operator(token, function, left, right)
            # A chain of `&&` or `||` is one call of all its terms, however long it is.
            chain = operator if function in ("_&&_", "_||_") else None

    def _unary(self) -> Node:
        first = self._peek()
        if first.kind != "op" or first.text not in "!-":
            return self._members(self._primary())
        following = self._tokens[self._at + 1]
        if first.text == "-" and following.kind in ("int", "float"):
            self._next()
            return self._members(self._number(first))
        count = 0
        while self._accept(first.text):
            count += 1
        operand = self._members(self._primary())
        if count % 2 == 0:
            return operand
        return _operator(first, "!_" if first.text == "!" else "-_", operand)

    def _members(self, operand: Node) -> Node:
        levels = 0
        while True:
            token = self._peek()
            if token.kind != "op" or token.text not in (".", "["):
                self._depth -= levels
                return operand
            self._next()
            self._deeper()
            levels += 1
            operand = self._after_dot(token, operand) if token.text == "." else self._index(token, operand)

    def _after_dot(self, dot: Token, operand: Node) -> Node:
        optional = self._accept("?") is not None
        name = self._next()
        if name.kind not in ("ident", "escaped"):
            self._at -= name.kind != "end"
            raise self._unexpected("IDENTIFIER" if not optional else "{IDENTIFIER, ESC_IDENTIFIER}")
        if name.kind == "escaped":
            raise self._error(name.offset, "unsupported syntax: '`'")
        bracket = None if optional else self._accept("(")
        if bracket is None:
            return Select(offset=dot.offset, operand=operand, field=name.text, optional=optional)
        return self._call(bracket, name.text, operand)

    def _index(self, bracket: Token, operand: Node) -> Node:
        optional = self._accept("?") is not None
        index = self._expr()
        self._expect("]")
        return _operator(bracket, "_[?_]" if optional else "_[_]", operand, index)

    def _call(self, bracket: Token, name: str, target: Node | None) -> Node:
        args = self._list(")", self._expr)
        call = Call(offset=bracket.offset, function=name, target=target, args=args)
        expanded = expand(call)
        if isinstance(expanded, Issue):
            raise self._error(*expanded)
        return expanded

    def _list(self, close: str, item: Callable[[], Any], *, trailing_comma: bool = False) -> list[Any]:
        items: list[Any] = []
        if self._accept(close):
            return items
        if trailing_comma and self._accept(","):
            self._expect(close)
            return items
        while True:
            items.append(item())
            if self._accept(close):
                return items
            if not self._accept(","):
                raise self._unexpected(f"{{'{close}', ','}}")
            if trailing_comma and self._accept(close):
                return items

    def _primary(self) -> Node:
        token = self._peek()
        if token.kind == "op":
            if token.text == "(":
                self._next()
                inner = self._expr()
                self._expect(")")
                return inner
            if token.text == "[":
                return self._list_literal()
            if token.text == "{":
                return self._map_literal()
            if token.text == "." and self._tokens[self._at + 1].kind == "ident":
                self._next()
                return self._ident(".")
        elif token.kind == "ident":
            return self._ident("")
        elif token.kind != "end" and token.kind != "escaped":
            return self._literal()
        raise self._unexpected(_EXPRESSION_START)

    def _literal(self) -> Node:
        token = self._peek()
        if token.kind in ("int", "uint", "float"):
            return self._number(None)
        self._next()
        if token.kind == "word":
            return Literal(offset=token.offset, value={"true": True, "false": False, "null": None}[token.text])
        try:
            value = unquote(token.text) if token.kind == "string" else unquote_bytes(token.text)
        except ValueError as error:
            raise self._error(token.offset, str(error))
        return Literal(offset=token.offset, value=value)

    def _number(self, sign: Token | None) -> Node:
        token = self._next()
        offset = sign.offset if sign else token.offset
        negative = -1 if sign else 1
        if token.kind == "float":
            return Literal(offset=offset, value=negative * float(token.text))
        digits = token.text.rstrip("uU")
        # Python refuses to read thousands of digits; nothing that long fits.
        number = UINT_MAX + 1 if len(digits) > 100 else int(digits, 16 if digits.startswith("0x") else 10)
        if token.kind == "uint":
            if number > UINT_MAX:
                raise self._error(offset, "invalid uint literal")
            return Literal(offset=offset, value=UInt(number))
        if not INT_MIN <= negative * number <= INT_MAX:
            raise self._error(offset, "invalid int literal")
        return Literal(offset=offset, value=negative * number)

    def _ident(self, leading_dot: str) -> Node:
        token = self._next()
        bracket = self._accept("(")
        name = leading_dot + token.text
        if bracket is None and (names := self._struct_name(name)):
            return self._struct(names)
        if token.text in RESERVED:
            raise self._error(token.offset, f"reserved identifier: {token.text}")
        if bracket is not None:
            return self._call(bracket, name, None)
        return Ident(offset=token.offset, name=name)

    def _struct_name(self, first: str) -> str | None:
        """The dotted name if what follows is `name.name{`; consumes nothing otherwise."""
        at, name = self._at, first
        while self._tokens[at].text == "." and self._tokens[at + 1].kind == "ident":
            name += "." + self._tokens[at + 1].text
            at += 2
        if self._tokens[at].kind != "op" or self._tokens[at].text != "{":
            return None
        self._at = at
        return name

    def _struct(self, name: str) -> Node:
        brace = self._expect("{")
        entries = self._list("}", self._struct_entry, trailing_comma=True)
        return StructLiteral(offset=brace.offset, name=name, entries=entries)

    def _struct_entry(self) -> Entry:
        optional = self._accept("?") is not None
        name = self._peek()
        if name.kind == "escaped":
            raise self._error(name.offset, "unsupported syntax: '`'")
        if name.kind != "ident":
            raise self._unexpected("{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}")
        self._next()
        colon = self._expect(":")
        return Entry(offset=colon.offset, key=name.text, value=self._expr(), optional=optional)

    def _list_literal(self) -> Node:
        bracket = self._expect("[")
        optionals: set[int] = set()
        elements: list[Node] = []

        def element() -> None:
            if self._accept("?"):
                optionals.add(len(elements))
            elements.append(self._expr())

        self._list("]", element, trailing_comma=True)
        return ListLiteral(offset=bracket.offset, elements=elements, optionals=frozenset(optionals))

    def _map_literal(self) -> Node:
        brace = self._expect("{")
        return MapLiteral(offset=brace.offset, entries=self._list("}", self._map_entry, trailing_comma=True))

    def _map_entry(self) -> Entry:
        optional = self._accept("?") is not None
        key = self._expr()
        colon = self._expect(":")
        return Entry(offset=colon.offset, key=key, value=self._expr(), optional=optional)


def _operator(token: Token, function: str, *args: Node) -> Call:
    return Call(offset=token.offset, function=function, target=None, args=list(args))
