"""Figures that follow from `benchmarks/results`: medians of the kept repeats, and their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from hemoscope import paper
from tests.docs.figures.quoting import listed, percent, quoted_in, record, row

LABELS = {
    "alexnet": "AlexNet",
    "squeezenet1_1": "SqueezeNet 1.1",
    "mobilenet_v2": "MobileNet v2",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "densenet121": "DenseNet-121",
}
WIDE, NARROW = "cpu_avx512_bf16", "cpu_avx2"
PAGE = "benchmarks/README.md"
Rates = dict[str, list[float]]


def measured(name: str) -> dict[str, Rates]:
    """Return the rates of every contender, network by network."""
    found = record(f"benchmarks/results/{name}.json")["results"]
    return {
        arch: {who: [one["images_per_s"] for one in repeats] for who, repeats in rates.items()}
        for arch, rates in found.items()
    }


def ratio(rates: Rates, ours: str, theirs: str) -> float:
    return statistics.median(rates[ours]) / statistics.median(rates[theirs])


def ratios(rates: Rates, ours: str, theirs: str) -> list[float]:
    """Return the ratio of every single repeat."""
    return [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)]


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


@quoted_in("README.md")
def training() -> Iterator[str]:
    wide, narrow = measured(f"train_{WIDE}"), measured(f"train_{NARROW}")
    rows = []
    for arch, label in LABELS.items():
        cells: list[str | None] = []
        for rates, precision in ((wide.get(arch), "bf16"), (narrow.get(arch), "fp32")):
            if rates is None:
                cells += [None] * 3
                continue
            ours = f"hemoscope {precision}"
            rate = statistics.median(rates[ours])
            cells.append(f"{rate:.0f}" if rate >= 12 else f"{rate:.1f}")
            cells += [
                f"{ratio(rates, ours, other):.2f}" for other in ("torchvision fp32", f"tuned {precision}")
            ]
        rows.append(row(label, *cells).replace("||", "| |").replace("||", "| |"))
    assert {*wide, *narrow} == set(LABELS)
    yield "|---|---:|---:|---:|---:|---:|---:| " + " ".join(rows)


@quoted_in("README.md")
def prediction() -> Iterator[str]:
    wide, narrow = measured(f"predict_{WIDE}"), measured(f"predict_{NARROW}")

    def both(found: dict[str, Rates], precision: str, other: str, digits: int) -> list[str]:
        return [
            f"{ratio(found[arch], f'hemoscope {precision}', other):.{digits}f}"
            for arch in ("resnet18", "squeezenet1_1")
        ]

    bf16, fp32 = both(wide, "bf16", "torchvision fp32", 1), both(narrow, "fp32", "torchvision fp32", 1)
    yield (
        f"{bf16[0]} (ResNet-18) and {bf16[1]} times (SqueezeNet 1.1) as fast with bf16, "
        f"{listed(fp32)} times in fp32 on AVX2"
    )
    bf16, fp32 = both(wide, "bf16", "OpenVINO bf16", 2), both(narrow, "fp32", "OpenVINO fp32", 2)
    yield (
        f"we reach {bf16[0]} of it with ResNet-18 and {bf16[1]} with SqueezeNet 1.1, in fp32 on AVX2 {listed(fp32)}"
    )


@quoted_in(PAGE)
def with_bf16() -> Iterator[str]:
    found = measured(f"train_{WIDE}")
    bf16 = [ratio(rates, "hemoscope bf16", "tuned bf16") for rates in found.values()]
    single = [r for rates in found.values() for r in ratios(rates, "hemoscope bf16", "tuned bf16")]
    fp32 = sorted(f"{ratio(rates, 'hemoscope fp32', 'tuned fp32'):.2f}" for rates in found.values())
    yield f"bf16 against bf16 by {spread(bf16)} in all four networks (single repeats {spread(single)})"
    yield f"fp32 against fp32 by {fp32[0]} (ResNet-18), {listed(fp32[1:])}"
    ceiling = {arch: ratio(rates, "hemoscope bf16", "ceiling bf16") for arch, rates in found.items()}
    small = ceiling.pop("squeezenet1_1")
    yield f"it reaches {spread(list(ceiling.values()))}, with SqueezeNet 1.1 {small:.2f}"

    found = measured(f"predict_{WIDE}")
    resnet, squeeze = found["resnet18"], found["squeezenet1_1"]
    pair = ("hemoscope bf16", "OpenVINO bf16")
    fp32 = [f"{ratio(one, 'hemoscope fp32', 'OpenVINO fp32'):.2f}" for one in (resnet, squeeze)]
    yield (
        f"{ratio(resnet, *pair):.2f} (ResNet-18; {spread(ratios(resnet, *pair))}) and "
        f"{ratio(squeeze, *pair):.2f} (SqueezeNet 1.1; {spread(ratios(squeeze, *pair))}); in fp32 {listed(fp32)}"
    )
    onnx = sorted(f"{ratio(one, 'hemoscope fp32', 'ONNX Runtime fp32'):.2f}" for one in (resnet, squeeze))
    yield f"ahead of ONNX Runtime by {listed(onnx)} in fp32"


@quoted_in(PAGE)
def on_avx2() -> Iterator[str]:
    found, pair = measured(f"train_{NARROW}"), ("hemoscope fp32", "tuned fp32")
    resnet, squeeze = found["resnet18"], found["squeezenet1_1"]
    yield (
        f"Against the tuned one {ratio(squeeze, *pair):.2f} (SqueezeNet 1.1; repeats {spread(ratios(squeeze, *pair))}) "
        f"and {ratio(resnet, *pair):.2f} (ResNet-18; {spread(ratios(resnet, *pair))})"
    )
    ceiling = [ratio(one, "hemoscope fp32", "ceiling fp32") for one in (squeeze, resnet)]
    shares = [
        statistics.median(one["data_share_of_step"] for one in repeats["hemoscope fp32"])
        for repeats in (
            record(f"benchmarks/results/train_{NARROW}.json")["results"][a]
            for a in ("squeezenet1_1", "resnet18")
        )
    ]
    yield (
        f"hemoscope reaches {listed([f'{part:.2f}' for part in ceiling])}; the data plane takes "
        f"{listed([percent(share, 1) for share in shares])} % of it"
    )

    found, pair = measured(f"predict_{NARROW}"), ("hemoscope fp32", "OpenVINO fp32")
    resnet, squeeze = found["resnet18"], found["squeezenet1_1"]
    yield f"({ratio(squeeze, *pair):.2f}; {spread(ratios(squeeze, *pair))})"
    onnx = ratio(resnet, "hemoscope fp32", "ONNX Runtime fp32")
    yield f"({ratio(resnet, *pair):.2f}; {spread(ratios(resnet, *pair))}; {onnx:.2f} of ONNX Runtime)"


@quoted_in("docs/limits.md")
def a_million_images() -> Iterator[str]:
    found = record("benchmarks/results/large_1000000_cpu_avx512_bf16.json")["results"]
    cost = {name: (one["cpu_s"], f"{one['peak_mib'] / 1024:.1f}") for name, one in found.items()}
    split_s, split_gib = cost["data split, paper"]
    yield f"cost {split_s:.1f} seconds of CPU, start of Python included, and {split_gib} GiB"
    first_s, first_gib = cost["data check, first: every image is read"]
    again_s, again_gib = cost["data check again"]
    clean_s, _ = cost["data split, clean"]
    built_s, built_gib = cost["train up to its first step, the canvas built"]
    begun_s, _ = cost["train with another seed, up to its first step"]
    yield (
        f"costs {first_s:.0f} seconds of CPU and {first_gib} GiB at first; again {again_s:.0f} and {again_gib}"
    )
    yield f"`--policy clean` costs {clean_s:.0f}"
    yield f"its first step after {built_s:.0f} seconds of CPU and {built_gib} GiB"
    yield f"with another seed after {begun_s:.0f} seconds"


@quoted_in("docs/decisions/0001-one-warp-from-a-canvas.md", "docs/offline.md")
def a_canvas() -> Iterator[str]:
    yield f"{paper.N_IMAGES * 256 * 256 * 3 / 1e9:.1f} GB"


@quoted_in("README.md", "docs/index.md")
def the_complete_set() -> Iterator[str]:
    assert sum(one.images for one in paper.TABLE_1) == paper.N_IMAGES
    yield f"{paper.N_IMAGES:,} cells"
