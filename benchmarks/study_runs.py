"""What the study trains: losses, foreground shares and seeds, and the name of each run's record."""

from dataclasses import dataclass

LOSSES = {
    "cross_entropy": {"cross_entropy": 1.0},
    "focal": {"focal": 1.0},
    "dice": {"dice": 1.0},
    "jaccard": {"jaccard": 1.0},
    "lovasz": {"lovasz": 1.0},
    "cross_entropy+dice": {"cross_entropy": 1.0, "dice": 1.0},
    "focal+dice": {"focal": 1.0, "dice": 1.0},
}
"""Terms of the criterion, with the package's default options."""

SHARES = (0.01, 0.1, 0.5)
SHARE_LOSSES = ("cross_entropy", "dice", "cross_entropy+dice")


@dataclass(frozen=True)
class Run:
    """One training."""

    loss: str
    share: float | None
    """Of foreground in every crop; None: whole images as they are."""
    seed: int

    @property
    def name(self) -> str:
        """Also the record's file name."""
        data = "nuclei" if self.share is None else f"share{100 * self.share:g}"
        return f"{data}-{self.loss}-seed{self.seed}"


@dataclass(frozen=True)
class Length:
    """How much of a training a run is; records of another length are not taken for finished ones."""

    steps: int = 200
    crop: int = 96
    batch_size: int = 8
    lr: float = 2e-3
    validate_every: int = 25
    train_crops: int = 96
    """At most so many at one foreground share, so that the shares differ in nothing but the share."""
    val_crops: int = 32


def planned(seeds: int) -> list[Run]:
    """All runs, seed by seed, so that a study cut short has whole seeds."""
    return [
        run
        for seed in range(seeds)
        for run in (
            *(Run(loss, None, seed) for loss in LOSSES),
            *(Run(loss, share, seed) for share in SHARES for loss in SHARE_LOSSES),
        )
    ]
