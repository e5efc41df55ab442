"""Whom a container runs as and what it may do: the rules of Kubernetes' security context page."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.containers import security
from kubelet.containers.security import SecurityFailure, User
from kubelet.runtime.capabilities import DEFAULT, NAMES
from tests.support.pods import UID, container, pod

FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n",
    "/etc/group": "root:x:0:\nwheel:x:10:root,app\nstaff:x:50:app\n",
}


def read(path: str) -> str:
    return FILES.get(path, "")


def user(image_user: str = "", *, pod_context: dict[str, Any] | None = None, **own: Any) -> User:
    judged = pod(container(securityContext=own), securityContext=pod_context or {})
    return security.user_of(judged, judged["spec"]["containers"][0], image_user, read)


@pytest.mark.parametrize(
    ("image_user", "expected"),
    [
        ("", User(0, 0, (10,))),
        ("app", User(1000, 1001, (10, 50))),
        ("1000", User(1000, 1001, (10, 50))),
        ("2000", User(2000, 0, ())),
        ("app:staff", User(1000, 50, (10, 50))),
        ("2000:3000", User(2000, 3000, ())),
    ],
)
def test_an_images_user_is_looked_up_in_the_image(image_user: str, expected: User) -> None:
    assert user(image_user) == expected


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(SecurityFailure, match="unable to find user nobody-here"):
        user("nobody-here")


def test_the_context_goes_before_the_image_and_the_containers_before_the_pods() -> None:
    assert user("app", runAsUser=7, runAsGroup=8) == User(7, 8, ())
    assert user(pod_context={"runAsUser": 7}).uid == 7
    assert user(pod_context={"runAsUser": 7}, runAsUser=9).uid == 9


def test_supplementary_groups_and_the_volumes_group_are_added() -> None:
    groups = {"supplementalGroups": [4000], "fsGroup": 2000}
    assert user("app", pod_context=groups).groups == (10, 50, 2000, 4000)
    assert user("app", pod_context={**groups, "supplementalGroupsPolicy": "Strict"}).groups == (2000, 4000)


@pytest.mark.parametrize(
    ("image_user", "own", "message"),
    [
        ("", {}, "container has runAsNonRoot and image will run as root"),
        ("0", {}, "container has runAsNonRoot and image will run as root"),
        (
            "app",
            {},
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
        ),
        ("1000", {"runAsUser": 0}, "container's runAsUser breaks non-root policy"),
    ],
)
def test_who_must_not_be_root_is_not(image_user: str, own: dict[str, Any], message: str) -> None:
    with pytest.raises(SecurityFailure) as failure:
        user(image_user, runAsNonRoot=True, **own)
    assert str(failure.value) == f'{message} (pod: "web_default({UID})", container: web)'


def test_a_numeric_user_other_than_root_passes() -> None:
    assert user("1000", runAsNonRoot=True).uid == 1000
    assert user("app", runAsNonRoot=True, runAsUser=5).uid == 5


def held(**context: Any) -> set[str]:
    return set(security.capabilities(container(securityContext=context)))


def test_capabilities_are_added_and_dropped_by_name() -> None:
    assert held() == set(DEFAULT)
    assert held(capabilities={"drop": ["ALL"]}) == set()
    assert held(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}) == {"CAP_NET_BIND_SERVICE"}
    assert "CAP_SYS_ADMIN" in held(capabilities={"add": ["ALL"]})
    assert "CAP_NET_RAW" not in held(capabilities={"drop": ["NET_RAW"]})
    assert held(privileged=True) == set(NAMES)
    with pytest.raises(SecurityFailure, match="unknown capability CAP_NONSENSE"):
        held(capabilities={"add": ["NONSENSE"]})


def test_seccomp_is_on_unless_the_pod_says_otherwise() -> None:
    def profile(own: dict[str, Any], whole: dict[str, Any]) -> tuple[str, str]:
        judged = pod(container(securityContext=own), securityContext=whole)
        return security.seccomp_profile(judged, judged["spec"]["containers"][0])

    off, local = {"type": "Unconfined"}, {"type": "Localhost", "localhostProfile": "mine.json"}
    assert profile({}, {}) == ("RuntimeDefault", "")
    assert profile({}, {"seccompProfile": off}) == ("Unconfined", "")
    assert profile({"seccompProfile": local}, {"seccompProfile": off}) == ("Localhost", "mine.json")
    assert profile({"privileged": True}, {}) == ("Unconfined", "")


def test_no_new_privileges_only_where_escalation_is_ruled_out() -> None:
    assert security.no_new_privileges(container(securityContext={"allowPrivilegeEscalation": False}))
    assert not security.no_new_privileges(container())
