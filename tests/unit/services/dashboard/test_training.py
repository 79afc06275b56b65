"""What is offered, and the request that comes of it."""

import pytest

from aimic.domain.dataset import DatasetVersion
from aimic.domain.networks import NETWORKS
from aimic.errors import InvalidInputError
from services.dashboard.views import training as view


def test_every_network_has_its_advice() -> None:
    assert set(view.ADVICE) == set(NETWORKS)


def test_the_first_choice_is_quick_and_possible() -> None:
    request = view.request("blood", 2, view.Choices(("mobilenet_v2",)))
    assert (request.settings.mode, request.settings.weights) == ("frozen", "imagenet")
    assert request.settings.split.k == 5
    assert request.settings.epochs is None
    assert request.model is None


def test_every_choice_arrives() -> None:
    choices = view.Choices(
        ("resnet34", "vgg16"),
        start="model",
        weights="model:blood:3",
        depth="last",
        blocks=2,
        judge="holdout",
        fraction=0.3,
        lock_test=0.1,
        paper=True,
        model="mine",
        advanced={"epochs": 7, "lr": None, "seed": 4, "optimizer": "sgd"},
    )
    request = view.request("blood", 2, choices)
    settings = request.settings
    assert (settings.weights, settings.mode, settings.protocol) == ("model:blood:3", "last:2", "paper")
    assert (settings.split.kind, settings.split.fraction, settings.split.lock_test) == ("holdout", 0.3, 0.1)
    assert (settings.epochs, settings.lr, settings.seed, settings.optimizer) == (7, None, 4, "sgd")
    assert (request.dataset, request.version, request.model) == ("blood", 2, "mine")


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (view.Choices(()), "at least one network"),
        (view.Choices(("resnet34",), start="file"), "weights file is missing"),
        (view.Choices(("resnet34",), start="none", depth="frozen"), "needs weights"),
        (view.Choices(("resnet34",), model="a b"), "model"),
    ],
)
def test_what_does_not_fit_is_said(choices: view.Choices, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        view.request("blood", 2, choices)


def test_from_nothing_everything_learns() -> None:
    assert view.Choices((), start="none").depths() == ("full",)
    assert "frozen" in view.Choices(()).depths()


def test_the_sentence_says_what_will_happen(version: DatasetVersion) -> None:
    text = view.sentence(version, view.Choices(("mobilenet_v2", "resnet34"), folds=4))
    assert "MobileNet-v2 and ResNet-34" in text
    assert "2 classes apart in 1,207 images" in text
    assert "4 times, each time setting aside another 25 %" in text
    assert "basophil has too few images for 4 rounds" in text


def test_the_sentence_warns_of_what_flatters(version: DatasetVersion) -> None:
    text = view.sentence(version, view.Choices(("resnet34",), judge="holdout", lock_test=0.1, paper=True))
    assert "20 % of the images aside" in text
    assert "10 % stay locked away" in text
    assert "look too good" in text
    assert "too few" not in text
