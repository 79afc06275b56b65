"""Render k8s/small and k8s/production from the chart: `python scripts/kubernetes.py [--check]`.

What Helm would draw at random is named instead: those Secrets are made by hand (k8s/README.md).
"""

import subprocess
import sys
from pathlib import Path

from services.local.servers.install import helm

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "aimic"
KUBERNETES = "1.34.0"
PROFILES = ("small", "production")
HEAD = "# Generated from helm/aimic by `make k8s`: change the chart, not this file.\n"
NAMED = {
    "secrets.keys.existingSecret": "aimic-keys",
    "secrets.postgresqlOwner.existingSecret": "aimic-postgresql-owner",
    "secrets.postgresql.existingSecret": "aimic-postgresql",
    "secrets.s3.existingSecret": "aimic-s3",
    "edge.tls.secretName": "aimic-edge-tls",
}
KUSTOMIZATION = """apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: aimic
resources: [aimic.yaml]
"""


def render(profile: str) -> dict[Path, str]:
    """Each file's path and what belongs in it."""
    sets = [word for name, value in NAMED.items() for word in ("--set", f"{name}={value}")]
    values = str(CHART / f"values-{profile}.yaml")
    command = (str(helm()), "template", "aimic", str(CHART), "-n", "aimic", "--kube-version", KUBERNETES, "-f", values)
    done = subprocess.run((*command, *sets), capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    place = ROOT / "k8s" / profile
    return {place / "aimic.yaml": HEAD + done.stdout, place / "kustomization.yaml": HEAD + KUSTOMIZATION}


def differing() -> list[Path]:
    """The files that are not as the chart renders them."""
    wanted = [item for profile in PROFILES for item in render(profile).items()]
    return [path for path, text in wanted if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    """Write them; with --check only say which differ, and 1 if any does."""
    if "--check" in sys.argv:
        stale = differing()
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not what the chart renders: run `make k8s`\n")
        return 1 if stale else 0
    for profile in PROFILES:
        for path, text in render(profile).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
