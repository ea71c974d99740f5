"""Peer (d): the network as an ONNX file in ONNX Runtime, behind the same plain loader."""

# pyright: reportMissingImports=false
# Its libraries are in the group `bench`, which the checks do without.

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import torch
from plain import arguments, network, sides_px
from prediction import files_of, loader_of, report, write_csv
from torch import Tensor


def main() -> None:
    """Predict all files; print images per second."""
    root, arch, times = arguments()
    image_px, _ = sides_px(arch)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network(arch, 8).eval().cpu(),
            (torch.zeros(1, 3, image_px, image_px),),
            str(file),
            input_names=["images"],
            dynamic_axes={"images": {0: "n"}},
            dynamo=False,
        )
        session = onnxruntime.InferenceSession(str(file), providers=onnxruntime.get_available_providers())

    def probs(paths: list[Path]) -> Iterator[Tensor]:
        for images in loader_of(paths, arch):
            (logits,) = session.run(None, {"images": images.numpy()})
            yield torch.from_numpy(logits).softmax(1)

    report(lambda paths: write_csv(paths, probs(paths)), files_of(root, times))


if __name__ == "__main__":
    main()
