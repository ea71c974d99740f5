"""The command line: parse, call, print. No logic lives here, and nothing heavy is imported for help."""

from __future__ import annotations

import atexit
import gc
import sys
import warnings
from io import TextIOWrapper

from hemoscope.errors import DISK_FULL, ConfigError, HemoscopeError, UnknownNameError

__all__ = ["main"]

INTERRUPTED = 130
# Done again, these go on where they stopped; `predict` where it writes to a file.
GO_ON = {
    *(("adapt",), ("demo",), ("train",), ("benchmark",), ("tune",), ("track",), ("differential",)),
    *(("data", "fetch"), ("weights", "fetch")),
}


def main() -> None:
    """Run the command line: exit 0 done, 1 problems or failure, 2 wrong use, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is no reason to stop
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from hemoscope.places import share_cores

        share_cores()
        atexit.register(_leave)

        warnings.filterwarnings("ignore", module=r"PIL\.")  # our own errors say what is wrong with an image
        from hemoscope.cli.app import app

        app()
    except (SystemExit, KeyboardInterrupt) as end:  # typer turns Ctrl-C into an exit with 130
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        words = sys.argv[1:]
        to_file = words[:1] == ["predict"] and any(word.startswith("--out") for word in words)
        goes_on = to_file or tuple(words[:1]) in GO_ON or tuple(words[:2]) in GO_ON
        print(file=sys.stderr)  # noqa: T201
        _tell(
            "interrupted; what was finished is kept. The same command goes on from there."
            if goes_on
            else "interrupted"
        )
        raise SystemExit(INTERRUPTED) from None
    except HemoscopeError as error:
        _tell(str(error))
        raise SystemExit(2 if isinstance(error, (ConfigError, UnknownNameError)) else 1) from None
    except OSError as error:  # a full disk, a folder that may not be written, a share that went away
        room = "; make room, then give the same command again" if error.errno in DISK_FULL else ""
        _tell((f"{error.filename}: " if error.filename else "") + (error.strerror or str(error)) + room)
        raise SystemExit(1) from None


def _leave() -> None:
    """Look for no garbage among millions of records when the process ends.

    Not with torch: its extensions count what is left at the end, and would call it leaked.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def _tell(text: str) -> None:
    from hemoscope.cli.console import note
    from hemoscope.training.ranks import tell_once

    tell_once(f"hemoscope: {text}", note)
