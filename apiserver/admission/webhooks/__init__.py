"""Admission webhooks: servers of the cluster's users that are asked about requests."""
