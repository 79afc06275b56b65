"""Python's garbage collector and a process that holds libraries and networks: close to a million objects that stay.

Each time it looks through all of them, nobody is answered for half a second, and it does so when it is least wanted:
after many requests came at once. So what stays is taken out of its sight.
"""

import atexit
import gc

atexit.register(gc.unfreeze)  # else libraries that count their objects at the end say that we lost some


def set_aside() -> None:
    """All that is alive now is not looked at again. For after a load; what that left behind is freed first."""
    gc.collect()
    gc.freeze()


def look_again() -> None:
    """Free what was set aside and is used no longer: networks that went, where their parts refer to each other."""
    gc.unfreeze()
    set_aside()
