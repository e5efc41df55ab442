"""Role-based access control: who has which rules, and what those allow.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""
