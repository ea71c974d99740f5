"""Runs side by side, each in a process of its own.

A process that dies costs its own run alone, and that is tried once more when the others have had their
turn. Processes end with the one that started them, however that one ends: Ctrl-C, SIGTERM or kill -9.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from hemoscope.places import available_cores
from hemoscope.runs import EpochRow
from hemoscope.sweep.one import Outcome
from hemoscope.sweep.plan import PlannedRun
from hemoscope.training.loop import Watcher

__all__ = ["do_together"]


@dataclass(slots=True)
class _Child:
    """A process that does one run; what it says last is how the run ended."""

    item: PlannedRun
    device_name: str
    process: BaseProcess
    outcome: Outcome | None = None


def do_together(
    planned: Sequence[PlannedRun],
    one: Callable[..., Outcome],
    *,
    device_names: Sequence[str],
    watch: Callable[[PlannedRun], Watcher],
    ended: Callable[[Outcome], None],
    died: Callable[[PlannedRun, str, bool], None],
) -> None:
    """Do every planned run, as many at once as there are device names.

    Args:
        planned: The runs, begun in this order.
        one: Does a run, given it, `device_name` and `watcher`; must pickle.
        device_names: Where to compute, once for each run at once. They share the cores of the machine.
        watch: Gives the watcher of a run; it hears of epochs.
        ended: Called with the outcome of each run that came to an end of its own.
        died: Called with a run whose process ended before it, the reason, and whether it is tried again.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    threads = max(1, available_cores() // len(device_names))
    waiting, free = deque(planned), deque(device_names)
    watchers = {item: watch(item) for item in planned}
    tried_again: set[PlannedRun] = set()
    running: dict[Connection, _Child] = {}
    try:
        while waiting or running:
            while waiting and free:
                item, device_name = waiting.popleft(), free.popleft()
                heard, says = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work,
                    args=(says, one, item, device_name, threads),
                    name=item.label,
                )
                process.start()
                says.close()  # so that the child's death ends what is heard
                running[heard] = _Child(item, device_name, process)
            for heard in cast("list[Connection]", wait(list(running))):
                child = running[heard]
                try:
                    news = heard.recv()
                except (EOFError, OSError):  # ended, perhaps in the middle of a word
                    del running[heard]
                    child.process.join()
                    free.append(child.device_name)
                    if child.outcome:
                        ended(child.outcome)
                        continue
                    again = child.item not in tried_again
                    if again:
                        tried_again.add(child.item)
                        waiting.append(child.item)
                    died(child.item, f"its process {_how_it_ended(child.process.exitcode)}", again)
                    continue
                if isinstance(news, tuple):
                    watchers[child.item].on_epoch(*news)
                else:
                    child.outcome = news
    finally:
        for child in running.values():
            child.process.terminate()
        for child in running.values():
            child.process.join()


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-exitcode).name}"
    return f"was killed by signal {-exitcode}"


class _Messenger(Watcher):
    """Tells the parent process of every epoch."""

    def __init__(self, says: Connection) -> None:
        self._says = says

    def on_epoch(self, row: EpochRow, epochs: int) -> None:
        """Send the epoch."""
        self._says.send((row, epochs))


def _work(
    says: Connection, one: Callable[..., Outcome], item: PlannedRun, device_name: str, threads: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process; the parent answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), threads))
    says.send(one(item, device_name=device_name, watcher=_Messenger(says), progress=None))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)  # sys.exit would end this thread alone
