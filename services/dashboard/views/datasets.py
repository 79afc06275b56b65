"""What the Data page shows of a data set."""

from collections.abc import Sequence
from typing import NamedTuple

from aimic.domain.dataset import DatasetVersion, Finding, Level, Refusal
from services.dashboard.views.tables import csv_bytes


class Fact(NamedTuple):
    """One number at the head of a page."""

    label: str
    value: str
    help: str | None = None


def facts(version: DatasetVersion) -> list[Fact]:
    """The numbers at the head of a data set."""
    groups = "not known" if version.groups is None else f"{version.groups:,}"
    return [
        Fact("Images", f"{sum(version.counts):,}"),
        Fact("Classes", f"{len(version.classes):,}"),
        Fact(
            "Patients or slides",
            groups,
            "Images of one patient must not be on both sides of a test. Say who is who on import, under More.",
        ),
        Fact("Files refused", f"{version.refused:,}"),
    ]


def counts(version: DatasetVersion) -> list[dict[str, str | int]]:
    """Images per class, in class order, for a plot."""
    return [{"label": label, "images": number} for label, number in zip(version.classes, version.counts, strict=True)]


class Note(NamedTuple):
    """A finding with its sign."""

    icon: str
    colour: str
    text: str


def notes(findings: Sequence[Finding]) -> list[Note]:
    """Findings, the loud ones first."""
    ordered = sorted(findings, key=lambda finding: finding.level is not Level.WARNING)
    return [
        Note(":material/warning:", "orange", finding.message)
        if finding.level is Level.WARNING
        else Note(":material/info:", "blue", finding.message)
        for finding in ordered
    ]


def refused_rows(refused: Sequence[Refusal]) -> list[tuple[str, str]]:
    """File and reason."""
    return [(refusal.name, refusal.reason) for refusal in refused]


def refused_csv(refused: Sequence[Refusal]) -> bytes:
    """The refused files as a table to work through."""
    return csv_bytes(["file", "reason"], refused_rows(refused))
