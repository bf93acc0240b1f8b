"""The settings that every training shares; a recipe adds its own and tunes the defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What decides the weights a training ends with; stored with the run, and fixed once it has begun."""

    steps: int = 400  # the length of the schedule: in steps, since a schedule in minutes could not be resumed exactly
    batch_size: int = 8  # of the whole step; several processes share it, so that their number does not matter
    lr: float = 1e-3  # peak of the cosine
    warmup: int = 20  # steps of linear rise: AdamW's second moments mean nothing in the first few
    weight_decay: float = 0.01  # of weight matrices and kernels only, never of biases and norms
    clip_norm: float = 1.0  # gradients are scaled down to this norm, so that one odd batch cannot undo the others
    ema: float | None = None  # decay of a moving average of the weights, which is then what is scored; None for none
    seed: int = 0  # every random choice is a function of this, the step and the position in the batch
    precision: str = "32-true"  # or bf16-mixed (recent GPUs), 16-mixed (older ones, with a loss scaler)
    channels_last: bool = False  # pixels with their channels together: faster on GPUs, slower on the CPUs we measured
    log_every: int = 10  # steps between the lines of history.jsonl
    validate_every: int = 100  # steps between two looks at the validation images
    save_every: int = 50  # steps between checkpoints: what a kill can cost


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a training runs; free to change when it is resumed."""

    accelerator: str = "auto"
    devices: int = 1
    workers: int | None = None
    """Processes that read and augment; None: none on a CPU, where they would take the training's cores, else 4."""
    time_limit: float | None = None
    """Minutes after which the training saves and stops, to be resumed."""
