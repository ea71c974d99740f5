"""Bring a store's tables to this version, by Alembic's migrations."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from hemoscope.errors import StoreError
from hemoscope.server.store.store import Store

__all__ = ["migrate"]


def migrate(store: Store) -> None:
    """Create the tables, or change those of an older version; a newer store is refused.

    Raises:
        StoreError: If the store is from a newer hemoscope, or does not answer.
    """
    config = Config()
    config.set_main_option(
        "script_location", (Path(__file__).parent / "migrations").as_posix().replace("%", "%%")
    )
    store.check()
    with store.engine.connect() as connection, connection.begin():
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        there = MigrationContext.configure(connection).get_current_revision()
        if there is not None and there not in known:
            raise StoreError(
                f"the store has tables of version {there}, which this hemoscope does not know; it was written by a newer "
                "one. Start that one, or name another --store or --data-folder"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
