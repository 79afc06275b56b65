"""Import of 10,000 images against plain copying of the same files into the same store: a ratio for RESULTS.md.

    python -m benchmarks.importing

Runs on the real servers, which it starts for itself; wants a quiet machine. The import sends the folder, unpacks it,
decodes every image in a sandbox, takes its metadata away, stores it, records it, looks for copies and shortcuts, and
makes a version. The copying is `put_object` of the `minio` client for each file, one after the other and eight at once.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minio import Minio
from urllib3 import PoolManager

from aimic.client import Client
from aimic.domain.dataset import ImportStatus
from aimic.settings import available_cpus
from benchmarks.drawn import folder
from benchmarks.tables import Row, processor, table, write_between_marks
from services.local.platform import Platform
from services.local.servers import minio as store
from services.local.servers.ports import free_ports
from services.local.settings import LocalSettings, Profile

RESULTS = Path(__file__).with_name("RESULTS.md")
AT_ONCE = 8


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=96, help="pixels a side; 28 KB a file at 96")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aimic-importing-") as name:
        rows = list(measure(Path(name), wish.images, wish.side))
    text = (
        f"{time.strftime('%Y-%m-%d')}, {available_cpus()} cores of {processor()}; Kafka, MinIO and PostgreSQL on the "
        f"same cores. Command: `python -m benchmarks.importing --images {wish.images} --side {wish.side}`\n\n"
        f"{table(rows)}"
    )
    print(text)
    write_between_marks(RESULTS, "importing", text)


def measure(scratch: Path, images: int, side: int) -> Iterator[Row]:
    """Copy, then import, on one platform; the copies go to a bucket of their own."""
    cells = folder(scratch / "cells", images, side)
    files = sorted(path for path in cells.glob("*/*"))
    size = sum(path.stat().st_size for path in files)
    names = list(LocalSettings(home=scratch, profile=Profile.SERVERS).ports())
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    settings = LocalSettings.model_validate({"home": scratch / "home", "profile": Profile.SERVERS, **ports})
    with Platform(settings, quiet=True) as platform, Client(platform.settings.front_url) as client:
        alone, together = (copying(settings, files, at_once) for at_once in (1, AT_ONCE))
        started = time.monotonic()
        done = client.datasets.import_(cells, "bench")
        seconds = time.monotonic() - started
    if done.status is not ImportStatus.DONE or done.stored != images:
        raise SystemExit(f"the import {done.status} with {done.stored} of {images} images: {done.error}")
    yield f"copying {images:,} files ({size / 2**20:.0f} MiB), one after the other", f"{alone:.1f} s"
    yield f"copying them, {AT_ONCE} at once", f"{together:.1f} s"
    yield "importing them, folder to version", f"{seconds:.1f} s ({images / seconds:.0f} images/s)"
    yield "import over copying one after the other", f"{seconds / alone:.2f}"
    yield f"import over copying {AT_ONCE} at once", f"{seconds / together:.2f}"


def copying(settings: LocalSettings, files: list[Path], at_once: int) -> float:
    """Seconds to put all files as they are."""
    server = store.Minio(settings.servers_home / "minio", settings.minio_port)
    client = Minio(
        f"127.0.0.1:{server.port}",
        access_key=server.secret("access-key"),
        secret_key=server.secret("secret-key"),
        secure=False,
        http_client=PoolManager(maxsize=at_once),
    )
    bucket = f"copies-{at_once}"
    client.make_bucket(bucket)

    def put(path: Path) -> None:
        with path.open("rb") as data:
            client.put_object(bucket, f"{path.parent.name}/{path.name}", data, path.stat().st_size)

    started = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(put, files))
    return time.monotonic() - started


if __name__ == "__main__":
    main()
