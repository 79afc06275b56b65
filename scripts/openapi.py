"""Write what the services serve as OpenAPI to docs/openapi/; with --check, fail when that differs.

python scripts/openapi.py [--check]
"""

import json
import sys
from pathlib import Path
from typing import Any

from services.inference.rest.application import openapi as inference_openapi
from services.ingest.app import openapi as ingest_openapi

PLACE = Path(__file__).parent.parent / "docs" / "openapi"


def documents() -> dict[str, dict[str, Any]]:
    """File name → document."""
    return {"ingest.json": ingest_openapi(), "inference.json": inference_openapi()}


def main() -> int:
    """0 when all is written or equal."""
    different = []
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        text = json.dumps(document, indent=1, sort_keys=True) + "\n"
        path = PLACE / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            different.append(name)
    if different:
        print(f"docs/openapi: {', '.join(different)} differ from what the services serve; run: make openapi")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
