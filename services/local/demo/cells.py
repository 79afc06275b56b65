"""Drawn images, no medical meaning: blobs that look a little like stained white blood cells.

Four look-alike kinds differ only in the shape of the nucleus and the grain of the plasma, and their parameters
overlap. Every "patient" has a stain, a lighting and a size of its own, and 2 % of the labels are wrong, so that
a platform which ignores patients, or promises 100 %, is seen to be wrong.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HEADING = "Drawn images, no medical meaning"
KINDS = ("bean", "lobed", "ring", "round")
WRONG_LABELS = 0.02
_SCALE = 4
"""Drawn this much larger and then reduced, for smooth edges."""


class Patient(NamedTuple):
    """What is common to all images of one drawn patient."""

    name: str
    background: tuple[float, float, float]
    plasma: tuple[float, float, float]
    nucleus: tuple[float, float, float]
    size: float
    blur: float


def draw_set(directory: Path, patients: int = 12, per_kind: int = 7, side: int = 48, seed: int = 7) -> int:
    """Write `directory/KIND/PATIENT_NUMBER.png`, patients × 4 × per_kind images; return how many.

    The same arguments give the same pixels. `truth.csv` beside the folders tells the kinds as drawn.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        patient = _patient(number, rng)
        for index in range(per_kind * len(KINDS)):
            kind = KINDS[index % len(KINDS)]
            label = kind
            if rng.random() < WRONG_LABELS:
                label = str(rng.choice([other for other in KINDS if other != kind]))
            path = directory / label / f"{patient.name}_{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(kind, patient, side, rng).save(path)
            rows.append((f"{label}/{path.name}", kind))
    with (directory / "truth.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("file", "kind as drawn"), *rows])
    return len(rows)


def _patient(number: int, rng: np.random.Generator) -> Patient:
    def near(r: int, g: int, b: int, spread: float) -> tuple[float, float, float]:
        red, green, blue = np.array([r, g, b]) + rng.normal(0, spread, 3)
        return float(red), float(green), float(blue)

    return Patient(
        name=f"P{number + 1:02d}",
        background=near(232, 220, 214, 6),
        plasma=near(205, 182, 205, 7),
        nucleus=near(112, 72, 142, 9),
        size=float(rng.normal(1.0, 0.06)),
        blur=float(rng.uniform(0.4, 0.8)),
    )


def draw(kind: str, patient: Patient, side: int, rng: np.random.Generator) -> Image.Image:
    """One RGB image of `side` × `side` pixels."""
    big = side * _SCALE
    image = Image.new("RGB", (big, big), _colour(patient.background))
    pen = ImageDraw.Draw(image)
    centre = np.array([big / 2, big / 2]) + rng.normal(0, big * 0.04, 2)
    radius = big * 0.36 * patient.size * rng.normal(1, 0.06)
    for _ in range(rng.integers(1, 4)):
        _red_cell(pen, big, patient, rng)
    _disc(pen, centre, (radius, radius * rng.uniform(0.9, 1.1)), _colour(patient.plasma))
    _nucleus(pen, kind, centre, radius, patient, rng)
    image = image.filter(ImageFilter.GaussianBlur(patient.blur * _SCALE)).resize((side, side), Image.Resampling.BOX)
    pixels = np.asarray(image, dtype=np.float64) * rng.normal(1, 0.03) + rng.normal(0, 5, (side, side, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _nucleus(
    pen: ImageDraw.ImageDraw, kind: str, centre: np.ndarray, radius: float, patient: Patient, rng: np.random.Generator
) -> None:
    dark, plasma = _colour(patient.nucleus), _colour(patient.plasma)
    turn = rng.uniform(0, 2 * np.pi)
    aside = np.array([np.cos(turn), np.sin(turn)])
    inner = radius * rng.normal(0.6, 0.05)
    if kind == "lobed":
        lobes = int(rng.integers(2, 4))
        for lobe in range(lobes):
            angle = turn + 2 * np.pi * lobe / lobes + rng.normal(0, 0.25)
            place = centre + inner * rng.uniform(0.55, 0.75) * np.array([np.cos(angle), np.sin(angle)])
            _disc(pen, place, (inner * 0.52, inner * rng.uniform(0.42, 0.58)), dark)
        _disc(pen, centre, (inner * 0.3, inner * 0.3), dark)
        return
    _disc(pen, centre, (inner, inner * rng.uniform(0.8, 1.0)), dark)
    if kind == "bean":
        notch = centre + aside * inner * rng.uniform(0.75, 0.95)
        _disc(pen, notch, (inner * 0.56, inner * rng.uniform(0.46, 0.6)), plasma)
    if kind == "ring":
        hole = centre + aside * inner * rng.uniform(0, 0.25)
        _disc(pen, hole, (inner * 0.42, inner * rng.uniform(0.32, 0.46)), plasma)


def _red_cell(pen: ImageDraw.ImageDraw, big: int, patient: Patient, rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 2 * np.pi)
    place = big / 2 + big * 0.55 * np.array([np.cos(angle), np.sin(angle)])
    tint = np.array(patient.background) * 0.6 + np.array([214, 150, 150]) * 0.4
    _disc(pen, place, (big * 0.2, big * rng.uniform(0.16, 0.2)), _colour(tuple(tint)))


def _disc(
    pen: ImageDraw.ImageDraw, centre: np.ndarray, radii: tuple[float, float], colour: tuple[int, int, int]
) -> None:
    (x, y), (rx, ry) = centre, radii
    pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=colour)


def _colour(values: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(value, 0, 255)) for value in values)
    return red, green, blue
