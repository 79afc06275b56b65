"""The front port: one origin for browsers and clients, the services behind it."""
