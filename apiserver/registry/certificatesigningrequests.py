"""CertificateSigningRequests.

What is asked for never changes. Two subresources change the status: `approval` says yes or no, `status` brings the
certificate. Who asks is filled in by the server, never by the client (`with_requestor`).

Source: kubernetes/pkg/apis/certificates/validation/validation.go, pkg/registry/certificates/certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from apimachinery.meta import Object, get_path
from apimachinery.names import dns1123_label
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apimachinery.time import human_duration
from apiserver.registry import checks
from apiserver.registry.base64_data import decoded
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.conditions import STATUSES
from apiserver.registry.equality import equal
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, Column, Part, Strategy

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
SECONDS_MIN = 600
USAGES = (
    *("any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment"),
    *("decipher only", "digital signature", "email protection", "encipher only", "ipsec end system"),
    *("ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc"),
    *("ocsp signing", "s/mime", "server auth", "signing", "timestamping"),
)
_CONDITIONS, _CERTIFICATE = "status.conditions", "status.certificate"
_DOMAIN_MAX, _SIGNER_MAX = 253, 253 + 1 + 253 + 1 + 63
_REQUEST_FIELDS = ("username", "uid", "groups", "extra")


def with_requestor(
    request: Object, name: str, uid: str, groups: Iterable[str], extra: Mapping[str, Sequence[str]]
) -> None:
    """Say who asks, whatever the client said of that."""
    spec = request.setdefault("spec", {})
    for field in _REQUEST_FIELDS:
        spec.pop(field, None)
    spec["username"] = name
    for field, value in (("uid", uid), ("groups", list(groups)), ("extra", {k: list(v) for k, v in extra.items()})):
        if value:
            spec[field] = value


def prepare_create(request: Object) -> None:
    """Nobody has decided yet."""
    request["status"] = {}


def prepare_update(request: Object, old: Object) -> None:
    """Only metadata may be changed here."""
    for field in ("spec", "status"):
        request.pop(field, None)
        if field in old:
            request[field] = old[field]


def prepare_status(request: Object, old: Object) -> None:
    """A decision stays as it was made."""
    request.pop("spec", None)
    if "spec" in old:
        request["spec"] = old["spec"]
    conditions = [dict(condition) for condition in _conditions(request)]
    for kind in (APPROVED, DENIED):
        new = [number for number, condition in enumerate(conditions) if condition.get("type") == kind]
        were = [condition for condition in _conditions(old) if condition.get("type") == kind]
        if len(new) == len(were):
            for number, condition in zip(new, were, strict=True):
                conditions[number] = condition
    if conditions:
        request["status"] = {**request["status"], "conditions": conditions}


def prepare_approval(request: Object, old: Object) -> None:
    """Conditions are taken, and nothing else."""
    conditions = _conditions(request)
    prepare_update(request, old)
    request["status"] = {**(request.get("status") or {}), "conditions": list(conditions)}


def stamp_conditions(request: Object, old: Object, now: str) -> None:
    """Say since when conditions hold that don't say it themselves; `now` is RFC 3339."""
    before = {(c.get("type"), c.get("status")): c.get("lastTransitionTime") for c in _conditions(old)}
    for condition in _conditions(request):
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = now
        if not condition.get("lastTransitionTime"):
            condition["lastTransitionTime"] = before.get((condition.get("type"), condition.get("status"))) or now


def _conditions(request: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_path(request, "status", "conditions", default=[])
    return found


def validate(request: Object) -> Errors:
    """What is wrong with a request in itself."""
    errors: Errors = []
    spec = request.get("spec") or {}
    # One that is stored has a version; it has been looked at, and does not change.
    if request["metadata"].get("resourceVersion"):
        return errors
    problem = _request_problem(spec.get("request"))
    if problem:
        errors.append(invalid_value("spec.request", spec.get("request") or "", problem))
    usages = spec.get("usages") or ()
    if not usages:
        errors.append(required("spec.usages"))
    repeated = checks.repeated(usages)
    for number, usage in enumerate(usages):
        if usage not in USAGES:
            errors.append(not_supported(f"spec.usages[{number}]", usage, USAGES))
        if number in repeated:
            errors.append(duplicate(f"spec.usages[{number}]", usage))
    signer, path = spec.get("signerName") or "", "spec.signerName"
    if signer == LEGACY_SIGNER:
        errors.append(invalid_value(path, signer, "the legacy signerName is not allowed via this API version"))
    else:
        validate_signer_name(signer, path, errors)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < SECONDS_MIN:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid_value("spec.expirationSeconds", seconds, why))
    return errors


def _request_problem(text: str | None) -> str:
    from cryptography import x509  # takes long to load, and few requests come
    from cryptography.exceptions import UnsupportedAlgorithm

    pem = decoded(text) or b""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem and b"-----BEGIN NEW CERTIFICATE REQUEST-----" not in pem:
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        parsed = x509.load_pem_x509_csr(pem)
        return "" if parsed.is_signature_valid else "the signature of the request is not valid"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return str(error) or "malformed certificate request"


def validate_signer_name(name: str, path: str, errors: Errors) -> None:
    """Who is asked to sign: a name in somebody's domain."""
    if not name:
        errors.append(required(path))
        return
    parts = name.split("/")
    if len(parts) != 2:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(invalid_value(path, name, why))
        return
    domain, rest = parts
    if len(domain) > _DOMAIN_MAX:
        errors.append(too_long(path, _DOMAIN_MAX))
    if len(domain.split(".")) < 2:
        why = "should be a domain with at least two segments separated by dots"
        errors.append(invalid_value(path, domain, why))
    if len(name) > _SIGNER_MAX:
        errors.append(too_long(path, _SIGNER_MAX))
    for part in (domain, rest):
        for label in part.split("."):
            for why in dns1123_label(label):
                errors.append(invalid_value(path, part, f'validating label "{label}": {why}'))


def _validate_conditions(request: Object, errors: Errors) -> None:
    seen: set[str] = set()
    for number, condition in enumerate(_conditions(request)):
        path, kind, status = f"{_CONDITIONS}[{number}]", condition.get("type") or "", condition.get("status") or ""
        if not kind:
            errors.append(required(f"{path}.type"))
        allowed = ("True",) if kind in (APPROVED, DENIED, FAILED) else STATUSES
        if not status:
            errors.append(required(f"{path}.status"))
        elif status not in allowed:
            errors.append(not_supported(f"{path}.status", status, allowed))
        if {APPROVED, DENIED} <= {*seen, kind} and kind in (APPROVED, DENIED):
            why = "Approved and Denied conditions are mutually exclusive"
            errors.append(invalid_value(_CONDITIONS, kind, why))
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)


def _of_type(request: Object, kind: str) -> list[Fields]:
    return [condition for condition in _conditions(request) if condition.get("type") == kind]


def _validate_status_change(request: Object, old: Object, errors: Errors, *, decides: bool, issues: bool) -> None:
    for kind in (APPROVED, DENIED, FAILED):
        new, were = _of_type(request, kind), _of_type(old, kind)
        what = f'a condition of type "{kind}"'
        if len(new) < len(were):
            errors.append(forbidden_field(_CONDITIONS, f"updates may not remove {what}"))
        elif not decides and kind != FAILED:
            if len(new) > len(were):
                errors.append(forbidden_field(_CONDITIONS, f"updates may not add {what}"))
            elif not equal(new, were):
                errors.append(forbidden_field(_CONDITIONS, f"updates may not modify {what}"))
    certificate, before = (get_path(one, "status", "certificate", default="") for one in (request, old))
    if certificate == before:
        return
    if not issues:
        errors.append(forbidden_field(_CERTIFICATE, "updates may not set certificate content"))
    elif before:
        errors.append(forbidden_field(_CERTIFICATE, "updates may not modify existing certificate content"))
    else:
        _validate_certificate(certificate, errors)


def _validate_certificate(text: str, errors: Errors) -> None:
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(decoded(text) or b"")
    except ValueError as error:
        problem = str(error) or "must contain at least one CERTIFICATE PEM block"
        errors.append(invalid_value(_CERTIFICATE, "<certificate data>", problem))


def validate_status(request: Object, old: Object) -> Errors:
    """A certificate comes once, and decides nothing."""
    errors: Errors = []
    _validate_conditions(request, errors)
    _validate_status_change(request, old, errors, decides=False, issues=True)
    return errors


def validate_approval(request: Object, old: Object) -> Errors:
    """What has been decided is not taken back."""
    errors: Errors = []
    _validate_conditions(request, errors)
    _validate_status_change(request, old, errors, decides=True, issues=False)
    return errors


def any_name(name: str) -> list[str]:
    """Requests may be called anything."""
    return []


def _signer(request: Object) -> Cell:
    return get_path(request, "spec", "signerName") or NONE


def _requestor(request: Object) -> Cell:
    return get_path(request, "spec", "username") or ""


def _seconds(request: Object) -> Cell:
    seconds = get_path(request, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _condition(request: Object) -> Cell:
    kinds = {condition.get("type") for condition in _conditions(request)}
    text = "Denied" if DENIED in kinds else "Approved" if APPROVED in kinds else "Pending"
    text += ",Failed" if FAILED in kinds else ""
    return f"{text},Issued" if get_path(request, "status", "certificate") else text


STRATEGY = Strategy(
    CERTIFICATESIGNINGREQUESTS,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    validate=validate,
    validate_status=validate_status,
    validate_name=any_name,
    columns=(
        NAME,
        AGE,
        Column("SignerName", _signer, description="Who is asked to sign."),
        Column("Requestor", _requestor, description="Who asks."),
        Column("RequestedDuration", _seconds, description="How long the certificate is to be valid."),
        Column("Condition", _condition, description="What has been decided."),
    ),
    selectable=("spec.signerName",),
    parts={"approval": Part(prepare_approval, validate_approval, resets=("spec", "status.certificate"))},
    resets=("spec",),
    status_resets=("spec", "status.conditions"),
)
