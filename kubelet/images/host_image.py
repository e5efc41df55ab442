"""`localhost/host`: the node's own programs as an image that needs no download.

/usr and its kin are the node's, read-only; /etc is fresh and holds what programs need to start (users, name
service, certificates) and nothing that is the node's secret. Nothing else of the node is in it.
"""

from __future__ import annotations

from pathlib import Path

NAME = "localhost/host:latest"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC_FROM_NODE = (
    "alternatives",
    "ssl",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "mime.types",
)
_FOLDERS = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "home": 0o755, "run": 0o755, "mnt": 0o755}
_MOUNT_POINTS = ("proc", "sys", "dev", "usr", "etc")
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n",
    "resolv.conf": "",
    "hostname": "",
    "os-release": 'NAME="Wherry host image"\nID=wherry\n',
}


def build(folder: Path, host: Path = Path("/")) -> None:
    """Lay out the image's own files in an empty folder."""
    for name, mode in _FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(mode)
    for name in _MOUNT_POINTS:
        (folder / name).mkdir(exist_ok=True)
    for name, text in _ETC.items():
        (folder / "etc" / name).write_text(text)
    for name in _PROGRAM_FOLDERS:
        source = host / name
        if source.is_symlink():
            (folder / name).symlink_to(source.readlink())
        elif source.is_dir():
            (folder / name).mkdir()
    for name in _ETC_FROM_NODE:
        source = host / "etc" / name
        if source.is_dir():
            (folder / "etc" / name).mkdir()
        elif source.is_file():
            (folder / "etc" / name).touch()
    folder.chmod(0o755)


def binds(folder: Path, host: Path = Path("/")) -> list[tuple[str, str]]:
    """What is bound from the node, read-only, onto the laid-out files: (source, destination) pairs."""
    programs = [name for name in _PROGRAM_FOLDERS if not (folder / name).is_symlink()]
    wanted = ["usr", *programs, *(f"etc/{name}" for name in _ETC_FROM_NODE)]
    return [
        (str((host / name).resolve()), f"/{name}")
        for name in wanted
        if (folder / name).exists() and (host / name).exists()
    ]


def config() -> dict[str, object]:
    """The image's OCI configuration."""
    return {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/sh"], "WorkingDir": "/"}
