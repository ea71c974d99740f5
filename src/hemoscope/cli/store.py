"""`hemoscope store`: the review page's users, backups and their way back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemoscope.cli.console import JsonFlag, note, print_json, print_table
from hemoscope.cli.options import Overwrite
from hemoscope.cli.progress import progress
from hemoscope.cli.verbs import Verbs
from hemoscope.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hemoscope.server.store.store import Store

__all__ = ["DataFolder", "StoreUrl", "app"]

app = Verbs(help="The review page's users, backup and restore.", no_args_is_help=True)
user_app = Verbs(help="People who may sign in.", no_args_is_help=True)
app.add_typer(user_app, name="user")

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        help="postgresql://USER@HOST/NAME; default: SQLite in the data folder.",
        envvar="HEMOSCOPE_STORE",
    ),
]
DataFolder = Annotated[Path, typer.Option(help="Folder of images and, by default, the store.")]


class RoleName(StrEnum):
    """What a user may do."""

    reader = "reader"
    administrator = "administrator"


@contextmanager
def _opened(url: str, data: Path, *, new: bool = False) -> Iterator[Store]:
    from hemoscope.cli.serve import need_packages

    need_packages()
    from hemoscope.server.settings import Settings
    from hemoscope.server.store.migrate import migrate
    from hemoscope.server.store.store import Store

    if not new and not data.is_dir():
        raise DataError(f"expected a data folder of hemoscope serve at {data}; there is none")
    data.mkdir(parents=True, exist_ok=True)
    store = Store(Settings(data=data, store=url).store_url)
    try:
        migrate(store)
        yield store
    finally:
        store.close()


@user_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="As it stands in every log.")],
    *,
    role: Annotated[
        RoleName, typer.Option(help="An administrator also reads the audit trail.")
    ] = RoleName.reader,
    data_folder: DataFolder = Path("review"),
    store: StoreUrl = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Give a user a new role and password.")
    ] = False,
) -> None:
    """Let somebody sign in; the password is asked for, or read from standard input, never an option."""
    from hemoscope.server.users import Users

    password = _password()
    with _opened(store, data_folder, new=True) as opened:
        Users(opened, session_s=0).add(name, role.value, password, replace=overwrite)
    note(f"{name} may sign in as {role.value}.")


@user_app.command("list")
def list_users(
    *, data_folder: DataFolder = Path("review"), store: StoreUrl = "", as_json: JsonFlag = False
) -> None:
    """List who may sign in."""
    from hemoscope.server.users import Users

    with _opened(store, data_folder) as opened:
        users = Users(opened, session_s=0).list()
    if as_json:
        print_json([{"name": name, "role": role} for name, role in users])
    else:
        print_table([["name", "role"], *[list(user) for user in users]])


@user_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Of the user.")],
    *,
    data_folder: DataFolder = Path("review"),
    store: StoreUrl = "",
) -> None:
    """Let somebody sign in no longer; what they did stays in every log."""
    from hemoscope.server.users import Users

    with _opened(store, data_folder) as opened:
        Users(opened, session_s=0).remove(name)


@app.command("backup")
def backup(
    out: Annotated[Path, typer.Argument(help="The zip to write.")],
    *,
    data_folder: DataFolder = Path("review"),
    store: StoreUrl = "",
    overwrite: Overwrite = False,
) -> None:
    """Save rows, images and unfinished uploads in one file; the server may run."""
    with _opened(store, data_folder) as opened, progress() as report:
        from hemoscope.server.backup import backup

        n = backup(opened, data_folder, out, overwrite=overwrite, progress=report)
    note(f"{n:,} images and all rows are in {out}.")


@app.command("restore")
def restore(
    backup_file: Annotated[Path, typer.Argument(metavar="FILE", help="What backup wrote.")],
    *,
    data_folder: DataFolder = Path("review"),
    store: StoreUrl = "",
) -> None:
    """Bring a backup into an empty store and folder, of the same kind or the other."""
    with _opened(store, data_folder, new=True) as opened, progress() as report:
        from hemoscope.server.backup import restore

        n = restore(opened, data_folder, backup_file, progress=report)
    note(f"{n:,} images and all rows are back in {data_folder}.")


def _password() -> str:
    if sys.stdin.isatty():
        return typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise ConfigError("expected the password on the first line of standard input; there was none")
    return line
