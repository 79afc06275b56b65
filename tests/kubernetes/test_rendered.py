"""k8s/ is what the chart renders."""

import yaml

from scripts import kubernetes
from tests.kubernetes.manifests import PROFILES, ROOT, of_kind


def test_k8s_is_rendered_from_the_chart() -> None:
    assert kubernetes.differing() == []


def test_it_holds_no_secret_and_names_its_chart() -> None:
    for profile in PROFILES:
        text = (ROOT / "k8s" / profile / "aimic.yaml").read_text()
        assert text.startswith("# Generated from helm/aimic")
        assert not of_kind([each for each in yaml.safe_load_all(text) if each], "Secret")
