"""How the tests look into rendered manifests."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "aimic"
KUBERNETES = "1.34.0"
PROFILES = ("small", "production")
SERVICES = {"ingest", "inference", "dashboard", "trainer"}
STORES = {"postgresql", "kafka", "minio"}
INCLUDED = STORES | {"edge"}
"""What the small profile brings beside the services."""

Manifest = dict[str, Any]
Manifests = list[Manifest]


def of_kind(manifests: Manifests, *kinds: str) -> Manifests:
    """Those of these kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def templates(manifests: Manifests) -> dict[str, Manifest]:
    """Component → the template of its pods, whatever makes them."""
    made = of_kind(manifests, "Deployment", "StatefulSet")
    jobs = of_kind(manifests, "ScaledJob")
    found = [each["spec"]["template"] for each in made] + [each["spec"]["jobTargetRef"]["template"] for each in jobs]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}


def pods(manifests: Manifests) -> dict[str, Manifest]:
    """Component → its pods' specification."""
    return {component: template["spec"] for component, template in templates(manifests).items()}


def containers(pod: Manifest) -> Manifests:
    """All of a pod, those that come first too."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def plain_settings(manifests: Manifests, container: Manifest) -> dict[str, str]:
    """The variables that a container gets as text, from its ConfigMaps and its own list."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    named = [maps[each["configMapRef"]["name"]] for each in container.get("envFrom", ())]
    own = {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}
    return {name: value for data in named for name, value in data.items()} | own


def files_of(pod: Manifest, container: Manifest) -> set[str]:
    """The paths of the secrets' files that a container sees."""
    volumes = {each["name"]: each for each in pod["volumes"]}
    seen = set()
    for mount in container["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        sources = [each["secret"] for each in volume.get("projected", {}).get("sources", ())]
        sources += [volume["secret"]] if "secret" in volume else []
        seen |= {f"{mount['mountPath']}/{item['path']}" for each in sources for item in each.get("items", ())}
    return seen
