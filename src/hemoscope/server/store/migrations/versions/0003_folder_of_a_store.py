"""The data folder that a store belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for it; the next server to open the store says which one."""
    op.create_table(
        "folder", sa.Column("id", sa.String(length=32), nullable=False), sa.PrimaryKeyConstraint("id")
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("folder")
