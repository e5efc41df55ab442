"""Admission policies: rules in CEL that the cluster's users hold requests to."""
