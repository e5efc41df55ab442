"""Claims that ask for more than they have."""

from __future__ import annotations

import pytest

from apimachinery.meta import Object
from controllers.volume_expansion import wants_more


def claim(wanted: str, has: str | None = None, phase: str = "Bound") -> Object:
    status = {"phase": phase, **({"capacity": {"storage": has}} if has else {})}
    return {"spec": {"resources": {"requests": {"storage": wanted}}}, "status": status}


@pytest.mark.parametrize(
    ("found", "more"),
    [
        (claim("2Gi", "1Gi"), True),
        (claim("1Gi", "1024Mi"), False),
        (claim("1Gi", "2Gi"), False),
        (claim("2Gi"), False),
        (claim("2Gi", "1Gi", "Lost"), False),
    ],
)
def test_a_bound_claim_that_asks_for_more_than_it_has_waits_for_somebody(found: Object, more: bool) -> None:
    assert wants_more(found) is more
