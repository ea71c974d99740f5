"""Ten thousand damaged image files, in a process of its own: no crash, no hang, memory bounded."""

from __future__ import annotations

import json
import subprocess
import sys

FUZZ = """
import faulthandler, io, json, resource, sys, time
import numpy as np
from PIL import Image
from hemoscope.data.decode import Decoded, decode
from hemoscope.errors import ImageError

faulthandler.enable()
rng = np.random.default_rng(int(sys.argv[1]))
y, x = np.mgrid[:48, :52]
image = Image.fromarray(np.stack([x * 4, y * 5, (x * y) % 251], -1).astype(np.uint8))
exif = Image.Exif()
exif[0x0112] = 6
whole = []
for kind, options in (
    ("JPEG", {}), ("JPEG", {"progressive": True, "exif": exif}), ("JPEG", {"subsampling": 0, "quality": 95}),
    ("PNG", {}), ("PNG", {"compress_level": 0}),
):
    file = io.BytesIO()
    image.save(file, kind, **options)
    whole.append(file.getvalue())
file = io.BytesIO()
image.convert("P").save(file, "PNG", transparency=3)
whole.append(file.getvalue())


def damaged():
    data = bytearray(whole[rng.integers(len(whole))])
    for _ in range(rng.integers(1, 6)):
        how, at = rng.integers(5), int(rng.integers(len(data)))
        if how == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            data[at] = int(rng.choice([0, 1, 127, 128, 254, 255]))
        elif how == 2:
            del data[at : at + int(rng.integers(1, 40))]
        elif how == 3:
            data[at:at] = rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8).tobytes()
        else:
            data[at : at + 2] = int(rng.integers(65536)).to_bytes(2, "big")
        data = data or bytearray(1)
    return bytes(data)


read = refused = 0
slowest = 0.0
decode(whole[0])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(int(sys.argv[2])):
    data = damaged()
    began = time.perf_counter()
    try:
        found = decode(data)
    except ImageError as error:
        assert str(error)
        refused += 1
    else:
        assert found.pixels.dtype == np.uint8 and found.pixels.ndim == 3 and found.pixels.shape[2] == 3
        read += 1
    slowest = max(slowest, time.perf_counter() - began)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"read": read, "refused": refused, "slowest_s": slowest, "grown_kib": after - before}))
"""


def test_ten_thousand_mutated_files_are_read_or_refused():
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, "0", "10000"], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["read"] + found["refused"] == 10_000
    assert min(found["read"], found["refused"]) > 500  # the damage is neither fatal nor harmless throughout
    # A header may claim up to MAX_PIXELS: 64 million, 3 bytes each, in a few copies.
    assert found["grown_kib"] < 1_200_000, found
