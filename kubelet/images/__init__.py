"""The node's images: a content-addressed store, archives, and the node itself as an image."""

from kubelet.images.archive import ArchiveError
from kubelet.images.store import Image, ImageError, ImageStore

__all__ = ["ArchiveError", "Image", "ImageError", "ImageStore"]
