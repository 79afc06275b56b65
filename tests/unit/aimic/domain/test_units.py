"""What belongs together goes together."""

from aimic.domain.units import units


def test_units_are_chains_of_groups_and_clusters() -> None:
    assert units([0, 0, 1, None, None], [0, 1, 1, 2, 3]).tolist() == [0, 0, 0, 1, 2]
