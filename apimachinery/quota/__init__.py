"""ResourceQuotas: how much of what they limit each object uses.

An `Evaluator` tells of one resource which limits its objects are measured by, how much of each an object uses, and
which scopes it is in. The API server charges by it when objects are written, the quota controller recounts by it.
Pure.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""
