"""What is shown of a data set."""

from aimic.domain.dataset import DatasetVersion, Refusal
from services.dashboard.views import datasets as view


def test_head_numbers(version: DatasetVersion) -> None:
    assert [(fact.label, fact.value) for fact in view.facts(version)] == [
        ("Images", "1,207"),
        ("Classes", "2"),
        ("Patients or slides", "not known"),
        ("Files refused", "1"),
    ]
    assert view.facts(version.model_copy(update={"groups": 12}))[2].value == "12"


def test_counts_keep_the_class_order(version: DatasetVersion) -> None:
    assert view.counts(version) == [{"label": "basophil", "images": 3}, {"label": "neutrophil", "images": 1204}]


def test_warnings_come_first(version: DatasetVersion) -> None:
    notes = view.notes(version.findings)
    assert [note.text for note in notes] == ["Far more neutrophils.", "Two sizes."]
    assert notes[0].icon != notes[1].icon


def test_refused_files_as_a_table() -> None:
    refused = [Refusal(name="=a.jpg", code="truncated", reason="The file ends early.")]
    assert view.refused_rows(refused) == [("=a.jpg", "The file ends early.")]
    assert view.refused_csv(refused).decode("utf-8-sig") == "file,reason\r\n'=a.jpg,The file ends early.\r\n"
