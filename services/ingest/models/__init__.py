"""The registry: versions of named models, each an immutable bundle."""
