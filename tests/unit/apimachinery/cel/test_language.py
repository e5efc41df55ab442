"""The language itself: every section of the CEL specification, as expressions and what they are worth.

Facts: https://github.com/google/cel-spec/tree/master/tests/simple (where Kubernetes' evaluator keeps to them).
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from apimachinery.cel import (
    DYN,
    INT,
    STRING,
    CelEvaluationError,
    Duration,
    Environment,
    Timestamp,
    UInt,
    compile,
    map_of,
)

BINDINGS: dict[str, Any] = {
    "x": 3,
    "name": "cel",
    "m": {"a": 1, "nested": {"b": [10, 20]}, "none": None},
    "any": {"text": "hi", "int": 7, "double": 2.5, "list": [1, "two", 3.0], "true": True},
}
ENVIRONMENT = Environment({"x": INT, "name": STRING, "m": map_of(STRING, DYN), "any": DYN})


def value(expression: str) -> Any:
    return compile(expression, ENVIRONMENT).evaluate(BINDINGS)


def error(expression: str) -> str:
    with pytest.raises(CelEvaluationError) as raised:
        value(expression)
    return raised.value.message


LITERALS = {
    "0": 0,
    "-1": -1,
    "0x1F": 31,
    "-0x10": -16,
    "9223372036854775807": 2**63 - 1,
    "-9223372036854775808": -(2**63),
    "42u": UInt(42),
    "0xFFu": UInt(255),
    "18446744073709551615u": UInt(2**64 - 1),
    "1.5": 1.5,
    "1e3": 1000.0,
    ".25": 0.25,
    "-2.3e-1": -0.23,
    "true": True,
    "null": None,
    "'single'": "single",
    '"double"': "double",
    "'''three ' quotes'''": "three ' quotes",
    '"""a\nb"""': "a\nb",
    r"r'raw \n'": r"raw \n",
    r"'\a\b\f\n\r\t\v\\\'\"\`\?'": "\a\b\f\n\r\t\v\\'\"`?",
    r"'\x41\u0042\U00000043\104'": "ABCD",
    "'日本'": "日本",
    r"b'\x00\377é'": b"\x00\xff\xc3\xa9",
    r"br'\n'": b"\\n",
    "[1, 2, 3,]": [1, 2, 3],
    "{'a': 1, 'b': 2,}": {"a": 1, "b": 2},
    "{1: true, 2: false}": {1: True, 2: False},
    "1 // a comment\n + 1": 2,
}
ARITHMETIC = {
    "1 + 2 * 3 - 4": 3,
    "(1 + 2) * 3": 9,
    "7 / 2": 3,
    "-7 / 2": -3,
    "7 / -2": -3,
    "7 % 3": 1,
    "-7 % 3": -1,
    "7 % -3": 1,
    "7u / 2u": UInt(3),
    "7u % 4u": UInt(3),
    "7.0 / 2.0": 3.5,
    "1.0 / 0.0": math.inf,
    "-1.0 / 0.0": -math.inf,
    "--x": 3,
    "-(-x)": 3,
    "'a' + 'b' + 'c'": "abc",
    "b'a' + b'b'": b"ab",
    "[1] + [2, 3]": [1, 2, 3],
    "!true": False,
    "!!false": False,
    "duration('1m') + duration('30s') == duration('90s')": True,
    "timestamp('2020-01-01T00:00:00Z') + duration('24h') == timestamp('2020-01-02T00:00:00Z')": True,
    "timestamp('2020-01-02T00:00:00Z') - timestamp('2020-01-01T12:00:00Z') == duration('12h')": True,
}
COMPARISONS = {
    "1 == 1": True,
    "1 == 1.0": None,
    "dyn(1) == 1.0": True,
    "dyn(1u) == 1": True,
    "dyn(1) == 'a'": False,
    "dyn(true) == 1": False,
    "dyn(null) == false": False,
    "1 < 2.5": True,
    "2u > 1": True,
    "3.0 <= 3": True,
    "1 != 2": True,
    "'a' < 'b'": True,
    "'abc' < 'abd' && 'a' < 'aa'": True,
    "b'a' < b'b'": True,
    "false < true": True,
    "[1, 2] == [1, 2]": True,
    "[1, 2] == [2, 1]": False,
    "[[1.0]] == dyn([[1]])": True,
    "{'a': 1, 'b': 2} == {'b': 2, 'a': 1}": True,
    "{'a': 1} == {'a': 2}": False,
    "0.0 / 0.0 == 0.0 / 0.0": False,
    "[0.0 / 0.0] == [0.0 / 0.0]": False,
    "dyn(9223372036854775807) < 9223372036854775808.0": False,
    "duration('1s') < duration('1001ms')": True,
    "timestamp('2020-01-01T00:00:00Z') < timestamp('2020-01-01T00:00:00.1Z')": True,
    "2 in [1, 2, 3]": True,
    "4 in [1, 2, 3]": False,
    "'a' in {'a': 1}": True,
    "dyn(2.0) in [1, 2]": True,
    "dyn(true) in [1, 0]": False,
    "dyn(true) in {1: 'one'}": False,
    "dyn('a') in {1: 'one'}": False,
    "type(1) == int": True,
    "type(1u) == uint && type(1.0) == double && type('') == string && type(b'') == bytes": True,
    "type([1]) == list && type({1: 1}) == map && type(null) == null_type && type(true) == bool": True,
    "type(int) == type": True,
    "type(timestamp(0)) == google.protobuf.Timestamp": True,
    "type(optional.none()) == optional_type": True,
}
FIELDS = {
    "m.a": 1,
    "m['a']": 1,
    "m.nested.b[1]": 20,
    "m.none": None,
    "has(m.a)": True,
    "has(m.none)": True,
    "has(m.missing)": False,
    "has(m.nested.b) && !has(m.nested.c)": True,
    "any.list[1] == 'two'": True,
    "any.int > 5 && any.double < 3": True,
    "any.text + '!'": "hi!",
    "{1: 'a', 2: 'b'}[2]": "b",
    "{true: 'yes', false: 'no'}[x > 1]": "yes",
    "{1: 'a'}[dyn(1.0)]": "a",
    "{1: 'a'}[dyn(1u)]": "a",
    "[1, 2, 3][dyn(1.0)]": 2,
    "[[1], [2, 3]][1][0]": 2,
    "size([1, 2]) + [1].size() + size('日本') + size(b'abc') + {'a': 1}.size()": 9,
}
LOGIC = {
    "true || 1 / 0 == 1": True,
    "1 / 0 == 1 || true": True,
    "false && 1 / 0 == 1": False,
    "1 / 0 == 1 && false": False,
    "1 / 0 == 1 || false || true": True,
    "true && true && 1 / 0 == 1 && false": False,
    "m.missing == 1 || has(m.a)": True,
    "any.text || true": True,
    "x > 2 ? 'big' : 'small'": "big",
    "true ? 1 : 1 / 0": 1,
    "false ? 1 / 0 : 2": 2,
    "x > 5 ? 'a' : x > 2 ? 'b' : 'c'": "b",
}
MACROS = {
    "[1, 2, 3].all(i, i > 0)": True,
    "[1, 2, 3].all(i, i > 1)": False,
    "[].all(i, i > 0)": True,
    "[0, 1].all(i, 1 / i == 5)": False,
    "[1, 2, 3].exists(i, i == 2)": True,
    "[0, 1].exists(i, 1 / i == 1)": True,
    "[].exists(i, i == 1)": False,
    "[1, 2, 2].exists_one(i, i == 1)": True,
    "[1, 2, 2].existsOne(i, i == 2)": False,
    "[1, 2, 3].filter(i, i % 2 == 1)": [1, 3],
    "[1, 2, 3].map(i, i * i)": [1, 4, 9],
    "[1, 2, 3].map(i, i > 1, i * 10)": [20, 30],
    "{'a': 1, 'b': 2}.map(k, k)": ["a", "b"],
    "{'a': 1, 'b': 2}.exists(k, k == 'b')": True,
    "{'a': 1, 'b': 2}.filter(k, k != 'a')": ["b"],
    "[[1, 2], [3]].map(l, l.map(i, i + x))": [[4, 5], [6]],
    "[1, 2].all(x, x < 3) && x == 3": True,
    "[1, 2].exists(i, [3, 4].exists(j, i * j == 8))": True,
    "[5, 6].all(i, v, v == i + 5)": True,
    "{'a': 1}.all(k, v, k == 'a' && v == 1)": True,
    "[5, 6].exists(i, v, i == 1 && v == 6)": True,
    "{'a': 1, 'b': 2}.existsOne(k, v, v > 1)": True,
    "[5, 6].transformList(i, v, i + v)": [5, 7],
    "[5, 6].transformList(i, v, v > 5, v)": [6],
    "{'a': 1, 'b': 2}.transformMap(k, v, v * 10)": {"a": 10, "b": 20},
    "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, k)": {"b": "b"},
    "['x', 'y'].transformMap(i, v, v)": {0: "x", 1: "y"},
    "{'a': 'b'}.transformMapEntry(k, v, {v: k})": {"b": "a"},
    "['x'].transformMapEntry(i, v, i > 0, {v: i})": {},
}
CONVERSIONS = {
    "int('-42') + int(3u) + int(4.9) + int(-4.9)": -39,
    "uint('7') + uint(3) + uint(2.9)": UInt(12),
    "double('1.5e1') + double(1) + double(2u)": 18.0,
    "string(1) + string(2u) + string(true) + string(b'x') + string('y')": "12truexy",
    "string(1.5) + ' ' + string(1e21) + ' ' + string(-0.00001)": "1.5 1e+21 -1e-05",
    "string(1234567.0) + ' ' + string(100000.0)": "1.234567e+06 100000",
    "bytes('é')": b"\xc3\xa9",
    "bool('true') && !bool('F') && bool('1')": True,
    "dyn([1])": [1],
    "int(timestamp('1970-01-01T00:01:00Z'))": 60,
    "timestamp(60) == timestamp('1970-01-01T00:01:00Z')": True,
    "string(timestamp('2020-02-29T23:59:59.120Z'))": "2020-02-29T23:59:59.12Z",
    "string(timestamp('2020-01-01T01:00:00+02:00') + duration('1h'))": "2020-01-01T02:00:00+02:00",
    "timestamp('2020-01-01T01:00:00+02:00') == timestamp('2019-12-31T23:00:00Z')": True,
    "string(duration('1h30m'))": "5400s",
    "string(duration('-1.5s'))": "-1.5s",
    "string(duration('1000000ns')) + string(duration('3us'))": "0.001s0.000003s",
    "duration('1h') == duration('3600s')": True,
}
TIMES = {
    "timestamp('2009-02-13T23:31:30.123Z').getFullYear()": 2009,
    "timestamp('2009-02-13T23:31:30.123Z').getMonth()": 1,
    "timestamp('2009-02-13T23:31:30.123Z').getDate()": 13,
    "timestamp('2009-02-13T23:31:30.123Z').getDayOfMonth()": 12,
    "timestamp('2009-02-13T23:31:30.123Z').getDayOfWeek()": 5,
    "timestamp('2009-02-13T23:31:30.123Z').getDayOfYear()": 43,
    "timestamp('2009-02-13T23:31:30.123Z').getHours()": 23,
    "timestamp('2009-02-13T23:31:30.123Z').getMinutes()": 31,
    "timestamp('2009-02-13T23:31:30.123Z').getSeconds()": 30,
    "timestamp('2009-02-13T23:31:30.123Z').getMilliseconds()": 123,
    "timestamp('2009-02-13T23:31:30Z').getHours('-02:30')": 21,
    "timestamp('2009-02-13T23:31:30Z').getDate('+11:00')": 14,
    "timestamp('2009-02-13T23:31:30Z').getHours('UTC')": 23,
    "duration('3h25m45.5s').getHours()": 3,
    "duration('3h25m45.5s').getMinutes()": 205,
    "duration('3h25m45.5s').getSeconds()": 12345,
    "duration('-90m').getHours()": -1,
    "timestamp('0001-01-01T00:00:00Z')": Timestamp(-62135596800 * 10**9),
    "duration('1.5ms')": Duration(1_500_000),
}
OPTIONALS = {
    "m.?a.orValue(5)": 1,
    "m.?missing.orValue(5)": 5,
    "m.?missing.deeper.orValue('none')": "none",
    "m.?nested.b[1].orValue(0)": 20,
    "m[?'missing'].hasValue()": False,
    "m.nested.b[?7].or(m.nested.b[?0]).value()": 10,
    "optional.of(1).value() + optional.none().orValue(2)": 3,
    "optional.ofNonZeroValue('').hasValue()": False,
    "optional.ofNonZeroValue([1]).hasValue()": True,
    "m.?a.optMap(v, v + 1).orValue(0)": 2,
    "optional.none().optMap(v, v + 1).hasValue()": False,
    "m.?nested.optFlatMap(n, n.?b).orValue([])": [10, 20],
    "[?m.?a, ?m.?missing]": [1],
    "{?'a': m.?a, ?'b': m.?missing}": {"a": 1},
    "optional.of(1) == optional.of(1) && optional.none() != optional.of(1)": True,
    "[optional.of(1), optional.none()].unwrapOpt()": [1],
    "[1, 2].first().value() + [1, 2].last().value()": 3,
    "has(m.?nested.b)": True,
    "optional.of(1).or(optional.of(1 / 0)).value()": 1,
}
TABLES = {
    **LITERALS,
    **ARITHMETIC,
    **{expression: result for expression, result in COMPARISONS.items() if result is not None},
    **FIELDS,
    **LOGIC,
    **MACROS,
    **CONVERSIONS,
    **TIMES,
    **OPTIONALS,
}


@pytest.mark.parametrize("expression", TABLES)
def test_an_expression_is_worth_what_the_specification_says(expression: str) -> None:
    found = value(expression)

    assert found == TABLES[expression]
    assert type(found) is type(TABLES[expression])


ERRORS = {
    "9223372036854775807 + 1": "integer overflow",
    "-9223372036854775808 - 1": "integer overflow",
    "9223372036854775807 * 2": "integer overflow",
    "-(-9223372036854775808)": "integer overflow",
    "-9223372036854775808 / -1": "integer overflow",
    "0u - 1u": "unsigned integer overflow",
    "18446744073709551615u + 1u": "unsigned integer overflow",
    "1 / 0": "division by zero",
    "1u / 0u": "division by zero",
    "1 % 0": "modulus by zero",
    "int(9223372036854775807.0)": "integer overflow",
    "int(18446744073709551615u)": "integer overflow",
    "uint(-1)": "unsigned integer overflow",
    "int('x')": "type conversion error from 'string' to 'int'",
    "double('1e400')": "type conversion error from 'string' to 'double'",
    "bool('maybe')": "type conversion error from 'string' to 'bool'",
    r"string(b'\xff')": "invalid UTF-8 in bytes, cannot convert to string",
    "timestamp(name)": "type conversion error from 'string' to 'google.protobuf.Timestamp'",
    "duration(name)": "type conversion error from 'string' to 'google.protobuf.Duration'",
    "timestamp('9999-12-31T23:59:59Z') + duration('1s')": "timestamp overflow",
    "duration('9000000000s') + duration('9000000000s')": "duration overflow",
    "m.missing": "no such key: missing",
    "m.nested.missing.deeper": "no such key: missing",
    "{1: 'a'}[2]": "no such key: 2",
    "[1][1]": "index out of bounds: 1",
    "[1][-1]": "index out of bounds: -1",
    "any.text + 1": "no such overload",
    "any.text < 1": "no such overload",
    "!any.text": "no such overload",
    "any.text && true": "no such overload",
    "any.text.all(c, true)": "no such overload",
    "any.int.startsWith('a')": "no such overload: startsWith",
    "any.text.missing": "no such overload",
    "m.none.missing": "no such overload",
    "m.missing == 1 || 1 / 0 == 1": "no such key: missing",
    "[1, 0].exists(i, 1 / i == 5)": "division by zero",
    "[1, 0].exists_one(i, 1 / i == 1)": "division by zero",
    "[1, 0].map(i, 1 / i)": "division by zero",
    "optional.none().value()": "optional.none() dereference",
    "0.0 / 0.0 < 1.0": "NaN values cannot be ordered",
    "{'a': 1, 'b': 1}.transformMapEntry(k, v, {v: k})": "insert failed: key 1 already exists",
    "timestamp(0).getHours('Mars/Olympus')": "unknown time zone Mars/Olympus",
}


@pytest.mark.parametrize("expression", ERRORS)
def test_an_expression_without_a_value_says_why(expression: str) -> None:
    assert error(expression) == ERRORS[expression]


def test_the_same_program_gives_the_same_value_every_time() -> None:
    program = compile("[1, 2, 3].map(i, i + x)", ENVIRONMENT)

    assert [program.evaluate({"x": n}) for n in (0, 1, 0)] == [[1, 2, 3], [2, 3, 4], [1, 2, 3]]


def test_a_program_tells_its_type_and_the_variables_that_it_uses() -> None:
    program = compile("x > 1 && name.startsWith('c')", ENVIRONMENT)

    assert str(program.result_type) == "bool"
    assert program.references == {"x", "name"}


def test_a_variable_that_is_not_bound_is_an_error() -> None:
    with pytest.raises(CelEvaluationError, match=r"no such attribute\(s\): x"):
        compile("x", ENVIRONMENT).evaluate({})
