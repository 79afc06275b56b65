"""What a caller is told of an error that nobody expected, where its surface has no form of its own for it."""

import logging

from aimic.errors import AimicError

logger = logging.getLogger(__name__)


def unforeseen(error: Exception) -> AimicError:
    """In its place, for the caller; the log has the rest."""
    logger.error("unforeseen error", exc_info=error)
    return AimicError("Something went wrong on our side. Try again; if it stays, give support the request id.")
