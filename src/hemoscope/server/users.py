"""People who may sign in: names, roles, passwords under argon2, and the sessions of their browsers."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select

from hemoscope.errors import ConfigError, DataError, UnknownNameError
from hemoscope.server.clock import now
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import SessionRow, UserRow

__all__ = ["LOCAL", "Role", "Users", "check_user"]

LOCAL = "local"  # everybody, where nobody signs in
Role = Literal["reader", "administrator"]
SHORTEST, LONGEST = 10, 1000  # characters of a password
_hasher = PasswordHasher()  # argon2id with RFC 9106's second recommendation
_NOBODY = _hasher.hash(secrets.token_hex(16))  # a name that is not there takes as long as one that is


def check_user(name: str, password: str) -> None:
    """Refuse a name or a password that is none.

    Raises:
        ConfigError: If so.
    """
    if not name.strip() or name != name.strip() or len(name) > 100 or not name.isprintable():
        raise ConfigError(
            f"expected a name of 1 to 100 printable characters without blanks around it, got {name!r}"
        )
    if name.casefold() == LOCAL:
        raise ConfigError(
            f"{name!r} stands in every log for whoever has not signed in; expected another name"
        )
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"expected a password of at least {SHORTEST} characters, got {len(password)}")


class Users:
    """The users and sessions of a store.

    Args:
        store: Rows.
        session_s: Seconds after which a session that is not used ends.
    """

    def __init__(self, store: Store, *, session_s: int) -> None:
        self._store, self._session_s = store, session_s

    def any(self) -> bool:
        """Whether there is a user."""
        with self._store.read() as session:
            return bool(session.scalar(select(func.count()).select_from(UserRow)))

    def list(self) -> list[tuple[str, str]]:
        """Return names and roles, by name."""
        with self._store.read() as session:
            return [(row.name, row.role) for row in session.scalars(select(UserRow).order_by(UserRow.name))]

    def add(self, name: str, role: Role, password: str, *, replace: bool = False) -> None:
        """Add a user; with `replace` an existing one gets the new role and password, and is signed out.

        Raises:
            ConfigError: If name or password are none.
            DataError: If the user is there already.
        """
        check_user(name, password)
        hashed = _hasher.hash(password)
        with self._store.write() as session:
            row = session.get(UserRow, name)
            if row is not None and not replace:
                raise DataError(f"there is a user {name!r} already; --overwrite gives a new password")
            if row is None:
                session.add(UserRow(name=name, role=role, password=hashed, created=now()))
            else:
                row.role, row.password = role, hashed
                session.execute(delete(SessionRow).where(SessionRow.user == name))

    def remove(self, name: str) -> None:
        """Take a user away; what they did stays in every log.

        Raises:
            UnknownNameError: If there is none.
        """
        with self._store.write() as session:
            row = session.get(UserRow, name)
            if row is None:
                raise UnknownNameError("user", name, session.scalars(select(UserRow.name)))
            session.execute(delete(SessionRow).where(SessionRow.user == name))
            session.delete(row)

    def sign_in(self, name: str, password: str) -> str | None:
        """Return a new session's cookie; None if name or password are wrong, which takes as long."""
        with self._store.read() as session:
            row = session.get(UserRow, name)
            hashed = _NOBODY if row is None else row.password
        try:
            _hasher.verify(hashed, password[:LONGEST])
        except (VerificationError, InvalidHashError):
            return None
        if row is None:
            return None
        cookie = secrets.token_urlsafe(32)
        with self._store.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.used < self._oldest()))
            session.add(SessionRow(digest=_digest(cookie), user=name, used=now()))
        return cookie

    def who(self, cookie: str, *, used: bool = True) -> tuple[str, Role] | None:
        """Return name and role behind a cookie; None if its session has ended or never was.

        Args:
            cookie: Of the session.
            used: Whether that keeps the session from ending for want of use.
        """
        with self._store.read() as session:
            found = session.execute(
                select(UserRow.name, UserRow.role, SessionRow.used)
                .join(SessionRow, SessionRow.user == UserRow.name)
                .where(SessionRow.digest == _digest(cookie), SessionRow.used >= self._oldest())
            ).one_or_none()
        if found is None:
            return None
        name, role, last = found
        if used and last < _ago(60):  # a minute's precision needs no row a request
            with self._store.write() as session:
                row = session.get(SessionRow, _digest(cookie))
                if row is not None:
                    row.used = now()
        return name, "administrator" if role == "administrator" else "reader"

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        with self._store.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.digest == _digest(cookie)))

    def _oldest(self) -> str:
        return _ago(self._session_s)


def _ago(seconds: int) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
