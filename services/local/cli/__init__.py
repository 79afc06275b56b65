"""The `aimic` command."""
