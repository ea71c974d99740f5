"""Table 4 against torchvision itself and the registry."""

import csv
import io

import pytest
import torch
import torchvision
from torch import fx, nn

from hemoscope import paper
from hemoscope.models.registry import ARCHITECTURES, get_arch
from hemoscope.report.architectures import table4
from hemoscope.report.collect import collect
from hemoscope.report.texttable import as_csv

TWO = {"classes": ("a", "b"), "test": (4, 4), "rename": None, "history": False}


def test_imagenet_accuracies_are_those_torchvision_publishes_for_its_weights():
    for row in ARCHITECTURES:
        meta = torchvision.models.get_model_weights(row.name)["IMAGENET1K_V1"].meta
        said = meta["_metrics"]["ImageNet-1K"]
        assert (row.top1, row.top5) == (said["acc@1"], said["acc@5"]), row.name


def layers_on_the_longest_way(arch: str) -> int:
    """Count convolutions and fully connected layers along the graph, in topological order."""
    with torch.device("meta"):
        more = {"init_weights": False} if arch in ("googlenet", "inception_v3") else {}
        network = torchvision.models.get_model(arch, weights=None, **more).eval()
    graph = fx.symbolic_trace(network)
    modules = dict(graph.named_modules())
    depth: dict[fx.Node, int] = {}
    for node in graph.graph.nodes:
        before = max((depth[n] for n in node.all_input_nodes), default=0)
        weighted = node.op == "call_module" and isinstance(modules[str(node.target)], (nn.Conv2d, nn.Linear))
        depth[node] = before + weighted
    return max(depth.values())


@pytest.mark.parametrize("arch", ["alexnet", "vgg19_bn", "resnet34", "wide_resnet50_2", "squeezenet1_1",
    "densenet121", "inception_v3", "googlenet", "mobilenet_v2", "resnext50_32x4d"])  # fmt: skip
def test_the_depth_is_the_number_of_weighted_layers_on_the_longest_way(arch):
    assert get_arch(arch).depth == layers_on_the_longest_way(arch)


def test_every_depth_but_alexnets_is_the_papers():
    theirs = {row.arch: row.depth for row in paper.TABLE_4}
    assert [arch for arch in theirs if get_arch(arch).depth != theirs[arch]] == ["alexnet"]


def test_table_4_shows_all_of_the_papers_with_ours_before_its_own(runs):
    for theirs in paper.TABLE_4:
        runs.add(theirs.arch, parameters=get_arch(theirs.arch).params - 5, **TWO)
    table = table4(collect(runs.root))
    for row, theirs in zip(table.rows, paper.TABLE_4, strict=True):
        params = get_arch(theirs.arch).params
        assert row.cells[2] == f"{theirs.top1_error:.2f}"
        assert row.cells[4] == f"{theirs.top5_error:.2f}"
        assert row.cells[6] == f"{theirs.depth}"
        assert row.cells[7:10] == (
            f"{params / 1e6:.2f}",
            f"{theirs.params_millions:g}",
            f"{(params - 5) / 1e6:.2f}",
        )
    stored = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [row["arch"] for row in stored] == [theirs.arch for theirs in paper.TABLE_4]
    assert [int(row["parameters_as_trained"]) for row in stored] == [
        get_arch(theirs.arch).params - 5 for theirs in paper.TABLE_4
    ]
    assert float(stored[0]["paper_top1_error"]) == pytest.approx(0.4345)


def test_an_architecture_of_ones_own_has_only_what_its_card_says(runs):
    runs.add("my_net", **TWO)
    (row,) = table4(collect(runs.root)).rows
    assert row.cells == ("my_net", *["n/a"] * 8, "11.18", "n/a")


def test_an_architecture_with_several_seeds_or_recipes_is_listed_once(runs):
    for seed, epochs in ((0, 3), (1, 3), (0, 4)):
        runs.add("resnet18", seed=seed, epochs=epochs, name=f"r{seed}{epochs}", **TWO)
    assert len(table4(collect(runs.root)).rows) == 1
