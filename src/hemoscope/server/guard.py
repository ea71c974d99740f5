"""Who asks, and whether they may: sessions, the CSRF token of every write, and hosts this server does not have.

Without sign-in the server is reached by this machine alone and everybody is `local`; a web page elsewhere that makes
a browser send something still lacks the token, and one that renames itself to this machine has a wrong host.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request, Response

from hemoscope.errors import StoreError
from hemoscope.server.problems import ApiError
from hemoscope.server.settings import Settings, is_loopback
from hemoscope.server.users import LOCAL, Role, Users

__all__ = ["LOCAL", "Guard", "Reader", "secret_of"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks.

    Attributes:
        name: Of the user; `local` without sign-in.
        role: What they may do.
    """

    name: str
    role: Role


class Guard:
    """Looks at every request of the API.

    Args:
        users: Users and sessions.
        settings: Where the server listens.
        secret: Of this store; makes tokens.
    """

    def __init__(self, users: Users, settings: Settings, secret: bytes) -> None:
        self._users, self._settings, self._secret = users, settings, secret
        self._closed = not settings.local or users.any()
        # Browsers share cookies among the ports of a machine; two servers must not take each other's.
        self.cookie_name = f"hemoscope_{settings.port}"

    @property
    def sign_in(self) -> bool:
        """Whether a session is demanded: by other machines always, by this one from the first user on.

        A user can be added while the server runs; taking the last one away opens it at the next start only. While the store is
        away what was known last holds: nothing can be read or written then, and a page waits for it to be back.
        """
        with suppress(StoreError):
            self._closed = self._closed or self._users.any()
        return self._closed

    def token(self, cookie: str) -> str:
        """Return the CSRF token that belongs to a cookie."""
        return hmac.new(self._secret, cookie.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def reader(self, cookie: str) -> Reader | None:
        """Return whose cookie it is; None if nobody is signed in where that is demanded."""
        if not self.sign_in:
            return Reader(LOCAL, "administrator")
        found = self._users.who(cookie) if cookie else None
        return None if found is None else Reader(*found)

    def still(self, cookie: str) -> bool:
        """Whether who began to listen with a cookie may go on; listening does not keep a session."""
        try:
            return not self.sign_in or self._users.who(cookie, used=False) is not None
        except StoreError:  # it is away; that says nothing of the reader
            return True

    def check(self, request: Request) -> Reader:
        """Return who asks, if they may.

        Raises:
            ApiError: If nobody is signed in, or a write lacks its token.
        """
        reader = self.reader(request.cookies.get(self.cookie_name, ""))
        if reader is None:
            raise ApiError(401, "sign_in", "sign in first: POST /api/v1/session with name and password")
        self.check_write(request)
        return reader

    def check_write(self, request: Request) -> None:
        """Refuse a write that this server's own page did not send.

        Raises:
            ApiError: If so.
        """
        if request.method in _SAFE:
            return
        cookie = request.cookies.get(self.cookie_name, "")
        came = request.headers.get("x-csrf-token", "")
        if not cookie or not hmac.compare_digest(
            self.token(cookie).encode(), came.encode("utf-8", "replace")
        ):
            raise ApiError(
                403,
                "csrf",
                "a write needs the header X-CSRF-Token, as GET /api/v1/session gives it; load the page anew",
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
            raise ApiError(403, "origin", "the request comes from a page of another server")

    def check_host(self, host: str) -> bool:
        """Whether a request names a host that this server may be called; any, where users sign in."""
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        return is_loopback(name.strip("[]")) or self.sign_in

    def give_cookie(self, request: Request, response: Response, cookie: str | None = None) -> str:
        """Set the cookie of a session, or one that only carries the token; return it."""
        cookie = cookie or request.cookies.get(self.cookie_name) or secrets.token_urlsafe(32)
        response.set_cookie(
            self.cookie_name,
            cookie,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            path="/",
        )
        return cookie

    def take_cookie(self, response: Response) -> None:
        """Let the browser forget its cookie."""
        response.delete_cookie(self.cookie_name, path="/", httponly=True, samesite="strict")


def secret_of(folder: Path) -> bytes:
    """Return the secret of a data folder, made at its first start and readable by its owner only."""
    path = folder / "secret"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        found = path.read_bytes()
        if len(found) == 32:
            return found
        path.unlink()  # cut short by a kill; tokens of before end with it
        return secret_of(folder)
    with os.fdopen(handle, "wb") as file:
        secret = secrets.token_bytes(32)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret
