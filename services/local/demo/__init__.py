"""The demo: a drawn image set and one whole job through the platform."""
