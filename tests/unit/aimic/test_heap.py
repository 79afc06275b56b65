"""What is freed is given back, also after a large block was freed before."""

import subprocess
import sys

PROGRAM = """
import sys, threading
from pathlib import Path
from aimic.heap import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def work():
    kept = []
    for _ in range(8):
        block = bytes([1]) * (8 << 20)
        kept.append(bytearray(1000))  # small, behind the large one: it would hold the heap's end
        del block

assert give_back() or sys.platform != "linux"
before = resident()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""


def test_large_blocks_do_not_stay() -> None:
    # In a process of its own: the setting is for good.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 8 << 20
