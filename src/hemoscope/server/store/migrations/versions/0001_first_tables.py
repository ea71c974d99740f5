"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "audit",
        sa.Column("id", LONG, nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("what", sa.String(length=40), nullable=False),
        sa.Column("slide", LONG, nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_audit_slide"), "audit", ["slide"], unique=False)
    op.create_table(
        "models",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("password", sa.String(length=300), nullable=False),
        sa.Column("created", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=200), nullable=False),
        sa.Column("used", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "slides",
        sa.Column("id", LONG, nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("white_count", sa.Double(), nullable=True),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("readers", sa.JSON(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.Column("reviewed", sa.Integer(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(length=40), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["model"],
            ["models.digest"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "cells",
        sa.Column("slide", LONG, nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("pred", sa.String(length=200), nullable=False),
        sa.Column("judged", sa.JSON(), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["slide"],
            ["slides.id"],
        ),
        sa.PrimaryKeyConstraint("slide", "cell"),
    )
    op.create_index("cells_once", "cells", ["slide", "digest"], unique=True)
    op.create_table(
        "entries",
        sa.Column("slide", LONG, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("entry", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["slide"],
            ["slides.id"],
        ),
        sa.PrimaryKeyConstraint("slide", "revision", "seq"),
    )
    op.create_table(
        "signatures",
        sa.Column("slide", LONG, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("log_digest", sa.String(length=64), nullable=False),
        sa.Column("signed", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["slide"],
            ["slides.id"],
        ),
        sa.PrimaryKeyConstraint("slide", "revision"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("slide", LONG, nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("bytes", LONG, nullable=False),
        sa.Column("received", LONG, nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("created", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["slide"],
            ["slides.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_uploads_slide"), "uploads", ["slide"], unique=False)
    op.create_index(op.f("ix_uploads_status"), "uploads", ["status"], unique=False)
    op.create_table(
        "files",
        sa.Column("id", LONG, nullable=False),
        sa.Column("slide", LONG, nullable=False),
        sa.Column("upload", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["slide"],
            ["slides.id"],
        ),
        sa.ForeignKeyConstraint(
            ["upload"],
            ["uploads.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("files_of_slide", "files", ["slide", "status"], unique=False)
    op.create_index("files_once", "files", ["upload", "position"], unique=True)
    op.create_index("files_twins", "files", ["slide", "digest"], unique=False)
    op.create_index("files_waiting", "files", ["status", "id"], unique=False)


def downgrade() -> None:
    """Take them away."""
    op.drop_index("files_waiting", table_name="files")
    op.drop_index("files_twins", table_name="files")
    op.drop_index("files_once", table_name="files")
    op.drop_index("files_of_slide", table_name="files")
    op.drop_table("files")
    op.drop_index(op.f("ix_uploads_status"), table_name="uploads")
    op.drop_index(op.f("ix_uploads_slide"), table_name="uploads")
    op.drop_table("uploads")
    op.drop_table("signatures")
    op.drop_table("entries")
    op.drop_index("cells_once", table_name="cells")
    op.drop_table("cells")
    op.drop_table("slides")
    op.drop_table("sessions")
    op.drop_table("users")
    op.drop_table("models")
    op.drop_index(op.f("ix_audit_slide"), table_name="audit")
    op.drop_table("audit")
