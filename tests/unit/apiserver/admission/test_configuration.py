"""What an operator says of admission plugins, in flags and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from apiserver.admission import Chain, ConfigurationError, Settings, plugins
from apiserver.admission.configuration import read
from apiserver.admission.covering_quota import Limited
from apiserver.admission.optional import MODULES
from apiserver.admission.pod_security.levels import Standard
from apiserver.admission.served import Served
from apiserver.catalog import Catalog
from apiserver.webhook_client import WebhookClient
from tests.support.access import Objects, authorizer_of
from tests.support.admission import FakeCluster

HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"
QUOTA = """
  apiVersion: apiserver.config.k8s.io/v1
  kind: ResourceQuotaConfiguration
  limitedResources:
  - resource: pods
    matchScopes:
    - {scopeName: PriorityClass, operator: In, values: [high]}
  - resource: persistentvolumeclaims
    matchContains: [requests.storage]
"""
SECURITY = """
apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline}
exemptions: {namespaces: [kube-system]}
"""


def file(folder: Path, text: str) -> Path:
    path = folder / "admission.yaml"
    path.write_text(text)
    return path


def test_plugins_are_told_in_the_file_or_in_one_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "security.yaml").write_text(SECURITY)
    said = f"{HEAD}plugins:\n- name: PodSecurity\n  path: security.yaml\n- name: ResourceQuota\n  configuration:"
    found = read(file(tmp_path, said + QUOTA.replace("\n", "\n  ")))
    assert found.pod_security.defaults.enforce == Standard("baseline")
    assert found.pod_security.namespaces == {"kube-system"}
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    assert found.limited == (
        Limited(("", "pods"), scopes=(scope,)),
        Limited(("", "persistentvolumeclaims"), contains=("requests.storage",)),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Pod", "must be of kind AdmissionConfiguration in version apiserver.config.k8s.io/v1"),
        ("[]", "holds no object"),
        ("a: [", "error converting YAML to JSON"),
        (f"{HEAD}plugins: [{{name: Priority}}]", 'the plugin "Priority" takes no configuration'),
        (
            f"{HEAD}plugins: [{{name: PodSecurity, configuration: {{kind: Pod}}}}]",
            "must be of kind PodSecurityConfiguration in version pod-security.admission.config.k8s.io/v1",
        ),
        (
            f"{HEAD}plugins: [{{name: ResourceQuota, configuration: {{apiVersion: apiserver.config.k8s.io/v1, "
            "kind: ResourceQuotaConfiguration, limitedResources: [{}]}}]",
            "limitedResources[0].resource: Required value",
        ),
        (f"{HEAD}plugins: [{{name: PodSecurity, path: none.yaml}}]", "No such file or directory"),
    ],
)
def test_a_file_that_can_not_be_used_says_why(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(file(tmp_path, text))
    assert why in str(caught.value) and str(tmp_path) in str(caught.value)


def chosen(*, enabled: tuple[str, ...] = (), disabled: tuple[str, ...] = ()) -> Chain:
    cluster, settings = FakeCluster(), Settings(enabled=enabled, disabled=disabled)
    return plugins(settings, authorizer_of(Objects()), cluster, Served(Catalog()), WebhookClient(cluster))


def test_plugins_can_be_left_out() -> None:
    every = [plugin.name for plugin in chosen(enabled=("NodeRestriction",)).plugins]
    some = [plugin.name for plugin in chosen(disabled=("PodSecurity", "ResourceQuota")).plugins]
    assert [name for name in every if name not in ("PodSecurity", "ResourceQuota")] == some


def test_they_run_in_kubernetes_order() -> None:
    own = ("CertificateRequests", "RoleEscalation", "ServiceAddresses", "VolumePhases")
    every = list(dict.fromkeys(plugin.name for plugin in chosen(enabled=tuple(MODULES)).plugins))
    assert [name for name in every if name not in own] == [
        *("NamespaceLifecycle", "LimitPodHardAntiAffinityTopology", "LimitRanger", "ServiceAccount"),
        *("NodeRestriction", "TaintNodesByCondition", "AlwaysPullImages", "PodSecurity", "PodNodeSelector"),
        *("Priority", "DefaultTolerationSeconds", "PodTolerationRestriction", "ExtendedResourceToleration"),
        *("DefaultStorageClass", "StorageObjectInUseProtection", "OwnerReferencesPermissionEnforcement"),
        *("PersistentVolumeClaimResize", "RuntimeClass", "CertificateApproval", "CertificateSigning"),
        *("CertificateSubjectRestriction", "DefaultIngressClass", "DenyServiceExternalIPs", "PodTopologyLabels"),
        *("MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy"),
        *("ValidatingAdmissionWebhook", "ResourceQuota"),
    ]


def test_what_runs_if_nothing_is_said_is_what_kubernetes_runs_then() -> None:
    names = list(dict.fromkeys(plugin.name for plugin in chosen().plugins))
    own = ("CertificateRequests", "RoleEscalation", "ServiceAddresses", "VolumePhases")
    assert [name for name in names if name not in own] == [
        *("NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition"),
        *("PodSecurity", "Priority", "DefaultTolerationSeconds", "DefaultStorageClass"),
        *("StorageObjectInUseProtection", "PersistentVolumeClaimResize", "RuntimeClass", "CertificateApproval"),
        *("CertificateSigning", "CertificateSubjectRestriction", "DefaultIngressClass", "PodTopologyLabels"),
        *("MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy"),
        *("ValidatingAdmissionWebhook", "ResourceQuota"),
    ]


@pytest.mark.parametrize(
    ("enabled", "disabled", "why"),
    [
        (("Nothing",), (), 'enable-admission-plugins plugin "Nothing" is unknown'),
        ((), ("RoleEscalation",), 'disable-admission-plugins plugin "RoleEscalation" is unknown'),
        (
            ("PodSecurity",),
            ("PodSecurity",),
            "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
    ],
)
def test_plugins_that_there_are_not_can_not_be_chosen(
    enabled: tuple[str, ...], disabled: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        chosen(enabled=enabled, disabled=disabled)
    assert str(caught.value) == why


DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "admission.md"


def test_the_documentation_names_them_all() -> None:
    own = {"CertificateRequests", "RoleEscalation", "ServiceAddresses", "VolumePhases"}
    listed = [line.split() for line in DOCUMENT.read_text().partition("## ")[0].splitlines() if line[:4] == " " * 4]
    names = [name for line in listed for name in line]
    assert sorted(names) == sorted({plugin.name for plugin in chosen().plugins} - own | MODULES.keys())


def test_the_documented_file_can_be_read(tmp_path: Path) -> None:
    lines = DOCUMENT.read_text().partition("    apiVersion: apiserver.config.k8s.io/v1\n")
    text = lines[1] + lines[2].partition("## ")[0]
    found = read(file(tmp_path, "\n".join(line[4:] for line in text.splitlines())))
    assert found.pod_security.namespaces == {"kube-system"} and len(found.limited) == 1
