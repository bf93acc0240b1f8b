"""Which samples make up a step: a pure function of the seed and the step, so that a resumed run repeats itself."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.settings import TrainSettings
from matchloss.recipes.task import Task


class Draw(NamedTuple):
    """One sample of a step."""

    step: int
    position: int
    """In the batch of all processes together."""
    sample: int
    """In the training set."""


def draws_of_step(step: int, *, batch_size: int, size: int, seed: int) -> list[Draw]:
    """Walk through one permutation of the training set after the other; a batch may span two."""
    draws = []
    for position in range(batch_size):
        epoch, place = divmod(step * batch_size + position, size)
        draws.append(Draw(step, position, int(_permutation(seed, epoch, size)[place])))
    return draws


def step_seed(seed: int, step: int, rank: int) -> int:
    """Give a seed for torch's own generator (dropout and the like) in one step of one process."""
    # The leading number keeps this apart from the generators of permutations and samples.
    return int(np.random.SeedSequence((2, seed, step, rank)).generate_state(1)[0])


class _StepSampler(Sampler[list[Draw]]):
    """Yields this process's share of each step."""

    def __init__(self, settings: TrainSettings, *, start: int, size: int, rank: int, processes: int) -> None:
        self.settings, self.size = settings, size
        self.steps = range(start, settings.steps)
        share = settings.batch_size // processes
        self.share = slice(rank * share, (rank + 1) * share)

    def __iter__(self) -> Iterator[list[Draw]]:
        batch_size, seed = self.settings.batch_size, self.settings.seed
        for step in self.steps:
            yield draws_of_step(step, batch_size=batch_size, size=self.size, seed=seed)[self.share]

    def __len__(self) -> int:
        return len(self.steps)


class _Samples(Dataset[Any]):
    """Gives each draw a random generator of its own, so that no process or worker order matters."""

    def __init__(self, sample: Callable[[int, np.random.Generator, int], Any], seed: int) -> None:
        self.sample, self.seed = sample, seed

    def __getitem__(self, draw: Draw) -> Any:
        rng = np.random.default_rng((1, self.seed, draw.step, draw.position))
        try:
            return self.sample(draw.sample, rng, draw.step)
        except DataError as error:
            # Raised in a worker it would come out wrapped in a stack trace; the training loop raises it instead.
            return error


class _CollateOrError:
    """A class, because worker processes must be able to pickle it."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        errors = [sample for sample in samples if isinstance(sample, DataError)]
        return errors[0] if errors else self.collate(samples)


def batches(
    task: Task, settings: TrainSettings, *, start: int, rank: int, processes: int, workers: int
) -> DataLoader[Any]:
    """Load this process's batches from step ``start`` on; one that met a bad file is the ``DataError`` itself."""
    sampler = _StepSampler(settings, start=start, size=task.training_size, rank=rank, processes=processes)
    return DataLoader(
        _Samples(task.sample, settings.seed),
        batch_sampler=sampler,
        collate_fn=_CollateOrError(task.collate),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


@lru_cache(maxsize=2)  # a batch may span two epochs
def _permutation(seed: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    """Shuffle the training set for one epoch."""
    return np.random.default_rng((0, seed, epoch)).permutation(size)
