"""How a text detector is trained and read: target maps, criterion and decoder that belong together."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from matchloss.criteria import DBCriterion, EASTCriterion
from matchloss.encoders import DBTargetEncoder, EASTTargetEncoder
from matchloss.losses import GWDLoss, KLDLoss, ProbIoULoss, RotatedGIoULoss, RotatedIoULoss
from matchloss.postprocess import decode_db, decode_east
from matchloss.recipes.errors import RunError
from matchloss.recipes.text_inference import MOST, Decode
from matchloss.recipes.text_models import STRIDE
from matchloss.recipes.text_settings import Settings
from matchloss.types import DBMaps, EASTMaps, LossTerms, TextDetections

Encode = Callable[[Sequence[Tensor], Sequence[Tensor], tuple[int, int]], EASTMaps | DBMaps]
DB_STRIDE = STRIDE // 2

SCORE_WEIGHTS: dict[str, tuple[float | None, float | None]] = {
    "balanced": (1.0, None),
    "dice": (None, 1.0),
    "both": (20.0, 1.0),
}
"""Of balanced cross entropy and of Dice. The former is small by itself where text is rare: alone it is as published,
beside Dice so large that both have a say."""
BOX_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "rotated_iou": partial(RotatedIoULoss, mode="log"),
    "rotated_giou": RotatedGIoULoss,
    "probiou": ProbIoULoss,
    "kld": KLDLoss,
    "gwd": GWDLoss,
}
PRESETS: dict[str, tuple[Callable[[], EASTTargetEncoder], Callable[[], EASTCriterion]]] = {
    "paper": (EASTTargetEncoder.paper, EASTCriterion.paper),
    "argman": (EASTTargetEncoder.argman, EASTCriterion.argman),
    "sakura": (EASTTargetEncoder.sakura, EASTCriterion.sakura),
}


class Method(NamedTuple):
    """How a text detector is trained and read."""

    encode: Encode
    loss: Callable[[dict[str, Tensor], Any], LossTerms]
    """From what the model gives and the maps."""
    decode: Decode
    description: str
    """One line for the page."""


def choose_method(settings: Settings) -> Method:
    """Put together what a run is trained and read with."""
    if settings.head == "db":
        return _binarised()
    encoder, criterion, description = _east_parts(settings)

    def loss(outputs: dict[str, Tensor], maps: EASTMaps) -> LossTerms:
        terms: LossTerms = criterion(outputs["score"], outputs["geometry"], maps)
        return terms

    def decode(outputs: dict[str, Tensor]) -> TextDetections:
        return decode_east(
            outputs["score"],
            outputs["geometry"],
            stride=STRIDE,
            distance_order=encoder.distance_order,
            score_threshold=settings.score_threshold,
            merge="components",  # the paper's scan averages words side by side into each other while boxes are rough
            max_detections=MOST,
        )

    return Method(encoder, loss, decode, description)


def _east_parts(settings: Settings) -> tuple[EASTTargetEncoder, EASTCriterion, str]:
    if settings.preset != "none":
        if settings.head != "rbox":
            raise RunError(f"--preset {settings.preset} is for --head rbox, got --head {settings.head}")
        make_encoder, make_criterion = PRESETS[settings.preset]
        return make_encoder(), make_criterion(), f"EASTCriterion.{settings.preset}() as published"
    score, dice = SCORE_WEIGHTS[settings.score_loss]
    if settings.head == "quad":
        encoder = EASTTargetEncoder(geometry="quad")
        criterion = EASTCriterion(score_weight=score, dice_weight=dice)
        return encoder, criterion, f"score {settings.score_loss}, corners by smooth L1"
    box_loss = None if settings.geometry_loss == "edges" else BOX_LOSSES[settings.geometry_loss]()
    criterion = EASTCriterion(score_weight=score, dice_weight=dice, geometry_loss=box_loss)
    return EASTTargetEncoder(), criterion, f"score {settings.score_loss}, geometry {settings.geometry_loss}"


def _binarised() -> Method:
    def decode(outputs: dict[str, Tensor]) -> TextDetections:
        return decode_db(outputs["score"], stride=DB_STRIDE, unclip=None, max_detections=MOST)

    encoder = DBTargetEncoder(stride=DB_STRIDE)
    return Method(encoder, DBCriterion(), decode, "differentiable binarisation as published")
