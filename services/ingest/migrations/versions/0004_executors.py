"""With what a bundle runs is measured once for each class of machines, and is the same in all of them."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from services.ingest.migrations.guarded import create_table

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON_TYPE = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Forward."""
    create_table(
        "executors",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("bundle_hash", sa.String(length=255), nullable=False),
        sa.Column("machine_class", sa.String(length=255), nullable=False),
        sa.Column("executor", sa.String(length=255), nullable=False),
        sa.Column("choice", JSON_TYPE, nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "bundle_hash", "machine_class", name="pk_executors"),
        allowed="SELECT, INSERT",
    )


def downgrade() -> None:
    """Migrations only add within a minor version, so the way back is a backup."""
    raise NotImplementedError("Restore the records from a backup of before the upgrade.")
