"""The laboratory's fixtures."""

from tests.unit.services.ingest.laboratory import children, draw, lab, make_lab, pack, sandbox

__all__ = ["children", "draw", "lab", "make_lab", "pack", "sandbox"]
