"""What a rank says when it cannot go on, once a machine, and how it ends with the others.

torchrun ends those who remain by SIGTERM. A rank may then stand in a call that waits for the dead, where Python
hears no signal, so a thread answers it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

__all__ = [
    "SOON",
    "Meeting",
    "Place",
    "connect",
    "end_with_the_others",
    "is_of_the_net",
    "tell_first",
    "why_not",
]

SOON = timedelta(seconds=10)  # a process that is about to end waits no longer for the store
GOES_ON = "What was finished is kept: the same command goes on from the last checkpoint"

_telling = threading.Lock()  # who has begun to tell is not ended before it has


@dataclass(frozen=True, slots=True)
class Place:
    """A rank, of how many, and the machine it is on."""

    rank: int
    world: int
    machine: int


@dataclass
class Meeting:
    """Ranks that have found each other.

    Attributes:
        number: Which meeting it is of these processes, from 0.
        on_failure: Called with the reason where another rank could not go on; None: nobody needs to know.
    """

    number: int
    on_failure: Callable[[str], None] | None = None

    @property
    def reason(self) -> str:
        """The key under which the rank that could not go on leaves why."""
        return f"reason {self.number}"


def connect(timeout: timedelta, *within: str) -> Any:
    """Return a connection of its own to torchrun's store of keys and values; two threads cannot share one.

    Args:
        timeout: How long to wait for the store, and for a key.
        within: What stands before every key.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://", timeout=timeout)))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore("/".join(["hemoscope", attempt, *within]), store)


def is_of_the_net(error: RuntimeError) -> bool:
    """Whether an error came from speaking with other ranks."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or any(name in str(error).lower() for name in ("gloo", "nccl"))


def why_not(place: Place, meeting: Meeting, seen: str) -> str:
    """Return why this rank cannot go on without another, and leave the other's reason where it belongs.

    Args:
        place: This rank.
        meeting: Who wants to know the reason that another rank gave.
        seen: What this one saw of it.
    """
    reason = ""
    with suppress(RuntimeError):
        store = connect(SOON)
        if store.check([meeting.reason]):
            reason = store.get(meeting.reason).decode()
    if reason and meeting.on_failure:
        meeting.on_failure(reason)
    brief = re.sub(r"^\[[^]]*\] *", "", seen.splitlines()[0]).partition(". ")[
        0
    ]  # gloo names a line of its code
    return reason or (
        f"rank {place.rank} of {place.world} cannot go on without the others ({brief}): one of them "
        f"ended, or torchrun was told to end; its own report says which. {GOES_ON}"
    )


def tell_first(place: Place, text: str, tell: Callable[[str], object]) -> None:
    """Say something unless another rank of this machine has said why it ends."""
    with _telling:
        if _is_first(place):
            tell(text)


def end_with_the_others(place: Place, meeting: Meeting) -> Callable[[], None]:
    """Answer SIGTERM from now on: say why, and end, whatever the main thread waits for.

    Returns:
        What leaves signals as they were.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # signals are not ours; the process ends all the same
    heard, said = os.pipe()
    os.set_blocking(said, False)
    earlier_fd = signal.set_wakeup_fd(
        said, warn_on_full_buffer=False
    )  # written at once, whatever Python does
    earlier = signal.signal(signal.SIGTERM, lambda *_: None)

    def stop() -> None:
        signal.signal(signal.SIGTERM, earlier)
        signal.set_wakeup_fd(earlier_fd)
        os.close(said)

    def listen() -> None:
        while (byte := os.read(heard, 1)) != bytes([signal.SIGTERM]):
            if not byte:
                os.close(heard)
                return
        tell_first(place, f"hemoscope: {why_not(place, meeting, 'SIGTERM')}\n", sys.stderr.write)
        sys.stderr.flush()
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=listen, name="ends with the others", daemon=True).start()
    return stop


def _is_first(place: Place) -> bool:
    try:
        return connect(SOON).add(f"told {place.machine}", 1) == 1
    except RuntimeError:  # the store went first
        return True
