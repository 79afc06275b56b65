"""Print the requirements of some of the project's extras, so that an image's packages do not depend on its code."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], extras: list[str]) -> set[str]:
    """The kernel's requirements and those of the extras, with `aimic[…]` replaced by what it stands for."""
    found = set(project["dependencies"])
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            own = re.fullmatch(r"aimic\[(.+)\]", requirement)
            found |= requirements(project, own[1].split(",")) if own else {requirement}
    return found


if __name__ == "__main__":
    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    sys.stdout.write("\n".join(sorted(requirements(declared, sys.argv[1:]))) + "\n")
