"""The camera that a slide's cells are judged at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; slides that there are have none."""
    op.add_column("slides", sa.Column("nucleus_px", sa.Double(), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("slides", "nucleus_px")
