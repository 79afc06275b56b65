"""Sites, uploads, data sets and imports, and what all features share."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.ingest.migrations.guarded import create_table, make_roles

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON_TYPE = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Forward."""
    make_roles()
    create_table(
        "audit",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("number", BIG_INTEGER, autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("details", JSON_TYPE, nullable=False),
        sa.Column("before", sa.String(length=255), nullable=False),
        sa.Column("hash", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("site", "number", name="pk_audit"),
        allowed="SELECT, INSERT",
    )
    create_table(
        "audit_heads",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("number", BIG_INTEGER, nullable=False),
        sa.Column("hash", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("site", name="pk_audit_heads"),
        allowed="SELECT, INSERT, UPDATE",
    )
    create_table(
        "datasets",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("classes", JSON_TYPE, nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "id", name="pk_datasets"),
        sa.UniqueConstraint("site", "name", name="uq_datasets_site_name"),
    )
    create_table(
        "guarded_names",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "key", name="pk_guarded_names"),
    )
    create_table(
        "idempotency_keys",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request", sa.String(length=255), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", JSON_TYPE, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "principal", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    create_table(
        "named_leases",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "name", name="pk_named_leases"),
    )
    create_table(
        "objects",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("sha256", sa.String(length=255), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("size", BIG_INTEGER, nullable=False),
        sa.Column("refs", sa.Integer(), nullable=False),
        sa.Column("dying_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("site", "sha256", name="pk_objects"),
    )
    create_table(
        "outbox",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("topic", sa.String(length=255), nullable=False),
        sa.Column("aggregate", sa.String(length=255), nullable=False),
        sa.Column("sequence", BIG_INTEGER, autoincrement=False, nullable=False),
        sa.Column("body", JSON_TYPE, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "topic", "aggregate", "sequence", name="pk_outbox"),
    )
    create_table(
        "sites",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", name="pk_sites"),
    )
    create_table(
        "uploads",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("length", BIG_INTEGER, nullable=False),
        sa.Column("offset", BIG_INTEGER, nullable=False),
        sa.Column("pieces", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=255), nullable=True),
        sa.Column("used_by", sa.String(length=255), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_index("ix_uploads_site_fingerprint", "uploads", ["site", "fingerprint"])
    create_table(
        "dataset_versions",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("dataset_id", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("manifest_hash", sa.String(length=255), nullable=False),
        sa.Column("contents_hash", sa.String(length=255), nullable=False),
        sa.Column("analysis_key", sa.String(length=255), nullable=False),
        sa.Column("classes", JSON_TYPE, nullable=False),
        sa.Column("counts", JSON_TYPE, nullable=False),
        sa.Column("groups", sa.Integer(), nullable=True),
        sa.Column("findings", JSON_TYPE, nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "dataset_id"],
            ["datasets.site", "datasets.id"],
            name="fk_dataset_versions_site_dataset_id_datasets",
        ),
        sa.PrimaryKeyConstraint("site", "dataset_id", "version", name="pk_dataset_versions"),
    )
    create_table(
        "imports",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("dataset_id", sa.String(length=255), nullable=False),
        sa.Column("dataset", sa.String(length=255), nullable=False),
        sa.Column("uploads", JSON_TYPE, nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("phase", sa.String(length=255), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("ignored", sa.Integer(), nullable=False),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "dataset_id"], ["datasets.site", "datasets.id"], name="fk_imports_site_dataset_id_datasets"
        ),
        sa.PrimaryKeyConstraint("site", "id", name="pk_imports"),
    )
    op.create_index("ix_imports_site_dataset_id", "imports", ["site", "dataset_id"])
    op.create_index("ix_imports_status", "imports", ["status"])
    create_table(
        "samples",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("sha256", sa.String(length=255), nullable=False),
        sa.Column("pixel_sha256", sa.String(length=255), nullable=False),
        sa.Column("phash", sa.String(length=255), nullable=False),
        sa.Column("border", JSON_TYPE, nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("bit_depth", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(length=255), nullable=False),
        sa.Column("source_type", sa.String(length=255), nullable=False),
        sa.Column("encoder", sa.String(length=255), nullable=False),
        sa.Column("size", BIG_INTEGER, nullable=False),
        sa.Column("source_size", BIG_INTEGER, nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "sha256"], ["objects.site", "objects.sha256"], name="fk_samples_site_sha256_objects"
        ),
        sa.PrimaryKeyConstraint("site", "sha256", name="pk_samples"),
    )
    op.create_index("ix_samples_site_pixel_sha256", "samples", ["site", "pixel_sha256"])
    create_table(
        "upload_pieces",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("upload_id", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", BIG_INTEGER, nullable=False),
        sa.Column("size", BIG_INTEGER, nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "upload_id"],
            ["uploads.site", "uploads.id"],
            name="fk_upload_pieces_site_upload_id_uploads",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("site", "upload_id", "number", name="pk_upload_pieces"),
    )
    create_table(
        "dataset_items",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("dataset_id", sa.String(length=255), nullable=False),
        sa.Column("received", sa.String(length=255), nullable=False),
        sa.Column("name_key", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.String(length=255), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("group_key", sa.String(length=255), nullable=True),
        sa.Column("columns", JSON_TYPE, nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "dataset_id"], ["datasets.site", "datasets.id"], name="fk_dataset_items_site_dataset_id_datasets"
        ),
        sa.ForeignKeyConstraint(
            ["site", "sha256"], ["samples.site", "samples.sha256"], name="fk_dataset_items_site_sha256_samples"
        ),
        sa.PrimaryKeyConstraint("site", "dataset_id", "received", "name_key", name="pk_dataset_items"),
    )
    op.create_index("ix_dataset_items_site_dataset_id_sha256", "dataset_items", ["site", "dataset_id", "sha256"])
    op.create_index("ix_dataset_items_site_received", "dataset_items", ["site", "received"])
    create_table(
        "import_refusals",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("import_id", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name_key", sa.String(length=255), nullable=False),
        sa.Column("received", sa.String(length=255), nullable=False),
        sa.Column("code", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "import_id"],
            ["imports.site", "imports.id"],
            name="fk_import_refusals_site_import_id_imports",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("site", "import_id", "position", name="pk_import_refusals"),
    )
    create_table(
        "sample_thumbs",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("sha256", sa.String(length=255), nullable=False),
        sa.Column("pixels", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "sha256"], ["samples.site", "samples.sha256"], name="fk_sample_thumbs_site_sha256_samples"
        ),
        sa.PrimaryKeyConstraint("site", "sha256", name="pk_sample_thumbs"),
    )


def downgrade() -> None:
    """Migrations only add within a minor version, so the way back is a backup."""
    raise NotImplementedError("Restore the records from a backup of before the upgrade.")
