"""A sweep goes on past what fails, skips what is done, and says both."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import ConfigError
from hemoscope.sweep.local import run_sweep
from hemoscope.sweep.plan import parse_seeds, plan
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

QUICK = Recipe(weights="none", epochs=1, batch_size=16, image_px=32, precision="fp32")


@given(st.lists(st.sampled_from(["a", "b", "c"])), st.lists(st.integers(0, 5)))
def test_a_plan_holds_every_pair_once_seed_by_seed(archs: list[str], seeds: list[int]):
    planned = plan(archs, seeds)
    assert {(p.arch, p.seed) for p in planned} == {(a, s) for a in archs for s in seeds}
    assert len(set(planned)) == len(planned)
    order = [seeds.index(p.seed) for p in planned]
    assert order == sorted(order)


@pytest.mark.parametrize("text", ["", "1,x", "-1", "1.5"])
def test_what_is_no_list_of_seeds_is_refused(text: str):
    with pytest.raises(ConfigError, match="expected seeds such as 0,1,2"):
        parse_seeds(text)


def test_a_failed_run_does_not_stop_the_next_and_a_done_one_is_not_repeated(discs: Path, tmp_path: Path):
    prepared = prepare(discs)
    planned = plan(["resnet18", "alexnet", "squeezenet1_1"], [0])  # AlexNet cannot take 32 px

    def sweep() -> list[tuple[str, bool, bool]]:
        outcomes = run_sweep(planned, QUICK, prepared, out=tmp_path, device_name="cpu")
        assert "too small" in outcomes[1].reason
        return [(o.planned.arch, o.run is not None, o.fresh) for o in outcomes]

    assert sweep() == [("resnet18", True, True), ("alexnet", False, True), ("squeezenet1_1", True, True)]
    assert sweep() == [("resnet18", True, False), ("alexnet", False, True), ("squeezenet1_1", True, False)]
