"""What is wrong with an expression is said when it is compiled, in Kubernetes' words and with its place."""

from __future__ import annotations

import pytest

from apimachinery.cel import (
    BOOL,
    DYN,
    INT,
    STRING,
    CelCompileError,
    Environment,
    compile,
    list_of,
    map_of,
    object_type,
    optional_of,
)

SPEC = object_type("spec", replicas=INT, name=STRING, tags=list_of(STRING), labels=map_of(STRING, STRING))
ENVIRONMENT = Environment({"self": object_type("object", spec=SPEC), "maybe": optional_of(SPEC), "any": DYN})
EXPECTING = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)


def issues(expression: str) -> list[str]:
    with pytest.raises(CelCompileError) as raised:
        compile(expression, ENVIRONMENT)
    return [line for line in raised.value.issues.split("\n") if line.startswith("ERROR")]


PROBLEMS = {
    "self.x": "1:5: undefined field 'x'",
    "self.spec.nope == 1": "1:10: undefined field 'nope'",
    "has(self.spec.nope)": "1:4: undefined field 'nope'",
    "nope": "1:1: undeclared reference to 'nope' (in container '')",
    "nope(1)": "1:5: undeclared reference to 'nope' (in container '')",
    "'a'.nope()": "1:9: undeclared reference to 'nope' (in container '')",
    "1 + 'a'": "1:3: found no matching overload for '_+_' applied to '(int, string)'",
    "self.spec.replicas == '3'": "1:20: found no matching overload for '_==_' applied to '(int, string)'",
    "self.spec.replicas == null": "1:20: found no matching overload for '_==_' applied to '(int, null)'",
    "self.spec.replicas.size()": "1:24: found no matching overload for 'size' applied to 'int.()'",
    "size(1)": "1:5: found no matching overload for 'size' applied to '(int)'",
    "self.spec.tags.sum()": "1:19: found no matching overload for 'sum' applied to 'list(string).()'",
    "self.spec.labels.all(k, v, v > 1)": "1:30: found no matching overload for '_>_' applied to '(string, int)'",
    "self.spec.name.foo": "1:15: type 'string' does not support field selection",
    "self.spec.tags.all(t, t)": "1:23: expected type 'bool' but found 'string'",
    "self.spec.tags.filter(t, 1)": (
        "1:22: found no matching overload for '_?_:_' applied to '(int, list(string), list(string))'"
    ),
    "self.spec.replicas.all(i, true)": (
        "1:10: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"
    ),
    "true && 1": "1:9: expected type 'bool' but found 'int'",
    "1 ? 2 : 3": "1:3: found no matching overload for '_?_:_' applied to '(int, int, int)'",
    "true ? 1 : 'a'": "1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'",
    "[1, 'a']": "1:5: expected type 'int' but found 'string'",
    "[1, any]": "1:5: expected type 'int' but found 'dyn'",
    "{'a': 1, 'b': 'c'}": "1:15: expected type 'int' but found 'string'",
    "maybe.?name.orValue(1)": (
        "1:20: found no matching overload for 'orValue' applied to 'optional_type(string).(int)'"
    ),
    "maybe.nope": "1:6: undefined field 'nope'",
    "[?1]": "1:3: expected type 'optional_type(int)' but found 'int'",
    "Unknown{a: 1}": "1:8: undeclared reference to 'Unknown' (in container '')",
    "[1].map(1, 2)": "1:9: argument is not an identifier",
    "[1].all(a.b, true)": "1:10: argument must be a simple name",
    "[1].all(i, i, true)": "1:12: duplicate variable name: i",
    "has(1)": "1:5: invalid argument to has() macro",
    "for": "1:1: reserved identifier: for",
    "9223372036854775808": "1:1: invalid int literal",
    "'a'.matches('(')": "1:13: invalid matches argument",
    "duration('1 hour')": "1:10: invalid duration argument",
    "duration(null)": "1:10: invalid duration argument",
    "timestamp('yesterday')": "1:11: invalid timestamp argument",
    "'%d'.format(['a'])": (
        "1:14: error during formatting: decimal clause can only be used on integers, was given string"
    ),
    "'%s'.format([1, 2])": "1:17: too many arguments supplied to string.format (expected 1, got 2)",
    "1 +": f"1:4: Syntax error: mismatched input '<EOF>' expecting {EXPECTING}",
    "": f"1:1: Syntax error: mismatched input '<EOF>' expecting {EXPECTING}",
    "a b": "1:3: Syntax error: mismatched input 'b' expecting <EOF>",
    "a.": "1:3: Syntax error: mismatched input '<EOF>' expecting IDENTIFIER",
    "a.`b-c`": "1:3: unsupported syntax: '`'",
    "1 + $": "1:5: Syntax error: token recognition error at: '$'",
}


@pytest.mark.parametrize("expression", PROBLEMS)
def test_a_wrong_expression_is_refused_with_the_reason_and_its_place(expression: str) -> None:
    assert issues(expression)[0] == f"ERROR: <input>:{PROBLEMS[expression]}"


def test_an_error_shows_the_line_and_marks_the_place() -> None:
    with pytest.raises(CelCompileError) as raised:
        compile("true &&\n  self.x", ENVIRONMENT)

    assert str(raised.value) == "compilation failed: ERROR: <input>:2:7: undefined field 'x'\n |   self.x\n | ......^"


def test_all_that_is_wrong_is_said_at_once_in_its_order() -> None:
    assert issues("self.a == self.b") == [
        "ERROR: <input>:1:5: undefined field 'a'",
        "ERROR: <input>:1:15: undefined field 'b'",
    ]


TYPES = {
    "1": "int",
    "[]": "list(dyn)",
    "[[]] + [[1]]": "list(list(int))",
    "{}": "map(dyn, dyn)",
    "self.spec.tags.map(t, t.size())": "list(int)",
    "self.spec.tags.transformMap(i, t, t)": "map(int, string)",
    "maybe.?replicas": "optional_type(int)",
    "maybe.replicas": "optional_type(int)",
    "maybe.?tags[?0]": "optional_type(string)",
    "maybe.optMap(s, s.name)": "optional_type(string)",
    "any.a.b": "dyn",
    "any + 1": "int",
    "any == 1": "bool",
    "true ? any : 1": "dyn",
    "type(1)": "type(int)",
    "timestamp(0)": "timestamp",
    "self.spec": "spec",
    "ip('1.2.3.4')": "net.IP",
    "self == self": "bool",
    "self.spec == null": "bool",
}


@pytest.mark.parametrize("expression", TYPES)
def test_an_expression_has_a_type_before_it_is_evaluated(expression: str) -> None:
    assert str(compile(expression, ENVIRONMENT).result_type) == TYPES[expression]


def test_kubernetes_says_what_an_expression_evaluates_to() -> None:
    assert compile("timestamp(0)", ENVIRONMENT).result_type.declared_name == "google.protobuf.Timestamp"
    assert compile("[true]", ENVIRONMENT).result_type == list_of(BOOL)
