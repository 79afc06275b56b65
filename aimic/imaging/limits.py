"""What a file may ask of us. Checked from the header, before memory is spent on the pixels."""

from dataclasses import dataclass

from aimic.errors import UnreadableImageError

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds on one image file: bytes as received, pixels and side length as decoded."""

    max_bytes: int = 256 * MIB
    max_pixels: int = 100_000_000
    max_side: int = 32_768


DEFAULT_LIMITS = Limits()


def seconds_allowed(seconds: float, size: int) -> float:
    """How long one file may take: `seconds`, and one more for every 2 MiB of an honestly large one."""
    return seconds + size / (2 * MIB)


def check_bytes(size: int, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a file of more than `limits.max_bytes` bytes (UnreadableImageError)."""
    if size > limits.max_bytes:
        raise UnreadableImageError(
            f"The file has {size / MIB:,.0f} MiB; at most {limits.max_bytes // MIB:,} MiB per image are taken."
        )


def check_size(width: int, height: int, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a picture without pixels or with too many of them (UnreadableImageError)."""
    if width < 1 or height < 1:
        raise UnreadableImageError("The picture has no pixels: its header gives a width or height of zero.")
    if max(width, height) > limits.max_side:
        raise UnreadableImageError(
            f"The picture has {width:,} × {height:,} pixels; no side may be longer than {limits.max_side:,}."
        )
    if width * height > limits.max_pixels:
        raise UnreadableImageError(
            f"The picture has {width:,} × {height:,} pixels, {width * height / 1e6:,.0f} million in all; "
            f"at most {limits.max_pixels / 1e6:,.0f} million are taken. Cut it into single cells first."
        )
