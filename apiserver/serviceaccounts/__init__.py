"""Service accounts' tokens: what they say, who signs them, and whether they still hold.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""
