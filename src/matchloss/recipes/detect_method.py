"""What differs between dense detectors and those that predict a set: criterion, decoder, and the scale of pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import nn

from matchloss.criteria import SetCriterion
from matchloss.postprocess import decode_set_prediction
from matchloss.recipes.detect_criteria import Composition, make_criterion, make_decoder
from matchloss.recipes.detect_inference import MOST, Decode
from matchloss.recipes.pixel_scale import IMAGENET, PLAIN, PixelScale
from matchloss.recipes.set_models import SMALL
from matchloss.types import Detections

Activation = Literal["softmax", "sigmoid"]


class Method(NamedTuple):
    """How a detector is trained and read."""

    criterion: nn.Module
    decode: Decode
    pixels: PixelScale | None
    """None: images are standardised, each by itself."""
    description: str
    """One line for the page."""
    matches_sets: bool
    """Whether each object has one query, which can be followed from one validation to the next."""


class _OfFamily(NamedTuple):
    preset: str
    criterion: Callable[[int], SetCriterion]
    activation: Activation
    pixels: PixelScale


OF_FAMILY = {
    "yolos": _OfFamily("yolos", SetCriterion.yolos, "softmax", IMAGENET),
    "detr": _OfFamily("detr", SetCriterion.detr, "softmax", IMAGENET),
    "deformable_detr": _OfFamily("deformable_detr", SetCriterion.deformable_detr, "sigmoid", IMAGENET),
    "rt_detr": _OfFamily("rtdetr", SetCriterion.rtdetr, "sigmoid", PLAIN),
}
"""By architecture: the preset of its paper, and the pixels that its image processor makes."""


def choose_method(model: str, family: str | None, composition: Composition, classes: int) -> Method:
    """Put together what a detector is trained and read with; `family` is that of a model that predicts a set.

    Pretrained weights want the pixels they were trained on. Random ones learn sooner from standardised pixels: of eight
    photos learned by heart, YOLOS had an AP50 of 0.39 after 600 steps, and of 0.17 with its image processor's pixels.
    """
    if family is None:
        criterion, decode = make_criterion(composition, classes), make_decoder(composition)
        return Method(criterion, decode, None, composition.describe(), matches_sets=False)
    preset, make, activation, published = OF_FAMILY[family]
    return Method(
        criterion=make(classes),
        decode=partial(_from_set, activation=activation),
        pixels=None if model in SMALL else published,
        description=f"Hungarian matching, SetCriterion.{preset}",
        matches_sets=True,
    )


def _from_set(outputs: dict[str, Any], size: tuple[int, int], *, activation: Activation) -> Detections:
    return decode_set_prediction(outputs, image_size=size, activation=activation, max_detections=MOST)
