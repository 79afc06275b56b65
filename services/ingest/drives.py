"""SQLite's locks don't hold on network file systems, so the records are not kept on one."""

from pathlib import Path

_REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse")
_MOUNTS = Path("/proc/self/mounts")


def refuse_network_drive(directory: Path, mounts: Path = _MOUNTS) -> None:
    """SystemExit with the reason when `directory` lies on a network file system."""
    kind = file_system(directory, mounts)
    if kind.startswith(_REMOTE):
        raise SystemExit(
            f"The records can't be kept in {directory}: it is on a network drive ({kind}), where SQLite's locks don't "
            "hold and records get lost. Choose a folder on a disk of this machine (AIMIC_HOME), or use PostgreSQL."
        )


def file_system(directory: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that `directory` is on; empty where the system doesn't say."""
    if not mounts.exists():
        return ""
    found = ("", "")
    for line in mounts.read_text(errors="replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        path = Path(point.encode().decode("unicode_escape"))
        if directory.resolve().is_relative_to(path) and len(str(path)) >= len(found[0]):
            found = (str(path), kind)
    return found[1]
