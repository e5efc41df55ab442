"""`python -m kubelet.images`: looks after a store from the command line; `kctl image` runs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kubelet.images import ArchiveError, Image, ImageError, ImageStore

ID_DIGITS = 12


def main() -> int:
    """Run one action; mistakes are told in one line."""
    parser = argparse.ArgumentParser(prog="kctl image", description=__doc__)
    parser.add_argument("--image-dir", type=Path, required=True)
    actions = parser.add_subparsers(dest="action", required=True)
    importing = actions.add_parser("import", help="take in a `docker save` file or an OCI archive")
    importing.add_argument("archive", nargs="+", type=Path, help="a tar file, an OCI layout folder, or -")
    importing.add_argument("--tag", help="the name to give the image")
    actions.add_parser("ls", help="list the images")
    removing = actions.add_parser("rm", help="remove images by name or id")
    removing.add_argument("image", nargs="+")
    args = parser.parse_args()
    try:
        store = ImageStore(args.image_dir)
        if args.action == "import":
            for archive in args.archive:
                for image in store.import_archive(archive, args.tag):
                    print(f"imported {', '.join(image.names) or image.id}")
        elif args.action == "ls":
            print_table(store.images())
        else:
            for reference in args.image:
                for gone in store.remove(reference):
                    print(f"removed {gone}")
    except (ArchiveError, ImageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def print_table(images: list[Image]) -> None:
    """One line an image and name, as wide as needed."""
    rows = [("IMAGE", "ID", "SIZE", "LAYERS")]
    for image in images:
        size = "the node's" if image.binds else f"{image.size_bytes / 1e6:.1f}MB"
        for name in image.names or ["<none>"]:
            rows.append((name, image.id[7 : 7 + ID_DIGITS], size, str(len(image.layers))))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
