"""The manifest's canonical form is written by hand, for memory's sake: it must be RFC 8785 to the byte."""

from hypothesis import given
from hypothesis import strategies as st

from aimic.domain.base import canonical_json, sha256_of
from aimic.domain.dataset import Manifest, Sample

SAMPLES = st.lists(
    st.builds(
        Sample,
        sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
        label=st.integers(0, 40),
        size=st.integers(0, 2**40),
        group=st.none() | st.integers(0, 10**6),
    ),
    max_size=5,
)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=4), SAMPLES)
def test_the_parts_are_the_canonical_json(classes: list[str], samples: list[Sample]) -> None:
    manifest = Manifest(classes=tuple(classes), samples=tuple(samples))
    whole = b"".join(manifest.canonical())
    assert whole == canonical_json(manifest.model_dump(mode="json"))
    assert manifest.hash == sha256_of(manifest.model_dump(mode="json"))
    assert Manifest.model_validate_json(whole) == manifest


def test_many_samples_come_in_several_parts() -> None:
    samples = tuple(Sample(sha256=f"{n:064x}", label=n % 2, size=n) for n in range(2500))
    manifest = Manifest(classes=("a", "b"), samples=samples)
    assert max(map(len, manifest.canonical())) < 200_000
    assert b"".join(manifest.canonical()) == canonical_json(manifest.model_dump(mode="json"))
