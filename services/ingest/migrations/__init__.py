"""The schema of the records, step by step."""
