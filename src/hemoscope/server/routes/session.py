"""Who is here: sign in, sign out, and the token that every write needs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

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
    address = request.client.host if request.client else ""
    keys = (f"name {body.name}", f"address {address}")
    if wait := max(site.failures.wait_s(key) for key in keys):
        raise ApiError(
            429, "too_many_failures", f"too many wrong passwords; try again in {wait} s", retry_s=wait
        )
    cookie = site.users.sign_in(body.name, body.password)
    if cookie is None:
        for key in keys:
            site.failures.add(key)
        raise ApiError(401, "wrong", "name or password is wrong")
    site.failures.forget(keys[0])
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


def _session(site: Site, response: Response, cookie: str) -> dict[str, Any]:
    response.headers["Cache-Control"] = "no-store"
    who = site.guard.reader(cookie)
    return {
        "user": None if who is None else who.name,
        "role": None if who is None else who.role,
        "csrf": site.guard.token(cookie),
        "sign_in": site.guard.sign_in,
    }
