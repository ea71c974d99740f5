"""Exported LaTeX, compiled by a real LaTeX; skipped with a reason where none is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hemoscope.models.registry import arch_names
from hemoscope.report.certainty import certainty_of
from hemoscope.report.collect import collect
from hemoscope.report.latex import PACKAGES, as_latex
from hemoscope.report.tables import all_tables, write_tables
from hemoscope.report.texttable import Row, TextTable

AWKWARD = (
    "[3pt] after a row's end", "*", "50% _a_ & b", "pipe|and`", "\\back{slash}", '"~^#$<>"', "a--b ---c",
    "[", "Ñandú «é» ß", "?` !`",
)  # fmt: skip
FOREIGN = ("好中球", "нейтрофил", "e\u0301", "🩸")
EIGHT = {"test": (3, 4, 2, 2, 3, 2, 3, 2), "error_rate": 0.2, "history": False}

needs_latex = pytest.mark.skipif(
    not shutil.which("pdflatex"),
    reason="needs pdflatex: apt-get install texlive-latex-base texlive-latex-recommended lmodern",
)


def compiled(tex: Path, engine: str = "pdflatex") -> str:
    """Compile, stopping at the first error, and return the log."""
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", tex.name]
    done = subprocess.run(command, cwd=tex.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-2000:]
    return tex.with_suffix(".log").read_text("utf-8", "replace")


def alone(tex: Path) -> Path:
    """Write a document that holds one exported file and loads a font and what its first line names."""
    needed = re.findall(r"\\usepackage(?:\[\w+\])?\{[\w,]+\}", tex.read_text("utf-8").splitlines()[0])
    lines = [
        r"\documentclass{article}\usepackage{lmodern}",
        *needed,
        rf"\begin{{document}}\input{{{tex.stem}}}\end{{document}}",
    ]
    path = tex.with_name(f"alone-{tex.name}")
    path.write_text("\n".join(lines), "utf-8")
    return path


def pages(log: str) -> int:
    (n,) = re.findall(r"Output written on .*?\((\d+) pages?", log.replace("\n", ""))
    return int(n)


def awkward_table(names: tuple[str, ...] = AWKWARD, *, lines: int = 1) -> TextTable:
    groups = tuple(
        (Row("main", (name, name, "2.50")), Row("interval", ("", "", "1–3")), Row("section", (name,)))
        for name in names * lines
    )
    return TextTable("awkward", "[A] caption: 50% & more ±−×Δ.", ("*Class", "[Images]", "Share"), groups, 2)


@needs_latex
@pytest.mark.parametrize("lines", [1, 9], ids=["float", "longtable"])
def test_names_that_mean_something_to_latex_compile(tmp_path, lines):
    tex = tmp_path / "awkward.tex"
    tex.write_text(as_latex([awkward_table(lines=lines)]), "utf-8")
    log = compiled(alone(tex))
    assert "Missing character" not in log
    assert (pages(log) > 1) == (lines > 1)


@needs_latex
@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_every_exported_table_of_27_networks_with_any_class_names_compiles(runs, tmp_path, engine):
    if not shutil.which(engine):
        pytest.skip(f"needs {engine}")
    for arch in arch_names():
        runs.add(arch, **EIGHT | {"classes": (*AWKWARD[:4], *FOREIGN), "rename": None})
    report = collect(runs.root)
    write_tables(all_tables(report, certainty_of(report)), tmp_path)
    written = {path.stem for path in tmp_path.glob("*.tex")} - {"all"}
    assert (
        {path.stem for path in tmp_path.glob("*.csv")} == {p.stem for p in tmp_path.glob("*.md")} == written
    )
    log = compiled(tmp_path / "all.tex", engine)
    assert {name for name in written if f"{name}.tex" in log.replace("\n", "")} == written
    assert r"\begin{longtable}" in (tmp_path / "table2.tex").read_text("utf-8")
    assert "lualatex" in (tmp_path / "table2.tex").read_text("utf-8").splitlines()[1]


@needs_latex
def test_each_file_compiles_by_itself_with_the_packages_it_names(runs, tmp_path):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, **EIGHT)
    report = collect(runs.root)
    write_tables(all_tables(report, certainty_of(report)), tmp_path)
    for name in ("table2", "table3", "confusion-counts", "recipe"):
        assert pages(compiled(alone(tmp_path / f"{name}.tex"))) >= 1


@pytest.mark.parametrize("lines", [1, 9])
def test_rows_have_the_columns_that_are_announced_and_nothing_follows_their_end(lines):
    text = as_latex([awkward_table(lines=lines)])
    (columns,) = re.findall(r"\\begin\{(?:tabular|longtable)\}\{(.*)\}", text)
    assert len(re.findall(r"[lr]|p\{", re.sub(r">\{[^}]*\}", "", columns))) == 3
    for line in text.splitlines():
        if line.endswith((r" \\", r" \\*")) and "multicolumn" not in line and "caption" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 2, line
    for end, following in re.findall(r"(\\\\\*?|\\midrule|\\addlinespace)\s*(.)", text):
        assert following not in "[*", (end, following)


def test_only_long_or_several_tables_break_over_pages():
    short, long = awkward_table(), awkward_table(lines=9)
    assert "longtable}" not in as_latex([short]).split("\n", 1)[1]
    assert as_latex([long]).count(r"\begin{longtable}") == 1
    assert as_latex([short, short]).count(r"\begin{longtable}") == 2
    assert all(package in as_latex([short]).splitlines()[0] for package in PACKAGES)
