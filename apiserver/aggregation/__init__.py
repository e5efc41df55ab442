"""APIs that other servers serve, as if they were served here (kube-aggregator).

Every version of a group has an APIService. Those of what is served here say so, and are written and kept by this
server (`local`). An APIService that names a Service hands its group's version over to the extension server behind it:

    index        what the stored APIServices say, known the moment that they are written
    upkeep       one loop an extension server: is it available, what does it serve, which schemas has it
    forwarding   what users ask for is passed on to it, with who asks
    trust        by what extension servers know this server, in a ConfigMap for them to read

What a user is answered about discovery and schemas is out of memory; nobody waits for an extension server but who
asks for its objects. Nothing of all that is imported or runs where no APIService names a Service.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""
