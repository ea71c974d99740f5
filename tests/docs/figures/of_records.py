"""Figures that follow from other committed records: refusal, heatmaps, simulated intervals, faults."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hemoscope.evaluation.paired import mcnemar
from tests.docs.figures.quoting import RESULTS, listed, percent, quoted_in, record

REFUSAL, EXPLAIN = "docs/results/2026-11-refusal", "docs/results/2026-11-explain"
INTERVALS, FAULTS = "docs/results/2026-11-intervals", "docs/results/2026-11-faults"
REVIEW = "docs/results/2026-11-review"


def called_unknown(name: str) -> dict[str, dict[str, str]]:
    """Return the shares called unknown, in whole percent: by images, then by way of telling."""
    rows = record(f"{REFUSAL}/{name}.json")["rows"]
    ways = ("energy", "nearest cell")
    return {one["images"]: {way: percent(one[way]["called_unknown"], 0) for way in ways} for one in rows}


@quoted_in(f"{REFUSAL}/README.md")
def what_is_no_known_cell() -> Iterator[str]:
    squeeze, mobile = called_unknown("squeezenet1_1"), called_unknown("mobilenet_v2")
    without = called_unknown("squeezenet1_1-without-erythroblasts")
    noise, red, left_out = squeeze["noise"], mobile["red cells only"], without["class left out: erythroblast"]
    photographs = [one["photographs"] for one in (without, squeeze, mobile)]
    nearest, energy = (sorted(int(one[way]) for one in photographs) for way in ("nearest cell", "energy"))
    yield (
        f"on noise (SqueezeNet {noise['nearest cell']} % against {noise['energy']} %), photographs ({nearest[0]} to "
        f"{nearest[-1]} % against {energy[0]} to {energy[-1]} %), MobileNet's red cells ({red['nearest cell']} against "
        f"{red['energy']} %) and the class left out ({left_out['nearest cell']} against {left_out['energy']} %)"
    )
    auroc = {
        way: [
            f"{one[way]['auroc']:.2f}"
            for one in record(f"{REFUSAL}/squeezenet1_1.json")["rows"]
            if one["images"] in ("empty background", "red cells only")
        ]
        for way in ("nearest cell", "energy")
    }
    yield f"(AUROC {listed(auroc['nearest cell'])}; energy {listed(auroc['energy'])})"
    yield f"MobileNet v2 calls {mobile['empty background']['nearest cell']} % of the empty backgrounds unknown"
    assert squeeze["empty background"]["nearest cell"] == "0"


@quoted_in(f"{REFUSAL}/README.md")
def what_is_no_known_cell_to_a_better_network() -> Iterator[str]:
    found = called_unknown("mobilenet_v2-best")
    for images, name in (
        ("noise", "noise"),
        ("empty background", "the empty backgrounds"),
        ("photographs", "photographs"),
        ("red cells only", "red cells only"),
    ):
        yield f"{found[images]['nearest cell']} and {found[images]['energy']} % of {name}"


@quoted_in(f"{REFUSAL}/README.md")
def flips_and_turns() -> Iterator[str]:
    tta = record(f"{REFUSAL}/squeezenet1_1.json")["tta"]
    only_eight, only_plain = tta["only_eight_right"], tta["only_plain_right"]
    yield (
        f"{tta['errors']['eight']} instead of {tta['errors']['plain']} errors on {tta['n']:,} test images, {only_eight} "
        f"right only with them and {only_plain} only without (McNemar, exact: p = {float(mcnemar(only_eight, only_plain)):.2f}), "
        f"for {tta['cost']:.1f} times"
    )


@quoted_in("docs/limits.md")
def meshes_of_unknown() -> Iterator[str]:
    mobile = called_unknown("mobilenet_v2")
    left_out = called_unknown("squeezenet1_1-without-erythroblasts")["class left out: erythroblast"]
    yield f"without erythroblasts called {left_out['nearest cell']} % of them unknown"
    yield f"MobileNet v2 called {mobile['empty background']['nearest cell']} % of the empty backgrounds unknown"
    better = called_unknown("mobilenet_v2-best")
    red = mobile["red cells only"]["nearest cell"], better["red cells only"]["nearest cell"]
    yield f"red cells only, {red[0]} % were called unknown by a MobileNet v2 after four epochs and {red[1]} % by a better one"


def judged() -> dict[str, dict]:
    rows = record(f"{EXPLAIN}/drawn-cells.json")["rows"]
    return {one["arch"]: one for one in rows if "score" in one}


def gains(null: str) -> dict[str, tuple[float, float, float]]:
    """Return by how much each network's maps say more than a null's, and the bounds."""
    found = {arch: next(c for c in one["claims"] if c["null"] == null) for arch, one in judged().items()}
    return {arch: (one["mean"], one["low"], one["high"]) for arch, one in found.items()}


def told(found: dict[str, tuple[float, float, float]]) -> str:
    return ", ".join(
        f"{arch} {mean:+.2f} ({low:.2f} to {high:.2f})" for arch, (mean, low, high) in found.items()
    )


@quoted_in(f"{EXPLAIN}/README.md")
def heatmaps() -> Iterator[str]:
    yield (RESULTS / "2026-11-explain" / "drawn-cells.md").read_text(
        "utf-8"
    )  # a test holds this table to its record
    n = len(judged())
    tried = len(record(f"{EXPLAIN}/drawn-cells.json")["rows"])
    yield f"{tried} of 27 networks were tried, {n} of them learnt enough to be judged"
    above = [sum(low > 0 for _, low, _ in gains(null).values()) for null in ("other", "randomised")]
    yield f"above 0 with the whole interval in {above[0]} and {above[1]} of {n}"
    alike = sorted(one["similarity"] for one in judged().values())
    yield f"({alike[0]:.2f} to {alike[-1]:.2f})"
    blob = gains("blob")
    better = {arch: one for arch, one in blob.items() if one[1] > 0}
    worse = {arch: one for arch, one in blob.items() if one[2] < 0}
    yield f"{len(better)} of {n} order the pixels better: {told(better)}"
    yield f"{len(worse)} order them worse: {told(worse)}"
    cells = sum(one["n"] for one in judged().values())
    moved = sum(one["moved_blob_more_than_blob"] for one in judged().values())
    random = sum(one["random_map_more_than_blob_and_other"] for one in judged().values())
    yield f"said more than the five in {moved} of {cells} cells"
    yield f"said more than blobs and other cells' maps in {random} of {cells}"


def held() -> dict[tuple[str, int, float], float]:
    """Return how many of a hundred intervals held, to a tenth."""
    rows = record(f"{INTERVALS}/coverage.json")["rows"]
    return {
        (one["score"], one["n"], one["p"]): round(100 * one["held"], 1)
        for one in rows
        if one["held"] is not None
    }


@quoted_in(f"{INTERVALS}/README.md")
def simulated_intervals() -> Iterator[str]:
    table = (RESULTS / "2026-11-intervals" / "coverage.md").read_text("utf-8").split("\n\n", 1)[1]
    yield table
    found = held()
    calibration = {key: value for key, value in found.items() if re.match("ece|brier|log", key[0])}
    many = {key: value for key, value in found.items() if key[1] == 2056 and key not in calibration}
    short = {key: value for key, value in many.items() if value < 93}
    assert list(short) == [("auroc", 2056, 0.999)]
    yield f"all hold to within two points, but for the AUROC of 0.999 ({short['auroc', 2056, 0.999]})"
    yield f"but for the AUROC of 0.99 ({found['auroc', 500, 0.99]})"
    yield f"MCC's hold in {found['mcc', 500, 0.999]} of the others"
    bootstrapped = (
        "balanced_accuracy",
        "macro_precision",
        "macro_specificity",
        "mcc",
        "cohens_kappa",
        "auroc",
    )
    worst = min(found[name, 50, 0.9] for name in bootstrapped)
    yield f"at p 0.9 it falls short by up to {95 - worst:.1f} points, and at 0.99 MCC by {95 - found['mcc', 50, 0.99]:.0f}"
    wilsons = [found["accuracy, Wilson", n, p] for n, p in ((50, 0.99), (500, 0.999))]
    yield f"({listed(wilsons)})"
    few = [value for (_, n, p), value in calibration.items() if (n, p) == (2056, 0.999)]
    yield f"{min(few):.0f} to {max(few):.0f} of a hundred hold"
    yield f"twice too sure does so in {found['ece, twice too sure', 50, 0.9]:.0f} of a hundred only"
    enough = [value for (_, n, p), value in calibration.items() if n * (1 - p) > 9]
    assert min(enough) > 92


@quoted_in(f"{FAULTS}/README.md")
def kills() -> Iterator[str]:
    found = record(f"{FAULTS}/kills.json")
    workers, nodes = found["killed"]["worker"], found["killed"]["node"]
    yield f"workers and nodes killed, {workers + nodes} at random moments"
    yield f"{workers} workers, {nodes} nodes, one every 1 to 8 s, {found['runs']} runs"
    assert (found["lost"], found["done twice"], found["other bytes"]) == (0, 0, 0)
    yield f"{found['begun again']} times a run was begun again"


def held_under_review() -> list[dict]:
    """Return the rows of the simulated reviews, figures to a tenth as the pages have them."""
    keys = ("held", "worst", "width")
    return [
        {**one, **{key: f"{one[key]:.1f}" for key in keys}}
        for one in record(f"{REVIEW}/coverage.json")["rows"]
    ]


def doubtful_half(way: str) -> list[dict]:
    """Return, of slides of many cells, those whose doubtful half was reviewed: blood, then left shift."""
    return [
        one
        for one in held_under_review()
        if (one["model"], one["how"], one["reviewed"], one["way"])
        == ("drawn, many cells", "doubtful first", 0.5, way)
    ]


def least_and_most(rows: list[dict], key: str) -> str:
    values = sorted(float(one[key]) for one in rows)
    return f"{values[0]:.1f} to {values[-1]:.1f}"


@quoted_in(f"{REVIEW}/README.md")
def simulated_reviews() -> Iterator[str]:
    yield (RESULTS / "2026-11-review" / "coverage.md").read_text("utf-8").split("\n\n", 1)[1]
    rows = held_under_review()
    usual = [one for one in rows if not one["way"] and "sharp" not in one["model"]]
    yield (
        f"{least_and_most(usual, 'held')} of a hundred, in the worst class {least_and_most(usual, 'worst')}"
    )
    width = {
        (one["how"], one["reviewed"]): one["width"]
        for one in usual
        if (one["model"], one["composition"]) == ("drawn", "blood")
    }
    yield (
        f"from {width['nobody', 0]} points with nothing reviewed to {width['by chance', 0.5]} with half of the cells by chance and "
        f"{width['doubtful first', 0.5]} with the doubtful half, which is as much as all of them bring ({width['all', 1]})"
    )
    assert float(width["doubtful first", 0.5]) < float(width["all", 1]) + 0.2
    (blood, shift), (blood_left, shift_left) = doubtful_half("all errors"), doubtful_half("")
    yield (
        f"held in {blood['held']} and {shift['held']} of a hundred, in the worst class in {blood['worst']} and {shift['worst']}; with "
        f"the share of the errors that is left, in {blood_left['held']} and {shift_left['held']}, and {blood_left['worst']} and "
        f"{shift_left['worst']}"
    )
    of_networks = [one for one in rows if one["way"] and not one["model"].startswith("drawn")]
    yield f"either way {min(float(one['held']) for one in of_networks):.1f} of a hundred or more"
    sharp = [one for one in rows if "sharp" in one["model"] and not one["way"]]
    yield (
        f"held in {least_and_most(sharp, 'held')} of a hundred, in the worst class in "
        f"{min(float(one['worst']) for one in sharp):.1f} or more"
    )


@quoted_in("docs/decisions/0017-which-errors-are-left.md")
def why_not_all_errors() -> Iterator[str]:
    (blood, _), (blood_left, _) = doubtful_half("all errors"), doubtful_half("")
    yield (
        f"held in {float(blood['worst']):.0f} of a hundred drawn slides, with the share in {float(blood_left['worst']):.0f}"
    )
