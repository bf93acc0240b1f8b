"""What a text detection is trained with."""

from dataclasses import dataclass

from matchloss.recipes.settings import TrainSettings

PRESETS = ("none", "paper", "argman", "sakura")
SCORE_LOSSES = ("balanced", "dice", "both")
GEOMETRY_LOSSES = ("edges", "rotated_iou", "rotated_giou", "probiou", "kld", "gwd")


@dataclass(frozen=True, kw_only=True)
class Settings(TrainSettings):
    """Stored with the run; the shared part stands in settings.py."""

    data: str  # folder with ICDAR or MSRA-TD500 annotations, and lists of the images of train and val
    format: str = "auto"
    skip_bad: bool = False  # leave bad files out, with a warning, instead of stopping at the first
    model: str = "resnet"  # trains from random weights; a Hugging Face backbone wants a GPU
    head: str = "rbox"  # or quad, or db, which is differentiable binarisation
    preset: str = "none"  # paper, argman or sakura: EAST's criterion as published, in place of the next two
    score_loss: str = "both"
    geometry_loss: str = "edges"
    long_side: int = 1280  # photos are scaled to this many pixels before anything else, in training and after
    crop: int = 256  # side of the training crops: a word of street photos is about 80 pixels long
    synthetic: float = 0.8  # chance of drawn words at the first step; it falls to nothing at half of the steps
    score_threshold: float = 0.99  # of the cells that vote for a word: balanced cross entropy says so where text is
    # as likely as not, one cell in a hundred being text; after Dice alone 0.5 will do
    steps: int = 1200
    lr: float = 2e-3
    warmup: int = 50
    ema: float | None = 0.995
    validate_every: int = 200
    channels_last: bool = True
