"""What ingest promises on SQLite it promises on PostgreSQL: the unit tests of its features once more, on the server."""

import importlib
from types import ModuleType

import pytest

pytestmark = pytest.mark.servers

ROOM = "tests.unit.services.ingest"
MODULES = (
    "core.test_progress",
    "core.test_relay",
    "imports.test_imports",
    "jobs.test_jobs",
    "jobs.test_locks",
    "models.test_evaluations",
    "models.test_models",
    "tasks.test_atomicity",
    "tasks.test_ends",
    "tasks.test_protocol",
)
LEFT_OUT = {"test_deeds_are_in_the_audit_log_and_a_changed_entry_is_found"}
"""It changes an entry of the audit log, which this database refuses (test_postgres_schema)."""


def _taken_over(module: ModuleType) -> dict[str, object]:
    """The module's tests under names that no other module has, and the fixtures that it makes itself."""
    short = module.__name__.rpartition(".test_")[2]
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_") and name not in LEFT_OUT}
    fixtures = {
        name: value
        for name, value in vars(module).items()
        if type(value).__name__ == "FixtureFunctionDefinition" and value.__module__ == module.__name__
    }
    return {f"test_{short}_{name.removeprefix('test_')}": value for name, value in tests.items()} | fixtures


for _name in MODULES:
    globals().update(_taken_over(importlib.import_module(f"{ROOM}.{_name}")))
