"""Several processes teach one network: ``torchrun --no-python --nproc-per-node 2 truck-counter …``.

Rank 0 leads: it alone reads labels, judges, writes and prints. The others follow it through one
course after another (:class:`classroom.Course`), each with its part of every batch, on a GPU of its
own where there are any (PyTorch's DistributedDataParallel). Checkpoints are read by all: hosts need
a common workspace. Without torchrun the one process leads itself, and nothing here does anything.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.learning.classroom import Classroom, Course

PATIENCE = dt.timedelta(days=7)  # who follows waits while rank 0 reads and judges


def count() -> int:
    """Return how many processes teach."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """Return this process's rank; 0 leads."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextmanager
def led() -> Iterator[None]:
    """Lead the processes that torchrun started, until the block ends; rank 0 alone enters it.

    All other processes end here, with 0, when rank 0 has left its block.

    Raises:
        ConfigError: there are fewer GPUs than processes.
    """
    if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    _begin()
    try:
        if number():
            _follow()
            # At once: a regular exit has been seen to abort over a thread that still ran, once in
            # eight, and then torchrun calls the whole training failed.
            os._exit(0)
        yield
        # Not after an error: those in the middle of a course wait for gradients and would not hear.
        # torchrun ends them once this process has ended.
        _told(None)
    finally:
        distributed.destroy_process_group()


def _begin() -> None:
    here = int(os.environ["LOCAL_RANK"])
    backend = "gloo"
    if torch.cuda.is_available():
        if here >= torch.cuda.device_count():
            raise ConfigError(
                f"{torch.cuda.device_count()} GPU(s) are too few for process {here + 1}.",
                "Give torchrun at most as many --nproc-per-node, or hide the GPUs.",
            )
        torch.cuda.set_device(here)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=PATIENCE)


def _follow() -> None:
    while (told := _told(None)) is not None:
        room, course, minutes = told
        room.teach(course, None, minutes)


def _told(what: Any) -> Any:  # noqa: ANN401 - what rank 0 says
    """Return what rank 0 says to all."""
    said = [what]
    distributed.broadcast_object_list(said, src=0)
    return said[0]


def gathered(room: Classroom, course: Course, minutes: float | None) -> None:
    """Call the processes that follow to a course which rank 0 is about to teach."""
    if count() > 1 and number() == 0:
        _told((room, course, minutes))


def met() -> None:
    """Wait until all processes have come this far: what one removes, another may still read."""
    if count() > 1:
        distributed.barrier()


def together(net: nn.Module) -> nn.Module:
    """Return ``net`` so that a backward pass averages gradients over all processes."""
    if count() == 1:
        return net
    return nn.parallel.DistributedDataParallel(net)


def own_part(rows: Tensor) -> Tensor:
    """Return this process's part of a batch's rows ``[n]``."""
    return rows[number() :: count()]


def summed(values: Tensor) -> Tensor:
    """Return the sum over all processes of a small tensor."""
    if count() == 1:
        return values
    values = values.clone()
    distributed.all_reduce(values)
    return values


def as_led(*values: float) -> tuple[float, ...]:
    """Return rank 0's values in every process."""
    if count() == 1:
        return values
    said = torch.tensor(values, dtype=torch.float64)
    distributed.broadcast(said, src=0)
    return tuple(said.tolist())
