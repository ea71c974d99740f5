"""What Alembic runs: the migrations over the connection that `migrate` hands in, in one transaction."""

from alembic import context

from hemoscope.server.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
