"""Who manages which field of an object: `metadata.managedFields`, and server-side apply, which rests on it.

    sets       sets of fields, in the form of fieldsV1
    elements   the steps of a path to a field: `f:spec`, `k:{"name":"web"}`, `v:"x"`
    types      how values of a type are compared and merged, as schemas say it
    custom     the same for structural schemas of CustomResourceDefinitions
    compare    what changes between two versions of an object
    merge      an applied configuration comes into an object, and what is applied no more goes
    check      whether a configuration can be applied at all
    entries    the entries of managedFields, decoded and encoded
    kinds      the versions in which a kind's objects are managed
    updating   the managers after an update
    applying   the object and the managers after an apply
    conflicts  what is told of fields that others manage
    scale      the managers of the `scale` subresource and those of the object behind it

All of it is pure. Objects are never changed; what stays the same is shared.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and structured-merge-diff, which Kubernetes
uses for this.
"""
