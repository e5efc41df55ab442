"""What a definition makes the server serve: the endpoints of its versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from apimachinery.resources import Resource
from apiserver.catalog import Endpoint
from apiserver.customresources import published, strategy
from apiserver.customresources.definition import Definition, Version
from apiserver.customresources.schema import VersionSchema
from apiserver.customresources.versions import Converter, CustomVersions
from apiserver.registry.strategy import Strategy
from apiserver.webhook_client import WebhookClient


def versions(definition: Definition, webhooks: WebhookClient) -> dict[str, CustomVersions]:
    """How stored objects are shown in each version, served or not."""
    schemas = {version.name: _schema(definition, version) for version in definition.versions}
    stored = definition.resource(definition.storage_version)
    conversion = definition.conversion
    webhook = conversion["webhook"] if conversion["strategy"] == "Webhook" else None
    converter = Converter(webhook, webhooks) if webhook is not None else None
    since = definition.source.entry.revision
    return {
        version.name: CustomVersions(definition.resource(version), stored, schemas, converter, since)
        for version in definition.versions
    }


def served(definition: Definition, shown: Mapping[str, CustomVersions]) -> Iterator[Endpoint]:
    """The endpoints of the versions that are served."""
    for version in definition.versions:
        if version.served:
            yield _endpoint(definition, version, shown[version.name])


def stored(definition: Definition, shown: Mapping[str, CustomVersions]) -> tuple[Resource, Strategy]:
    """The resource in the version in which objects are stored, and that version's rules."""
    version = definition.storage_version
    resource = definition.resource(version)
    return resource, strategy.make(resource, version, shown[version.name].schema)


def _schema(definition: Definition, version: Version) -> VersionSchema:
    source, name = definition.source, version.name
    return VersionSchema(lambda: source.schema(name))


def _endpoint(definition: Definition, version: Version, shown: CustomVersions) -> Endpoint:
    resource, schema = definition.resource(version), shown.schema
    return Endpoint(
        resource,
        strategy.make(resource, version, schema),
        shown,
        warning=version.warning,
        terminating=definition.terminating,
        schema=lambda simple: published.schema(schema.read(), resource, version.selectable, simple=simple),
        fingerprint=f"{definition.uid}/{definition.generation}",
    )
