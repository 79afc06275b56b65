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
    "uploads.test_tus",
    "uploads.test_tus_specification",
)
LEFT_OUT = {
    # It changes an entry of the audit log, which this database refuses (test_postgres_schema).
    "test_deeds_are_in_the_audit_log_and_a_changed_entry_is_found",
    # They are answered before any record is asked.
    "test_a_creation_that_makes_no_sense_is_a_problem",
    "test_a_stranger_page_may_not_upload",
    "test_an_upload_over_the_limit_is_refused",
    "test_options_ignore_the_version_asked_with",
    "test_options_say_what_is_spoken",
}


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
