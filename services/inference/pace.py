"""How long a model's batches take, learned from the ones before."""

_SMOOTHING = 0.2
_FIRST_GUESS_S = 0.02
"""Seconds an image, before anything is known: a middling network on a few CPUs."""


class Pace:
    """Seconds of a batch by its number of images, learned apart for 1, 2, 3 to 4, 5 to 8 and so on."""

    def __init__(self) -> None:
        self._each: dict[int, float] = {}
        self.image_s = _FIRST_GUESS_S
        """Seconds an image took in the batches of late, whatever their size."""

    def learn(self, images: int, seconds: float) -> None:
        """A batch of `images` took `seconds`."""
        each = seconds / images
        known = self._each.get(_size(images))
        self._each[_size(images)] = each if known is None else known + _SMOOTHING * (each - known)
        if len(self._each) == 1 and known is None:
            self.image_s = each
        # By images and not by batches: one large batch says more than one small one.
        self.image_s += (1 - (1 - _SMOOTHING / 4) ** images) * (each - self.image_s)

    def expected(self, images: int) -> float:
        """Seconds that a batch of `images` will take; where such a size is not known, rather too many."""
        if not self._each:
            return images * self.image_s
        size = _size(images)
        smaller = [known for known in self._each if known <= size]
        if smaller:
            return images * self._each[max(smaller)]
        nearest = min(self._each)
        return nearest * self._each[nearest]

    def most(self, seconds: float, limit: int) -> int:
        """The largest batch, 1 to `limit`, that is expected to take no longer than `seconds`."""
        images = limit
        while images > 1 and self.expected(images) > seconds:
            images = _size(images) // 2 if images > 2 else 1
        return images


def _size(images: int) -> int:
    """The power of two at or above."""
    return 1 << (images - 1).bit_length()
