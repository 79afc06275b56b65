"""Planted copies are found, look-alikes are not."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimic.domain.units import joined
from aimic.imaging import near
from aimic.imaging.features import Features, features
from aimic.imaging.near import clusters, matches
from aimic.imaging.proposals import between, within

Cell = Callable[[int], Any]
ORIGINALS = 60


def re_encoded(pixels: Any, quality: int) -> Any:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def shifted(pixels: Any, by: float, *, crop: bool) -> Any:
    step = round(by * len(pixels))
    if crop:
        return pixels[step:, : len(pixels) - step]
    place = np.clip(np.arange(len(pixels)) + step, 0, len(pixels) - 1)
    return pixels[place][:, place]


def resized(pixels: Any, scale: float) -> Any:
    side = round(scale * len(pixels))
    return np.asarray(Image.fromarray(pixels).resize((side, side)))


def brighter(pixels: Any, by: float) -> Any:
    return np.clip(pixels * by, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "mirrored": lambda p: p[:, ::-1],
    "turned": np.rot90,
    "turned and mirrored": lambda p: p.swapaxes(0, 1),
    "shifted by 1 %": lambda p: shifted(p, 0.01, crop=False),
    "shifted by 3 %": lambda p: shifted(p, -0.03, crop=False),
    "cropped by 3 %": lambda p: shifted(p, 0.03, crop=True),
    "jpeg 50": lambda p: re_encoded(p, 50),
    "jpeg 95": lambda p: re_encoded(p, 95),
    "90 % of the size": lambda p: resized(p, 0.9),
    "110 % of the size": lambda p: resized(p, 1.1),
    "darker": lambda p: brighter(p, 0.92),
    "brighter": lambda p: brighter(p, 1.06),
    "all of it": lambda p: re_encoded(brighter(np.rot90(shifted(p, 0.02, crop=True), 3), 0.95), 70),
}


@pytest.fixture(scope="module")
def originals(cell: Cell, plain: Callable[[Any], Any]) -> list[Features]:
    """Different cells of one kind."""
    return [features(plain(cell(seed))) for seed in range(ORIGINALS)]


@pytest.fixture(scope="module")
def planted(cell: Cell, plain: Callable[[Any], Any]) -> dict[str, list[Features]]:
    """Changed copies of the first twenty."""
    return {
        name: [features(plain(np.ascontiguousarray(change(cell(seed))))) for seed in range(20)]
        for name, change in CHANGES.items()
    }


class TestNear:
    def test_look_alikes_are_not_copies(self, originals: Sequence[Features]) -> None:
        found = clusters(originals)
        assert found.near == ()
        assert found.ids == tuple(range(ORIGINALS))

    def test_planted_copies_join_their_originals_and_no_other(
        self, originals: Sequence[Features], planted: dict[str, list[Features]]
    ) -> None:
        joined = 0
        for copies in planted.values():
            found = clusters([*originals, *copies])
            joined += sum(found.ids[ORIGINALS + i] == found.ids[i] for i in range(20))
            assert found.ids[:ORIGINALS] == tuple(range(ORIGINALS))
        assert joined >= 0.95 * 20 * len(CHANGES)

    @pytest.mark.parametrize("name", CHANGES)
    def test_each_change_is_recognised(
        self, name: str, originals: Sequence[Features], planted: dict[str, list[Features]]
    ) -> None:
        right = {pair.first for pair in matches(planted[name], originals) if pair.first == pair.second}
        assert len(right) >= 18

    def test_a_pair_says_how_it_fits(self, originals: Sequence[Features], planted: dict[str, list[Features]]) -> None:
        pair = clusters([originals[0], planted["mirrored"][0]]).near[0]
        assert (pair.first, pair.second, pair.exact) == (0, 1, False)
        assert pair.turn == 4
        assert pair.correlation > 0.98

    def test_cells_cut_out_on_black_are_told_apart_by_what_is_in_them(
        self, cell: Cell, plain: Callable[[Any], Any]
    ) -> None:
        y, x = np.mgrid[:144, :144] - 71.5
        disc = (np.hypot(x, y) < 50)[..., None]
        cut = [features(plain(cell(seed) * disc)) for seed in range(30)]
        again = features(plain(re_encoded(np.rot90(cell(3) * disc), 80)))
        assert [(pair.first, pair.second) for pair in clusters([*cut, again]).near] == [(3, 30)]

    def test_empty_fields_are_not_copies_of_each_other(self, plain: Callable[[Any], Any]) -> None:
        rng = np.random.default_rng(0)
        fields = [rng.integers(228, 232, (90, 90, 3)).astype(np.uint8) for _ in range(20)]
        assert clusters([features(plain(field)) for field in fields]).near == ()


class TestExact:
    def test_equal_pixels_are_one_cluster_in_order_of_appearance(self, originals: Sequence[Features]) -> None:
        found = clusters([originals[i] for i in (5, 7, 5, 8, 7, 5)])
        assert found.ids == (0, 1, 0, 2, 1, 0)
        assert [(pair.first, pair.second) for pair in found.exact] == [(0, 2), (1, 4), (0, 5)]
        assert found.near == ()

    def test_none_and_one(self, originals: Sequence[Features]) -> None:
        assert clusters([]).ids == ()
        assert clusters(originals[:1]).ids == (0,)
        assert matches([], originals) == ()
        assert matches(originals[:1], []) == ()


class TestLargeClusters:
    def test_one_over_the_limit_is_shown_and_only_its_equal_pixels_are_joined(
        self, cell: Cell, plain: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(near, "LARGE_LEAST", 4)
        same = [features(plain(re_encoded(cell(0), quality))) for quality in (95, 85, 75, 65)]
        others = [features(plain(cell(seed))) for seed in range(1, 6)]
        found = clusters([*same, same[0], *others])
        assert found.oversized == ((0, 1, 2, 3, 4),)
        assert found.near
        assert found.ids == (0, 1, 2, 3, 0, 4, 5, 6, 7, 8)


class TestMatches:
    def test_equal_pixels_and_copies_are_found_in_another_set(
        self, originals: Sequence[Features], planted: dict[str, list[Features]]
    ) -> None:
        queries = [originals[4], planted["turned"][6], originals[40]]
        found = {pair.first: pair for pair in matches(queries, originals[:20])}
        assert set(found) == {0, 1}
        assert (found[0].second, found[0].exact) == (4, True)
        assert (found[1].second, found[1].exact) == (6, False)


class TestProposals:
    def test_it_finds_what_comparing_all_with_all_finds(self) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(0, 1, (1500, 3)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        expected = {(i, j) for i, j in np.argwhere(distance < 0.02).tolist() if i < j}
        found = within(rows, 0.02)
        assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
        assert len(expected) > 50
        assert np.all(np.diff(found.distance) >= 0)
        crossed = between(rows[:700], rows[700:], 0.02)
        pairs = {(i, j + 700) for i, j in zip(crossed.first.tolist(), crossed.second.tolist(), strict=True)}
        assert pairs == {(i, j) for i, j in expected if i < 700 <= j}

    def test_one_picture_ten_thousand_times_does_not_explode(self) -> None:
        rows = np.zeros((12_000, 4), np.float32)
        rows[:, 0] = 1
        found = within(rows, 0.1)
        assert len(found.first) < 90 * len(rows)
        assert set(joined(len(rows), zip(found.first.tolist(), found.second.tolist(), strict=True)).tolist()) == {0}


class _Read(bytes):
    """A thumbnail as it comes from the disk; counts how many are in memory."""

    alive = most = 0

    def __new__(cls, data: bytes) -> "_Read":
        _Read.alive += 1
        _Read.most = max(_Read.most, _Read.alive)
        return super().__new__(cls, data)

    def __del__(self) -> None:
        _Read.alive -= 1


class _OnDisk:
    def __init__(self, number: int) -> None:
        self.pixel_sha256 = str(number)

    @property
    def thumb(self) -> bytes:
        small = np.random.default_rng(int(self.pixel_sha256)).integers(0, 256, (12, 12, 3), np.uint8)
        return _Read(small.repeat(4, 0).repeat(4, 1).tobytes())


def test_a_large_set_s_thumbnails_are_never_all_in_memory() -> None:
    pictures = [_OnDisk(number) for number in range(900)]
    assert clusters(pictures).complete
    assert matches(pictures[:10], pictures[10:]) == ()
    assert 0 < _Read.most <= 256
