"""Equal values become equal texts."""

from __future__ import annotations

from typing import Any

from apimachinery.canonical import canonicalize
from apimachinery.resources import LEASES, PODS


def _pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c"}], **spec}}


def test_quantities_get_their_canonical_form_wherever_they_stand() -> None:
    limits = {"cpu": "1000m", "memory": "1024Mi", "example.com/gpu": 2}
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "0.5Gi"}}, {"name": "w", "emptyDir": {}}]
    pod = _pod(containers=[{"name": "c", "resources": {"limits": limits}}], volumes=volumes, overhead={"cpu": "0.1"})
    assert canonicalize(PODS, pod) == []
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {
        "cpu": "1",
        "memory": "1Gi",
        "example.com/gpu": "2",
    }
    assert pod["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] == "512Mi"
    assert pod["spec"]["overhead"] == {"cpu": "100m"}


def test_what_is_no_quantity_is_named_by_its_path() -> None:
    requests = {"cpu": "1", "memory": "much"}
    pod = _pod(containers=[{"name": "c", "resources": {"requests": requests}}], overhead={"cpu": "1 2"})
    errors = canonicalize(PODS, pod)
    assert [error.path for error in errors] == ["spec.containers[0].resources.requests.memory", "spec.overhead.cpu"]


def test_times_are_kept_in_utc_at_the_precision_of_their_kind() -> None:
    pod = _pod() | {"status": {"conditions": [{"lastTransitionTime": "2026-01-02T04:04:05.75+01:00"}]}}
    pod["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05+00:00"
    assert canonicalize(PODS, pod) == []
    assert pod["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert pod["status"]["conditions"] == [{"lastTransitionTime": "2026-01-02T03:04:05Z"}]
    lease = {"spec": {"renewTime": "2026-01-02T03:04:05.1234567Z", "acquireTime": "2026-01-02T03:04:05Z"}}
    assert canonicalize(LEASES, lease) == []
    assert lease["spec"] == {
        "renewTime": "2026-01-02T03:04:05.123456Z",
        "acquireTime": "2026-01-02T03:04:05.000000Z",
    }


def test_what_is_no_time_is_named_by_its_path() -> None:
    pod = _pod() | {"status": {"startTime": "yesterday"}}
    (error,) = canonicalize(PODS, pod)
    assert error.path == "status.startTime" and "must be a time as of RFC 3339" in error.detail
