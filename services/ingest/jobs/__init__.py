"""Training jobs: asked for, planned, watched, stopped."""
