"""Who is here: sign in, sign out, and the token that every write needs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from hemoscope.errors import StoreError
from hemoscope.server.audit import audit
from hemoscope.server.problems import ApiError
from hemoscope.server.routes.needs import Here, Who
from hemoscope.server.shapes import SessionShape, SignIn
from hemoscope.server.site import Site

__all__ = ["router"]

router = APIRouter(tags=["session"])


@router.get("/session", response_model=SessionShape)
def get_session(request: Request, response: Response, site: Here) -> dict[str, Any]:
    """Who is signed in, and the CSRF token."""
    return _session(site, response, site.guard.give_cookie(request, response))


@router.post("/session", response_model=SessionShape)
def sign_in(body: SignIn, request: Request, response: Response, site: Here) -> dict[str, Any]:
    """Sign in; after some wrong passwords for a name or from an address it has to wait."""
    if not site.guard.sign_in:
        raise ApiError(409, "no_sign_in", "this server is reached from this machine alone and has no users")
    site.guard.check_write(request)
    with site.failures.turn() as mine:
        if not mine:
            raise ApiError(
                429, "queue_full", "many people sign in at this moment; try again in a second", retry_s=1
            )
        cookie = _tried(site, body, request.client.host if request.client else "")
    if cookie is None:
        raise ApiError(401, "wrong", "name or password is wrong")
    with site.store.write() as session:
        audit(session, body.name, "signed in")
    site.guard.give_cookie(request, response, cookie)
    return _session(site, response, cookie)


@router.delete("/session", status_code=204, response_class=Response)
def sign_out(request: Request, site: Here, who: Who) -> Response:
    """Sign out."""
    site.users.sign_out(request.cookies.get(site.guard.cookie_name, ""))
    with site.store.write() as session:
        audit(session, who.name, "signed out")
    response = Response(status_code=204)
    site.guard.take_cookie(response)
    return response


def _tried(site: Site, body: SignIn, address: str) -> str | None:
    """Return the cookie of a new session; None if name or password are wrong."""
    of_name, of_address = keys = (f"name {body.name}", f"address {address}")
    if wait := site.failures.begin(keys):
        raise ApiError(
            429, "too_many_failures", f"too many wrong passwords; try again in {wait} s", retry_s=wait
        )
    try:
        cookie = site.users.sign_in(body.name, body.password)
    except StoreError:  # says nothing of the password
        site.failures.take_back(of_name)
        site.failures.take_back(of_address)
        raise
    if cookie is not None:
        site.failures.forget(of_name)
        site.failures.take_back(of_address)
    return cookie


def _session(site: Site, response: Response, cookie: str) -> dict[str, Any]:
    response.headers["Cache-Control"] = "no-store"
    who = site.guard.reader(cookie)
    return {
        "user": None if who is None else who.name,
        "role": None if who is None else who.role,
        "csrf": site.guard.token(cookie),
        "sign_in": site.guard.sign_in,
    }
