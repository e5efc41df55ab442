"""Requests made up out of the OpenAPI documents, by schemathesis: what is allowed, and what is not.

Names are chosen from few, so that requests meet each other's objects; the kind of a body is the right one, so that
more of it is read than its head. Nothing that is sent may make the server fail (5xx) or keep a client waiting.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NotSet

from apimachinery.resources import BUILTIN, SERVICEACCOUNTS
from tests.support.every_kind import BODIES, example

ANSWER_SECONDS_MAX = 60.0
TOKEN = "fuzz"
NAMES = (*("a", "b") * 6, "default", "A_b", "x" * 300, "ü", "a/b", "..")
NAMESPACES = (*("default",) * 8, "kube-system", "none", "%00")
PATCHES = ("merge-patch+json", "strategic-merge-patch+json", "json-patch+json", "apply-patch+yaml")
ACCEPTS = (
    *("application/json", "application/yaml", "*/*", "text/html", "application/vnd.kubernetes.protobuf, */*"),
    *(f"application/json;as={kind};g=meta.k8s.io;v=v1" for kind in ("Table", "PartialObjectMetadata")),
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
)
# What is odd about the parameters that every request may have.
ODD: dict[str, tuple[str, ...]] = {
    "labelSelector": ("a=b", "a in (b,c),!d", "a>1", "a in (", ",", "=", "ü=ü"),
    "fieldSelector": ("metadata.name=a", "metadata.name!=a", "spec.nodeName=", "nothing=1", "=", "metadata.name"),
    "resourceVersion": ("0", "1", "", "-1", "x", "1e3"),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "Never"),
    "continue": ("x", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "\x00"),
    "limit": ("0", "1", "-1", "x", "9" * 30),
    "timeoutSeconds": ("1", "-1", "x", "9" * 18),
    "dryRun": ("All", "Some"),
    "fieldManager": ("m", "\x00", "m" * 200),
    "fieldValidation": ("Strict", "Warn", "Ignore", "Never"),
    "propagationPolicy": ("Orphan", "Foreground", "Sideways"),
    "gracePeriodSeconds": ("0", "-1", "x"),
    "sendInitialEvents": ("true", "false"),
    "allowWatchBookmarks": ("true",),
    "pretty": ("true", "x"),
    "force": ("true", "false"),
}


def write_token_file(folder: Path) -> Path:
    """A file for the server that makes who has `TOKEN` an administrator."""
    file = folder / "tokens.csv"
    file.write_text(f'{TOKEN},fuzz,fuzz,"system:masters"\n')
    return file


# What is odd about bodies.
ODD_BODIES: tuple[Any, ...] = (
    *(None, {}, [], "x", 1, {"metadata": None}, {"metadata": []}, {"metadata": {"name": None}}, {"spec": None}),
    *({"spec": []}, {"spec": {}}, {"status": {}}, {"status": None}, {"data": {"a": None}}, {"rules": [None]}),
    *({"metadata": {"labels": {"a": None}}}, {"metadata": {"ownerReferences": [None, {}]}}, {"spec": {"x": [[]]}}),
    *(
        {"metadata": {"managedFields": [{}]}},
        {"metadata": {"finalizers": [None]}},
        {"metadata": {"generateName": "g-"}},
    ),
    *(
        [{"op": "add", "path": "/spec", "value": None}],
        [{"op": "remove", "path": "/metadata"}],
        [{"op": "test"}],
        [[]],
    ),
    *({"spec": {"template": None}}, {"spec": {"template": {"spec": {"containers": [None, {}]}}}}),
    *({"spec": {"selector": {"matchExpressions": [{"operator": "In"}]}}}, {"spec": {"containers": [{"name": 1}]}}),
)

ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1.5,
        1 << 40,
        1 << 70,
        "",
        "a",
        "A B",
        "1",
        "0x",
        "-1",
        "100%",
        "1e400",
        "ü",
        "\x00",
        "a" * 300,
    ),
    *(
        [],
        [None],
        [{}],
        [[]],
        ["a", "a"],
        {},
        {"": ""},
        {"a": None},
        {"a": {}},
        {"matchLabels": {"": "-"}},
        {"name": ""},
    ),
    *(
        "2020-01-01T00:00:00Z",
        "::1",
        "10.0.0.1",
        "10.0.0.0/33",
        "1Ei",
        "99999999999999999999",
        "/",
        "../..",
        "a=b",
        "*",
    ),
)
ODD_KEYS = ("", "a", "kind", "name", "spec", "status", "selector", "template", "x-y/z", "ü", "$patch", "metadata")


@dataclass
class Findings:
    """What has been sent, and what has gone wrong."""

    answers: dict[int, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return sum(self.answers.values())


class Fuzzer:
    """Sends made-up requests to one server; the same ones for the same number to start from."""

    def __init__(
        self, url: str, token: str, authority: Path, *, start: int, examples: int, operations_max: int | None = None
    ) -> None:
        """`examples` are made for each operation that is documented (or for so many of them), and for each of allowed
        and not allowed; something odd is sent to all of them besides.
        """
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(authority)
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._start = start
        self._examples = examples
        self._operations_max = operations_max
        self._random = random.Random(start)
        self.found = Findings()

    def run(self, documents: str = "") -> Findings:
        """Go through all documents whose path contains `documents`."""
        paths = self._session.get(f"{self._url}/openapi/v3", timeout=ANSWER_SECONDS_MAX).json()["paths"]
        # What decides about other requests comes last.
        chosen = sorted(filter(lambda path: documents in path, paths), key=lambda path: (_decides(path), path))
        pairs = [pair for path in chosen for pair in self._operations(path)]
        for operation, _ in pairs:
            self._send(operation, (self._random.choice(ODD_BODIES), {}))
        if self._operations_max is not None and self._operations_max < len(pairs):
            kept = sorted(self._random.sample(range(len(pairs)), self._operations_max))
            pairs = [pairs[number] for number in kept]
        for operation, like in pairs:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                for made in self._cases(like, mode):
                    self._send(operation, made)
        return self.found

    def mutate(self, count: int) -> Findings:
        """Write so many damaged copies of a good object of every kind, in all ways of writing."""
        resources = [one for one in BUILTIN if (one.api_version, one.kind) in BODIES]
        account = example("v1", "ServiceAccount") | {"metadata": {"name": "default"}}  # which pods need
        self._write("POST", f"{self._url}{SERVICEACCOUNTS.path('default')}", account, dry_run=False)
        # What decides about other requests comes last.
        for resource in sorted(resources, key=lambda one: _decides(one.group)):
            good = example(resource.api_version, resource.kind)
            collection = f"{self._url}{resource.path('default')}"
            self._write("POST", collection, good, dry_run=False)
            one = f"{collection}/{good['metadata']['name']}"
            for _ in range(count):
                bad = damaged(good, self._random)
                match self._random.choice(("create", "replace", "patch", "patch", "status", "json")):
                    case "create":
                        if isinstance(bad.get("metadata"), dict) and bad["metadata"].get("name") == "every":
                            bad["metadata"]["name"] = f"every-{self._random.getrandbits(32)}"
                        self._write("POST", collection, bad)
                    case "replace":
                        self._write("PUT", one, bad)
                    case "patch":
                        self._write("PATCH", one, bad, f"application/{self._random.choice(PATCHES)}")
                    case "status":
                        self._write("PATCH", f"{one}/status", bad, "application/merge-patch+json")
                    case "json":
                        step = {"op": "replace", "path": self._random.choice(_pointers(good)), "value": bad}
                        step["value"] = self._random.choice(ODD_VALUES)
                        self._write("PATCH", one, [step], "application/json-patch+json")
        return self.found

    def _write(
        self, method: str, url: str, body: Any, kind: str = "application/json", *, dry_run: bool | None = None
    ) -> None:
        query = {"fieldManager": "fuzz"}
        if dry_run if dry_run is not None else self._random.random() < 0.5:
            query["dryRun"] = "All"
        headers = {"Content-Type": kind}
        self._exchange(requests.Request(method, url, params=query, headers=headers, data=json.dumps(body).encode()))

    def _operations(self, path: str) -> list[tuple[Any, Any]]:
        """(an operation of a document, the one whose bodies it gets: patches are parts of whole objects)."""
        document = self._session.get(f"{self._url}/openapi/v3/{path}", timeout=ANSWER_SECONDS_MAX).json()
        found = (result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations())
        # What is behind a proxy may fail as it likes.
        operations = [operation for operation in found if "/proxy" not in operation.path]
        whole = {one.path: one for one in operations if one.method == "put"}
        return [(one, whole.get(one.path, one) if one.method == "patch" else one) for one in operations]

    def _cases(self, operation: Any, mode: GenerationMode) -> Iterator[Any]:
        made: list[Any] = []

        @seed(self._start)
        @settings(
            max_examples=self._examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def collect(case: Any) -> None:
            made.append((None if isinstance(case.body, NotSet) else case.body, dict(case.query or {})))

        with contextlib.suppress(Unsatisfiable):  # of some operations nothing can be wrong
            collect()
        yield from made

    def _send(self, operation: Any, made: tuple[Any, dict[str, Any]]) -> None:
        pick, (body, query) = self._random.choice, made
        path = operation.path.replace("{namespace}", quote(pick(NAMESPACES), safe=""))
        path = path.replace("{name}", quote(pick(NAMES), safe="")).replace("{path}", "x")
        odd = {name: pick(values) for name, values in ODD.items() if self._random.random() < 0.08}
        query = {name: value for name, value in {**query, **odd}.items() if not isinstance(value, dict | list)}
        headers = {"Accept": pick(ACCEPTS)}
        data = None
        if operation.method in ("post", "put", "patch", "delete"):
            data, headers["Content-Type"] = self._encoded(operation, body)
        request = requests.Request(
            operation.method.upper(), f"{self._url}{path}", params=query, headers=headers, data=data
        )
        self._exchange(request)

    def _encoded(self, operation: Any, body: Any) -> tuple[bytes, str]:
        kind = operation.definition.raw.get("x-kubernetes-group-version-kind") or {}
        if isinstance(body, dict) and self._random.random() < 0.9:
            group, version = kind.get("group"), kind.get("version", "v1")
            body = {**body, "kind": kind.get("kind"), "apiVersion": f"{group}/{version}" if group else version}
            metadata = body.get("metadata") if isinstance(body.get("metadata"), dict) else {}
            body["metadata"] = {**metadata, "name": self._random.choice(NAMES), "namespace": "default"}
            if self._random.random() < 0.7:
                body["metadata"].pop("namespace")
                for made_by_server in ("resourceVersion", "uid", "managedFields"):
                    body["metadata"].pop(made_by_server, None)
        text = b"" if body is None else json.dumps(body, default=str).encode()
        if operation.method == "patch":
            return text, f"application/{self._random.choice(PATCHES)}"
        return text, self._random.choice(("application/json", "application/json", "application/yaml"))

    def _exchange(self, request: requests.Request) -> None:
        prepared = self._session.prepare_request(request)
        told = f"{prepared.method} {prepared.url} {prepared.headers.get('Content-Type')} {prepared.body!r}"[:2000]
        try:
            # Only the beginning of what has no end is looked at.
            with self._session.send(prepared, timeout=ANSWER_SECONDS_MAX, stream=True) as answer:
                status = answer.status_code
                text = "" if "watch" in (prepared.url or "") else answer.text
        except requests.RequestException as error:
            self.found.failures.append(f"{told}\n  no answer: {error!r}")
            return
        self.found.answers[status] = self.found.answers.get(status, 0) + 1
        # A version of the future is waited for in vain, as in Kubernetes.
        if status >= 500 and "ResourceVersionTooLarge" not in text:
            self.found.failures.append(f"{told}\n  {status}: {text[:500]}")


def damaged(good: Any, dice: random.Random) -> Any:
    """A copy in which one or two things are not as they should be."""
    bad = copy.deepcopy(good)
    for _ in range(dice.choice((1, 1, 2))):
        holder, key = dice.choice(list(_places(bad)))
        match dice.randrange(4):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 2 if isinstance(holder, dict):
                holder[dice.choice(ODD_KEYS)] = copy.deepcopy(dice.choice(ODD_VALUES))
            case _:
                alike = [value for value in ODD_VALUES if type(value) is type(holder[key])]
                holder[key] = copy.deepcopy(dice.choice(alike if alike and dice.random() < 0.8 else ODD_VALUES))
    return bad


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(what holds something, under which key), of everything inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


def _pointers(value: Any, at: str = "") -> list[str]:
    """The JSON pointers of everything inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in pairs:
        found += [f"{at}/{key}", *_pointers(inner, f"{at}/{key}")]
    return found


def _decides(path: str) -> bool:
    return "admission" in path or "flowcontrol" in path
