"""The command line: parse, call, print. No logic lives here, and nothing heavy is imported for help."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line: exit 0 done, 1 problems or failure, 2 wrong use, 130 interrupted."""
    from hemoscope.cli.app import app
    from hemoscope.errors import HemoscopeError

    try:
        app()
    except HemoscopeError as error:
        print(f"hemoscope: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        note = "interrupted; what was finished is kept. The same command goes on from there."
        print(f"\nhemoscope: {note}", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
