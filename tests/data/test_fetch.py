"""Fetching from a real server in a thread that cuts, corrupts, stalls, refuses and changes its file."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import zipfile
from collections import namedtuple
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from filelock import FileLock

from hemoscope import transfer
from hemoscope.cli.progress import byte_progress
from hemoscope.data.catalog import DataSource
from hemoscope.data.fetch import TransferPolicy, fetch
from hemoscope.errors import ConfigError, FetchError, UnknownNameError

# Tests are imported by path and are no package, so that a helper beside them has to be as well.
_spec = importlib.util.spec_from_file_location("http_server", Path(__file__).with_name("http_server.py"))
assert _spec
assert _spec.loader
http_server = importlib.util.module_from_spec(_spec)
sys.modules["http_server"] = http_server
_spec.loader.exec_module(http_server)
Answer, serving = http_server.Answer, http_server.serving

BODY = random.Random(0).randbytes(400_000)
OTHER = random.Random(1).randbytes(400_000)
QUICK = TransferPolicy(backoff_s=0.0, connect_timeout_s=300.0, read_timeout_s=300.0)
CUT = Answer(cut_after=200_000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def npz_card(*urls, body=BODY):
    return DataSource(
        name="cells", title="Cells", form="npz", filename="cells.npz", urls=urls, counts=(),
        licence="CC-BY-4.0", doi="10.1/x", page="https://example.org/cells", citation="None",
        digest=f"md5:{hashlib.md5(body).hexdigest()}",
    )  # fmt: skip


def folder_card(*urls, counts=(("basophil", 3), ("ig", 2))):
    return DataSource(
        name="few", title="Few cells", form="folders", filename="few.zip", urls=urls, counts=counts,
        licence="CC-BY-4.0", doi="10.1/x", page="https://example.org/few", citation="None",
        also_named=("few-1.zip",),
    )  # fmt: skip


def few_zip(top="PBC/", basophil=3, ig=2, extra=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, n in (("basophil", basophil), ("ig", ig)):
            for i in range(n):
                z.writestr(f"{top}{name}/{name}_{i}.jpg", random.Random(i).randbytes(30_000))
        for name, data in (extra or {}).items():
            z.writestr(name, data)
    return out.getvalue()


def get(to, *urls, source=None, policy=QUICK, progress=None):
    source = source or npz_card(*urls)
    return fetch(source.name, to, source=source, policy=policy, progress=progress)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_whole_file_arrives_alone_under_its_final_name(tmp_path):
    with serving(BODY) as served:
        path = get(tmp_path / "new" / "data", served.url)
    assert path == tmp_path / "new" / "data" / "cells.npz"
    assert path.read_bytes() == BODY
    assert names(path.parent) == ["cells.npz"]


def test_what_is_here_and_verified_is_not_asked_for_again(tmp_path):
    with serving(BODY) as served:
        first = get(tmp_path, served.url)
        stamp = first.stat().st_mtime_ns
        assert get(tmp_path, served.url) == first
    assert len(served.requests) == 1
    assert first.stat().st_mtime_ns == stamp


def test_a_cut_transfer_goes_on_by_range_under_the_same_etag(tmp_path):
    with serving(BODY, answers=[CUT]) as served:
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert served.asked_ranges[0] is None
    start = int(served.asked_ranges[1].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= 200_000
    assert served.requests[1]["If-Range"] == '"one"'
    assert served.sent == 200_000 + len(BODY) - start


def test_a_server_without_ranges_starts_over(tmp_path):
    with serving(BODY, ranges=False, answers=[CUT]) as served:
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert len(served.requests) == 2
    assert served.sent == 200_000 + len(BODY)


@pytest.mark.parametrize("polite", [True, False], ids=["honours If-Range", "ignores If-Range"])
@pytest.mark.parametrize("other", [OTHER, OTHER[:-7]], ids=["same length", "other length"])
def test_a_file_that_changed_between_cut_and_resume_is_never_spliced(tmp_path, polite, other):
    with serving(BODY, honours_if_range=polite, answers=[CUT]) as served:
        one_try = TransferPolicy(tries=1)
        with pytest.raises(FetchError, match="goes on from there"):
            get(tmp_path, source=npz_card(served.url, body=other), policy=one_try)
        served.body, served.etag = other, '"two"'
        assert get(tmp_path, source=npz_card(served.url, body=other)).read_bytes() == other


def test_a_weak_etag_does_not_go_into_if_range(tmp_path):
    with serving(BODY, etag='W/"one"', answers=[CUT]) as served:
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert served.asked_ranges[1]
    assert "If-Range" not in served.requests[1]


def test_bytes_of_one_address_are_not_continued_from_another(tmp_path):
    with serving(OTHER, answers=[CUT, Answer(status=404)]) as first, serving(BODY) as second:
        with pytest.raises(FetchError):
            get(tmp_path, first.url, policy=TransferPolicy(tries=1))
        assert get(tmp_path, first.url, second.url).read_bytes() == BODY
    assert second.asked_ranges == [None]


def test_a_part_that_was_complete_is_not_asked_for_again(tmp_path):
    with serving(BODY, answers=[CUT]) as served:
        with pytest.raises(FetchError):
            get(tmp_path, served.url, policy=TransferPolicy(tries=1))
        (tmp_path / ".fetch-cells" / "cells.npz.part").write_bytes(BODY)
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert len(served.requests) == 1


def test_a_complete_part_of_unknown_length_is_recognised_by_416(tmp_path):
    body = BODY[: 4 << 16]  # whole blocks: what a reader holds back in an unfilled one is asked for again
    with serving(body, answers=[Answer(no_length=True, stall_after=len(body))]) as served:
        policy = TransferPolicy(backoff_s=0, read_timeout_s=1)
        assert get(tmp_path, source=npz_card(served.url, body=body), policy=policy).read_bytes() == body
    assert served.asked_ranges[0] is None
    assert set(served.asked_ranges[1:]) == {f"bytes={len(body)}-"}  # once more where the server was slow


def test_a_length_that_nobody_tells_is_no_obstacle(tmp_path):
    seen = []
    with serving(BODY, answers=[Answer(no_length=True)]) as served:
        path = get(tmp_path, served.url, progress=lambda *event: seen.append(event))
    assert path.read_bytes() == BODY
    assert seen[-1] == ("downloading cells.npz", len(BODY), None)


def test_a_cut_that_looks_like_an_end_is_caught_by_the_digest(tmp_path):
    with serving(BODY, answers=[Answer(no_length=True, cut_after=1000)]) as served:
        with pytest.raises(FetchError, match="MD5 hash of downloaded file"):
            get(tmp_path, served.url)
        assert get(tmp_path, served.url).read_bytes() == BODY


def test_a_corrupt_file_is_refused_with_both_digests_and_leaves_nothing(tmp_path):
    bad = BODY[:200_000] + bytes([BODY[200_000] ^ 1]) + BODY[200_001:]
    with serving(BODY, answers=[Answer(corrupt=True)]) as served:
        with pytest.raises(FetchError) as caught:
            get(tmp_path, served.url)
        assert not (tmp_path / "cells.npz").exists()
        message = str(caught.value)
        assert hashlib.md5(BODY).hexdigest() in message
        assert hashlib.md5(bad).hexdigest() in message
        assert f"https://example.org/cells, put it into {tmp_path}" in message
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert served.asked_ranges == [None, None]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_told(tmp_path, status):
    with (
        serving(BODY, answers=[Answer(status=status)]) as served,
        pytest.raises(FetchError, match=rf"was refused: the server answered {status} \w+"),
    ):
        get(tmp_path, served.url)
    assert len(served.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(tmp_path, status):
    with serving(BODY, answers=[Answer(status=status)] * 4) as served:
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert len(served.requests) == 5


def test_tries_are_bounded(tmp_path):
    with (
        serving(BODY, answers=[Answer(status=503)] * 9) as served,
        pytest.raises(FetchError, match=r"could not be had in 5 tries: the server answered 503"),
    ):
        get(tmp_path, served.url)
    assert len(served.requests) == 5


def test_waits_double_and_heed_the_server_up_to_a_bound(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    answers = [Answer(status=503)] * 3 + [
        Answer(status=503, headers={"Retry-After": s}) for s in ("20", "3600")
    ]
    with serving(BODY, answers=answers) as served:
        get(tmp_path, served.url, policy=TransferPolicy(tries=6))
    assert waits == [1.0, 2.0, 4.0, 20.0, 60.0]


def test_a_closed_port_is_told_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"  # bound, and nobody listens
        with pytest.raises(
            FetchError, match=r"(?s)in 5 tries: the connection failed.*download cells\.npz by hand"
        ):
            get(tmp_path, url)


def test_the_second_address_is_asked_when_the_first_refuses(tmp_path):
    with serving(b"", answers=[Answer(status=404)]) as first, serving(BODY) as second:
        assert get(tmp_path, first.url, second.url).read_bytes() == BODY


def test_every_address_that_failed_is_named(tmp_path):
    with (
        serving(b"", answers=[Answer(status=404)]) as a,
        serving(b"", answers=[Answer(status=403)]) as b,
        pytest.raises(FetchError) as caught,
    ):
        get(tmp_path, a.url, b.url)
    assert f"{a.url} was refused: the server answered 404" in str(caught.value)
    assert f"{b.url} was refused: the server answered 403" in str(caught.value)


def test_a_silent_server_counts_as_cut_and_the_rest_is_asked_for(tmp_path):
    policy = TransferPolicy(backoff_s=0, read_timeout_s=1)
    with serving(BODY, answers=[Answer(stall_after=200_000)]) as served:
        assert get(tmp_path, served.url, policy=policy).read_bytes() == BODY
    assert served.asked_ranges[1]


def test_a_disk_too_small_is_noticed_before_a_byte_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: usage(10, 0, 399_999))
    with (
        serving(BODY) as served,
        pytest.raises(FetchError, match="takes 400,000 more bytes and 399,999 are free"),
    ):
        get(tmp_path, served.url)
    assert not list(tmp_path.rglob("*.part"))


def test_a_re_encoded_answer_is_refused(tmp_path):
    with (
        serving(BODY, answers=[Answer(headers={"Content-Encoding": "gzip"})]) as served,
        pytest.raises(FetchError, match="re-encoded"),
    ):
        get(tmp_path, served.url)
    assert served.requests[0]["Accept-Encoding"] == "identity"


def test_an_address_that_is_none_is_told(tmp_path):
    with pytest.raises(FetchError, match="cannot be asked for"):
        get(tmp_path, "nowhere://file")


def test_a_file_placed_by_hand_is_verified_and_used(tmp_path):
    (tmp_path / "cells.npz").write_bytes(BODY)
    with serving(BODY) as served:
        assert get(tmp_path, served.url).read_bytes() == BODY
    assert served.requests == []


def test_another_file_in_its_place_is_named_and_left_alone(tmp_path):
    (tmp_path / "cells.npz").write_bytes(OTHER)
    with serving(BODY) as served, pytest.raises(FetchError) as caught:
        get(tmp_path, served.url)
    assert hashlib.md5(OTHER).hexdigest() in str(caught.value)
    assert "move it away" in str(caught.value)
    assert (tmp_path / "cells.npz").read_bytes() == OTHER
    assert served.requests == []


@pytest.mark.parametrize("top", ["", "PBC/", "bundle/PBC/"])
@pytest.mark.parametrize("zipped_again", [False, True])
def test_class_folders_end_up_directly_in_the_folder_however_deep_they_lay(tmp_path, top, zipped_again):
    data = few_zip(top, extra={f"{top}ig/.DS_1.jpg": b"x", "__MACOSX/ig/._a.jpg": b"x"})
    if zipped_again:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            z.writestr("Download all/few.zip", data)
        data = out.getvalue()
    with serving(data) as served:
        path = get(tmp_path, source=folder_card(served.url))
        assert path == tmp_path / "few"
        assert {c.name: len(names(c)) for c in path.iterdir()} == {"basophil": 3, "ig": 2}
        assert names(tmp_path) == ["few"]
        assert get(tmp_path, source=folder_card(served.url)) == path
    assert len(served.requests) == 1


def test_counts_that_differ_are_all_told_and_the_download_goes(tmp_path):
    with serving(few_zip(basophil=2, ig=4)) as served, pytest.raises(FetchError) as caught:
        get(tmp_path, source=folder_card(served.url))
    message = str(caught.value)
    assert "expected 5 (basophil: 2 instead of 3; ig: 4 instead of 2)" in message
    assert "by hand from https://example.org/few" in message
    assert not (tmp_path / "few").exists()
    assert not list(tmp_path.rglob("*.zip"))


def test_a_class_that_nobody_expects_is_a_difference(tmp_path):
    with (
        serving(few_zip(extra={"PBC/blast/b.jpg": b"x"})) as served,
        pytest.raises(FetchError, match="blast: 1 instead of 0"),
    ):
        get(tmp_path, source=folder_card(served.url))


def test_an_archive_without_the_class_folders_is_told_by_what_it_holds(tmp_path):
    with (
        serving(few_zip(ig=0)) as served,
        pytest.raises(
            FetchError, match=r"has 0 folders that hold basophil, ig; expected one\. At its top: PBC"
        ),
    ):
        get(tmp_path, source=folder_card(served.url))


def test_a_page_instead_of_an_archive_is_told(tmp_path):
    with (
        serving(b"<!DOCTYPE html>Sign in") as served,
        pytest.raises(FetchError, match="cut short or no archive"),
    ):
        get(tmp_path, source=folder_card(served.url))
    assert not (tmp_path / "few").exists()


@pytest.mark.parametrize("name", ["few.zip", "few-1.zip"])
def test_an_archive_placed_by_hand_is_used_and_stays(tmp_path, name):
    (tmp_path / name).write_bytes(few_zip())
    with serving(b"") as served:
        get(tmp_path, source=folder_card(served.url))
    assert served.requests == []
    assert names(tmp_path) == ["few", name]


def test_a_wrong_archive_placed_by_hand_is_named_and_stays(tmp_path):
    (tmp_path / "few.zip").write_bytes(few_zip(ig=1))
    with pytest.raises(FetchError, match=r"few\.zip is not what was expected\. Move it away"):
        get(tmp_path, source=folder_card("http://127.0.0.1:1/"))
    assert (tmp_path / "few.zip").exists()


def test_a_folder_in_its_place_with_other_counts_is_named_and_left_alone(tmp_path):
    (tmp_path / "few" / "ig").mkdir(parents=True)
    (tmp_path / "few" / "ig" / "mine.jpg").write_bytes(b"x")
    with pytest.raises(FetchError, match=r"few holds 1 images; expected 5 .*Move .*few away"):
        get(tmp_path, source=folder_card("http://127.0.0.1:1/"))
    assert (tmp_path / "few" / "ig" / "mine.jpg").exists()


def test_an_archive_without_a_digest_that_is_complete_is_not_asked_for_again(tmp_path, monkeypatch):
    from hemoscope.data import fetch as fetch_module

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with serving(few_zip()) as served:
        with monkeypatch.context() as patched:
            patched.setattr(fetch_module, "unpack", full)
            with pytest.raises(FetchError, match=r"No space left on device.*What came is kept"):
                get(tmp_path, source=folder_card(served.url))
        get(tmp_path, source=folder_card(served.url))
    assert len(served.requests) == 1


def test_two_processes_do_not_fetch_the_same_thing_at_once(tmp_path):
    (tmp_path / ".fetch-cells").mkdir()
    with (
        FileLock(tmp_path / ".fetch-cells" / ".lock"),
        pytest.raises(FetchError, match="another process is fetching"),
    ):
        get(tmp_path, "http://127.0.0.1:1/")


def test_unknown_names_and_cards_of_another_name_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean pbc"):
        fetch("pbcc", tmp_path)
    with pytest.raises(ConfigError, match="'cells' was given for 'pbc'"):
        fetch("pbc", tmp_path, source=npz_card("http://127.0.0.1:1/"))


FETCH_IN_ANOTHER_PROCESS = textwrap.dedent("""
    import sys
    from pathlib import Path
    from hemoscope.data.catalog import DataSource
    from hemoscope.data.fetch import fetch
    url, digest, to = sys.argv[1:]
    source = DataSource(name="cells", title="Cells", form="npz", filename="cells.npz", urls=(url,), counts=(),
                    licence="x", doi="10.1/x", page="https://example.org/cells", citation="x", digest=digest)
    fetch("cells", Path(to), source=source)
""")


def kill_when_bytes_came(served, digest, to):
    command = [sys.executable, "-c", FETCH_IN_ANOTHER_PROCESS, served.url, digest, str(to)]
    process = subprocess.Popen(command, env=dict(os.environ))
    part = to / ".fetch-cells" / "cells.npz.part"
    before = part.stat().st_size if part.exists() else 0
    while not (part.exists() and part.stat().st_size > before):
        assert process.poll() is None, "the process ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL if os.name == "posix" else process.wait()
    return part.stat().st_size


def test_a_killed_fetch_leaves_only_hidden_names_and_the_next_goes_on_by_range(tmp_path):
    with serving(BODY, answers=[Answer(stall_after=150_000)] * 2) as served:  # neither can end by itself
        source = npz_card(served.url)
        have = [kill_when_bytes_came(served, source.digest, tmp_path) for _ in range(2)]
        assert have[0] < have[1] < len(BODY)
        assert names(tmp_path) == [".fetch-cells"]
        stray = tmp_path / ".fetch-cells" / "tmpstray"
        stray.write_bytes(b"left by the killed one")
        assert get(tmp_path, source=source).read_bytes() == BODY
    assert served.asked_ranges == [None, f"bytes={have[0]}-", f"bytes={have[1]}-"]
    assert names(tmp_path) == ["cells.npz"]


def test_progress_starts_where_the_part_ends_and_reaches_the_total(tmp_path):
    seen = []
    with serving(BODY, answers=[CUT]) as served:
        get(tmp_path, served.url, progress=lambda *event: seen.append(event))
    done = [event[1] for event in seen]
    assert done == sorted(done)
    assert seen[0] == ("downloading cells.npz", 0, len(BODY))
    assert seen[-1] == ("downloading cells.npz", len(BODY), len(BODY))


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path):
    out = io.StringIO()
    with serving(BODY) as served, byte_progress(out) as progress:
        get(tmp_path, served.url, progress=progress)
    lines = out.getvalue().splitlines()
    assert lines[0] == "downloading cells.npz: 0.0 of 0.4 MB (0%)"
    assert lines[-1].startswith("downloading cells.npz: 0.4 of 0.4 MB (100%), ")
    assert len(lines) == 2


def test_progress_is_a_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    with byte_progress(out) as progress:
        progress("downloading [a].npz", 0, 1000)
        progress("downloading [a].npz", 1000, 1000)
    assert "downloading [a].npz" in out.getvalue()
    assert "1.0/1.0 kB" in out.getvalue()


def test_nothing_but_the_progress_is_written_to_the_terminal(tmp_path, capfd):
    with serving(BODY) as served:
        get(tmp_path, served.url)
    assert capfd.readouterr() == ("", "")


def pinned(served, counts=(("basophil", 3), ("ig", 2))):
    """A source that knows the content of `few_zip`'s images."""
    lines = [
        f"{hashlib.sha256(random.Random(i).randbytes(30_000)).hexdigest()}  {name}/{name}_{i}.jpg\n"
        for name, n in counts
        for i in range(n)
    ]
    content = hashlib.sha256("".join(lines).encode()).hexdigest()
    return replace(folder_card(served.url), content=content)


def test_images_are_verified_by_their_content_and_not_by_their_number_alone(tmp_path):
    with serving(few_zip()) as served:
        place = get(tmp_path, source=pinned(served))
        assert get(tmp_path, source=pinned(served)) == place
    assert len(served.requests) == 1
    (place / "ig" / "ig_1.jpg").write_bytes(b"")
    with pytest.raises(FetchError, match=r"not the published ones.*Move .*few away"):
        get(tmp_path, source=pinned(served))
    shutil.rmtree(place)
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as z:
        for name, n in (("basophil", 3), ("ig", 2)):
            for i in range(n):
                z.writestr(f"{name}/{name}_{i}.jpg", b"")
    with serving(empty.getvalue()) as served, pytest.raises(FetchError, match="not the published ones"):
        get(tmp_path, source=pinned(served))
    assert not place.exists()


@pytest.mark.parametrize(
    ("asked", "sent_to", "followed"),
    [
        ("https://a.org/x", "https://b.org/y", True),
        ("https://a.org/x", "/y", True),
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/x", "ftp://a.org/x", False),
        ("http://a.org/x", "http://b.org/y", True),
        ("http://a.org/x", "https://a.org/x", True),
    ],
)
def test_from_https_nobody_is_sent_on_to_what_is_not_encrypted(asked, sent_to, followed):
    response = requests.Response()
    response.status_code, response.url = 302, asked
    response.headers["Location"] = sent_to
    with nullcontext() if followed else pytest.raises(FetchError, match="not encrypted"):
        transfer._stay_encrypted(response)


def test_every_answer_is_looked_at_before_it_is_followed(tmp_path, monkeypatch):
    """The hook is there in a real transfer, on a server that can only speak http."""
    seen = []
    monkeypatch.setattr(transfer, "_stay_encrypted", lambda response, **_: seen.append(response.status_code))
    with serving(BODY) as served:
        get(tmp_path, served.url)
    assert seen == [200]
