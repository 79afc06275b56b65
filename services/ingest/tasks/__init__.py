"""Tasks: given to workers under a lease, reported back under a fence."""
