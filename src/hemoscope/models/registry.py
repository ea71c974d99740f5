"""The architectures as a tuple of frozen rows, in the order of the paper's Table 4: its 27.

The registry is data: it imports no torch, so that listing architectures is immediate. `build`
turns a row into a network. Another architecture of torchvision gets in by a row at the end; a test compares what it
says with torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hemoscope.errors import ConfigError, UnknownNameError

__all__ = ["ARCHITECTURES", "Architecture", "arch_names", "get_arch"]

WEIGHTS_URL = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture.

    Attributes:
        name: Builder name in torchvision.
        head: Path of the last layer, which classifies; replaced for other classes.
        hidden_head: Path of the whole classifier, where it has hidden layers (AlexNet, VGG).
        features: Inputs of the classifier's first layer, used when `hidden_head` is replaced.
        params: Parameters with 1000 ImageNet classes, auxiliary heads not counted.
        input_px: Side of the square the network sees.
        canvas_px: Side of the square an image is resized to first.
        least_px: Smallest side of the input that it can be trained on.
        cam_layer: Layer whose activations Grad-CAM reads.
        weights_file: torchvision's IMAGENET1K_V1 file; its last 8 hex digits begin its SHA-256.
        top1: Accuracy on ImageNet in percent with these weights, one crop; from torchvision's metadata.
        top5: The same for the five likeliest classes.
        depth: Layers with weights (convolutions and fully connected) on the longest way through.
        aux: `trained` if auxiliary heads take part in the loss, `off` if they exist but are removed.
        transform_input: Whether the network re-normalises its input, as its ImageNet weights expect.
    """

    name: str
    head: str
    params: int
    cam_layer: str
    weights_file: str
    top1: float
    top5: float
    depth: int
    hidden_head: str = ""
    features: int = 0
    input_px: int = 224
    canvas_px: int = 256
    least_px: int = 32
    aux: Literal["none", "off", "trained"] = "none"
    transform_input: bool = False

    def sides_px(self, image_px: int | None = None, canvas_px: int | None = None) -> tuple[int, int]:
        """Return the sides of input and canvas; what is not given keeps the architecture's proportion.

        >>> get_arch("resnet18").sides_px(), get_arch("resnet18").sides_px(112)
        ((224, 256), (112, 128))
        """
        image_px = image_px or self.input_px
        return image_px, canvas_px or round(image_px * self.canvas_px / self.input_px)

    @property
    def weights_url(self) -> str:
        """Where torchvision publishes the ImageNet weights."""
        return WEIGHTS_URL + self.weights_file

    @property
    def weights_sha256_prefix(self) -> str:
        """First 8 hex digits of the SHA-256 of the weights file."""
        return self.weights_file.removesuffix(".pth").rsplit("-", 1)[1]


def _vgg(
    name: str, params: int, cam_layer: str, weights_file: str, top1: float, top5: float, depth: int
) -> Architecture:
    return Architecture(
        name,
        "classifier.6",
        params,
        cam_layer,
        weights_file,
        top1,
        top5,
        depth,
        hidden_head="classifier",
        features=25088,
    )


def _resnet(name: str, params: int, weights_file: str, top1: float, top5: float, depth: int) -> Architecture:
    return Architecture(name, "fc", params, "layer4", weights_file, top1, top5, depth)


def _densenet(
    name: str, params: int, weights_file: str, top1: float, top5: float, depth: int
) -> Architecture:
    return Architecture(name, "classifier", params, "features.norm5", weights_file, top1, top5, depth)


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        "alexnet",
        "classifier.6",
        61_100_840,
        "features.11",
        "alexnet-owt-7be5be79.pth",
        56.522,
        79.066,
        8,
        hidden_head="classifier",
        features=9216,
        least_px=63,
    ),
    _vgg("vgg11", 132_863_336, "features.19", "vgg11-8a719046.pth", 69.02, 88.628, 11),
    _vgg("vgg13", 133_047_848, "features.23", "vgg13-19584684.pth", 69.928, 89.246, 13),
    _vgg("vgg16", 138_357_544, "features.29", "vgg16-397923af.pth", 71.592, 90.382, 16),
    _vgg("vgg19", 143_667_240, "features.35", "vgg19-dcbb9e9d.pth", 72.376, 90.876, 19),
    _vgg("vgg11_bn", 132_868_840, "features.27", "vgg11_bn-6002323d.pth", 70.37, 89.81, 11),
    _vgg("vgg13_bn", 133_053_736, "features.33", "vgg13_bn-abd245e5.pth", 71.586, 90.374, 13),
    _vgg("vgg16_bn", 138_365_992, "features.42", "vgg16_bn-6c64b313.pth", 73.36, 91.516, 16),
    _vgg("vgg19_bn", 143_678_248, "features.51", "vgg19_bn-c79401a0.pth", 74.218, 91.842, 19),
    _resnet("resnet18", 11_689_512, "resnet18-f37072fd.pth", 69.758, 89.078, 18),
    _resnet("resnet34", 21_797_672, "resnet34-b627a593.pth", 73.314, 91.42, 34),
    _resnet("resnet50", 25_557_032, "resnet50-0676ba61.pth", 76.13, 92.862, 50),
    _resnet("resnet101", 44_549_160, "resnet101-63fe2227.pth", 77.374, 93.546, 101),
    _resnet("resnet152", 60_192_808, "resnet152-394f9c45.pth", 78.312, 94.046, 152),
    Architecture(
        "squeezenet1_0",
        "classifier.1",
        1_248_424,
        "features.12",
        "squeezenet1_0-b66bff10.pth",
        58.092,
        80.42,
        18,
    ),
    Architecture(
        "squeezenet1_1",
        "classifier.1",
        1_235_496,
        "features.12",
        "squeezenet1_1-b8a52dc0.pth",
        58.178,
        80.624,
        18,
    ),
    _densenet("densenet121", 7_978_856, "densenet121-a639ec97.pth", 74.434, 91.972, 121),
    _densenet("densenet169", 14_149_480, "densenet169-b2777c0a.pth", 75.6, 92.806, 169),
    _densenet("densenet201", 20_013_928, "densenet201-c1103571.pth", 76.896, 93.37, 201),
    _densenet("densenet161", 28_681_000, "densenet161-8d451a50.pth", 77.138, 93.56, 161),
    Architecture(
        "inception_v3",
        "fc",
        23_834_568,
        "Mixed_7c",
        "inception_v3_google-0cc3c7bd.pth",
        77.294,
        93.45,
        48,
        input_px=299,
        canvas_px=342,
        least_px=299,  # for its auxiliary head
        aux="trained",
        transform_input=True,
    ),
    Architecture(
        "googlenet",
        "fc",
        6_624_904,
        "inception5b",
        "googlenet-1378be20.pth",
        69.778,
        89.53,
        22,
        aux="off",
        transform_input=True,
    ),
    Architecture(
        "mobilenet_v2",
        "classifier.1",
        3_504_872,
        "features.18",
        "mobilenet_v2-b0353104.pth",
        71.878,
        90.286,
        53,
    ),
    _resnet("resnext50_32x4d", 25_028_904, "resnext50_32x4d-7cdf4587.pth", 77.618, 93.698, 50),
    _resnet("resnext101_32x8d", 88_791_336, "resnext101_32x8d-8ba56ff5.pth", 79.312, 94.526, 101),
    _resnet("wide_resnet50_2", 68_883_240, "wide_resnet50_2-95faca4d.pth", 78.468, 94.086, 50),
    _resnet("wide_resnet101_2", 126_886_696, "wide_resnet101_2-32ee1156.pth", 78.848, 94.284, 101),
)


def arch_names() -> tuple[str, ...]:
    """Return the names, the paper's first, in Table 4's order."""
    return tuple(arch.name for arch in ARCHITECTURES)


def get_arch(name: str) -> Architecture:
    """Return one row by its exact name.

    Raises:
        UnknownNameError: With the close matches; a name never falls back to a default.
    """
    for arch in ARCHITECTURES:
        if arch.name == name:
            return arch
    raise UnknownNameError("architecture", name, arch_names())


def parse_archs(text: str) -> Sequence[Architecture]:
    """Return the rows of `all` or of a comma-separated list.

    Raises:
        UnknownNameError: If there is no such architecture.
        ConfigError: If none is named.

    >>> [arch.name for arch in parse_archs("resnet18, vgg16")]
    ['resnet18', 'vgg16']
    """
    if text.strip() == "all":
        return ARCHITECTURES
    rows = tuple(get_arch(part.strip()) for part in text.split(",") if part.strip())
    if not rows:
        raise ConfigError(
            f"expected all, or names of architectures with commas between; got {text!r}. The names: hemoscope models"
        )
    return rows
