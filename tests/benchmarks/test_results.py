"""Results of benchmarks belong to the machine and the precision that they name."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from hemoscope.training.device import cpu_capability

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
KEPT = [
    file for kind in ("train", "predict") for file in sorted((SCRIPTS / "results").glob(f"{kind}_*.json"))
]
TABLED = ("refusal", "explain", "intervals")
PUBLISHED = [
    file for kind in TABLED for file in sorted((SCRIPTS.parent / "docs" / "results").glob(f"*-{kind}/*.json"))
]
ROWS = {"alexnet": {"hemoscope fp32": [{"images_per_s": 10.0, "precision": "fp32"}]}}


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The scripts' shared module, with an empty folder of results and of contenders."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("measure")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "HERE", tmp_path)
    yield module
    for name in ("measure", "rates", "train", "predict", "promises", *TABLED):
        sys.modules.pop(name, None)


def contender(folder: Path, name: str, **record: object) -> None:
    (folder / "contenders").mkdir(exist_ok=True)
    (folder / "contenders" / f"{name}.py").write_text(f"print({json.dumps(json.dumps(record))})")


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("capability", "avx512_bf16"),
        ("precision", "bf16"),
        ("memory_gib", 7.5),
        ("threads", 64),
        ("cores", 64),
        ("device_name", "Another"),
        ("python", "3.99.0"),
        ("versions", {"torch": "9.0"}),
        ("data", "other-cells"),
        ("capability", None),  # results from before it was recorded
    ],
)
def test_rows_of_another_machine_are_never_taken_up(measure, capsys, key, other):
    about = {**measure.machine(), "capability": "avx2", "precision": "fp32", "data": "cells"}
    measure.keep("train_x", {"machine": {**about, "date": "2020-01-01"}, "results": ROWS}, "")
    assert measure.earlier("train_x", about) == ROWS
    theirs = {**about, key: other}
    if other is None:
        del theirs[key]
    measure.keep("train_x", {"machine": theirs, "results": ROWS}, "")
    assert measure.earlier("train_x", about) == {}
    assert key in capsys.readouterr().err


def test_results_are_called_after_the_processors_capability_or_the_gpu(measure):
    about = {"device": "cpu", "device_name": "AMD EPYC", "capability": "avx2"}
    assert measure.place(about) == "cpu_avx2"
    assert measure.place({**about, "capability": "avx512_bf16"}) == "cpu_avx512_bf16"
    gpu = {**about, "device": "cuda", "device_name": "NVIDIA H100 80GB HBM3"}
    assert measure.place(gpu) == "h100_80gb_hbm3"


def test_a_contender_that_computes_in_another_precision_than_its_label_is_no_result(measure, tmp_path):
    rates = importlib.import_module("rates")
    contender(tmp_path, "one", images_per_s=3.0, precision="fp32")
    found: dict = {}
    rates.repeat(found, {"one fp32": ("one",)})
    assert [record["images_per_s"] for record in found["one fp32"]] == [3.0]
    with pytest.raises(SystemExit, match="one bf16 computed in fp32"):
        rates.repeat(found, {"one bf16": ("one",)})
    assert set(found) == {"one fp32"}


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_a_table_says_what_its_measurements_say(measure, file):
    result = json.loads(file.read_text())
    script = importlib.import_module(file.stem.partition("_")[0])
    assert script.text(result["machine"], result["results"]) + "\n" == file.with_suffix(".md").read_text()
    assert file.stem.endswith(measure.place(result["machine"]))
    for found in result["results"].values():
        assert len({len(records) for records in found.values()}) == 1
        for label, records in found.items():
            assert {record["precision"] for record in records} == {label.split()[-1]}


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: f"{file.parent.name}, {file.stem}")
def test_a_published_table_says_what_its_record_says(measure, file):
    result = json.loads(file.read_text())
    kind = file.parent.name.rpartition("-")[2]
    script = importlib.import_module("promises" if file.stem == "promises" else kind)
    made = {
        "refusal": lambda: script.table(result),
        "explain": lambda: script.markdown(result),
        "intervals": lambda: f"{measure.headline(result['machine'])}.\n\n{script.markdown(result['rows'])}\n",
    }
    assert made[kind]() == file.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("aten", "has", "allowed", "want"),
    [
        ("AVX2", (), "", "avx2"),
        ("AVX512", (), "", "avx512"),
        ("AVX512", ("avx512_bf16",), "", "avx512_bf16"),
        ("AVX512", ("avx512_bf16", "amx_bf16"), "", "amx_bf16"),
        ("AVX2", ("avx512_bf16", "amx_bf16"), "AVX2", "avx2"),  # held back, as the tests can be
        ("AVX2", ("avx512_bf16", "amx_bf16"), "", "avx2"),
        ("AVX512", ("avx512_bf16", "amx_bf16"), "avx2", "avx2"),
        ("AVX512", ("avx512_bf16", "amx_bf16"), "AVX512_CORE_BF16", "avx512_bf16"),
        ("AVX512", ("avx512_bf16", "amx_bf16"), "AVX512_CORE_AMX", "amx_bf16"),
        ("AVX512", ("avx512_bf16",), "SSE41", "default"),
        ("NEON", (), "AVX2", "neon"),
    ],
)
def test_capability_is_the_narrower_one_of_both_libraries(monkeypatch, aten, has, allowed, want):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: aten)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(has, True))
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowed)
    assert cpu_capability() == want


def test_a_processor_that_is_held_back_says_so():
    code = "from hemoscope.training.device import cpu_capability; print(cpu_capability())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "default"
