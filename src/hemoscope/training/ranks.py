"""The processes that train one run together, as torchrun starts them. A process alone meets nobody and imports nothing.

Rank 0 is the main one: it alone writes and speaks. What ends one rank ends all of them, with one message a machine.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hemoscope.errors import ConfigError, HemoscopeError, TrainingError
from hemoscope.training.last_words import (
    SOON,
    Meeting,
    Place,
    connect,
    end_with_the_others,
    is_of_the_net,
    tell_first,
    why_not,
)

if TYPE_CHECKING:
    import torch

__all__ = ["ALONE", "Ranks", "ranks_here", "tell_once"]

PATIENCE = timedelta(hours=6)  # for a scan and a canvas on another machine; nobody trains meanwhile

_meetings = itertools.count()  # all ranks count alike; the store keeps what an earlier one left in it


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is.

    Attributes:
        rank: Of all, from 0.
        world: How many there are.
        local_rank: Among those of this machine, from 0.
        local_world: How many of them are on this machine.
        machine: Which machine this is, from 0.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    machine: int = 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world > 1

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    @property
    def place(self) -> Place:
        """Where its last words come from."""
        return Place(self.rank, self.world, self.machine)

    def device_name(self, name: str) -> str:
        """Return the device of this rank: every one of a machine has a GPU of its own, or all share its CPU.

        Raises:
            ConfigError: If there are more of them than GPUs, or they cannot compute there together.
        """
        if not self.several:
            return name
        import torch

        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "mps" or (name.startswith("cuda:") and self.local_world > 1):
            raise ConfigError(
                f"expected --device auto, cuda or cpu under torchrun, which gives each rank a GPU of its own; got {name}"
            )
        if name != "cuda":
            return name
        gpus = torch.cuda.device_count()
        if 0 < gpus < self.local_world:
            raise ConfigError(
                f"expected at most {gpus} ranks on this machine, one a GPU; got {self.local_world} (--nproc-per-node)"
            )
        return f"cuda:{self.local_rank}"

    @contextmanager
    def one_first(self, what: str) -> Iterator[None]:
        """Let the first rank of a machine do something before its others do it, who then find it done."""
        if self.local_world == 1:
            yield
            return
        store, key = connect(PATIENCE), f"{what} {self.machine}"
        if self.local_rank:
            store.wait([key], PATIENCE)
        yield
        if not self.local_rank:
            store.set(key, "")

    @contextmanager
    def together(self, device: torch.device) -> Iterator[Meeting]:
        """Meet the other ranks, for as long as there is something to do together.

        What may take long and needs nobody is to be done before: who waits in here gives up after torch's own
        10 to 30 minutes.

        Raises:
            TrainingError: If another rank ended or cannot be reached.
        """
        meeting = Meeting(next(_meetings))
        if not self.several:
            yield meeting
            return
        import torch.distributed as dist

        stop_listening = end_with_the_others(self.place, meeting)
        store = connect(PATIENCE, f"meeting {meeting.number}")
        ours = not dist.is_initialized()
        try:
            store.set(f"came {self.rank}", "")
            store.wait([f"came {rank}" for rank in range(self.world)], PATIENCE)
            if ours:
                dist.init_process_group(
                    "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo",
                    store=store,
                    rank=self.rank,
                    world_size=self.world,
                    device_id=device if device.type == "cuda" else None,
                )
            yield meeting
        except HemoscopeError as error:
            with suppress(RuntimeError):
                connect(SOON).set(meeting.reason, str(error))
            raise
        except RuntimeError as error:
            if not is_of_the_net(error):
                raise
            raise TrainingError(why_not(self.place, meeting, str(error))) from None
        if ours:
            dist.destroy_process_group()  # not after an error: it would wait for those who are gone
        stop_listening()

    def described(self) -> dict[str, object]:
        """Return what a run card says of ranks that are together; nothing of one alone."""
        if not self.several:
            return {}
        import torch.distributed as dist

        return {"ranks": self.world, "backend": dist.get_backend()}

    def gathered(self, mine: Any) -> list[Any]:
        """Return what every rank has, in their order."""
        if not self.several:
            return [mine]
        import torch.distributed as dist

        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, mine)
        return parts

    def wait(self) -> None:
        """Go on when all ranks have come this far."""
        self.gathered(None)

    def from_main(self, ask: Callable[[], bool]) -> bool:
        """Return what the main rank answers; the others are not asked."""
        return self.gathered(ask() if self.main else False)[0]

    def agree(self, mine: object, what: str) -> None:
        """Refuse to go on where ranks hold something else to be true.

        Raises:
            ConfigError: With what every rank holds.
        """
        held = self.gathered(str(mine))
        if len(set(held)) > 1:
            raise ConfigError(
                f"the ranks do not agree on {what}: "
                + ", ".join(f"rank {rank} has {value}" for rank, value in enumerate(held))
                + "; expected the same data, weights, processors and versions on every machine, and an --out that "
                "all of them see"
            )

    def share(self, n: int) -> slice:
        """Return which of n things are this rank's; shares are contiguous and differ by one at most.

        >>> [Ranks(rank, 3).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)


ALONE = Ranks()


def ranks_here() -> Ranks:
    """Return which rank this process is by torchrun's word; anybody else's is alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    return Ranks(*(int(os.environ[name]) for name in names))


def tell_once(text: str, tell: Callable[[str], None]) -> None:
    """Say why this process ends, unless another rank of this machine has said why it does."""
    ranks = ranks_here()
    if ranks.several:
        tell_first(ranks.place, text, tell)
    else:
        tell(text)
