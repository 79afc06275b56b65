"""A machine's class stands in addresses and file names, and tells apart what matters for speed."""

import re
from pathlib import Path

import pytest

from aimic.domain.executor import MACHINE_CLASS
from aimic.nets.executors import machine
from aimic.nets.executors.machine import machine_class
from aimic.settings import available_cpus

XEON = "model name\t: Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz\nflags\t: fpu avx2 amx_bf16 avx512f sse\n"


def test_this_machine_has_one() -> None:
    assert re.fullmatch(MACHINE_CLASS, machine_class())
    assert machine_class() == machine_class(available_cpus()) != machine_class(available_cpus() + 1)


def test_model_and_vector_units_tell_machines_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    read = machine._cpu
    monkeypatch.setattr(machine, "_cpu", lambda: read(file))
    file.write_text(XEON + "\n" + XEON.replace("8488C", "9999"))
    assert machine_class(4) == "intel-xeon-platinum-8488c-avx2-avx512f-amx_bf16-4t"
    file.write_text(XEON.replace("amx_bf16 ", ""))
    assert machine_class(4) == "intel-xeon-platinum-8488c-avx2-avx512f-4t"
    file.unlink()
    assert re.fullmatch(MACHINE_CLASS, machine_class(4))


def test_where_reduced_precision_may_be_chosen_is_a_class_of_its_own() -> None:
    assert machine_class(2, reduced=True) == f"{machine_class(2)}-reduced"


def test_a_gpu_is_a_class_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_gpu", lambda: "NVIDIA H100 80GB HBM3")
    assert machine_class(4) == machine_class(8) == "gpu-nvidia-h100-80gb-hbm3"
