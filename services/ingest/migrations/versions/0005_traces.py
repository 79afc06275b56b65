"""A job remembers the trace in which it was started, so that its workers go on with it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=255), nullable=True))


def downgrade() -> None:
    """Migrations only add within a minor version, so the way back is a backup."""
    raise NotImplementedError("Restore the records from a backup of before the upgrade.")
