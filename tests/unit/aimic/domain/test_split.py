"""How a split is asked for in words."""

import pytest

from aimic.domain.split import SplitRequest


@pytest.mark.parametrize(
    "text",
    ["kfold:abc", "kfold:1", "kfold:5.5", "kfold:²", "holdout:20%", "holdout:1.5", "holdout:nan", "column:", "x"],
)
def test_a_split_that_cannot_be_read_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown split .*write kfold:5"):
        SplitRequest.parse(text)


def test_a_split_is_read_from_its_text() -> None:
    assert SplitRequest.parse("kfold:7", 0.1) == SplitRequest(k=7, lock_test=0.1)
    assert SplitRequest.parse("holdout:.25") == SplitRequest(kind="holdout", fraction=0.25)
    assert SplitRequest.parse("column:site:a").column == "site:a"
