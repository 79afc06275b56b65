"""What workers send as free JSON, made fit to be kept and shown."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same with null for NaN and infinities, which JSON doesn't have (a training that ran away has such losses)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def prefix_of(site: str, task_id: str) -> str:
    """Where everything lies that workers write for a task."""
    return f"{site}/tasks/{task_id}/"
