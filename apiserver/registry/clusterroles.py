"""ClusterRoles."""

from __future__ import annotations

from apimachinery import names
from apimachinery.resources import CLUSTERROLES
from apiserver.registry.strategy import Strategy, nothing, replace_all

STRATEGY = Strategy(
    CLUSTERROLES, prepare_create=nothing, prepare_update=replace_all, validate_name=names.path_segment
)
