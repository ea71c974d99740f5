"""What `data check` prints: a table of classes, then every problem."""

from __future__ import annotations

from collections import Counter

import typer

from hemoscope.cli.console import print_table, printable

__all__ = ["print_findings"]

SHOWN = 40


def print_findings(findings: dict[str, object]) -> None:
    """Print the findings of an audit."""
    classes: dict[str, int] = findings["classes"]  # type: ignore[assignment]
    second: dict[str, int] = findings["second_acquisition_classes"]  # type: ignore[assignment]
    problems: list[dict[str, str]] = findings["problems"]  # type: ignore[assignment]
    rows = [["class", "images", "second acquisition"]]
    rows += [[name, f"{n:,}", str(second.get(name, 0))] for name, n in classes.items()]
    rows.append(["all", f"{findings['images']:,}", f"{findings['second_acquisition']}"])
    print_table(rows, right=(1, 2))
    typer.echo(
        f"\n{findings['not_images']} files that are no images; {findings['duplicate_groups']} groups of identical "
        f"images, {findings['conflicting_groups']} of them with contradictory labels; "
        f"{findings['near_duplicate_groups']} groups that look alike"
    )
    given: dict[str, int] = findings["given_sides"]  # type: ignore[assignment]
    if given:
        typer.echo("given split: " + ", ".join(f"{n:,} {side}" for side, n in given.items()))
    levels = Counter(p["level"] for p in problems)
    typer.echo(", ".join(f"{levels[level]} {level}s" for level in ("error", "warning", "note")))
    for problem in problems[:SHOWN]:
        typer.echo(printable(f"  {problem['level']:7}  {problem['path']}: {problem['what']}"))
    if len(problems) > SHOWN:
        typer.echo(f"  and {len(problems) - SHOWN} more; all of them: --json")
