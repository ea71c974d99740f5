"""Damaged files of every kind: an image of the declared kind or an ImageError, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hemoscope.data.images.decode import MAX_PIXELS, decode
from hemoscope.errors import ImageError
from tests.data.mutated import mutants, whole_files

ALL = """
import json, sys
from tests.data.test_decode_fuzz import count
from hemoscope.data.images.decode import decode
import resource, warnings
warnings.simplefilter("ignore")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = count(int(sys.argv[1]), int(sys.argv[2]))
print(json.dumps({**found, "grown_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}))
"""


def count(seed: int, number: int) -> dict[str, int]:
    files = whole_files()
    whole = {name: decode(data).pixels for name, data in files.items()}
    read = 0
    reasons: list[str] = []
    for name, data in mutants(files, seed, number):
        try:
            pixels = decode(data).pixels
        except ImageError as error:
            reasons.append(str(error))
            continue
        assert pixels.dtype == np.uint8, name
        assert pixels.ndim == 3, name
        assert pixels.shape[2] == 3, name
        assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS, name
        if name.startswith("PNG"):  # everything that matters in it has a checksum
            np.testing.assert_array_equal(pixels, whole[name], err_msg=name)
        read += 1
    assert all(reasons)
    return {"read": read, "refused": len(reasons)}


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is damaged
def test_three_thousand_damaged_files_are_read_or_refused(capfd: pytest.CaptureFixture[str]):
    found = count(seed=0, number=3000)
    assert min(found.values()) > 500  # the damage is neither fatal nor harmless throughout
    assert capfd.readouterr() == ("", "")  # libtiff would write there


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="measures memory by the resource module")
def test_forty_thousand_damaged_files_kill_no_process_and_take_bounded_memory():
    done = subprocess.run(
        [sys.executable, "-c", ALL, "1", "40000"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert min(found["read"], found["refused"]) > 5000
    assert found["grown_kib"] < 1_000_000, found  # one image of MAX_PIXELS takes up to 740 MiB


@pytest.mark.parametrize("name", whole_files())
@pytest.mark.filterwarnings("ignore")
def test_a_cut_file_is_whole_or_an_error_and_never_a_part(name: str):
    data = whole_files()[name]
    whole = decode(data).pixels
    refused = 0
    cuts = {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 8, len(data))}
    for keep in sorted(cuts):
        try:
            got = decode(data[:keep])
        except ImageError:
            refused += 1
        else:  # only what is behind the last pixel may be missing
            np.testing.assert_array_equal(got.pixels, whole, err_msg=f"{keep} of {len(data)} bytes")
    assert refused > 20


@pytest.mark.parametrize("name", [name for name in whole_files() if name.startswith("PNG")])
def test_every_changed_byte_of_a_png_s_header_and_pixels_is_an_error(name: str):
    data = whole_files()[name]
    rng = np.random.default_rng(3)
    places = {*range(8, 33), *range(data.index(b"IDAT") - 4, data.index(b"IDAT") + 60)}
    places |= set(rng.integers(data.index(b"IDAT"), len(data), 100).tolist())
    for at in sorted(places):
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        with pytest.raises(ImageError, match="PNG"):
            decode(bytes(damaged))
