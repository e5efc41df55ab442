"""Kubernetes' functions, by the examples of its documentation.

Facts: https://kubernetes.io/docs/reference/using-api/cel/ and the pages that it links.
"""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.cel import DYN, CelCompileError, CelEvaluationError, Duration, Environment, UInt, compile

ENVIRONMENT = Environment({"any": DYN})


def value(expression: str, **bindings: Any) -> Any:
    return compile(expression, ENVIRONMENT).evaluate(bindings)


STRINGS = {
    "'hello'.charAt(4)": "o",
    "'hello'.charAt(5)": "",
    "'hello mellow'.indexOf('ello')": 1,
    "'hello mellow'.indexOf('jello')": -1,
    "'hello mellow'.indexOf('', 2)": 2,
    "'hello mellow'.indexOf('ello', 2)": 7,
    "'hello mellow'.indexOf('ello', 20)": -1,
    "'hello mellow'.lastIndexOf('')": 12,
    "'hello mellow'.lastIndexOf('ello')": 7,
    "'hello mellow'.lastIndexOf('ello', 6)": 1,
    "['hello', 'mellow'].join()": "hellomellow",
    "['hello', 'mellow'].join(' ')": "hello mellow",
    "[].join('/')": "",
    "'TacoCÆt Xii'.lowerAscii()": "tacocÆt xii",
    "'TacoCÆt Xii'.upperAscii()": "TACOCÆT XII",
    "'hello hello'.replace('he', 'we')": "wello wello",
    "'hello hello'.replace('he', 'we', 1)": "wello hello",
    "'hello hello'.replace('he', 'we', 0)": "hello hello",
    "'hello'.replace('', '_')": "_h_e_l_l_o_",
    "'hello hello hello'.split(' ')": ["hello", "hello", "hello"],
    "'hello hello hello'.split(' ', 0)": [],
    "'hello hello hello'.split(' ', 1)": ["hello hello hello"],
    "'hello hello hello'.split(' ', 2)": ["hello", "hello hello"],
    "'héé'.split('')": ["h", "é", "é"],
    "'abc'.split('', 2)": ["a", "bc"],
    "'tacocat'.substring(4)": "cat",
    "'tacocat'.substring(0, 4)": "taco",
    "'  \\ttrim\\n    '.trim()": "trim",
    "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')": True,
    "strings.quote('first\\nsecond\"')": '"first\\nsecond\\""',
    "'%s is %d, %.1f%%'.format([dyn('a'), dyn(2), dyn(3.14159)])": "a is 2, 3.1%",
    "'%f'.format([1234567.891])": "1,234,567.891000",
    "'%e'.format([1052.032911275])": "1.052033×10⁰³",
    "'%x %X %o %b'.format([26, 26, 30, 5])": "1a 1A 36 101",
    "'%x'.format(['abc'])": "616263",
    "'%b'.format([true])": "1",
    "'%s'.format([{'b': [1, 2], 'a': []}])": '{"a":[], "b":[1, 2]}',
    "'%s %s'.format([dyn(timestamp(0)), dyn(duration('90s'))])": "1970-01-01T00:00:00Z 90s",
    "'%s'.format([[timestamp(0)]])": '[timestamp("1970-01-01T00:00:00Z")]',
    "'%s %s %s'.format([dyn(null), dyn(type(1)), dyn(b'x')])": "null int x",
}
REGEX = {
    "'abc 123'.find('[0-9]+')": "123",
    "'abc'.find('[0-9]+')": "",
    "'123 abc 456'.findAll('[0-9]+')": ["123", "456"],
    "'123 abc 456'.findAll('[0-9]+', 1)": ["123"],
    "'123'.findAll('[0-9]+', 0)": [],
    "'baaac'.findAll('a*')": ["", "aaa", ""],
    "'héllo'.findAll('.')": ["h", "é", "l", "l", "o"],
    "'abc'.matches('^[a-z]+$') && !'abC'.matches('^[a-z]+$')": True,
    "matches('x', 'x')": True,
}
LISTS = {
    "[1, 3].isSorted() && !['b', 'a'].isSorted() && [].isSorted()": True,
    "[1, 3].sum()": 4,
    "[1.0, 3.0].sum()": 4.0,
    "[1u, 3u].sum()": UInt(4),
    "[duration('1m'), duration('1s')].sum()": Duration(61 * 10**9),
    "[].sum()": 0,
    "[1, 3].min() + [1, 3].max()": 4,
    "['a', 'c', 'b'].max()": "c",
    "[1, 2, 2, 3].indexOf(2)": 1,
    "['a', 'b', 'b', 'c'].lastIndexOf('b')": 2,
    "[1].indexOf(2)": -1,
    "[1, 2, 3, 4].slice(1, 3)": [2, 3],
    "[[1, 2], [3]].flatten()": [1, 2, 3],
    "[[[1]], [[2]]].flatten(2)": [1, 2],
    "[3, 1, 2].sort()": [1, 2, 3],
    "[{'n': 2}, {'n': 1}].sortBy(e, e.n)": [{"n": 1}, {"n": 2}],
    "['ccc', 'a', 'bb'].sortBy(s, -s.size())": ["ccc", "bb", "a"],
    "[1, 2, 2, 1].distinct()": [1, 2],
    "[1, 2].reverse()": [2, 1],
    "lists.range(3)": [0, 1, 2],
    "sets.contains([1, 2, 3], [2, 1]) && !sets.contains([1], [2])": True,
    "sets.equivalent([1, 2, 2], [2, 1]) && !sets.equivalent([1], [1, 2])": True,
    "sets.intersects([1, 2], [2, 3]) && !sets.intersects([], [1])": True,
}
QUANTITIES = {
    "quantity('50000000G').isGreaterThan(quantity('50000G'))": True,
    "quantity('1.5G').isLessThan(quantity('1.5Gi'))": True,
    "quantity('200M').compareTo(quantity('0.2G'))": 0,
    "quantity('50k').add(quantity('20k')) == quantity('70k')": True,
    "quantity('50k').sub(20000) == quantity('30k')": True,
    "quantity('50k').asInteger()": 50000,
    "quantity('9999999999999999999999G').isInteger()": False,
    "quantity('500m').isInteger()": False,
    "quantity('500m').asApproximateFloat()": 0.5,
    "quantity('-1').sign() + quantity('0').sign()": -1,
    "isQuantity('1.3G') && isQuantity('1e3') && !isQuantity('200K')": True,
}
NETWORKS = {
    "isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.256')": True,
    "isIP('::ffff:1.2.3.4') || isIP('fe80::1%eth0')": False,
    "ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')": True,
    "ip('127.0.0.1').family() + ip('::1').family()": 10,
    "ip('::').isUnspecified() && ip('127.0.0.2').isLoopback() && ip('fe80::1').isLinkLocalUnicast()": True,
    "ip('224.0.0.1').isLinkLocalMulticast() && !ip('224.0.1.1').isLinkLocalMulticast()": True,
    "ip('ff02::1').isLinkLocalMulticast()": True,
    "ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()": True,
    "string(ip('0:0:0:0:0:0:0:1'))": "::1",
    "ip('::1') == ip('0::1')": True,
    "isCIDR('192.168.0.0/16') && !isCIDR('192.168.0.0') && !isCIDR('192.168.0.0/33') && !isCIDR('10.0.0.0/08')": True,
    "cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1')": True,
    "cidr('192.168.0.0/16').containsCIDR(cidr('192.168.10.0/24'))": True,
    "cidr('192.168.0.0/16').containsCIDR('192.168.0.0/8')": False,
    "cidr('192.168.0.1/24').ip() == ip('192.168.0.1')": True,
    "string(cidr('192.168.0.1/24').masked())": "192.168.0.0/24",
    "cidr('2001:db8::/32').prefixLength()": 32,
    "type(ip('::1')) == net.IP": True,
}
URLS = {
    "url('https://example.com:80/').getHost()": "example.com:80",
    "url('https://[::1]:80/').getHostname()": "::1",
    "url('https://example.com:80/').getPort()": "80",
    "url('https://example.com/').getScheme()": "https",
    "url('/path').getScheme() + url('/path').getHost()": "",
    "url('https://example.com/path with spaces/').getEscapedPath()": "/path%20with%20spaces/",
    "url('https://example.com').getEscapedPath()": "",
    "url('https://example.com/path?k1=a&k2=b&k2=c').getQuery()": {"k1": ["a"], "k2": ["b", "c"]},
    "url('https://example.com/?a%20b=c+d').getQuery()": {"a b": ["c d"]},
    "isURL('https://user:pass@example.com:80/path?query=val#fragment')": True,
    "isURL('https://a.example/b#c') && !isURL('https://a.example#c')": True,
    "isURL('http://#%blah$#@') || isURL('https://us<er@a.example/')": False,
    "isURL('/absolute-path') && !isURL('https://a:b:c/') && !isURL('../relative-path') && !isURL('')": True,
}
SEMVERS = {
    "semver('1.2.3').compareTo(semver('1.2.3-beta'))": 1,
    "semver('1.0.0-alpha.2').isLessThan(semver('1.0.0-alpha.10'))": True,
    "semver('1.0.0-rc.1').isGreaterThan(semver('1.0.0-beta'))": True,
    "semver('1.2.3').major() * 100 + semver('1.2.3').minor() * 10 + semver('1.2.3').patch()": 123,
    "isSemver('1.0.0+build.5') && !isSemver('1.0') && !isSemver('v1.0.0') && !isSemver('01.0.0')": True,
    "isSemver('v1.0', true) && semver('v01.01', true) == semver('1.1.0')": True,
    "semver('1.0.0+a') == semver('1.0.0+b')": True,
}
FORMATS = {
    "!format.dns1123Label().validate('my-label').hasValue()": True,
    "format.dns1123Label().validate('My.Label').hasValue()": True,
    "format.dns1123LabelPrefix().validate('my-').hasValue()": False,
    "format.named('dns1123Subdomain').value().validate('a.b').hasValue()": False,
    "format.named('nope').hasValue()": False,
    "format.qualifiedName().validate('a/b/c').hasValue()": True,
    "format.labelValue().validate('').hasValue()": False,
    "format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()": False,
    "format.uuid().validate('no').value()": ["does not match the UUID format"],
    "format.byte().validate('aGk=').hasValue() || format.date().validate('2021-01-31').hasValue()": False,
    "format.datetime().validate('2021-01-01').value()": ["invalid datetime"],
    "format.uri().validate('http://example.com').hasValue()": False,
}
EXAMPLES = {**STRINGS, **REGEX, **LISTS, **QUANTITIES, **NETWORKS, **URLS, **SEMVERS, **FORMATS}


@pytest.mark.parametrize("expression", EXAMPLES)
def test_a_function_gives_what_kubernetes_documents(expression: str) -> None:
    found = value(expression)

    assert found == EXAMPLES[expression]
    assert type(found) is type(EXAMPLES[expression])


ERRORS = {
    "'hello'.charAt(-1)": "index out of range: -1",
    "'hello'.substring(6)": "index out of range: 6",
    "'hello'.substring(3, 2)": "invalid substring range. start: 3, end: 2",
    "'hello'.indexOf('l', -1)": "index out of range: -1",
    "[].max()": "max called on empty list",
    "[].min()": "min called on empty list",
    "[1].slice(0, 2)": "cannot slice(0, 2), list is length 1",
    "quantity('nope')": (
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    ),
    "quantity('0.5').asInteger()": "cannot convert value to integer",
    "ip('::ffff:1.2.3.4')": 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed',
    "url('relative')": 'URL parse error during conversion from string: parse "relative": invalid URI for request',
    "semver('1.0')": "No Major.Minor.Patch elements found",
    "'x'.find('(' + 'a')": "error parsing regexp: missing closing ): `(a`",
    "any.format([1])": "error during formatting: decimal clause can only be used on integers, was given double",
}


@pytest.mark.parametrize("expression", ERRORS)
def test_a_function_says_why_it_has_no_value(expression: str) -> None:
    with pytest.raises(CelEvaluationError) as raised:
        value(expression.replace("[1]", "[1.0]") if "any" in expression else expression, any="%d")
    assert raised.value.message == ERRORS[expression]


def test_functions_choose_their_overload_by_the_value_when_the_type_is_not_known() -> None:
    assert value("any.indexOf('b')", any="abc") == 1
    assert value("any.indexOf('b')", any=["a", "b"]) == 1
    assert value("any.sum()", any=[1.5, 2.5]) == 4.0
    assert value("any + any", any=[1]) == [1, 1]
    assert value("any.size() > 1 && any.matches('[a-z]+')", any="abc") is True


@pytest.mark.parametrize(
    "expression", ["'a'.reverse()", "math.greatest(1, 2)", "[1].includes(1)", "base64.encode(b'')"]
)
def test_functions_that_kubernetes_1_35_does_not_have_are_not_there(expression: str) -> None:
    with pytest.raises(CelCompileError):
        compile(expression, ENVIRONMENT)
