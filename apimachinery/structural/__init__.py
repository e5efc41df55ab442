"""Structural schemas: what a CustomResourceDefinition says about its objects, and what follows for them.

    walk          the schemas inside of a schema
    invariants    whether a schema is structural, in Kubernetes' words
    nodes         a schema in the form in which objects are walked: compact, made once
    pruning       fields that no schema knows go
    defaulting    defaults are filled in, and nulls that may not be there go
    metadata      the metadata of an object and of those embedded in it
    listtypes     lists that are sets or maps hold nothing twice
    formats       what strings of a format look like
    compiled      the whole of a schema's value validation as one check in compiled form
    validation    the full list of what is wrong with an object, once that check has failed
    correlation   which old value a new one is compared with: what was wrong before and is unchanged passes
    fieldpaths    paths to fields that a schema has
    rules         x-kubernetes-validations

Schemas are dicts in wire shape (JSONSchemaProps of apiextensions.k8s.io/v1). All of it is pure.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""
