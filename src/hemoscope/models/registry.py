"""The 27 architectures as a tuple of frozen rows, in the order of the paper's Table 4.

The registry is data: it imports no torch, so that listing architectures is immediate. `build`
turns a row into a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hemoscope.errors import UnknownNameError

__all__ = ["ARCHITECTURES", "Architecture", "arch_names", "get_arch"]

WEIGHTS_URL = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture of the paper.

    Attributes:
        name: Builder name in torchvision.
        head: Path of the last layer, which classifies; replaced for other classes.
        hidden_head: Path of the whole classifier, where it has hidden layers (AlexNet, VGG).
        features: Inputs of the classifier's first layer, used when `hidden_head` is replaced.
        params: Parameters with 1000 ImageNet classes, auxiliary heads not counted.
        input_px: Side of the square the network sees.
        canvas_px: Side of the square an image is resized to first.
        cam_layer: Layer whose activations Grad-CAM reads.
        weights_file: torchvision's IMAGENET1K_V1 file; its last 8 hex digits begin its SHA-256.
        aux: `trained` if auxiliary heads take part in the loss, `off` if they exist but are removed.
        transform_input: Whether the network re-normalises its input, as its ImageNet weights expect.
    """

    name: str
    head: str
    params: int
    cam_layer: str
    weights_file: str
    hidden_head: str = ""
    features: int = 0
    input_px: int = 224
    canvas_px: int = 256
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


def _vgg(name: str, params: int, cam_layer: str, weights_file: str) -> Architecture:
    return Architecture(
        name, "classifier.6", params, cam_layer, weights_file, hidden_head="classifier", features=25088
    )


def _resnet(name: str, params: int, weights_file: str) -> Architecture:
    return Architecture(name, "fc", params, "layer4", weights_file)


def _densenet(name: str, params: int, weights_file: str) -> Architecture:
    return Architecture(name, "classifier", params, "features.norm5", weights_file)


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        "alexnet",
        "classifier.6",
        61_100_840,
        "features.11",
        "alexnet-owt-7be5be79.pth",
        hidden_head="classifier",
        features=9216,
    ),
    _vgg("vgg11", 132_863_336, "features.19", "vgg11-8a719046.pth"),
    _vgg("vgg13", 133_047_848, "features.23", "vgg13-19584684.pth"),
    _vgg("vgg16", 138_357_544, "features.29", "vgg16-397923af.pth"),
    _vgg("vgg19", 143_667_240, "features.35", "vgg19-dcbb9e9d.pth"),
    _vgg("vgg11_bn", 132_868_840, "features.27", "vgg11_bn-6002323d.pth"),
    _vgg("vgg13_bn", 133_053_736, "features.33", "vgg13_bn-abd245e5.pth"),
    _vgg("vgg16_bn", 138_365_992, "features.42", "vgg16_bn-6c64b313.pth"),
    _vgg("vgg19_bn", 143_678_248, "features.51", "vgg19_bn-c79401a0.pth"),
    _resnet("resnet18", 11_689_512, "resnet18-f37072fd.pth"),
    _resnet("resnet34", 21_797_672, "resnet34-b627a593.pth"),
    _resnet("resnet50", 25_557_032, "resnet50-0676ba61.pth"),
    _resnet("resnet101", 44_549_160, "resnet101-63fe2227.pth"),
    _resnet("resnet152", 60_192_808, "resnet152-394f9c45.pth"),
    Architecture("squeezenet1_0", "classifier.1", 1_248_424, "features.12", "squeezenet1_0-b66bff10.pth"),
    Architecture("squeezenet1_1", "classifier.1", 1_235_496, "features.12", "squeezenet1_1-b8a52dc0.pth"),
    _densenet("densenet121", 7_978_856, "densenet121-a639ec97.pth"),
    _densenet("densenet169", 14_149_480, "densenet169-b2777c0a.pth"),
    _densenet("densenet201", 20_013_928, "densenet201-c1103571.pth"),
    _densenet("densenet161", 28_681_000, "densenet161-8d451a50.pth"),
    Architecture(
        "inception_v3",
        "fc",
        23_834_568,
        "Mixed_7c",
        "inception_v3_google-0cc3c7bd.pth",
        input_px=299,
        canvas_px=342,
        aux="trained",
        transform_input=True,
    ),
    Architecture(
        "googlenet",
        "fc",
        6_624_904,
        "inception5b",
        "googlenet-1378be20.pth",
        aux="off",
        transform_input=True,
    ),
    Architecture("mobilenet_v2", "classifier.1", 3_504_872, "features.18", "mobilenet_v2-b0353104.pth"),
    _resnet("resnext50_32x4d", 25_028_904, "resnext50_32x4d-7cdf4587.pth"),
    _resnet("resnext101_32x8d", 88_791_336, "resnext101_32x8d-8ba56ff5.pth"),
    _resnet("wide_resnet50_2", 68_883_240, "wide_resnet50_2-95faca4d.pth"),
    _resnet("wide_resnet101_2", 126_886_696, "wide_resnet101_2-32ee1156.pth"),
)


def arch_names() -> tuple[str, ...]:
    """Return the 27 names in Table 4's order."""
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

    >>> [arch.name for arch in parse_archs("resnet18, vgg16")]
    ['resnet18', 'vgg16']
    """
    if text.strip() == "all":
        return ARCHITECTURES
    return tuple(get_arch(part.strip()) for part in text.split(",") if part.strip())
