"""All libraries, and the types that expressions can name."""

from __future__ import annotations

from apimachinery.cel.library import (
    authorization,
    conversions,
    formats,
    formatting,
    lists,
    networks,
    operators,
    optionals,
    quantities,
    regex,
    semvers,
    strings,
    times,
    urls,
)
from apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    CelType,
)
from apimachinery.cel.values import LIST_OF_DYN, MAP_OF_DYN, OPTIONAL_OF_DYN

LIBRARIES = tuple(
    module.LIBRARY
    for module in (
        *(operators, conversions, times, strings, formatting, regex, lists, optionals),
        *(quantities, networks, urls, semvers, formats, authorization),
    )
)
# Types that expressions can name, as in `type(x) == string`.
TYPES: dict[str, CelType] = {
    kind.name: kind
    for kind in (
        *(BOOL, BYTES, DOUBLE, DURATION, INT, NULL, STRING, TIMESTAMP, TYPE, UINT),
        *(LIST_OF_DYN, MAP_OF_DYN, OPTIONAL_OF_DYN, networks.IP_TYPE, networks.CIDR_TYPE),
    )
}
