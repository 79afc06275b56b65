"""Model bundles: everything that others need, from one place. No torch here."""

from aimic.nets.bundle_archive import export, unpack
from aimic.nets.bundle_directory import Bundle, bundle_hash, describe, inspect, members_of, verify, write
from aimic.nets.info import BundleInfo, Head, Member, Temperature, WeightsCard

__all__ = [
    "Bundle",
    "BundleInfo",
    "Head",
    "Member",
    "Temperature",
    "WeightsCard",
    "bundle_hash",
    "describe",
    "export",
    "inspect",
    "members_of",
    "unpack",
    "verify",
    "write",
]
