"""docs/inference.md, by which hospital IT runs inference pods, names all settings with their defaults."""

import re
from pathlib import Path

from aimic.settings import Settings as SharedSettings
from services.inference.settings import MIB, Settings

PAGE = (Path(__file__).parents[4] / "docs" / "inference.md").read_text()
ROWS = re.findall(r"^\| (`AIMIC_[^|]+) \| ([^|]+) \|", PAGE, re.MULTILINE)
COMPUTED = {"inference_replica", "inference_grpc_host", "inference_decoders", "inference_models_bytes"}
SIZES = {"MiB": MIB, "GiB": 1024 * MIB}


def _names(cell: str) -> list[str]:
    return [name.lower() for name in re.findall(r"`AIMIC_([A-Z0-9_]+)`", cell)]


def test_every_setting_is_told_and_no_other() -> None:
    told = {name.lower() for name in re.findall(r"AIMIC_([A-Z0-9_]*[A-Z0-9])", PAGE)}
    assert told - Settings.model_fields.keys() == set()
    assert {
        name for row, _ in ROWS for name in _names(row)
    } >= Settings.model_fields.keys() - SharedSettings.model_fields


def test_the_numbers_are_the_defaults() -> None:
    checked = 0
    for row, defaults in ROWS:
        pairs = [*zip(_names(row), defaults.split(", "), strict=False)]
        for name, told in pairs:
            number = re.fullmatch(r"([\d.]+)(?: (MiB|GiB))?", told.strip())
            if number and name not in COMPUTED:
                assert float(number[1]) * SIZES.get(number[2], 1) == Settings.model_fields[name].default, name
                checked += 1
    assert checked > 30
