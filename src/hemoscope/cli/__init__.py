"""The command line: parse, call, print. No logic lives here, and nothing heavy is imported for help."""

from __future__ import annotations

import sys
import warnings

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run the command line: exit 0 done, 1 problems or failure, 2 wrong use, 130 interrupted."""
    from hemoscope.cli.app import app
    from hemoscope.errors import HemoscopeError

    warnings.filterwarnings("ignore", module=r"PIL\.")  # our own errors say what is wrong with an image
    try:
        app()
    except HemoscopeError as error:
        print(f"hemoscope: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that may not be written, a share that went away
        where = f"{error.filename}: " if error.filename else ""
        why = error.strerror or str(error)
        print(f"hemoscope: {where}{why}. What was finished is kept.", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    except (SystemExit, KeyboardInterrupt) as end:  # typer turns Ctrl-C into an exit with 130
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        note = "interrupted; what was finished is kept. The same command goes on from there."
        print(f"\nhemoscope: {note}", file=sys.stderr)  # noqa: T201
        raise SystemExit(INTERRUPTED) from None
