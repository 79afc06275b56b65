"""Where SQLite may lie."""

from pathlib import Path

import pytest

from services.ingest.drives import file_system, refuse_network_drive


def test_a_network_drive_is_refused_and_a_disk_below_it_is_not(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    share, disk = tmp_path / "a share", tmp_path / "a share" / "disk"
    disk.mkdir(parents=True)
    written = str(share).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {written} nfs4 rw 0 0\n/dev/sdb {written}/disk xfs rw 0 0\n")
    assert file_system(share, mounts) == "nfs4"
    refuse_network_drive(disk, mounts)
    refuse_network_drive(tmp_path, mounts)
    with pytest.raises(SystemExit, match="network drive"):
        refuse_network_drive(share / "sub", mounts)
    refuse_network_drive(share, tmp_path / "no such file")
