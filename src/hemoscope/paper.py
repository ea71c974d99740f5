"""The paper as data: recipe numbers, class counts and Tables 1 to 4, exactly as printed.

Class-wise values follow `CLASSES`. Fractions are fractions and percentages are percentages, as the
paper prints them. Whole counts beside Table 2 are ours: with a test side of `ceil(0.12 n)` images a
class, every printed figure is one whole count. This module computes nothing on import and imports
nothing of hemoscope.

Source: E. Gavas and K. Olpadkar, "Deep CNNs for Peripheral Blood Cell Classification".
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CLASSES",
    "ENSEMBLE_CORRECT",
    "ENSEMBLE_ERRORS",
    "ENSEMBLE_MEMBERS",
    "ENSEMBLE_NEUTROPHILS_AS_IG",
    "ENSEMBLE_SENSITIVITY",
    "N_IMAGES",
    "N_TEST",
    "RECIPE",
    "TABLE_1",
    "TABLE_2",
    "TABLE_3",
    "TABLE_4",
    "TEST_SUPPORT",
    "ClassCount",
    "ClasswiseAccuracy",
    "ImageNetRow",
    "MethodScores",
    "PaperRecipe",
    "classwise_accuracy",
]


@dataclass(frozen=True, slots=True)
class PaperRecipe:
    """The training configuration of sections 4.1 and 4.2.

    Attributes:
        momentum: Momentum of stochastic gradient descent.
        batch_size: Images a step.
        lr: Learning rate of the first epochs.
        lr_factor: What the rate is multiplied by every `lr_step_epochs` epochs.
        lr_step_epochs: Epochs between two decays.
        epochs: Printed as "25 iterations"; read as epochs, because the decay counts epochs.
        rotation_deg: Printed as "rotating image by 60 degrees".
        input_px: Side of the centre crop.
        inception_input_px: The same for Inception v3.
        train: Fraction of each class used for fitting.
        val: Fraction of each class used for choosing.
        test: Fraction of each class used for reporting.
    """

    momentum: float = 0.9
    batch_size: int = 32
    lr: float = 0.001
    lr_factor: float = 0.1
    lr_step_epochs: int = 7
    epochs: int = 25
    rotation_deg: int = 60
    input_px: int = 224
    inception_input_px: int = 299
    train: float = 0.64
    val: float = 0.24
    test: float = 0.12


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A row of Table 1: a class, its images, and their share as printed, in percent."""

    class_name: str
    images: int
    percent: float


@dataclass(frozen=True, slots=True)
class ClasswiseAccuracy:
    """A row of Table 2, as fractions of the test images.

    Attributes:
        arch: Name in the registry.
        paper_name: Name as printed.
        classes: Printed class accuracies, which are sensitivities, in the order of `CLASSES`.
        overall: Printed overall accuracy.
        correct: Correct test images of each class; the one whole count the printed figure allows.
        errors: Wrong test images of the `N_TEST`.
    """

    arch: str
    paper_name: str
    classes: tuple[float, ...]
    overall: float
    correct: tuple[int, ...]
    errors: int


@dataclass(frozen=True, slots=True)
class MethodScores:
    """A row of Table 3, in percent; precision, sensitivity and specificity are class means.

    Attributes:
        method: Citation of a published method, name in the registry, or `ensemble`.
        ours: Whether the row is the paper's own ("Ours") and not cited from earlier work.
        accuracy: Overall accuracy.
        precision: Mean of the class precisions.
        sensitivity: Mean of the class sensitivities.
        specificity: Mean of the class specificities.
    """

    method: str
    ours: bool
    accuracy: float
    precision: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True)
class ImageNetRow:
    """A row of Table 4: ImageNet error rates in percent, depth in layers, parameters in millions."""

    arch: str
    top1_error: float
    top5_error: float
    depth: int
    params_millions: float


def classwise_accuracy(arch: str) -> ClasswiseAccuracy | None:
    """Return the paper's Table 2 row of an architecture, or None where the paper has none.

    >>> classwise_accuracy("squeezenet1_1").errors
    33
    >>> classwise_accuracy("convnext_tiny") is None
    True
    """
    return next((row for row in TABLE_2 if row.arch == arch), None)


RECIPE = PaperRecipe()

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")

TABLE_1 = (
    ClassCount("basophil", 1218, 7.13),
    ClassCount("eosinophil", 3117, 18.24),
    ClassCount("erythroblast", 1551, 9.07),
    ClassCount("ig", 2895, 16.94),
    ClassCount("lymphocyte", 1214, 7.1),
    ClassCount("monocyte", 1420, 8.31),
    ClassCount("neutrophil", 3329, 19.48),
    ClassCount("platelet", 2348, 13.74),
)
N_IMAGES = 17_092

# 12 % of each class, rounded up: with these sizes each figure of Table 2 is one whole count.
TEST_SUPPORT = (147, 375, 187, 348, 146, 171, 400, 282)
N_TEST = 2_056

# fmt: off
TABLE_2 = (
    ClasswiseAccuracy("alexnet", "AlexNet",
        (0.9864, 0.9973, 0.9893, 0.9483, 0.9932, 0.9766, 0.9875, 1.0000), 0.9839,
        (145, 374, 185, 330, 145, 167, 395, 282), 33),
    ClasswiseAccuracy("densenet121", "Densenet-121",
        (0.9932, 0.9973, 0.9893, 0.9713, 0.9932, 0.9942, 0.9850, 1.0000), 0.9893,
        (146, 374, 185, 338, 145, 170, 394, 282), 22),
    ClasswiseAccuracy("densenet161", "Densenet-161",
        (1.0000, 0.9973, 0.9947, 0.9770, 0.9863, 0.9883, 0.9775, 1.0000), 0.9888,
        (147, 374, 186, 340, 144, 169, 391, 282), 23),
    ClasswiseAccuracy("densenet169", "Densenet-169",
        (1.0000, 0.9973, 0.9893, 0.9885, 0.9863, 0.9942, 0.9775, 1.0000), 0.9908,
        (147, 374, 185, 344, 144, 170, 391, 282), 19),
    ClasswiseAccuracy("densenet201", "Densenet-201",
        (0.9864, 0.9973, 0.9947, 0.9885, 0.9863, 0.9942, 0.9775, 1.0000), 0.9903,
        (145, 374, 186, 344, 144, 170, 391, 282), 20),
    ClasswiseAccuracy("vgg11_bn", "VGG-11bn",
        (0.9932, 0.9973, 0.9786, 0.9799, 0.9932, 0.9825, 0.9800, 1.0000), 0.9878,
        (146, 374, 183, 341, 145, 168, 392, 282), 25),
    ClasswiseAccuracy("vgg11", "VGG-11",
        (1.0000, 0.9947, 0.9947, 0.9684, 0.9932, 0.9708, 0.9875, 1.0000), 0.9878,
        (147, 373, 186, 337, 145, 166, 395, 282), 25),
    ClasswiseAccuracy("vgg13", "VGG-13",
        (1.0000, 0.9973, 0.9893, 0.9770, 0.9932, 0.9708, 0.9875, 1.0000), 0.9893,
        (147, 374, 185, 340, 145, 166, 395, 282), 22),
    ClasswiseAccuracy("vgg13_bn", "VGG-13bn",
        (1.0000, 0.9973, 0.9893, 0.9914, 0.9932, 0.9883, 0.9800, 1.0000), 0.9917,
        (147, 374, 185, 345, 145, 169, 392, 282), 17),
    ClasswiseAccuracy("vgg16_bn", "VGG-16bn",
        (1.0000, 1.0000, 0.9947, 0.9856, 0.9863, 0.9825, 0.9725, 1.0000), 0.9893,
        (147, 375, 186, 343, 144, 168, 389, 282), 22),
    ClasswiseAccuracy("vgg16", "VGG-16",
        (0.9932, 0.9973, 0.9786, 0.9828, 0.9932, 0.9825, 0.9775, 0.9965), 0.9874,
        (146, 374, 183, 342, 145, 168, 391, 281), 26),
    ClasswiseAccuracy("vgg19", "VGG-19",
        (1.0000, 1.0000, 1.0000, 0.9799, 0.9932, 0.9883, 0.9875, 1.0000), 0.9927,
        (147, 375, 187, 341, 145, 169, 395, 282), 15),
    ClasswiseAccuracy("vgg19_bn", "VGG-19bn",
        (0.9864, 0.9973, 0.9893, 0.9828, 0.9795, 0.9883, 0.9775, 1.0000), 0.9878,
        (145, 374, 185, 342, 143, 169, 391, 282), 25),
    ClasswiseAccuracy("resnet18", "ResNet-18",
        (1.0000, 1.0000, 0.9947, 0.9856, 0.9932, 0.9883, 0.9800, 1.0000), 0.9917,
        (147, 375, 186, 343, 145, 169, 392, 282), 17),
    ClasswiseAccuracy("resnet34", "ResNet-34",
        (1.0000, 0.9973, 0.9947, 0.9885, 0.9932, 0.9883, 0.9800, 1.0000), 0.9917,
        (147, 374, 186, 344, 145, 169, 392, 282), 17),
    ClasswiseAccuracy("resnet50", "ResNet-50",
        (1.0000, 0.9973, 0.9947, 0.9856, 0.9932, 0.9942, 0.9775, 1.0000), 0.9912,
        (147, 374, 186, 343, 145, 170, 391, 282), 18),
    ClasswiseAccuracy("resnet101", "ResNet-101",
        (0.9932, 1.0000, 1.0000, 0.9828, 0.9863, 0.9825, 0.9875, 1.0000), 0.9917,
        (146, 375, 187, 342, 144, 168, 395, 282), 17),
    ClasswiseAccuracy("resnet152", "ResNet-152",
        (1.0000, 0.9973, 0.9893, 0.9856, 0.9863, 0.9942, 0.9750, 1.0000), 0.9898,
        (147, 374, 185, 343, 144, 170, 390, 282), 21),
    ClasswiseAccuracy("resnext50_32x4d", "ResNeXt-50-32x4d",
        (0.9932, 1.0000, 0.9947, 0.9770, 0.9863, 0.9942, 0.9825, 1.0000), 0.9903,
        (146, 375, 186, 340, 144, 170, 393, 282), 20),
    ClasswiseAccuracy("resnext101_32x8d", "ResNeXt-101-32x8d",
        (0.9864, 0.9973, 1.0000, 0.9914, 0.9863, 0.9942, 0.9800, 1.0000), 0.9917,
        (145, 374, 187, 345, 144, 170, 392, 282), 17),
    ClasswiseAccuracy("squeezenet1_0", "SqueezeNet 1.0",
        (0.9932, 0.9973, 0.9893, 0.9799, 0.9932, 0.9708, 0.9825, 1.0000), 0.9883,
        (146, 374, 185, 341, 145, 166, 393, 282), 24),
    ClasswiseAccuracy("squeezenet1_1", "SqueezeNet 1.1",
        (0.9932, 0.9973, 0.9786, 0.9540, 0.9932, 0.9591, 0.9925, 1.0000), 0.9839,
        (146, 374, 183, 332, 145, 164, 397, 282), 33),
    ClasswiseAccuracy("wide_resnet50_2", "Wide ResNet-50-2",
        (0.9932, 1.0000, 0.9947, 0.9856, 0.9932, 0.9942, 0.9875, 1.0000), 0.9932,
        (146, 375, 186, 343, 145, 170, 395, 282), 14),
    ClasswiseAccuracy("wide_resnet101_2", "Wide ResNet-101-2",
        (1.0000, 1.0000, 1.0000, 0.9799, 0.9932, 0.9942, 0.9825, 1.0000), 0.9922,
        (147, 375, 187, 341, 145, 170, 393, 282), 16),
    ClasswiseAccuracy("googlenet", "GoogLeNet",
        (1.0000, 0.9973, 0.9947, 0.9856, 0.9932, 0.9825, 0.9775, 0.9965), 0.9898,
        (147, 374, 186, 343, 145, 168, 391, 281), 21),
    ClasswiseAccuracy("inception_v3", "Inception-v3",
        (1.0000, 0.9973, 1.0000, 0.9828, 0.9932, 0.9825, 0.9850, 1.0000), 0.9917,
        (147, 374, 187, 342, 145, 168, 394, 282), 17),
    ClasswiseAccuracy("mobilenet_v2", "MobileNet-v2",
        (0.9932, 0.9973, 1.0000, 0.9856, 0.9932, 0.9883, 0.9800, 1.0000), 0.9912,
        (146, 374, 187, 343, 145, 169, 392, 282), 18),
)
# fmt: on

TABLE_3 = (
    MethodScores("Acevedo et al. 2019", False, 96.2, 97.0, 96.0, 97.0),
    MethodScores("Ucar 2020", False, 97.94, 97.94, 97.94, 99.71),
    MethodScores("Long et al. 2021", False, 99.3, 99.17, 99.16, 99.88),
    MethodScores("resnet34", True, 99.17, 99.2, 99.27, 99.88),
    MethodScores("wide_resnet101_2", True, 99.22, 99.24, 99.37, 99.89),
    MethodScores("vgg19", True, 99.27, 99.17, 99.36, 99.89),
    MethodScores("wide_resnet50_2", True, 99.32, 99.29, 99.35, 99.9),
    MethodScores("ensemble", True, 99.51, 99.47, 99.58, 99.93),
)

TABLE_4 = (
    ImageNetRow("alexnet", 43.45, 20.91, 5, 61),
    ImageNetRow("vgg11", 30.98, 11.37, 11, 133),
    ImageNetRow("vgg13", 30.07, 10.75, 13, 133),
    ImageNetRow("vgg16", 28.41, 9.62, 16, 138),
    ImageNetRow("vgg19", 27.62, 9.12, 19, 144),
    ImageNetRow("vgg11_bn", 29.62, 10.19, 11, 133),
    ImageNetRow("vgg13_bn", 28.45, 9.63, 13, 133),
    ImageNetRow("vgg16_bn", 26.63, 8.5, 16, 138),
    ImageNetRow("vgg19_bn", 25.76, 8.15, 19, 144),
    ImageNetRow("resnet18", 30.24, 10.92, 18, 11),
    ImageNetRow("resnet34", 26.7, 8.58, 34, 21),
    ImageNetRow("resnet50", 23.85, 7.13, 50, 25),
    ImageNetRow("resnet101", 22.63, 6.44, 101, 44),
    ImageNetRow("resnet152", 21.69, 5.94, 152, 60),
    ImageNetRow("squeezenet1_0", 41.9, 19.58, 18, 1.24),
    ImageNetRow("squeezenet1_1", 41.81, 19.38, 18, 1.23),
    ImageNetRow("densenet121", 25.35, 7.83, 121, 8),
    ImageNetRow("densenet169", 24.0, 7.0, 169, 14),
    ImageNetRow("densenet201", 22.8, 6.43, 201, 20),
    ImageNetRow("densenet161", 22.35, 6.2, 161, 28),
    ImageNetRow("inception_v3", 22.55, 6.44, 48, 24),
    ImageNetRow("googlenet", 30.22, 10.47, 22, 6),
    ImageNetRow("mobilenet_v2", 28.12, 9.71, 53, 3),
    ImageNetRow("resnext50_32x4d", 22.38, 6.3, 50, 25),
    ImageNetRow("resnext101_32x8d", 20.69, 5.47, 101, 88),
    ImageNetRow("wide_resnet50_2", 21.49, 5.91, 50, 68),
    ImageNetRow("wide_resnet101_2", 21.16, 5.72, 101, 126),
)

# The ensemble, section 4.3 and section 5: members in the order the paper names them, best first.
ENSEMBLE_MEMBERS = ("wide_resnet50_2", "vgg19", "wide_resnet101_2", "resnet34")
ENSEMBLE_SENSITIVITY = (100.0, 100.0, 100.0, 99.14, 99.32, 99.42, 98.75, 100.0)  # percent
ENSEMBLE_CORRECT = (147, 375, 187, 345, 145, 170, 395, 282)
ENSEMBLE_ERRORS = 10
ENSEMBLE_NEUTROPHILS_AS_IG = 5  # "1.25% of neutrophils are classified as IG", of 400
