"""Custom resources: what CustomResourceDefinitions make this server serve.

    definition    a definition as the server goes by it
    acceptance    the names and conditions of a definition: pure
    keeper        keeps the status of all definitions, and empties those that go
    schema        the schema of one version, compiled when it is first needed
    strategy      the rules of one version's objects
    columns       what tables show of them
    versions      stored objects in the version that is asked for, and back
    conversion    ConversionReview: the question to a webhook that converts, and its answer
    endpoints     what a definition makes the server serve
    serving       definitions become endpoints, at once
    published     schemas as OpenAPI shows them

A definition is read when it changes; its schemas are read and compiled when the first object is written, or when
stored objects are older than the definition. Objects are stored under `GROUP/PLURAL`, in the storage version.

Source: https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/custom-resources/ and
k8s.io/apiextensions-apiserver.
"""
