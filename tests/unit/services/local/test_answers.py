"""The CSV of answers: what is in it, when, and what a later run keeps of it."""

import csv
from pathlib import Path

import pytest

from aimic.domain.prediction import Answer, ImageError, ImageResult
from aimic.errors import InvalidInputError
from services.local.cli.answers import AnswersFile, cell_of, kept_rows


def answered(
    label: str | None = "a", shares: dict[str, float] | None = None, version: int = 1, bundle: str = "ab"
) -> ImageResult:
    answer = Answer(
        label=label,
        probabilities=shares or {"a": 0.75, "b": 0.25},
        abstained=label is None,
        reason=None if label else "unsure",
        model="m",
        version=version,
        bundle_hash=bundle,
        executor="e",
        request_id="r",
    )
    return ImageResult(index=0, answer=answer)


BAD = ImageResult(index=0, error=ImageError(code="unreadable_image", message="Not an image."))


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\r\n")[:-1]


def write(path: Path, *rows: tuple[str, ImageResult]) -> None:
    answers = AnswersFile(path, kept_rows(path, "m"))
    for name, result in rows:
        answers.add(Path("/x") / name, result)
    answers.close()


def test_every_class_and_no_cell_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    odd = answered("=cmd()", {"=cmd()": 0.75, "b": 0.25})
    none = answered(None, {"=cmd()": 0.5, "b": 0.5})
    write(path, ("+x.png", odd), ("y.txt", BAD), ("z.png", none))
    assert lines(path) == [
        "file,label,p_'=cmd(),p_b,abstained,reason,error,model,bundle",
        "/x/+x.png,'=cmd(),0.750000,0.250000,False,,,m:1,ab",
        "/x/y.txt,,,,,,Not an image.,,",
        "/x/z.png,,0.500000,0.500000,True,unsure,,m:1,ab",
    ]


def test_a_row_is_there_at_once_and_bad_files_before_the_first_answer_come_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("an older file")
    answers = AnswersFile(path)
    answers.add(Path("/bad"), BAD)
    assert path.read_text() == "an older file"
    answers.add(Path("/good"), answered())
    assert [line.split(",")[0] for line in lines(path)] == ["file", "/bad", "/good"]
    answers.close()


def test_only_bad_files_are_written_too_and_nothing_at_all_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path)
    assert not path.exists()
    write(path, ("bad", BAD))
    assert lines(path) == ["file,label,abstained,reason,error,model,bundle", "/x/bad,,,,Not an image.,,"]


def test_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, ("1", answered(version=7)), ("bad", BAD), ('odd\n"name", it', answered(version=7)))
    with path.open("a", newline="") as file:
        file.write("cut off,a,0.7")
    kept = kept_rows(path, "m")
    assert kept is not None and kept.version == 7
    assert [row[0] for row in kept.rows] == ["/x/1", '/x/odd\n"name", it']
    write(path, ("bad", answered(version=7)))
    with path.open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["file", "/x/1", '/x/odd\n"name", it', "/x/bad"]
    assert [item.name for item in tmp_path.iterdir()] == ["a.csv"]


def test_until_there_is_something_new_the_old_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, ("1", answered()), ("bad", BAD))
    before = path.read_bytes()
    write(path)
    assert path.read_bytes() == before


def test_other_classes_are_refused_and_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, ("1", answered()))
    with pytest.raises(InvalidInputError, match="other classes"):
        write(path, ("2", answered("c", {"c": 1.0})))
    assert len(lines(path)) == 2


@pytest.mark.parametrize("content", [b"name,kind\r\n1,a\r\n", b"\xff\xfe", b"plain words"])
def test_another_file_is_not_resumed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="wasn't written by `aimic predict`"):
        kept_rows(path, "m")
    assert path.read_bytes() == content


def test_nothing_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert kept_rows(path, "m") is None
    path.write_bytes(b"")
    kept = kept_rows(path, "m")
    assert kept is not None and (kept.rows, kept.version) == ((), None)


def test_answers_of_another_model_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, ("1", answered(version=2)))
    with pytest.raises(InvalidInputError, match="has answers of m:2"):
        kept_rows(path, "other")


def test_answers_of_another_bundle_are_not_filed_under_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, ("1", answered(bundle="ab")))
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="has answers of bundle ab…, but m:1 is bundle cd… here"):
        write(path, ("2", answered(bundle="cd")))
    assert path.read_bytes() == before
    path.write_bytes(before + lines(path)[1].replace("/x/1", "/x/2").replace(",ab", ",cd").encode() + b"\r\n")
    with pytest.raises(InvalidInputError, match="several bundles"):
        kept_rows(path, "m")


def test_a_file_is_named_in_full_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cell_of(Path("1.png")) == str(tmp_path / "1.png")
