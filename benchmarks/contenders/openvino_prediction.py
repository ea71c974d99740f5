"""Peer (e): the network converted to OpenVINO, behind the same plain loader; requests run side by side.

Usage: python openvino_prediction.py DATA ARCH TIMES PRECISION
"""

# pyright: reportMissingImports=false
# Its libraries are in the group `bench`, which the checks do without.

import sys
from collections.abc import Iterator
from pathlib import Path

import openvino
import torch
from plain import arguments, network, sides_px
from prediction import files_of, loader_of, report, write_csv
from torch import Tensor

TYPES = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}
PRECISION = "INFERENCE_PRECISION_HINT"


def main() -> None:
    """Predict all files; print images per second."""
    root, arch, times = arguments()
    precision = sys.argv[4]
    image_px, _ = sides_px(arch)
    converted = openvino.convert_model(
        network(arch, 8).eval().cpu(),
        example_input=torch.zeros(1, 3, image_px, image_px),
        input=[-1, 3, image_px, image_px],
    )
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", PRECISION: TYPES[precision]}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    used = compiled.get_property(PRECISION)
    if used != TYPES[precision]:
        sys.exit(f"OpenVINO computes in {used} here, not in {precision}")

    def probs(paths: list[Path]) -> Iterator[Tensor]:
        logits: dict[int, Tensor] = {}

        def done(request: openvino.InferRequest, number: int) -> None:
            logits[number] = torch.from_numpy(request.get_output_tensor(0).data.copy())

        queue = openvino.AsyncInferQueue(compiled)
        queue.set_callback(done)
        for number, images in enumerate(loader_of(paths, arch)):
            queue.start_async([images.numpy()], number)
        queue.wait_all()
        for number in sorted(logits):
            yield logits[number].softmax(1)

    report(lambda paths: write_csv(paths, probs(paths)), files_of(root, times), precision=precision)


if __name__ == "__main__":
    main()
