"""Images on the disk by the SHA-256 of their file, and small pictures of them for the page.

An image is whole and on the disk before `put` returns, and never changes. The small pictures can be made again.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hemoscope.data.images.decode import decode
from hemoscope.data.images.square import center_square
from hemoscope.errors import ImageError
from hemoscope.server.disk import full_told, sync_folder, write_synced

__all__ = ["LARGE_PX", "SIZES_PX", "Pictures"]

SIZES_PX = (48, 64, 96, 128, 192, 256, 384)
LARGE_PX = 1024  # longer side of the large picture
_QUALITY = 85


class Pictures:
    """A folder of images.

    Attributes:
        folder: Holds `images/ab/abcd…` and `thumbnails/96/ab/abcd….jpg`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where an image lies, or would.

        Raises:
            ImageError: If it is no SHA-256 in hexadecimal.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ImageError("expected the SHA-256 of an image, 64 hexadecimal digits")
        return self.folder / "images" / digest[:2] / digest

    def put(self, content: bytes) -> str:
        """Keep an image; it is on the disk when this returns.

        Returns:
            Its SHA-256.

        Raises:
            DiskFullError: If there is no room.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.path(digest)
        with full_told():
            if not path.parent.is_dir():
                path.parent.mkdir(exist_ok=True)
                sync_folder(path.parent.parent)
            if not path.exists():
                part = path.with_name(f".{digest}.{secrets.token_hex(4)}.part")
                try:
                    write_synced(part, content)
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
            sync_folder(path.parent)  # also of a file that another thread has just put there
        return digest

    def read(self, digest: str) -> bytes:
        """Return an image's file.

        Raises:
            ImageError: If there is none.
        """
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise ImageError(f"there is no image {digest[:12]}… here") from None

    def pixels(self, digest: str) -> NDArray[np.uint8]:
        """Return an image upright in 8-bit RGB, shape (H, W, 3).

        Raises:
            ImageError: If there is none, or it cannot be read.
        """
        return decode(self.read(digest)).pixels

    def thumbnail(self, digest: str, px: int) -> bytes:
        """Return a square JPEG of what the model sees, of the next of `SIZES_PX`.

        Raises:
            ImageError: If there is no such image, or it cannot be read.
        """
        side = next((size for size in SIZES_PX if size >= px), SIZES_PX[-1])
        kept = self.folder / "thumbnails" / str(side) / self.path(digest).relative_to(self.folder / "images")
        try:
            return kept.read_bytes()
        except FileNotFoundError:
            pass
        jpeg = small_jpeg(self.pixels(digest), side)
        with full_told():
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}.part")
            part.write_bytes(jpeg)
            part.replace(kept)
        return jpeg

    def large(self, digest: str) -> bytes:
        """Return a PNG of the whole image, its longer side at most `LARGE_PX`.

        Raises:
            ImageError: If there is no such image, or it cannot be read.
        """
        image = Image.fromarray(self.pixels(digest))
        image.thumbnail((LARGE_PX, LARGE_PX))
        return png(image)


def small_jpeg(pixels: NDArray[np.uint8], side_px: int) -> bytes:
    """Return the central square of an image as a JPEG of so many pixels a side."""
    buffer = io.BytesIO()
    Image.fromarray(center_square(pixels, side_px)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG that is quick to make."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
