"""Jobs, tasks, models and evaluations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.ingest.migrations.guarded import create_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON_TYPE = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Forward."""
    create_table(
        "claim_turns",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", name="pk_claim_turns"),
    )
    create_table(
        "dying_objects",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "key", name="pk_dying_objects"),
    )
    op.create_index("ix_dying_objects_due_at", "dying_objects", ["due_at"])
    create_table(
        "models",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("versions", sa.Integer(), nullable=False),
        sa.Column("sequence", BIG_INTEGER, nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "name", name="pk_models"),
    )
    create_table(
        "secrets",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("site", "name", name="pk_secrets"),
    )
    create_table(
        "jobs",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("dataset", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_hash", sa.String(length=255), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=True),
        sa.Column("settings", JSON_TYPE, nullable=False),
        sa.Column("serve", sa.String(length=255), nullable=False),
        sa.Column("weights", JSON_TYPE, nullable=False),
        sa.Column("split", JSON_TYPE, nullable=False),
        sa.Column("findings", JSON_TYPE, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("sequence", BIG_INTEGER, nullable=False),
        sa.Column("published", BIG_INTEGER, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "dataset"], ["datasets.site", "datasets.name"], name="fk_jobs_site_dataset_datasets"
        ),
        sa.PrimaryKeyConstraint("site", "id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_site_kind_created_at_id", "jobs", ["site", "kind", "created_at", "id"])
    op.create_index("ix_jobs_status", "jobs", ["status"])
    create_table(
        "job_splits",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"], name="fk_job_splits_site_job_id_jobs"),
        sa.PrimaryKeyConstraint("site", "job_id", name="pk_job_splits"),
    )
    create_table(
        "model_versions",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bundle_hash", sa.String(length=255), nullable=False),
        sa.Column("bundle_key", sa.String(length=255), nullable=False),
        sa.Column("size", BIG_INTEGER, nullable=False),
        sa.Column("network", sa.String(length=255), nullable=False),
        sa.Column("classes", JSON_TYPE, nullable=False),
        sa.Column("stage", sa.String(length=255), nullable=False),
        sa.Column("metrics", JSON_TYPE, nullable=False),
        sa.Column("manifest_hash", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=True),
        sa.Column("dataset", sa.String(length=255), nullable=True),
        sa.Column("dataset_version", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "job_id"], ["jobs.site", "jobs.id"], name="fk_model_versions_site_job_id_jobs"
        ),
        sa.ForeignKeyConstraint(
            ["site", "name"], ["models.site", "models.name"], name="fk_model_versions_site_name_models"
        ),
        sa.PrimaryKeyConstraint("site", "name", "version", name="pk_model_versions"),
    )
    op.create_index("ix_model_versions_site_created_at", "model_versions", ["site", "created_at"])
    op.create_index("ix_model_versions_site_job_id", "model_versions", ["site", "job_id"])
    create_table(
        "progress",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("sequence", BIG_INTEGER, autoincrement=False, nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=True),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("data", JSON_TYPE, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"], name="fk_progress_site_job_id_jobs"),
        sa.PrimaryKeyConstraint("site", "job_id", "sequence", name="pk_progress"),
    )
    op.create_index("ix_progress_site_task_id_kind", "progress", ["site", "task_id", "kind"])
    create_table(
        "tasks",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("network", sa.String(length=255), nullable=False),
        sa.Column("fold", sa.Integer(), nullable=True),
        sa.Column("checkpoint_step", sa.Integer(), nullable=True),
        sa.Column("checkpoint", JSON_TYPE, nullable=False),
        sa.Column("result", JSON_TYPE, nullable=False),
        sa.Column("objects", JSON_TYPE, nullable=False),
        sa.Column("batch", JSON_TYPE, nullable=True),
        sa.Column("epochs_done", sa.Integer(), nullable=False),
        sa.Column("epochs_total", sa.Integer(), nullable=True),
        sa.Column("epoch_s", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"], name="fk_tasks_site_job_id_jobs"),
        sa.PrimaryKeyConstraint("site", "id", name="pk_tasks"),
        sa.UniqueConstraint("site", "job_id", "key", name="uq_tasks_site_job_id_key"),
    )
    op.create_index("ix_tasks_status", "tasks", ["status"])
    create_table(
        "evaluations",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("indices", JSON_TYPE, nullable=False),
        sa.Column("left_out", JSON_TYPE, nullable=False),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("metrics", JSON_TYPE, nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site", "id"], ["jobs.site", "jobs.id"], name="fk_evaluations_site_id_jobs"),
        sa.ForeignKeyConstraint(
            ["site", "model", "model_version"],
            ["model_versions.site", "model_versions.name", "model_versions.version"],
            name="fk_evaluations_site_model_model_version_model_versions",
        ),
        sa.PrimaryKeyConstraint("site", "id", name="pk_evaluations"),
    )
    create_table(
        "task_edges",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("after_id", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "after_id"], ["tasks.site", "tasks.id"], name="fk_task_edges_site_after_id_tasks"
        ),
        sa.ForeignKeyConstraint(
            ["site", "task_id"], ["tasks.site", "tasks.id"], name="fk_task_edges_site_task_id_tasks"
        ),
        sa.PrimaryKeyConstraint("site", "task_id", "after_id", name="pk_task_edges"),
    )
    op.create_index("ix_task_edges_after_id", "task_edges", ["after_id"])
    create_table(
        "locked_openings",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("evaluation_id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "evaluation_id"],
            ["evaluations.site", "evaluations.id"],
            name="fk_locked_openings_site_evaluation_id_evaluations",
        ),
        sa.ForeignKeyConstraint(
            ["site", "job_id"], ["jobs.site", "jobs.id"], name="fk_locked_openings_site_job_id_jobs"
        ),
        sa.PrimaryKeyConstraint("site", "evaluation_id", "job_id", name="pk_locked_openings"),
    )
    op.create_index("ix_locked_openings_site_job_id", "locked_openings", ["site", "job_id"])
    create_table(
        "locked_samples",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.String(length=255), nullable=False),
        sa.Column("pixel_sha256", sa.String(length=255), nullable=False),
        sa.Column("group_key", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(
            ["site", "job_id"], ["jobs.site", "jobs.id"], name="fk_locked_samples_site_job_id_jobs"
        ),
        sa.PrimaryKeyConstraint("site", "job_id", "sha256", name="pk_locked_samples"),
    )
    for column in ("sha256", "pixel_sha256", "group_key"):
        op.create_index(f"ix_locked_samples_site_{column}", "locked_samples", ["site", column])


def downgrade() -> None:
    """Migrations only add within a minor version, so the way back is a backup."""
    raise NotImplementedError("Restore the records from a backup of before the upgrade.")
