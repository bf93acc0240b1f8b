"""The training loop of every recipe: steps, validation, checkpoints, and a resume that repeats the run bit for bit.

Killed at any moment and resumed, a run on one CPU process ends with the weights of an unbroken one. Nothing is
restored for that but the checkpoint: every random choice is a function of the seed, the step and the position in the
batch (`stream.py`), and the learning rate is one of the step (`optim.py`).
"""

import contextlib
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

import matchloss
from matchloss.recipes.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from matchloss.recipes.ema import AveragedModel
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import RunLog
from matchloss.recipes.optim import learning_rate, make_optimizer
from matchloss.recipes.progress import show_progress, values_text
from matchloss.recipes.settings import Machine, TrainSettings
from matchloss.recipes.stream import batches, step_seed
from matchloss.recipes.task import Task
from matchloss.types import LossTerms

TOO_MANY_SKIPPED = 10


@dataclass
class State:
    """Where a training stands; part of the checkpoint."""

    step: int = 0
    """How many are done."""
    best: float = -math.inf
    seconds: float = 0.0
    """Spent so far, over all the times it was resumed."""
    cpu_seconds: float = 0.0
    """The same, of this process's share of the processors."""
    skipped: int = 0
    skipped_in_a_row: int = 0
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """The scalars of the last step, in groups."""


class Training:
    """One process's part in a training; `launch.py` starts the processes."""

    def __init__(self, fabric: Fabric, task: Task, settings: TrainSettings, run: Path, machine: Machine) -> None:
        if settings.batch_size % fabric.world_size:
            raise RunError(
                f"a batch of {settings.batch_size} cannot be shared equally by {fabric.world_size} processes; "
                "choose a --batch-size that is a multiple of --devices"
            )
        self.fabric, self.task, self.settings, self.run, self.machine = fabric, task, settings, run, machine
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        model = task.model.to(memory_format=layout)  # type: ignore[call-overload]
        self.model, self.optimizer = fabric.setup(model, make_optimizer(model, settings))
        # Every process keeps its own: the weights are the same after each step, so the averages are too.
        self.average = None if settings.ema is None else AveragedModel(self.model.module, settings.ema)
        self.state = State()
        if (run / LAST).is_file():
            self.restore()
        self.log = RunLog(run, last_step=self.state.step) if fabric.is_global_zero else None
        self.view = show_progress(self.state.step, settings, visible=fabric.is_global_zero)

    def fit(self) -> None:
        """Take the steps that are left."""
        settings, state = self.settings, self.state
        began, before = time.monotonic(), state.seconds
        cpu_before = state.cpu_seconds - time.process_time()
        with contextlib.ExitStack() as at_end:
            at_end.callback(self.view.close)
            if self.log:
                at_end.callback(self.log.close)
            if state.step:
                self.view.note(f"resumed after step {state.step} of {settings.steps}")
            for batch in self.load():
                self.step(batch)
                state.seconds = before + time.monotonic() - began
                state.cpu_seconds = cpu_before + time.process_time()
                stop = self.out_of_time(time.monotonic() - began) or state.step == settings.steps
                if state.step % settings.log_every == 0 or stop:
                    self.write_log()
                if state.step % settings.validate_every == 0 or stop:
                    self.validate()
                if state.step % settings.save_every == 0 or stop:
                    self.save(LAST)
                if stop:
                    break
            self.view.note(self.summary())

    def load(self) -> Any:
        """Load the batches from the next step on, on the device."""
        workers = self.machine.workers
        if workers is None:
            workers = 0 if self.fabric.device.type == "cpu" else 4
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        loader = batches(
            self.task, self.settings, start=self.state.step, rank=rank, processes=processes, workers=workers
        )
        # No distributed sampler: the stream gives each process its share already.
        return self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    def step(self, batch: Any) -> None:
        """One step of the optimizer, or none where the loss or its gradient is not finite."""
        if isinstance(batch, Exception):
            raise batch
        step, rate = self.state.step, learning_rate(self.settings, self.state.step)
        torch.manual_seed(step_seed(self.settings.seed, step, self.fabric.global_rank))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.task.loss(self.model, batch)
        self.fabric.backward(loss.total)
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=self.settings.clip_norm, error_if_nonfinite=False
        )
        values = self.read(loss, norm, rate)
        scaled = getattr(self.fabric.strategy.precision, "scaler", None) is not None
        finite_loss, finite_norm = math.isfinite(values["train"]["loss"]), math.isfinite(values["optimizer"]["norm"])
        finite = finite_loss and (scaled or finite_norm)
        # The loss scaler of float16 skips such steps itself, and must see them: it then takes a smaller scale.
        if finite or scaled:
            self.optimizer.step()
        if self.average and finite_loss and finite_norm:  # not after a step that was skipped, by us or by the scaler
            self.average.update(self.model.module)
        self.optimizer.zero_grad()
        self.state.step += 1
        self.state.values = values
        self.view.update(self.state.step, values["train"] | values["optimizer"])
        self.count(finite)

    def read(self, loss: LossTerms, norm: Tensor, rate: float) -> dict[str, dict[str, float]]:
        """Bring the step's scalars to the host in one go, as means over the processes, so that all decide alike."""
        scalars = [loss.total, *loss.terms.values(), *loss.stats.values()]
        means = self.fabric.all_reduce(torch.stack([scalar.detach().float() for scalar in scalars]), reduce_op="mean")
        total, *values, norm_value = torch.cat([means, norm.detach().float()[None]]).tolist()
        terms, stats = values[: len(loss.terms)], values[len(loss.terms) :]
        return {
            "train": {"loss": total, **dict(zip(loss.terms, terms, strict=True))},
            "stats": dict(zip(loss.stats, stats, strict=True)),
            "optimizer": {"norm": norm_value, "lr": rate},
        }

    def count(self, finite: bool) -> None:
        """Note a skipped step; stop where nothing but those come."""
        state = self.state
        if finite:
            state.skipped_in_a_row = 0
            return
        state.skipped += 1
        state.skipped_in_a_row += 1
        values = values_text(state.values["train"] | state.values["optimizer"])
        if state.skipped_in_a_row == TOO_MANY_SKIPPED:
            raise RunError(
                f"the loss was not finite in {TOO_MANY_SKIPPED} steps in a row, the last being {state.step} "
                f"({values}); try a lower --lr or --precision 32-true"
            )
        self.view.note(f"warning: step {state.step} skipped, its loss or gradient is not finite ({values})")

    def out_of_time(self, seconds: float) -> bool:
        """Whether the time is up; all processes agree, or some would wait for ever."""
        if self.machine.time_limit is None:
            return False
        late = torch.tensor(float(seconds > 60 * self.machine.time_limit), device=self.fabric.device)
        return bool(self.fabric.all_reduce(late, reduce_op="max") > 0)

    def write_log(self) -> None:
        """Log the scalars of the last step."""
        state = self.state
        if self.log:
            self.log.append({"step": state.step, "seconds": round(state.seconds, 2), **state.values})

    def validate(self) -> None:
        """Score the model, and keep it if it is the best so far."""
        state = self.state
        # Not the wrapped model: processes may hold unequal counts of images.
        model = self.average.model if self.average else self.model.module
        model.eval()
        with torch.no_grad(), self.fabric.autocast():
            scores = self.task.validate(model, self.fabric)
            if self.log:
                times = {"seconds": round(state.seconds, 2), "cpu_seconds": round(state.cpu_seconds, 2)}
                self.log.append({"step": state.step, **times, "scores": scores})
                self.log.show(self.task.pictures(model, self.fabric), state.step)
        self.model.module.train()  # the average is never trained
        score = scores[self.task.judged_by]
        best = max(score, state.best)
        self.view.note(f"step {state.step}: {self.task.judged_by} {score:.4f}, best so far {best:.4f}")
        if score > state.best or not (self.run / BEST).is_file():
            state.best = score if math.isfinite(score) else -math.inf
            self.save(BEST)
        self.fabric.barrier()  # so that all see the file, or none

    def save(self, name: str) -> None:
        """Write a checkpoint: everything a resumed run needs."""
        if self.fabric.is_global_zero:
            state = {
                "model": self.model.module.state_dict(),
                "optimizer": self.optimizer.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of float16
                "state": asdict(self.state),
                "memory": self.task.memory,
                "settings": asdict(self.settings),
                "version": matchloss.__version__,
            }
            if self.average:
                state["ema"] = self.average.state_dict()
            save_checkpoint(self.run / name, state)

    def restore(self) -> None:
        """Go back to the last checkpoint."""
        saved = load_checkpoint(self.run / LAST)
        try:
            self.model.module.load_state_dict(saved["model"])
            self.optimizer.optimizer.load_state_dict(saved["optimizer"])
            self.fabric.strategy.precision.load_state_dict(saved["precision"])
            if self.average:
                self.average.load_state_dict(saved["ema"])
            self.state = State(**saved["state"])
            self.task.memory = saved["memory"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"{self.run / LAST} does not fit this model or this matchloss: {reason}") from error

    def summary(self) -> str:
        """Say how it ended, and how to go on."""
        state, settings = self.state, self.settings
        skipped = f", {state.skipped} steps skipped" if state.skipped else ""
        text = f"{state.step} of {settings.steps} steps in {state.seconds / 60:.1f} minutes{skipped}"
        return text if state.step == settings.steps else f"{text}: the time is up; go on with --resume"
