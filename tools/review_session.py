"""A scripted session at the review page's API that writes down what it was told is saved."""

import hashlib
import random
import threading
import time
from pathlib import Path

import httpx

from tests.server.pictures import noise, zipped

API = "/api/v1"
CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
PIECE = 3000  # bytes of one PUT


class StoreAwayError(Exception):
    """The server says that its store does not answer."""


class Session:
    """One client. `go_on` works until server or store go away; `check` looks for everything that was acknowledged.

    Attributes:
        doing: What the client does now.
        asked: Facts looked for.
        lost: Facts that were not there.
    """

    def __init__(self, address: str, data: Path, rng: random.Random) -> None:
        self.address, self.data, self.rng = address, data, rng
        self.doing, self.asked, self.lost = "starting", 0, []
        self.slides: dict[int, dict] = {}  # id: what was acknowledged of it
        self.uploads: dict[str, dict] = {}
        self.entries: dict[tuple[int, int], list[dict]] = {}  # (slide, revision): entries
        self.signatures: dict[tuple[int, int], dict] = {}
        self.made = 0
        self.http = self._client()

    def acknowledged(self) -> dict[str, int]:
        """Return how many facts of each kind there are."""
        return {
            "slides": len(self.slides),
            "uploads begun": len(self.uploads),
            "uploads whole": sum(u["offset"] == len(u["content"]) for u in self.uploads.values()),
            "bytes": sum(u["offset"] for u in self.uploads.values()),
            "entries of logs": sum(map(len, self.entries.values())),
            "signatures": len(self.signatures),
        }

    def go_on(self) -> threading.Thread:
        """Work in a thread until the connection breaks, or the server has no store."""
        worker = threading.Thread(target=self._work, daemon=True)
        worker.start()
        return worker

    def _work(self) -> None:
        try:
            self._connect()
            while True:
                self._slide()
        except (httpx.TransportError, StoreAwayError):
            return
        except (AssertionError, KeyError) as error:  # an answer that no kill explains
            self.lost.append(f"while {self.doing}: {error}")

    def _connect(self) -> None:
        self.http.close()
        self.http = self._client()
        self.http.headers["X-CSRF-Token"] = self.http.get("/session").json()["csrf"]

    def _client(self) -> httpx.Client:
        hooks = {"response": [_refuse_away]}
        return httpx.Client(base_url=self.address + API, timeout=60, event_hooks=hooks)

    def _post(self, path: str, body: dict) -> dict:
        answer = self.http.post(path, json=body)
        if answer.status_code >= 400:
            raise AssertionError(f"{path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def _slide(self) -> None:
        """Go on with the slide that is not signed, or begin one, and do one slide's work to its end."""
        open_ones = [s for s, known in self.slides.items() if known["status"] == "open"]
        if open_ones:
            slide = open_ones[-1]
        else:
            self.doing = "beginning a slide"
            slide = self._post("/slides", {"title": f"slide {len(self.slides)}"})["id"]
            self.slides[slide] = {"status": "open", "revision": 1, "want": self.rng.randint(2, 4)}
        self._send_all(slide)
        self._wait(slide)
        self._review(slide)
        self._sign(slide)

    def _send_all(self, slide: int) -> None:
        mine = [u for u in self.uploads.values() if u["slide"] == slide]
        for upload in mine:
            self._send(upload)
        for _ in range(self.slides[slide]["want"] - len(mine)):
            self.doing = "beginning an upload"
            content, images, name = self._images()
            made = self._post(f"/slides/{slide}/uploads", {"name": name, "bytes": len(content)})
            upload = {"slide": slide, "id": made["upload"], "content": content, "images": images, "offset": 0}
            self.uploads[made["upload"]] = upload
            self._send(upload)

    def _images(self) -> tuple[bytes, list[str], str]:
        """Return a file to send, the digests of the images in it, and its name."""
        n = self.rng.choice((1, 1, 5, 40))
        images = [noise(10_000 + self.made + i) for i in range(n)]
        self.made += n
        digests = [hashlib.sha256(image).hexdigest() for image in images]
        if n == 1:
            return images[0], digests, "cell.png"
        return zipped({f"{i:03d}.png": image for i, image in enumerate(images)}), digests, "cells.zip"

    def _send(self, upload: dict) -> None:
        content = upload["content"]
        if upload["offset"] < len(content):
            self.doing = "sending bytes"
            stands = self.http.get(f"/uploads/{upload['id']}").json()["offset"]
            self._expect(
                stands >= upload["offset"], f"upload stands at {stands}, {upload['offset']} were acknowledged"
            )
            upload["offset"] = stands
        while upload["offset"] < len(content):
            start = upload["offset"]
            answer = self.http.put(
                f"/uploads/{upload['id']}", params={"offset": start}, content=content[start : start + PIECE]
            )
            upload["offset"] = answer.json()["offset"]

    def _wait(self, slide: int) -> None:
        self.doing = "waiting for predictions"
        while True:
            progress = self.http.get(f"/slides/{slide}").json()["progress"]
            if progress["predicted"] + progress["rejected"] == progress["total"]:
                return
            time.sleep(0.01)

    def _review(self, slide: int) -> None:
        known = self.slides[slide]
        log = self.entries.setdefault((slide, known["revision"]), [])
        cells = self.http.get(f"/slides/{slide}/cells").json()["cells"]
        self.doing = "reviewing"
        self._catch_up(slide, log)
        for _ in range(self.rng.randint(5, 25)):
            some = self.rng.sample(range(len(cells)), self.rng.randint(1, min(5, len(cells))))
            command = self.rng.choice(
                (
                    {"kind": "place", "cells": some, "to": self.rng.choice(CLASSES)},
                    {"kind": "note", "cell": some[0], "text": f"note {len(log)}"},
                    {"kind": "white_count", "value": float(self.rng.randint(1, 99))},
                    {"kind": "undo"}
                    if log and log[-1]["command"]["kind"] == "place"
                    else {"kind": "place", "cells": some, "to": "not_classed"},
                )
            )
            self._command(slide, log, command)
        self._command(slide, log, {"kind": "place", "cells": list(range(len(cells))), "to": "neutrophil"})

    def _command(self, slide: int, log: list[dict], command: dict) -> None:
        seen = {"revision": self.slides[slide]["revision"], "base": log[-1]["seq"] if log else 0}
        body = {**seen, "reading": 1, "command": command, "client": "kill"}
        log.append(self._post(f"/slides/{slide}/commands", body)["entry"])

    def _catch_up(self, slide: int, log: list[dict]) -> None:
        """Take over an entry that was saved and whose answer a kill has cut off."""
        since = log[-1]["seq"] if log else 0
        log += self.http.get(f"/slides/{slide}/log", params={"since": since}).json()["entries"]

    def _sign(self, slide: int) -> None:
        known = self.slides[slide]
        self.doing = "signing"
        log = self.entries[slide, known["revision"]]
        cells = self.http.get(f"/slides/{slide}").json()["cells"]
        seen = {"revision": known["revision"], "base": log[-1]["seq"], "cells": cells}
        signature = self._post(f"/slides/{slide}/sign", {"name": "A. Beck", **seen})
        self.signatures[slide, known["revision"]] = signature
        known["status"] = "signed"
        if known["revision"] == 1 and self.rng.random() < 0.5:
            self.doing = "revising"
            self._post(f"/slides/{slide}/revise", {"revision": 1, "reason": "again"})
            known |= {"status": "open", "revision": 2}

    def _expect(self, holds: bool, fact: str) -> None:
        self.asked += 1
        if not holds:
            self.lost.append(fact)

    def check(self) -> None:
        """Look for everything that was acknowledged, on a server that has just started."""
        self._connect()
        for slide, known in self.slides.items():
            found = self.http.get(f"/slides/{slide}").json()
            self._adopt(slide, known, found)
            same = (found["status"], found["revision"]) == (known["status"], known["revision"])
            self._expect(
                same, f"slide {slide} is {found['status']}, revision {found['revision']}; told was {known}"
            )
        for upload in self.uploads.values():
            stands = self.http.get(f"/uploads/{upload['id']}").json()
            self._expect(
                stands["offset"] >= upload["offset"],
                f"upload {upload['id']}: {stands}, told {upload['offset']}",
            )
        for (slide, revision), log in self.entries.items():
            found = self.http.get(f"/slides/{slide}/log", params={"revision": revision}).json()["entries"]
            self._expect(found[: len(log)] == log, f"log of slide {slide}, revision {revision} differs")
            self._expect(
                [e["seq"] for e in found] == list(range(1, len(found) + 1)), f"log of slide {slide} has gaps"
            )
        for (slide, revision), signature in self.signatures.items():
            kept = self.http.get(f"/slides/{slide}").json()["signatures"][revision - 1]
            self._expect(
                kept["log"] == signature["log"], f"signature of slide {slide}, revision {revision} differs"
            )
            file = self.data / "signed" / f"slide-{slide}-revision-{revision}.json"
            self._expect(file.is_file(), f"{file.name} is missing")

    def _adopt(self, slide: int, known: dict, found: dict) -> None:
        """Take over a signature or a revision that was saved and whose answer a kill has cut off."""
        for signature in found["signatures"]:
            self.signatures.setdefault((slide, signature["revision"]), signature)
        later = (found["revision"], found["status"] == "signed") > (
            known["revision"],
            known["status"] == "signed",
        )
        if later:
            known |= {"status": found["status"], "revision": found["revision"]}

    def finish(self) -> None:
        """Let everything come to its end, and compare every slide with all that was ever sent and done."""
        for upload in self.uploads.values():
            if self.slides[upload["slide"]]["status"] == "open":
                self._send(upload)
        for slide in self.slides:
            self._wait(slide)
            whole = [
                u for u in self.uploads.values() if u["slide"] == slide and u["offset"] == len(u["content"])
            ]
            cells = self.http.get(f"/slides/{slide}/cells").json()["cells"]
            want = sorted(digest for upload in whole for digest in upload["images"])
            self._expect(sorted(c["digest"] for c in cells) == want, f"slide {slide} lacks or doubles cells")
            self._expect(
                [c["cell"] for c in cells] == list(range(len(cells))), f"cells of slide {slide} have gaps"
            )
            for cell in cells:
                path = self.data / "images" / cell["digest"][:2] / cell["digest"]
                self._expect(
                    hashlib.sha256(path.read_bytes()).hexdigest() == cell["digest"], f"image {path.name}"
                )
            self._replays(slide)

    def _replays(self, slide: int) -> None:
        """Compare the places with those that the log says, command by command."""
        places: dict[int, str] = {}
        for revision in range(1, self.slides[slide]["revision"] + 1):
            for entry in self.http.get(f"/slides/{slide}/log", params={"revision": revision}).json()[
                "entries"
            ]:
                places |= {cell: after for cell, _, after in entry["changes"]}
        state = self.http.get(f"/slides/{slide}/state").json()["places"]
        self._expect(
            all(state[str(cell)] == place for cell, place in places.items()), f"slide {slide} does not replay"
        )


def _refuse_away(answer: httpx.Response) -> None:
    """Raise where the server says that its store is away, in the words it promises."""
    if answer.status_code == 503:
        answer.read()
        told = answer.json()["error"]
        assert (told["code"], "does not answer" in told["message"]) == ("store_away", True), told
        assert "retry-after" in answer.headers
        raise StoreAwayError
