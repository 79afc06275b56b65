"""Large blocks of memory go back to the system when they are freed.

glibc keeps an arena per thread, and after the first large block that is freed it takes further ones from there too:
a service that passes images and pieces of uploads through a dozen threads keeps several of each for good. Measured
with twelve threads and 8 MiB blocks: 112 MiB stayed, now 54.
"""

import ctypes

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""M_MMAP_THRESHOLD and M_ARENA_MAX of glibc's malloc.h."""


def give_back(least: int = 1 << 20, arenas: int = 2) -> bool:
    """Have every block of `least` bytes or more be a mapping of its own; False where there is no glibc.

    Not for processes that compute: a mapping for every tensor costs them time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, least) and mallopt(_ARENA_MAX, arenas))
