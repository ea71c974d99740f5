"""Weights: taken in verified, refused when damaged, never replaced by something else in silence."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import lzma
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from hemoscope.errors import UnknownNameError, WeightsError
from hemoscope.models import weights as module
from hemoscope.models.registry import get_arch
from hemoscope.models.weights import fetch, find, load_imagenet, status, store_dir, verify
from hemoscope.models.weights_import import import_weights


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMOSCOPE_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(get_model("squeezenet1_1", weights=None).state_dict())


def test_an_imported_file_is_found_verified_and_loaded(state: dict[str, torch.Tensor], tmp_path: Path):
    assert status("squeezenet1_1") == "absent"
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    (imported,) = import_weights([tmp_path / "squeezenet1_1.safetensors"])
    assert imported.path.parent == store_dir()
    assert status("squeezenet1_1") == "imported"
    loaded, weights, digest = load_imagenet("squeezenet1_1")
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert digest == weights.sha256 == hashlib.sha256(imported.path.read_bytes()).hexdigest()


def test_a_folder_with_a_listing_is_imported_with_its_origin(state: dict[str, torch.Tensor], tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file(state, folder / "squeezenet1_1.safetensors")
    raw = (folder / "squeezenet1_1.safetensors").read_bytes()
    (folder / "squeezenet1_1.safetensors").unlink()
    (folder / "squeezenet1_1.safetensors.xz").write_bytes(lzma.compress(raw, preset=0))
    (folder / "README.md").write_text("not weights")
    row = {
        "arch": "squeezenet1_1",
        "file": "squeezenet1_1.safetensors",
        "origin": "somewhere",
        "note": "near",
    }
    (folder / "weights.json").write_text(json.dumps([row | {"sha256": hashlib.sha256(raw).hexdigest()}]))
    (weights,) = import_weights([folder])
    assert (weights.origin, weights.note) == ("somewhere", "near")
    assert find("squeezenet1_1") == weights
    (folder / "weights.json").write_text(json.dumps([row | {"sha256": "0" * 64}]))
    with pytest.raises(WeightsError, match=r"(?s)1 of 1 files.*expected SHA-256 0000"):
        import_weights([folder])


def test_every_problem_is_told_and_what_is_sound_is_imported(state: dict[str, torch.Tensor], tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file(state, folder / "squeezenet1_1.safetensors")
    save_file(state, folder / "squeezenet1_0.safetensors")  # another network's tensors
    (folder / "resnet18.safetensors").write_bytes(b"torn")
    torch.save(state, folder / "vgg11-00000000.pth")  # the name promises another digest
    with pytest.raises(WeightsError) as caught:
        import_weights([folder])
    text = str(caught.value)
    assert "3 of 4 files" in text
    assert "resnet18.safetensors: " in text
    assert "squeezenet1_0.safetensors: ImageNet weights of squeezenet1_0: tensors do not fit" in text
    assert "vgg11-00000000.pth: expected SHA-256 00000000" in text
    assert status("squeezenet1_1") == "imported"
    assert status("vgg11") == status("resnet18") == "absent"


def test_weights_that_are_no_numbers_or_want_the_memory_of_the_machine_are_refused(
    state: dict[str, torch.Tensor], tmp_path: Path
):
    broken = {name: value.clone() for name, value in state.items()}
    broken["features.0.weight"][0, 0, 0, 0] = float("nan")
    save_file(broken, tmp_path / "squeezenet1_0.safetensors")
    with pytest.raises(WeightsError, match="squeezenet1_0.safetensors: "):
        import_weights([tmp_path / "squeezenet1_0.safetensors"])
    save_file(broken, tmp_path / "squeezenet1_1.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors hold NaN or infinity \(features\.0\.weight"):
        import_weights([tmp_path / "squeezenet1_1.safetensors"])
    large = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    (tmp_path / "resnet18.safetensors.xz").write_bytes(lzma.compress(b"small", filters=large))
    with pytest.raises(WeightsError, match="Memory usage limit"):
        import_weights([tmp_path / "resnet18.safetensors.xz"])
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "resnet18.pth")
        with pytest.raises(WeightsError, match="is no plain file"):
            import_weights([tmp_path / "resnet18.pth"])


class Harm:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.write_text, (self.path, "harm"))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path):
    (tmp_path / "resnet18.pth").write_bytes(pickle.dumps({"fc.weight": Harm(tmp_path / "harm")}))
    with pytest.raises(WeightsError, match="resnet18.pth"):
        import_weights([tmp_path / "resnet18.pth"])
    assert not (tmp_path / "harm").exists()


def test_a_damaged_store_is_noticed_before_training(state: dict[str, torch.Tensor], tmp_path: Path):
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    (imported,) = import_weights([tmp_path / "squeezenet1_1.safetensors"])
    raw = bytearray(imported.path.read_bytes())
    raw[-1] ^= 1
    imported.path.write_bytes(raw)
    with pytest.raises(
        WeightsError, match=r"is damaged: expected SHA-256 .* got .*weights fetch squeezenet1_1"
    ):
        load_imagenet("squeezenet1_1")


@pytest.mark.parametrize(
    ("name", "match"), [("nothing.pth", "does not exist"), ("weights.bin", "no known architecture")]
)
def test_what_names_no_architecture_is_refused(name: str, match: str, tmp_path: Path):
    if name.endswith(".bin"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=match):
        import_weights([tmp_path / name])


def test_an_empty_folder_is_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="expected checkpoints named after an architecture.*found none"):
        import_weights([tmp_path / "empty"])


def test_densenet_names_from_before_torch_0_4_are_understood():
    old = "features.denseblock1.denselayer1.norm.1.weight"
    assert module._modern_name(old) == "features.denseblock1.denselayer1.norm1.weight"
    assert module._modern_name("features.norm5.weight") == "features.norm5.weight"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real server over the folder `mirror`."""
    (tmp_path / "mirror").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=tmp_path / "mirror")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_fetched_weights_are_verified(
    state: dict[str, torch.Tensor], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(WeightsError, match=r"could not fetch.*404.*weights import"):
        fetch("squeezenet1_1", mirror=server)
    row = get_arch("squeezenet1_1")
    torch.save(state, tmp_path / "mirror" / row.weights_file)
    with pytest.raises(WeightsError, match=r"expected SHA-256 b8a52dc0\.\.\., got"):
        fetch("squeezenet1_1", mirror=server)
    assert status("squeezenet1_1") == "absent"
    # No file of ours can have torchvision's digest, so the registry row is given that of ours.
    digest = hashlib.sha256((tmp_path / "mirror" / row.weights_file).read_bytes()).hexdigest()
    named = replace(row, weights_file=f"squeezenet1_1-{digest[:8]}.pth")
    (tmp_path / "mirror" / row.weights_file).rename(tmp_path / "mirror" / named.weights_file)
    monkeypatch.setattr(module, "get_arch", lambda _: named)
    weights = fetch("squeezenet1_1", mirror=server)
    assert weights.state == "cached"
    assert verify(weights) == weights.sha256 == digest  # all 64 digits of it, not the 8 of the name
    assert find("squeezenet1_1") == weights
    assert [path.name for path in weights.path.parent.iterdir()] == [named.weights_file]
    loaded, _, _ = load_imagenet("squeezenet1_1")
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_fetched_file_that_changed_is_noticed_beyond_the_digits_of_its_name(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    row = get_arch("squeezenet1_1")
    file = tmp_path / row.weights_file
    torch.save(state, file)
    named = replace(
        row, weights_file=f"squeezenet1_1-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    )
    monkeypatch.setattr(module, "get_arch", lambda _: named)
    store_dir().mkdir(parents=True)
    placed = store_dir() / named.weights_file
    file.rename(placed)
    found = find("squeezenet1_1")
    assert found is not None
    assert found.sha256 == named.weights_sha256_prefix
    card = placed.with_name(f"{placed.name}.json")
    card.write_text(json.dumps({"sha256": named.weights_sha256_prefix + "0" * 56}))
    pinned = find("squeezenet1_1")
    assert pinned is not None
    with pytest.raises(WeightsError, match="is damaged"):
        verify(pinned)
    for odd in ("[]", '{"sha256": 3}', "{", '{"sha256": "00"}'):
        card.write_text(odd)
        assert find("squeezenet1_1") == found


def test_weights_in_double_precision_are_rounded_and_say_so(state: dict[str, torch.Tensor], tmp_path: Path):
    wide = {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
    save_file(wide, tmp_path / "squeezenet1_1.safetensors")
    (weights,) = import_weights([tmp_path / "squeezenet1_1.safetensors"])
    assert weights.note == "rounded from float64"
    loaded, _, _ = load_imagenet("squeezenet1_1")
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    wide["classifier.1.bias"] = torch.full_like(wide["classifier.1.bias"], 1e300)
    save_file(wide, tmp_path / "squeezenet1_1.safetensors")
    with pytest.raises(WeightsError, match="NaN or infinity"):
        import_weights([tmp_path / "squeezenet1_1.safetensors"])


def test_weights_without_a_sidecar_are_used_and_not_called_sound(state: dict[str, torch.Tensor]):
    store_dir().mkdir(parents=True)
    save_file(state, store_dir() / "squeezenet1_1.safetensors")
    _, weights, _ = load_imagenet("squeezenet1_1")
    assert "nobody said which digest" in weights.note
    done = subprocess.run(
        [sys.executable, "-m", "hemoscope", "weights", "verify", "squeezenet1_1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "NOT SOUND" in done.stdout
    assert "nobody said which digest" in done.stdout


@pytest.mark.parametrize("text", ["[]", "3", '{"sha256": 3}', "{", "[" * 100_000, '{"note": {}}'])
def test_a_damaged_sidecar_of_weights_is_a_sentence(
    text: str, state: dict[str, torch.Tensor], tmp_path: Path
):
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    (imported,) = import_weights([tmp_path / "squeezenet1_1.safetensors"])
    imported.path.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=r"squeezenet1_1\.json"):
        find("squeezenet1_1")
    (tmp_path / "weights.json").write_text(text)
    with (
        pytest.raises(WeightsError, match=r"weights\.json|no known architecture")
        if text != "[]"
        else nullcontext()
    ):
        import_weights([tmp_path / "squeezenet1_1.safetensors"])


def test_two_files_of_one_architecture_are_refused_in_one_call(
    state: dict[str, torch.Tensor], tmp_path: Path
):
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    torch.save(state, tmp_path / "squeezenet1_1.pth")
    with pytest.raises(WeightsError, match="one of 2 files of squeezenet1_1; expected one"):
        import_weights([tmp_path])
    assert status("squeezenet1_1") == "absent"


def test_one_damaged_sidecar_hides_no_other_weights(state: dict[str, torch.Tensor], tmp_path: Path):
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    (imported,) = import_weights([tmp_path / "squeezenet1_1.safetensors"])
    (store_dir() / "alexnet.safetensors").touch()
    (store_dir() / "alexnet.json").write_text("{")
    assert status("alexnet") == "damaged"
    command = [sys.executable, "-m", "hemoscope"]
    for words, code in ((["models"], 0), (["weights", "list"], 0), (["weights", "verify"], 1)):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "squeezenet1_1" in done.stdout
        assert "damaged" in done.stdout
    assert find("squeezenet1_1") == imported


@pytest.mark.skipif(os.name == "nt", reason="there is no umask")
def test_who_may_read_weights_is_for_the_user_to_say(state: dict[str, torch.Tensor], tmp_path: Path):
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    before = os.umask(0o022)
    try:
        (imported,) = import_weights([tmp_path / "squeezenet1_1.safetensors"])
    finally:
        os.umask(before)
    assert imported.path.stat().st_mode & 0o777 == 0o644


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        fetch("resnet81")


@pytest.mark.real
def test_the_shared_weights_import(real_cells: Path):
    folder = real_cells.parents[1] / "weights"
    if not folder.is_dir():
        pytest.skip(f"no shared weights at {folder}")
    assert {w.arch for w in import_weights([folder / "squeezenet1_1.safetensors.xz"])} == {"squeezenet1_1"}
    state, _, _ = load_imagenet("squeezenet1_1")
    assert state["classifier.1.weight"].shape == (1000, 512, 1, 1)
