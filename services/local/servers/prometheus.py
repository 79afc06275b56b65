"""Prometheus on this machine, which scrapes our operations ports (tests)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from services.local.part import PartSpec
from services.local.servers import install
from services.local.servers.server import Server

SCRAPE_S = 0.5


class Prometheus(Server):
    """`targets` are job names and the operations ports behind them; `rules` are files of alert rules."""

    name = "prometheus"

    def __init__(self, home: Path, targets: Mapping[str, int], rules: tuple[Path, ...] = ()) -> None:
        super().__init__(home)
        self._targets = dict(targets)
        self._rules = rules

    def environment(self) -> dict[str, str]:
        """Nothing: no service of ours knows who scrapes it."""
        return {}

    def prepare(self) -> None:
        """The configuration. JSON is YAML too."""
        self.home.mkdir(parents=True, exist_ok=True)
        scrapes = [
            {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for name, port in self._targets.items()
        ]
        every = {"scrape_interval": f"{SCRAPE_S * 1000:.0f}ms", "evaluation_interval": "1s"}
        config = {"global": every, "scrape_configs": scrapes, "rule_files": [str(rule) for rule in self._rules]}
        (self.home / "prometheus.yml").write_text(json.dumps(config))

    def spec(self) -> PartSpec:
        """The process."""
        command = (
            str(install.prometheus() / "prometheus"),
            f"--config.file={self.home / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.home / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        )
        return PartSpec(name=self.name, command=command)

    def not_ready(self) -> str | None:
        """Its own answer."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/-/ready", timeout=2, trust_env=False)
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if answer.status_code == httpx.codes.OK else f"it answers {answer.status_code}"

    def ask(self, what: str, **question: str) -> Any:
        """The `data` of its HTTP API's answer, such as `ask("query", query="up")`."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}"
        answer = httpx.get(url, params=question, timeout=10, trust_env=False)
        answer.raise_for_status()
        return answer.json()["data"]
