"""Versions of what executes."""

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "onnxruntime", "onnx", "openvino")


def versions() -> dict[str, str]:
    """Of each package that is installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
