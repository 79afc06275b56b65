"""Where the servers' programs are kept. Standard library only: it runs before anything is installed."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`AIMIC_CACHE_DIR`, or `aimic` in the user's cache (XDG_CACHE_HOME, ~/.cache)."""
    own = os.environ.get("AIMIC_CACHE_DIR")
    if own:
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "aimic"


def go_environment(bin_dir: Path) -> dict[str, str]:
    """The environment of `go install`: into our cache, no C compiler, no toolchain but the one found."""
    return {**os.environ, "GOBIN": str(bin_dir), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-trimpath"}


def apt_environment() -> dict[str, str]:
    """The environment of `apt-get`: it asks nothing."""
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
