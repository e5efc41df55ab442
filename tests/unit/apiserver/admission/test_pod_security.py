"""What namespaces ask of their pods by labels, and what becomes of pods, workloads and the namespaces themselves."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    PODS,
    PODTEMPLATES,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
    Resource,
)
from apiserver.admission.plugin import CREATE, UPDATE, Attributes
from apiserver.admission.pod_security import Configuration, parse, plugin
from apiserver.admission.pod_security.existing_pods import CHECK_SECONDS_MAX, warnings_about
from apiserver.admission.pod_security.levels import Policy, Standard, policy_of
from apiserver.request_info import User
from tests.support.admission import FakeCluster, admit
from tests.unit.apiserver.admission.harmless_pods import container, spec

# What labels ask for


def labels(**said: str) -> dict[str, str]:
    return {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": value for mode, value in said.items()}


BASELINE, RESTRICTED = Standard("baseline"), Standard("restricted")


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ({}, Policy()),
        (labels(enforce="baseline"), Policy(enforce=BASELINE, warn=BASELINE)),
        (labels(enforce="baseline", warn="privileged"), Policy(enforce=BASELINE)),
        (labels(enforce="baseline", warn="restricted"), Policy(enforce=BASELINE, warn=RESTRICTED)),
        (
            labels(enforce="restricted", enforce_version="v1.20"),
            Policy(enforce=Standard("restricted", 20), warn=Standard("restricted", 20)),
        ),
        (
            labels(enforce="restricted", enforce_version="v1.20", warn_version="v1.30"),
            Policy(enforce=Standard("restricted", 20), warn=Standard("restricted", 30)),
        ),
        (labels(audit="restricted", audit_version="latest"), Policy(audit=RESTRICTED)),
        (labels(warn="baseline", warn_version="v1.99"), Policy(warn=Standard("baseline", 99))),
        (labels(enforce_version="v1.0"), Policy(enforce=Standard("privileged", 0))),
    ],
)
def test_labels_ask_for_a_level_at_a_version_in_three_modes(said, policy):
    assert policy_of({"app": "x", **said}, Policy()) == (policy, [])


def test_labels_that_cannot_be_read_enforce_the_strictest_and_audit_and_warn_of_nothing():
    said = labels(
        enforce="strict", audit="x", warn="", enforce_version="1.20", audit_version="v1.x", warn_version="v2"
    )
    policy, errors = policy_of(said, Policy())
    assert policy == Policy(enforce=RESTRICTED)
    levels, versions = "must be one of privileged, baseline, restricted", 'must be "latest" or "v1.x"'
    assert [error.message() for error in errors] == [
        f'metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": {levels}',
        f'metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "1.20": {versions}',
        f'metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "x": {levels}',
        f'metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "v1.x": {versions}',
        f'metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "": {levels}',
        f'metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "v2": {versions}',
    ]
    assert policy_of(labels(enforce_version="v1.01"), Policy())[1] != []


# Writes

USER = User("alice")
PLUGIN = plugin(Configuration())


def namespace(said: dict[str, str], name: str = "x") -> Object:
    return {"metadata": {"name": name, "labels": said}, "status": {"phase": "Active"}}


def pod(name: str = "web", **of: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "x"}, "spec": spec(**of)}


def privileged(name: str = "web") -> Object:
    made = pod(name)
    made["spec"]["containers"] = [container("c", {"privileged": True})]
    return made


async def write(
    resource: Resource,
    obj: Object,
    said: dict[str, str],
    *,
    old: Object | None = None,
    subresource: str = "",
    configured: Configuration | None = None,
) -> Attributes:
    operation, within = UPDATE if old is not None else CREATE, "x" if resource.namespaced else ""
    attributes = Attributes(operation, resource, within, obj["metadata"]["name"], USER, obj, old, subresource)
    looking = PLUGIN if configured is None else plugin(configured)
    return await admit(looking, attributes, FakeCluster((NAMESPACES, namespace(said))))


PRIVILEGED_TOLD = 'privileged (container "c" must not set securityContext.privileged=true)'


async def test_a_pod_that_breaks_what_is_enforced_is_refused():
    with pytest.raises(ApiError) as caught:
        await write(PODS, privileged(), labels(enforce="baseline", audit="baseline", enforce_version="v1.30"))
    error = caught.value
    assert (error.code, error.reason) == (403, "Forbidden")
    assert error.message == f'pods "web" is forbidden: violates PodSecurity "baseline:v1.30": {PRIVILEGED_TOLD}'
    assert error.details == {"name": "web", "kind": "pods"}
    await write(PODS, privileged(), labels(enforce="privileged"))
    await write(PODS, privileged(), {})
    await write(PODS, pod(), labels(enforce="restricted"))


async def test_what_is_only_warned_or_audited_of_is_let_through():
    attributes = await write(PODS, privileged(), labels(warn="baseline", audit="baseline"))
    would = f'would violate PodSecurity "baseline:latest": {PRIVILEGED_TOLD}'
    assert attributes.warnings == [would]
    assert attributes.annotations == {"pod-security.kubernetes.io/audit-violations": would}
    attributes = await write(PODS, pod(), labels(warn="restricted", audit="restricted"))
    assert (attributes.warnings, attributes.annotations) == ([], None)


async def test_a_pod_that_is_refused_is_not_warned_of_but_audited():
    attributes = Attributes(CREATE, PODS, "x", "web", USER, privileged())
    with pytest.raises(ApiError):
        said = labels(enforce="baseline", audit="baseline", warn="restricted")
        await admit(PLUGIN, attributes, FakeCluster((NAMESPACES, namespace(said))))
    assert attributes.warnings == []
    assert attributes.annotations is not None


TEMPLATE = {"metadata": {}, "spec": privileged()["spec"]}
WORKLOADS: list[tuple[Resource, Object]] = [
    *((one, {"spec": {"template": TEMPLATE}}) for one in (REPLICATIONCONTROLLERS, REPLICASETS, DEPLOYMENTS)),
    *((one, {"spec": {"template": TEMPLATE}}) for one in (STATEFULSETS, DAEMONSETS, JOBS)),
    (CRONJOBS, {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}}),
    (PODTEMPLATES, {"template": TEMPLATE}),
]


@pytest.mark.parametrize(("resource", "workload"), WORKLOADS)
async def test_workloads_are_warned_of_and_never_refused(resource, workload):
    obj = {"metadata": {"name": "w", "namespace": "x"}, **workload}
    would = f'would violate PodSecurity "baseline:latest": {PRIVILEGED_TOLD}'
    attributes = await write(resource, obj, labels(enforce="baseline", audit="baseline"))
    assert attributes.warnings == [would]
    assert attributes.annotations == {"pod-security.kubernetes.io/audit-violations": would}
    attributes = await write(resource, obj, labels(enforce="baseline", audit="baseline"), old=obj)
    assert attributes.warnings == [would]
    attributes = await write(resource, obj, labels(enforce="baseline", warn="privileged"))
    assert (attributes.warnings, attributes.annotations) == ([], None)
    attributes = await write(resource, obj, labels(enforce="baseline"), subresource="status")
    assert attributes.warnings == []


async def test_a_workload_may_have_no_template():
    bare = {"metadata": {"name": "w", "namespace": "x"}, "spec": {}}
    assert (await write(REPLICATIONCONTROLLERS, bare, labels(warn="restricted"))).warnings == []


async def test_pods_that_are_there_can_be_updated_as_long_as_they_run_the_same():
    said, old = labels(enforce="baseline"), privileged()
    changed = {**privileged(), "metadata": {**privileged()["metadata"], "labels": {"a": "b"}}}
    await write(PODS, changed, said, old=old)
    await write(PODS, changed, said, old=old, subresource="status")
    await write(PODS, changed, said, old=old, subresource="resize")
    other = privileged()
    other["spec"]["containers"] = [{**other["spec"]["containers"][0], "image": "other"}]
    with pytest.raises(ApiError):
        await write(PODS, other, said, old=old)


async def test_containers_for_debugging_are_looked_at():
    old, debugged = pod(), pod(ephemeralContainers=[container("debug", {"privileged": True})])
    with pytest.raises(ApiError) as caught:
        await write(PODS, debugged, labels(enforce="baseline"), old=old, subresource="ephemeralcontainers")
    assert caught.value.message.endswith(
        'privileged (container "debug" must not set securityContext.privileged=true)'
    )


async def test_a_namespace_whose_labels_cannot_be_read_runs_only_the_harmless_and_tells_an_operator():
    with pytest.raises(ApiError) as caught:
        await write(PODS, privileged(), labels(enforce="strict"))
    assert 'violates PodSecurity "restricted:latest"' in caught.value.message
    attributes = await write(PODS, privileged(), labels(warn="strict"))
    assert attributes.annotations == {
        "pod-security.kubernetes.io/error": "Failed to parse policy: "
        'metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "strict": '
        "must be one of privileged, baseline, restricted"
    }
    attributes = await write(PODS, privileged(), labels(warn="strict", audit="strict"))
    assert attributes.annotations is not None
    assert attributes.annotations["pod-security.kubernetes.io/error"].startswith(
        "Failed to parse policy: [metadata.labels[pod-security.kubernetes.io/audit]: "
    )


# Namespaces


async def update(new: dict[str, str], old: dict[str, str], *pods: Object) -> list[str]:
    """The warnings about an update of a namespace's labels."""
    attributes = Attributes(UPDATE, NAMESPACES, "", "x", USER, namespace(new), namespace(old))
    return (await admit(PLUGIN, attributes, FakeCluster(*((PODS, one) for one in pods)))).warnings


async def test_a_namespace_with_labels_that_cannot_be_read_is_refused():
    with pytest.raises(ApiError) as caught:
        await write(NAMESPACES, namespace(labels(enforce="strict")), {})
    error = caught.value
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == (
        'Namespace "x" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": '
        "must be one of privileged, baseline, restricted"
    )
    with pytest.raises(ApiError):
        await update(labels(enforce="strict"), {})
    with pytest.raises(ApiError):
        await update(labels(enforce="stricter"), labels(enforce="strict"))
    # What was wrong before is nobody's fault now.
    assert await update({**labels(enforce="strict"), "a": "b"}, labels(enforce="strict")) == []


async def test_whoever_makes_a_namespace_stricter_is_told_of_pods_that_would_be_refused():
    pods = [privileged("b"), privileged("a"), pod("good"), pod("host", hostNetwork=True, hostPID=True)]
    assert await update(labels(enforce="baseline"), {}, *pods) == [
        'existing pods in namespace "x" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 1 other pod): privileged",
        "host: host namespaces",
    ]
    pods.append(privileged("c"))
    assert (await update(labels(enforce="baseline"), {}, *pods))[1] == "a (and 2 other pods): privileged"
    assert await update(labels(enforce="baseline"), {}, pod("good")) == []


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (labels(enforce="baseline"), labels(enforce="baseline")),
        (labels(enforce="baseline"), labels(enforce="restricted")),
        (labels(enforce="privileged"), labels(enforce="restricted")),
        (labels(enforce="baseline", warn="restricted", audit="restricted"), labels(enforce="baseline")),
    ],
)
async def test_pods_are_not_looked_at_where_no_more_is_enforced(new, old):
    assert await update(new, old, privileged()) == []


async def test_another_version_is_looked_at_even_if_the_level_is_lower():
    new, old = labels(enforce="baseline", enforce_version="v1.30"), labels(enforce="restricted")
    assert len(await update(new, old, privileged())) == 2


async def test_the_pods_of_one_controller_are_looked_at_last_but_for_one_of_them():
    def replica(number: int) -> Object:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
        made = privileged(f"r-{number}")
        return {**made, "metadata": {**made["metadata"], "ownerReferences": [owner]}}

    pods = [replica(1), replica(2), replica(3), pod("host", hostIPC=True)]
    # The time is up after the second pod.
    times = iter([0.0, 0.0, CHECK_SECONDS_MAX])
    assert await warnings_about(pods, "x", BASELINE, lambda: next(times)) == [
        "new PodSecurity enforce level only checked against the first 2 of 4 existing pods",
        'existing pods in namespace "x" violate the new PodSecurity enforce level "baseline:latest"',
        "host: host namespaces",
        "r-1: privileged",
    ]
    many = [privileged(f"p{number}") for number in range(3001)]
    told = await warnings_about(many, "x", BASELINE, lambda: 0.0)
    assert told[0] == ("new PodSecurity enforce level only checked against the first 3000 of 3001 existing pods")


# What an operator says


def configured(defaults: Object | None = None, **exemptions: list[str]) -> Configuration:
    return parse(
        {
            "apiVersion": "pod-security.admission.config.k8s.io/v1",
            "kind": "PodSecurityConfiguration",
            "defaults": defaults or {},
            "exemptions": exemptions,
        }
    )


async def test_namespaces_that_say_nothing_go_by_the_defaults():
    defaults = configured({"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"})
    assert defaults.defaults == Policy(Standard("baseline", 30), Standard(), RESTRICTED)
    with pytest.raises(ApiError) as caught:
        await write(PODS, privileged(), {}, configured=defaults)
    assert 'violates PodSecurity "baseline:v1.30"' in caught.value.message
    attributes = await write(PODS, privileged(), labels(enforce="privileged"), configured=defaults)
    assert len(attributes.warnings) == 1
    assert configured({"enforce": "baseline"}).defaults == Policy(enforce=BASELINE)


async def test_some_may_do_what_others_may_not():
    said = labels(enforce="baseline")
    await write(PODS, privileged(), said, configured=configured(usernames=["alice"]))
    await write(PODS, privileged(), said, configured=configured(namespaces=["x"]))
    sandboxed = privileged()
    sandboxed["spec"]["runtimeClassName"] = "sandbox"
    await write(PODS, sandboxed, said, configured=configured(runtimeClasses=["sandbox"]))
    others = configured(usernames=["bob"], namespaces=["y"], runtimeClasses=["other"])
    with pytest.raises(ApiError):
        await write(PODS, sandboxed, said, configured=others)


async def test_whoever_labels_a_namespace_where_nothing_is_looked_at_is_told():
    exempt = configured(namespaces=["x"])
    said = namespace(labels(enforce="baseline", audit="restricted", audit_version="v1.20"))
    attributes = await write(NAMESPACES, said, {}, configured=exempt)
    assert attributes.warnings == [
        'namespace "x" is exempt from Pod Security, and the policy (enforce=baseline:latest, audit=restricted:v1.20) '
        "will be ignored"
    ]
    assert (await write(NAMESPACES, namespace({}), {}, configured=exempt)).warnings == []
    assert (await write(NAMESPACES, namespace(labels(enforce="privileged")), {}, configured=exempt)).warnings == []
    update = await write(NAMESPACES, said, {}, old=namespace({}), configured=exempt)
    assert update.warnings == attributes.warnings
    assert (await write(NAMESPACES, said, {}, old=said, configured=exempt)).warnings == []


@pytest.mark.parametrize(
    ("defaults", "exemptions", "why"),
    [
        (
            {"enforce": "strict", "warn-version": "1.2"},
            {},
            'defaults.enforce: Invalid value: "strict": must be one of privileged, baseline, restricted; '
            'defaults.warn-version: Invalid value: "1.2": must be "latest" or "v1.x"',
        ),
        ({}, {"usernames": ["a", "a"]}, 'exemptions.usernames[1]: Duplicate value: "a"'),
        ({}, {"usernames": [""]}, 'exemptions.usernames[0]: Invalid value: "": username must not be empty'),
        ({}, {"namespaces": ["A"]}, 'exemptions.namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label'),
        ({}, {"runtimeClasses": ["_"]}, 'exemptions.runtimeClasses[0]: Invalid value: "_": a lowercase RFC 1123'),
    ],
)
def test_a_configuration_that_can_not_be_is_told(defaults, exemptions, why):
    with pytest.raises(ValueError) as caught:
        configured(defaults, **exemptions)
    assert str(caught.value).startswith(why)
