"""Which of the processes of one training this one is."""

from __future__ import annotations

from jax._src import distributed as _distributed


def is_first_process() -> bool:
    """Whether this is process 0, or the only one; wakes no device, unlike JAX's own."""
    return not _distributed.global_state.process_id


def is_alone() -> bool:
    """Whether no other process takes part in the training."""
    return (_distributed.global_state.num_processes or 1) == 1
