"""What the page does, by the words of the API; it waits for what it asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from hemoscope.server.site import Site

API = "/api/v1"
Json = Any


@dataclass
class Client:
    """A browser at a running server."""

    http: httpx.Client
    site: Site
    window: str = "w1"
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> Json:
        """Take the token of the session there is."""
        session = self.http.get(f"{API}/session").json()
        self.headers["X-CSRF-Token"] = session["csrf"]
        return session

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(API + path, params=query)

    def post(self, path: str, body: Json) -> httpx.Response:
        return self.http.post(API + path, json=body, headers=self.headers)

    def put(self, path: str, content: bytes, **query: Any) -> httpx.Response:
        return self.http.put(API + path, params=query, content=content, headers=self.headers)

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(API + path, headers=self.headers)

    def new_slide(self, title: str = "Smear 17", **more: Any) -> int:
        made = self.post("/slides", {"title": title, **more})
        assert made.status_code == 201, made.text
        return made.json()["id"]

    def send(self, slide: int, name: str, content: bytes) -> str:
        begun = self.post(f"/slides/{slide}/uploads", {"name": name, "bytes": len(content)})
        assert begun.status_code == 201, begun.text
        upload = begun.json()["upload"]
        if content:
            put = self.put(f"/uploads/{upload}", content, offset=0)
            assert put.json() == {"upload": upload, "offset": len(content), "done": True}, put.text
        return upload

    def settled(self, slide: int) -> Json:
        """The slide, once every file that was sent has become a cell or was rejected."""
        while True:
            found = self.get(f"/slides/{slide}").json()
            progress = found["progress"]
            if progress["total"] == progress["predicted"] + progress["rejected"]:
                return found
            time.sleep(0.01)

    def slide_of(self, content: bytes, name: str = "smear.zip") -> int:
        """A slide with the cells of an archive."""
        slide = self.new_slide()
        self.send(slide, name, content)
        self.settled(slide)
        return slide

    def cells(self, slide: int) -> Json:
        return self.get(f"/slides/{slide}/cells").json()["cells"]

    def state(self, slide: int, reading: Json = 1) -> Json:
        return self.get(f"/slides/{slide}/state", reading=reading).json()

    def command(
        self,
        slide: int,
        command: Json,
        *,
        base: int | None = None,
        window: str | None = None,
        reading: Json = 1,
        revision: int = 1,
    ) -> httpx.Response:
        """Give a command, by default as a window that has just loaded the slide."""
        if base is None:
            state = self.state(slide, reading)
            revision, base = state["revision"], state["seq"]
        body = {
            "revision": revision,
            "base": base,
            "reading": reading,
            "command": command,
            "client": window or self.window,
        }
        return self.post(f"/slides/{slide}/commands", body)

    def place(self, slide: int, cells: list[int], to: str, **more: Any) -> httpx.Response:
        return self.command(slide, {"kind": "place", "cells": cells, "to": to}, **more)

    def seen(self, slide: int) -> Json:
        """What a person who has just loaded the slide has seen of it."""
        found = self.get(f"/slides/{slide}").json()
        return {"revision": found["revision"], "base": found["seq"], "cells": found["cells"]}

    def sign(self, slide: int, name: str = "A", *, seen: Json = None, **more: Any) -> httpx.Response:
        return self.post(f"/slides/{slide}/sign", {"name": name, **(seen or self.seen(slide)), **more})

    def review_all(self, slide: int) -> None:
        """Confirm every cell as what the model says; those it does not know become neutrophils."""
        cells = self.cells(slide)
        known = [c["cell"] for c in cells if c["status"] != "unknown"]
        unknown = [c["cell"] for c in cells if c["status"] == "unknown"]
        if known:
            assert self.command(slide, {"kind": "confirm", "cells": known}).status_code == 200
        if unknown:
            assert self.place(slide, unknown, "neutrophil").status_code == 200
