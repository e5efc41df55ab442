"""A cluster on this machine: what `kctl up`, `kctl down` and `kctl node` share."""
