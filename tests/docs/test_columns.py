"""The page of columns and keys against what the code writes: each documented key is there, each written one documented."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model
from typer.testing import CliRunner

from hemoscope import demo as demo_module
from hemoscope.cli.app import app
from hemoscope.data import catalog
from hemoscope.data.scan.scan import scan
from hemoscope.data.split import make_split
from hemoscope.files import sha256_of
from hemoscope.records import SIDES
from hemoscope.review.bias import Followed
from hemoscope.review.exports.tables import as_json, cells_csv, differential_csv
from hemoscope.review.readers import agreement
from hemoscope.review.state import start
from hemoscope.runs import Run
from hemoscope.tracking.record import record_of
from tests.data import boxed
from tests.docs.reading import DOCS, table_rows, tokens
from tests.review.reports import report
from tests.review.slides import CLASSES, cells_of, give
from tests.review.slides import place as put
from tests.suspects.conftest import write_folds, write_run

PAGE = DOCS / "columns.md"
# Keys below these depend on the data: what the page writes in their place.
OPEN = {
    "classes": "CLASS",
    "chosen": "FIELD",
    "counts": "CLASS",
    "second_acquisition": "CLASS",
    "thresholds": "CLASS",
    "second_acquisition_classes": "CLASS",
    "converted": "REASON",
    "given_sides": "SIDE",
    "seen_before": "SIDE",
    "class_map": "CLASS",
    "none_of_the_classes": "STATUS",
    "passed_over": "KIND",
    "strange_called_unknown": "KIND",
    "conformal_coverage_by_class": "CLASS",
    "versions": "PACKAGE",
    "files": "FILE",
    "percents": "CLASS",
    "by_review": "CLASS",
    "shares": "CLASS",
    "labelled": "CLASS",
    "merged": "CLASS",
    "first": "CLASS",
    "second": "CLASS",
    "settled": "CELL",
    "automation_bias": "READER",
}
ON_CUDA = {"machine.driver", "machine.cudnn"}
OF_SEVERAL = {"machine.ranks", "machine.backend"}  # tests/training/test_ranks.py has them
QUICK = [
    "--device",
    "cpu",
    "--recipe",
    "demo",
    "--epochs",
    "1",
    "--set",
    "image_px=32",
    "--set",
    "canvas_px=36",
]
SLIDE = tuple(f"What a slide is exported as, {how}" for how in ("a row a class", "a row a cell", "in JSON"))
RANGES = """
name = "Discs"
source = "tests"
[classes.red]
label = "Red"
role = "white"
percent = [10, 30]
[classes.green]
label = "Green"
role = "white"
[classes.blue]
label = "Blue"
role = "platelet"
"""


def sections() -> dict[str, list[tuple[list[str], str]]]:
    """Return the rows of every section: its own keys, and the section whose keys follow them."""
    found: dict[str, list[tuple[list[str], str]]] = {}
    parsed, head, start = tokens(PAGE), "", 0
    for i, token in enumerate(parsed):
        if token.type == "heading_open":
            head, start = parsed[i + 1].content, i
            found[head] = []
        if token.type == "table_close":
            for cell, _ in table_rows(parsed[start : i + 1]):
                children = cell.children or []
                keys = [t.content for t in children if t.type == "code_inline"]
                link = next((str(t.attrs["href"]) for t in children if t.type == "link_open"), "")
                found[head].append((keys, link.removeprefix("#")))
    return {head: rows for head, rows in found.items() if rows}


PLACES = {
    "scores": "Scores",
    "recipe": "Fields of the recipe",
    "calibration": "Calibration",
    "measured": "Measured figures",
    "rate": "Rate",
}


def documented(head: str) -> set[str]:
    """Return every key of a section, those of the sections it points to written out."""
    keys: set[str] = set()
    for own, place in sections()[head]:
        if not place:
            keys |= set(own)
            continue
        below = documented(PLACES[place])
        keys |= {f"{prefix}.{key}" for prefix in own for key in below} if own else below
    return keys


def keys_of(value: Any, path: str = "", name: str = "") -> Iterator[str]:
    """Yield the path of every value in a document, as the page writes it."""
    if isinstance(value, Mapping) and (value or name in OPEN):
        for key, below in value.items():
            shown = "SIDE" if name == "counts" and key in SIDES else OPEN.get(name, key)
            yield from keys_of(below, f"{path}.{shown}".lstrip("."), "counts" if shown == "SIDE" else key)
        if not value:
            yield f"{path}.{OPEN[name]}"
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for item in value:
            yield from keys_of(item, f"{path}[]")
    else:
        yield path


def agrees(head: str, written: Iterable[str], *, never_here: Iterable[str] = ()) -> None:
    """Compare a section with the paths that were written; a null may stand for a part that is documented."""
    said, found = documented(head), set(written)
    parents = {path for path in found if any(key.startswith((f"{path}.", f"{path}[]")) for key in said)}
    undocumented, unwritten = sorted(found - parents - said), sorted(said - found - set(never_here))
    assert not undocumented, f"{head}: written and not documented"
    assert not unwritten, f"{head}: documented and not written"


def printed(*words: object, code: int = 0) -> Any:
    """Run a verb with --json in this process and return its document."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == code, f"{words}: {done.output} {done.exception!r}"
    return json.loads(done.stdout)


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEMOSCOPE_CACHE", "HEMOSCOPE_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def test_every_section_is_compared():
    tested = set(PLACES.values()) | {
        *(
            "Rows of predict",
            "run.json",
            "What `evaluate --out` adds to run.json",
            "history.csv",
            "predictions.parquet",
            "split.csv",
            "suspects.csv",
            "contradictions.csv",
            "What a tracker is told",
            "differential.json",
            *SLIDE,
        ),
        *(
            "demo",
            "data fetch",
            "data check",
            "data list",
            "data crop",
            "data split",
            "data audit",
            "data synth",
            "data cache",
        ),
        *(
            "models",
            "weights list",
            "weights fetch",
            "weights verify",
            "weights import",
            "train",
            "benchmark",
            "tune",
            "track",
        ),
        *(
            "evaluate",
            "stress",
            "stress.csv",
            "ensemble",
            "compare",
            "report",
            "bundle make and bundle show",
            "bundle verify",
            "adapt",  # in tests/adapt
        ),
        *("predict with `--out`", "explain", "export", "store user list"),
    }
    assert set(sections()) == tested


def test_exports_of_a_slide():
    cells = cells_of({"neutrophil": 90, "lymphocyte": 45, "ig": 2})
    one = give(start(CLASSES, cells, blind=True), put([0, 1], "ig"))
    two = give(start(CLASSES, cells, blind=True, reading=2), put([0], "ig"), put([1], "neutrophil"))
    last = give(start(CLASSES, cells, blind=True, reading="settle"), put([1], "ig"))
    bias = {"Bo": Followed(20, 4, 3, 0.75, (0.3, 0.95), 16, 1)}
    made = report(put([0], "ig"), cells=cells, agreement=agreement(one, two, last), bias=bias)
    for head, text in zip(SLIDE, (differential_csv(made), cells_csv(made)), strict=False):
        agrees(head, next(csv.reader(text.splitlines())))
    counts = r"(differential\.(before|after))\..*"
    agrees(SLIDE[-1], (re.sub(counts, r"\1", key) for key in keys_of(json.loads(as_json(made)))))


def test_tables_of_a_run(runs: list[Run]):
    folder = runs[0].path
    with (folder / "history.csv").open(encoding="utf-8") as file:
        agrees("history.csv", next(csv.reader(file)))
    names = pq.ParquetFile(folder / "predictions.parquet").schema_arrow.names
    agrees("predictions.parquet", {"prob_CLASS" if n.startswith("prob_") else n for n in names})
    (split,) = (folder.parent / "splits").iterdir()
    with split.open(encoding="utf-8") as file:
        agrees("split.csv", next(csv.reader(file)))


@pytest.mark.usefixtures("own_places")
def test_verbs_on_data(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cells = tmp_path / "cells"
    shutil.copytree(discs, cells / "train")
    shutil.copytree(discs, cells / "test")
    (cells / "train" / "red" / "torn.jpg").write_bytes(b"\xff\xd8 no more")
    checked = printed("data", "check", cells, code=1)
    assert checked["problems"]
    assert checked["duplicates"]
    assert checked["given_sides"]
    agrees("data check", keys_of(checked))
    agrees("data list", keys_of(printed("data", "list", cells / "test", "--out", cells / "labels.csv")))
    agrees("data split", keys_of(printed("data", "split", discs, "--out", tmp_path / "split.csv")))
    synth = printed("data", "synth", tmp_path / "drawn", "--per-class", 1, "--size-px", 32)
    agrees("data synth", keys_of(synth))
    kept = printed("data", "cache")
    assert kept["kept"]
    agrees("data cache", keys_of(kept))

    boxed.voc(tmp_path / "set", boxed.fields([f"JPEGImages/view-{i}.png" for i in range(3)]))
    agrees("data crop", keys_of(printed("data", "crop", tmp_path / "set", "--out", tmp_path / "crops")))

    here = tmp_path / "data" / "tiny.npz"
    here.parent.mkdir()
    here.write_bytes(b"as published")
    source = catalog.DataSource(
        **dict.fromkeys(("title", "licence", "doi", "page", "citation"), "tests"),
        name="tiny",
        form="npz",
        filename=here.name,
        urls=("https://example.invalid/tiny.npz",),
        counts=(),
        digest=f"sha256:{sha256_of(here)}",
    )
    monkeypatch.setattr(catalog, "SOURCES", (source,))
    agrees("data fetch", keys_of(printed("data", "fetch", "tiny", "--to", here.parent)))


def test_users_of_a_store(tmp_path: Path):
    pytest.importorskip("sqlalchemy")
    from hemoscope.server.settings import Settings
    from hemoscope.server.store.migrate import migrate
    from hemoscope.server.store.store import Store
    from hemoscope.server.users import Users

    store = Store(Settings(tmp_path).store_url)
    migrate(store)
    Users(store, session_s=0).add("ada", "reader", "a long password")
    store.close()
    agrees("store user list", keys_of(printed("store", "user", "list", "--data-folder", tmp_path)))


def test_an_audit_of_labels(discs: Path, tmp_path: Path):
    cells = tmp_path / "cells"
    shutil.copytree(discs, cells)
    shutil.copy(cells / "red" / "00.png", cells / "blue" / "twice.png")
    manifest = scan(cells)
    write_folds(tmp_path / "runs", manifest, {"red/05.png": "blue"})
    write_run(tmp_path / "runs", manifest, make_split(manifest, policy="paper", seed=0), {}, name="no-fold")
    found = printed("data", "audit", tmp_path / "runs", "--out", tmp_path / "out")
    agrees("data audit", keys_of(found))
    document = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))
    assert {**document, "out": found["out"]} == found
    for name in ("suspects.csv", "contradictions.csv"):
        with (tmp_path / "out" / name).open(encoding="utf-8") as file:
            own = ("prob_given", "prob_suggested")
            head = next(csv.reader(file))
        agrees(name, {"prob_CLASS" if n.startswith("prob_") and n not in own else n for n in head})


@pytest.mark.usefixtures("own_places")
def test_verbs_on_weights(tmp_path: Path):
    agrees("models", keys_of(printed("models")))
    agrees("weights list", keys_of(printed("weights", "list")))
    torch.manual_seed(0)
    file = tmp_path / "squeezenet1_1.safetensors"
    save_file(get_model("squeezenet1_1", weights=None).state_dict(), file)
    agrees("weights import", keys_of(printed("weights", "import", file)))
    agrees("weights fetch", keys_of(printed("weights", "fetch", "squeezenet1_1")))
    agrees("weights verify", keys_of(printed("weights", "verify")))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.usefixtures("own_places")
def test_a_search(discs: Path, tmp_path: Path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    asked = ["--data", discs, "--out", tmp_path / "tune", "--trials", 1, "--search", "lr=0.01..0.02", *QUICK]
    agrees("tune", keys_of(printed("tune", "resnet18", *asked)))


@pytest.mark.usefixtures("own_places")
def test_verbs_on_runs(discs: Path, tmp_path: Path):
    cells, out = tmp_path / "cells", tmp_path / "runs"
    shutil.copytree(discs, cells)
    (cells / "red" / "torn.jpg").write_bytes(b"\xff\xd8 no more")
    common = ["--data", cells, "--skip-bad", "--out", out]
    trained = printed("train", "resnet18", *common, *QUICK)
    agrees("train", keys_of(trained))
    lines = [f"{p.relative_to(tmp_path)},{p.parent.name},{p.stem}" for p in sorted(cells.rglob("*.png"))]
    listed = tmp_path / "labels.csv"
    listed.write_text("\n".join(["path,class,group", *lines]), "utf-8")
    framed_by = ["--out", tmp_path / "framed", *QUICK, "--set", "framing=nucleus"]
    printed("train", "resnet18", "--data", listed, *framed_by)
    swept = printed("benchmark", *common, *QUICK, "--arch", "resnet18")
    failed = printed("benchmark", *common, "--device", "cpu", "--arch", "resnet18", "--epochs", 1, code=1)
    agrees("benchmark", {*keys_of(swept), *keys_of(failed)})
    cards = [json.loads(path.read_text("utf-8")) for path in sorted(out.glob("*/run.json"))]
    assert {card["status"] for card in cards} == {"done", "failed"}
    with_weights = {"weights.origin", "weights.note", "weights.sha256"}  # there are none here
    never_here = ON_CUDA | OF_SEVERAL | with_weights
    (framed,) = (json.loads(path.read_text("utf-8")) for path in (tmp_path / "framed").glob("*/run.json"))
    agrees("run.json", {key for card in (*cards, framed) for key in keys_of(card)}, never_here=never_here)
    recipe = {key for card in cards for key in keys_of(card["recipe"])}
    agrees("Fields of the recipe", recipe)

    own = printed("evaluate", trained["run"])
    agrees(
        "Scores",
        keys_of(
            {k: v for k, v in own.items() if k not in ("run", "balanced_accuracy", "balanced_accuracy_ci")}
        ),
    )
    printed("train", "resnet18", *common, *QUICK, "--seed", 1)
    agrees("ensemble", keys_of(printed("ensemble", out)))
    agrees("compare", keys_of(printed("compare", out)), never_here={"left_out[].name", "left_out[].reason"})
    agrees("report", keys_of(printed("report", out, "--out", tmp_path / "report")))


def test_verbs_on_a_bundle(ensemble_file: Path, misfiled: Path, runs: list[Run], tmp_path: Path):
    shown = printed("bundle", "show", ensemble_file)
    with_weights = {f"members[].pretrained.{key}" for key in ("origin", "note", "sha256")}
    agrees("bundle make and bundle show", keys_of(shown), never_here=with_weights)
    made = printed("bundle", "make", runs[0].path, "--out", tmp_path / "one.hemo", "--device", "cpu")
    assert set(made) | {"digest"} == set(shown)
    trust = shown["calibration"]
    agrees("Calibration", keys_of(trust))
    figures = {k: v for k, v in trust["measured"].items() if k not in ("answers", "strange_called_unknown")}
    agrees("Measured figures", keys_of(figures))
    agrees("Rate", keys_of(trust["measured"]["accepted"]))
    agrees("bundle verify", keys_of(printed("bundle", "verify", ensemble_file)))

    for name, other in (("blue", "blue"), ("green", "green"), ("red", "dirt")):
        shutil.copytree(misfiled / name, tmp_path / "elsewhere" / other)
    (tmp_path / "map.toml").write_text("[classes]\ndirt = false\n")
    (tmp_path / "ranges.toml").write_text(RANGES)
    blood = ["--in-blood", "--ranges", tmp_path / "ranges.toml"]
    data = [*blood, "--data", tmp_path / "elsewhere", "--classes", tmp_path / "map.toml", "--device", "cpu"]
    scored = [printed("evaluate", what, *data) for what in (runs[0].path, runs[0].path.parent, ensemble_file)]
    agrees("evaluate", {key for document in scored for key in keys_of(document)})
    added = set()
    for i, what in enumerate((runs[0].path.parent, ensemble_file)):
        printed("evaluate", what, *data, "--out", tmp_path / f"scored-{i}")
        for path in (tmp_path / f"scored-{i}").glob("*/run.json"):
            told = json.loads(path.read_text("utf-8"))["evaluated"]
            added |= set(keys_of({"evaluated": told}))
    below = r"(evaluated\.trained_on\.(data|split))\..*"
    agrees("What `evaluate --out` adds to run.json", {re.sub(below, r"\1", key) for key in added})
    tried = ["--data", misfiled, "--limit", 1, "--device", "cpu"]
    broken = [printed("stress", what, *tried) for what in (runs[0].path, runs[0].path.parent)]
    broken.append(printed("stress", ensemble_file, *tried, "--out", tmp_path / "broken"))
    agrees("stress", {key for document in broken for key in keys_of(document)})
    with (tmp_path / "broken" / "stress.csv").open(encoding="utf-8") as file:
        agrees("stress.csv", next(csv.reader(file)))

    smear = tmp_path / "smear"
    smear.mkdir()
    for colour in ("red", "green", "blue"):
        shutil.copy(misfiled / colour / "00.png", smear / f"{colour}.png")
    asked = ("predict", ensemble_file, smear, "--device", "cpu")
    (smear / "notes.txt").write_text("no image")
    rows = printed(*asked)
    told = [
        printed(*asked, "--out", tmp_path / f"cells{suffix}") for suffix in (".csv", ".jsonl", ".parquet")
    ]
    agrees("predict with `--out`", keys_of(told[0]))
    for columns in (rows[0], *columns_of(tmp_path)):
        agrees("Rows of predict", {"prob_CLASS" if n.startswith("prob_") else n for n in columns})

    (tmp_path / "ranges.toml").write_text(RANGES)
    counted = printed(
        *("differential", ensemble_file, smear, "--ranges", tmp_path / "ranges.toml"),
        *("--out", tmp_path / "count", "--device", "cpu"),
    )
    figures = json.loads((tmp_path / "count" / "differential.json").read_text("utf-8"))
    agrees("differential.json", keys_of(figures))
    assert {**figures, "out": counted["out"]} == counted
    with (tmp_path / "count" / "cells.csv").open(encoding="utf-8") as table:
        assert next(csv.reader(table)) == list(rows[0])


def columns_of(folder: Path) -> list[list[str]]:
    with (folder / "cells.csv").open(encoding="utf-8") as table:
        in_csv = next(csv.reader(table))
    line = (folder / "cells.jsonl").read_text("utf-8").splitlines()[0]
    return [in_csv, list(json.loads(line)), pq.ParquetFile(folder / "cells.parquet").schema_arrow.names]


def test_explanations(single_file: Path, misfiled: Path, tmp_path: Path):
    pytest.importorskip("pytorch_grad_cam", reason="the extra `explain` is not installed")
    images = [misfiled / "red" / "00.png", misfiled / "blue" / "01.png"]
    explained = printed("explain", single_file, *images, "--out", tmp_path / "maps", "--device", "cpu")
    agrees("explain", keys_of(explained))
    with (tmp_path / "maps" / "explanations.csv").open(encoding="utf-8") as table:
        assert next(csv.reader(table)) == list(explained["images"][0])


def test_exports(single_file: Path, misfiled: Path, tmp_path: Path):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    words = ("--out", tmp_path / "a.onnx", "--int8", tmp_path / "b.onnx", "--data", misfiled)
    to_mlflow = printed("export", single_file, "--format", "mlflow", "--out", tmp_path / "served")
    agrees("export", {*keys_of(printed("export", single_file, *words)), *keys_of(to_mlflow)})


def test_what_trackers_are_told(runs: list[Run], tmp_path: Path):
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    record = record_of(runs[0])
    figures = {re.sub("/(red|green|blue)/", "/CLASS/", point.name) for point in record.points}
    facts = {re.sub(r"(\.versions)\..*", r"\1.PACKAGE", key) for key in record.facts}
    only = {f"hemoscope.{key}" for key in (*ON_CUDA, "reason", "command")}  # made by no command
    only |= {f"hemoscope.weights.{key}" for key in ("origin", "note", "sha256")}
    only |= {field for field, value in runs[0].card["recipe"].items() if value is None}
    agrees("What a tracker is told", {*record.settings, *figures, *facts}, never_here=only)
    shutil.copytree(runs[0].path, tmp_path / "runs" / runs[0].name)
    agrees("track", keys_of(printed("track", tmp_path / "runs", "--to", "tensorboard")))


@pytest.mark.slow
@pytest.mark.usefixtures("own_places")
def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_module, "ARCHS", ("resnet18", "mobilenet_v2"))
    monkeypatch.setattr(demo_module, "PER_CLASS", 9)
    agrees("demo", keys_of(printed("demo", "--out", tmp_path / "demo")))
