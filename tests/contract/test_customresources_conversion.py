"""Custom resources whose versions a webhook converts, against a real API server and a real webhook."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, NAMESPACES, SERVICES, Resource
from tests.support.customresources import define, definition, made, properties, resource, until_condition, version
from tests.support.webhook_server import WebhookServer, webhook_server

STRING = {"type": "string"}
ADDRESS = properties(spec={**properties(address=STRING), "required": ["address"]})
SPLIT = properties(spec={**properties(host=STRING, port=STRING), "required": ["host", "port"]})
_kinds = (f"Backend{number}" for number in itertools.count())


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path, "converter.hooks.svc") as server:
        server.handlers["/convert"] = convert
        yield server


@pytest.fixture
def kind() -> str:
    """A kind that no other test defines."""
    return next(_kinds)


async def convert(review: Object) -> Object:
    """`host:port` in v1 is two fields in v2."""
    request = review["request"]
    objects = [converted(obj, request["desiredAPIVersion"]) for obj in copy.deepcopy(request["objects"])]
    return answered(review, convertedObjects=objects, result={"status": "Success"})


def converted(obj: Object, wanted: str) -> Object:
    if obj["apiVersion"] == wanted:
        return obj
    spec = obj["spec"]
    if wanted.endswith("/v2"):
        spec["host"], _, spec["port"] = spec.pop("address").partition(":")
    else:
        spec["address"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return {**obj, "apiVersion": wanted}


def answered(review: Object, **response: Any) -> Object:
    response = {"uid": review["request"]["uid"], **response}
    return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}


def converting(kind: str, config: Object, *, stored: str = "v1") -> Object:
    one, two = version("v1", ADDRESS, storage=stored == "v1"), version("v2", SPLIT, storage=stored == "v2")
    webhook = {"clientConfig": config, "conversionReviewVersions": ["v1"]}
    return definition(kind, one, two, conversion={"strategy": "Webhook", "webhook": webhook})


def at_url(webhook: WebhookServer) -> Object:
    return {"url": f"{webhook.base}/convert", "caBundle": webhook.bundle}


async def defined(client: Client, kind: str, config: Object, *, stored: str = "v1") -> tuple[Resource, Resource]:
    made = await define(client, converting(kind, config, stored=stored))
    return resource(made, "v1"), resource(made, "v2")


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_a_placeholder_for_certificates_is_waited_for_and_never_comes_back(
    client: Client, webhook: WebhookServer, kind: str
) -> None:
    waiting = converting(kind, {**at_url(webhook), "caBundle": "Cg=="})
    await client.create(CUSTOMRESOURCEDEFINITIONS, waiting)
    name = waiting["metadata"]["name"]
    await until_condition(client, name, "Established", "False", "InvalidCABundle")
    one = resource(waiting, "v1")
    assert (await refused(client.list(one, "default"))).code == 404

    def bundle(text: str) -> list[Object]:
        return [{"op": "replace", "path": "/spec/conversion/webhook/clientConfig/caBundle", "value": text}]

    await client.patch(CUSTOMRESOURCEDEFINITIONS, name, bundle(webhook.bundle), kind="json")
    await until_condition(client, name, "Established", "True")
    await client.create(one, made(one, "a", spec={"address": "db:5432"}))
    assert (await client.get(resource(waiting, "v2"), "a", "default"))["spec"] == {"host": "db", "port": "5432"}
    error = await refused(client.patch(CUSTOMRESOURCEDEFINITIONS, name, bundle("Cg=="), kind="json"))
    assert error.message.endswith(
        'spec.conversion.webhookClientConfig.caBundle: Invalid value: "Cg==": unable to load root certificates: '
        "unable to parse bytes as PEM block"
    )


async def test_objects_are_shown_in_each_version(client: Client, webhook: WebhookServer, kind: str) -> None:
    one, two = await defined(client, kind, at_url(webhook))
    obj = await client.create(one, made(one, "a", spec={"address": "db:5432"}))
    assert webhook.asked == []
    shown = await client.get(two, "a", "default")
    assert shown["spec"] == {"host": "db", "port": "5432"}
    assert shown["metadata"] == obj["metadata"]
    (_, review), *_ = webhook.asked
    assert (review["apiVersion"], review["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    assert review["request"]["desiredAPIVersion"] == two.api_version
    shown["spec"]["port"] = "5433"
    updated = await client.update(two, shown)
    assert (updated["apiVersion"], updated["spec"]) == (two.api_version, {"host": "db", "port": "5433"})
    assert updated["metadata"]["generation"] == 2
    assert (await client.get(one, "a", "default"))["spec"] == {"address": "db:5433"}
    await client.patch(two, "a", {"spec": {"host": "cache"}}, "default")
    assert (await client.get(one, "a", "default"))["spec"] == {"address": "cache:5433"}
    gone = await client.delete(two, "a", "default")
    assert gone["status"] == "Success"


async def test_managers_in_one_version_are_asked_in_another(
    client: Client, webhook: WebhookServer, kind: str
) -> None:
    one, two = await defined(client, kind, at_url(webhook))

    async def apply(of: Resource, manager: str, spec: Object, **params: str) -> Object:
        config = {"apiVersion": of.api_version, "kind": of.kind, "metadata": {"name": "a"}, "spec": spec}
        options = {"fieldManager": manager, **params}
        return await client.patch(of, "a", config, "default", kind="apply", params=options)

    await apply(one, "one", {"address": "db:5432"})
    same = await apply(two, "two", {"host": "db", "port": "5432"})
    assert same["spec"] == {"host": "db", "port": "5432"}
    error = await refused(apply(two, "three", {"port": "5433"}))
    assert error.message == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.address\nconflicts with "two":\n- .spec.port'
    )
    await apply(two, "three", {"port": "5433"}, force="true")
    assert (await client.get(one, "a", "default"))["spec"] == {"address": "db:5433"}
    await refused(apply(one, "one", {"address": "db:5432"}))


async def test_a_webhook_that_is_down_keeps_nobody_from_writing_what_is_stored(
    client: Client, webhook: WebhookServer, kind: str
) -> None:
    one, two = await defined(client, kind, at_url(webhook))
    obj = await client.create(one, made(one, "a", spec={"address": "db:5432"}))
    shown = await client.get(two, "a", "default")
    shown["spec"]["port"] = "5433"
    await client.update(two, shown)  # from here on there is a manager in v2

    async def fail(review: Object) -> Object:
        return answered(review, result={"status": "Failure", "message": "no"})

    webhook.handlers["/convert"] = fail
    obj = await client.get(one, "a", "default")
    obj["spec"]["address"] = "db:5434"
    assert (await client.update(one, obj))["spec"] == {"address": "db:5434"}


async def test_rules_are_those_of_the_version_that_is_written(
    client: Client, webhook: WebhookServer, kind: str
) -> None:
    _, two = await defined(client, kind, at_url(webhook))
    error = await refused(client.create(two, made(two, "a", spec={"address": "db:1"})))
    assert error.code == 422
    assert "spec.host: Required value" in error.message


async def test_lists_are_converted_in_batches_and_once(client: Client, webhook: WebhookServer, kind: str) -> None:
    one, two = await defined(client, kind, at_url(webhook))
    objects = [made(one, f"o{number:03}", spec={"address": f"h:{number}"}) for number in range(300)]
    await asyncio.gather(*(client.create(one, obj) for obj in objects))
    items = (await client.list(two, "default"))["items"]
    assert [item["spec"]["port"] for item in items] == [str(number) for number in range(300)]
    assert len(webhook.asked) == 2
    assert (await client.list(two, "default"))["items"] == items
    assert len(webhook.asked) == 2
    await client.patch(one, "o007", {"spec": {"address": "h:x"}}, "default")
    assert (await client.list(two, "default"))["items"][7]["spec"]["port"] == "x"
    assert [len(review["request"]["objects"]) for _, review in webhook.asked[2:]] == [1]


async def test_watches_are_converted_in_order(client: Client, webhook: WebhookServer, kind: str) -> None:
    one, two = await defined(client, kind, at_url(webhook))
    since = (await client.list(two, "default"))["metadata"]["resourceVersion"]
    for number in range(5):
        await client.create(one, made(one, f"o{number}", spec={"address": f"h:{number}"}))
    await client.delete(one, "o2", "default")
    seen = []
    async with asyncio.timeout(60):
        async for event, obj in client.watch(two, "default", resource_version=since):
            assert obj["apiVersion"] == two.api_version
            seen.append((event, obj["metadata"]["name"], obj["spec"]["port"]))
            if event == "DELETED":
                break
    assert seen == [*(("ADDED", f"o{number}", str(number)) for number in range(5)), ("DELETED", "o2", "2")]


async def test_a_service_is_asked_by_its_name(client: Client, webhook: WebhookServer, kind: str) -> None:
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hooks"}})
    place = {"namespace": "hooks", "name": "converter", "path": "/convert", "port": webhook.port}
    one, two = await defined(client, kind, {"service": place, "caBundle": webhook.bundle})
    await client.create(one, made(one, "a", spec={"address": "db:1"}))
    error = await refused(client.get(two, "a", "default"))
    url = f"https://converter.hooks.svc:{webhook.port}/convert?timeout=30s"
    assert f'failed: Post "{url}": ' in error.message
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "converter", "namespace": "hooks"}}
    await client.create(SERVICES, {**service, "spec": {"type": "ExternalName", "externalName": "localhost"}})
    assert (await client.get(two, "a", "default"))["spec"] == {"host": "db", "port": "1"}
    assert webhook.hosts == [f"converter.hooks.svc:{webhook.port}"]


async def test_what_a_webhook_may_not_do_is_refused(client: Client, webhook: WebhookServer, kind: str) -> None:
    one, two = await defined(client, kind, at_url(webhook))
    await client.create(one, made(one, "a", spec={"address": "db:1"}))
    name = f"{one.api_version}, Kind={kind}"

    async def told(response: Any) -> str:
        async def answer(review: Object) -> Object:
            found = await convert(review)
            response(found["response"])
            return found

        webhook.handlers["/convert"] = answer
        error = await refused(client.get(two, "a", "default"))
        assert error.code == 500
        return error.message

    failed = await told(lambda r: r.update(result={"status": "Failed", "message": "no such host"}))
    assert failed == f"conversion webhook for {name} failed: no such host"
    assert await told(lambda r: r.update(convertedObjects=[])) == (
        f"conversion webhook for {name} returned 0 objects, expected 1"
    )
    renamed = await told(lambda r: r["convertedObjects"][0]["metadata"].update(name="b"))
    assert renamed == f"conversion webhook for {name} returned invalid object: must have the same name: a != b"
    assert "expected response.uid=" in await told(lambda r: r.update(uid="x"))
    other = await told(lambda r: r["convertedObjects"][0].update(apiVersion="v9"))
    assert other.endswith(f"invalid groupVersion (expected {two.api_version}, received v9)")
    webhook.handlers["/convert"] = convert
    assert (await client.get(two, "a", "default"))["spec"]["host"] == "db"


async def test_labels_may_change_and_nothing_else_of_the_metadata(
    client: Client, webhook: WebhookServer, kind: str
) -> None:
    one, two = await defined(client, kind, at_url(webhook))

    async def relabel(review: Object) -> Object:
        found = await convert(review)
        for obj in found["response"]["convertedObjects"]:
            obj["metadata"].update(labels={"new": "x"}, finalizers=["example.com/none"], generation=77)
        return found

    obj = await client.create(one, made(one, "a", spec={"address": "db:1"}, metadata={"labels": {"old": "x"}}))
    webhook.handlers["/convert"] = relabel
    shown = await client.get(two, "a", "default")
    assert shown["metadata"] == {**obj["metadata"], "labels": {"new": "x"}}
    found = await client.list(two, "default", label_selector="new=x")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    assert (await client.list(two, "default", label_selector="old=x"))["items"] == []


async def test_a_webhook_that_is_away_keeps_nobody_from_the_stored_version(
    client: Client, webhook: WebhookServer, kind: str
) -> None:
    config = {"url": "https://127.0.0.1:1/convert", "caBundle": webhook.bundle}
    one, two = await defined(client, kind, config)
    await client.create(one, made(one, "a", spec={"address": "db:1"}))
    error = await refused(client.get(two, "a", "default"))
    assert (error.code, error.message) == (
        500,
        f"conversion webhook for {one.api_version}, Kind={kind} failed: "
        'Post "https://127.0.0.1:1/convert?timeout=30s": dial tcp 127.0.0.1:1: connect: connection refused',
    )
    error = await refused(client.create(two, made(two, "b", spec={"host": "h", "port": "1"})))
    assert error.message.startswith(f"conversion webhook for {two.api_version}, Kind={kind} failed: Post")
    assert (await client.get(one, "a", "default"))["spec"] == {"address": "db:1"}
    # It takes effect at once that the webhook is elsewhere.
    moved = {"spec": {"conversion": {"webhook": {"clientConfig": at_url(webhook)}}}}
    await client.patch(CUSTOMRESOURCEDEFINITIONS, f"{one.plural}.{one.group}", moved)
    assert (await client.get(two, "a", "default"))["spec"]["host"] == "db"


async def test_storage_is_migrated_by_writing_all_anew(client: Client, webhook: WebhookServer, kind: str) -> None:
    one, two = await defined(client, kind, at_url(webhook))
    await client.create(one, made(one, "a", spec={"address": "db:1"}))
    which = f"{one.plural}.{one.group}"
    both = [version("v1", ADDRESS, storage=False), version("v2", SPLIT)]
    changed = await client.patch(CUSTOMRESOURCEDEFINITIONS, which, {"spec": {"versions": both}})
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    obj = await client.get(two, "a", "default")
    await client.update(two, obj)
    webhook.asked.clear()
    assert (await client.get(two, "a", "default"))["spec"] == {"host": "db", "port": "1"}
    assert webhook.asked == []
    await client.patch(CUSTOMRESOURCEDEFINITIONS, which, {"status": {"storedVersions": ["v2"]}}, subresource="status")
    await client.patch(CUSTOMRESOURCEDEFINITIONS, which, {"spec": {"versions": [version("v2", SPLIT)]}})
    assert (await client.get(two, "a", "default"))["spec"] == {"host": "db", "port": "1"}
