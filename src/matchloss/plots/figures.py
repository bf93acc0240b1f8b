"""Which slice shows which loss: :func:`plot`, and the README's figure, :func:`overview`."""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from .. import losses
from .boxes import over_boxes
from .elementwise import over_difference, over_expectation, over_probability, over_right_class, over_share_of_positives
from .panels import SUFFIXES, Curves, Line, Loss, Panel, draw
from .quads import QUAD_SLICES
from .regions import along_row, over_displacement, over_gaps, over_regions
from .rotated import ROTATED_SLICES


def plot(name: str, path: str | Path) -> Path:
    """Draw the canonical curve of a loss, and of its gradient, as SVG or PNG by the suffix.

    Raises:
        ValueError: an unknown name, another suffix.
        ModuleNotFoundError: without matplotlib, which comes with `matchloss[train]`.
    """
    if name not in drawn():
        near = difflib.get_close_matches(name, drawn(), n=4, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else "`matchloss list` shows them all"
        raise ValueError(f"plot: expected the name of a loss, got {name!r}; {hint}")
    path = _checked(path)
    draw(panels_of(name), name, path)
    return path


def overview(path: str | Path) -> Path:
    """Draw the three figures that most questions are about: focal, smooth L1, and Dice under imbalance."""
    path = _checked(path)
    draw(overview_panels(), "", path)
    return path


def overview_panels() -> list[Panel]:
    """One panel out of each of three figures; they differ in their lines, so each has its legend."""
    focal, _ = panels_of("sigmoid_focal_loss")
    smooth, _ = panels_of("smooth_l1_loss")
    _, missed, _ = panels_of("sigmoid_dice_loss")
    kept = [line for line in missed.lines if line.label in ("Dice", "cross entropy")]
    return [
        Panel("focal loss: easy examples fade", focal.xlabel, focal.lines, ylim=(0, 5), legend="upper right"),
        Panel("smooth L1: round near the target", smooth.xlabel, smooth.lines, legend="upper center"),
        Panel("loss of predicting no foreground", missed.xlabel, kept, "log", "log", legend="lower right"),
    ]


def drawn() -> list[str]:
    """The names that can be plotted: every public function of `matchloss.losses`."""
    return [name for name, value in vars(losses).items() if inspect.isfunction(value) and not name.startswith("_")]


def panels_of(name: str) -> list[Panel]:
    """The panels of one loss: a slice of its own, or by its arguments, so that a new loss has a figure at once."""
    if name in OWN_SLICES:
        return OWN_SLICES[name]()
    return panels_by_arguments(getattr(losses, name), CURVES.get(name))


def panels_by_arguments(loss: Loss, curves: Curves | None = None) -> list[Panel]:
    """The slice that fits what a loss takes and gives back; one curve with its defaults unless `curves` are given."""
    shown: Curves = curves or {"defaults": loss}
    parameters = inspect.signature(loss).parameters
    if "predictions" in parameters:
        return over_difference(shown)
    if "boxes" in parameters:
        return over_boxes(shown, ("IoU", losses.iou_loss))
    if "logits" not in parameters:
        first = next(iter(parameters))
        raise ValueError(f"plot: expected a loss of predictions, boxes or logits, got one of {first}: give it a slice")
    # Class logits must have their dimension of classes; binary maps may go without (None), or know nothing of it.
    softmax = "class_dim" in parameters and parameters["class_dim"].annotation is int
    logits = torch.zeros(1, 2, 1, 3) if softmax else torch.zeros(1, 1, 1, 3)
    targets = torch.zeros(1, 1, 3, dtype=torch.long) if softmax else torch.zeros_like(logits)
    if loss(logits, targets, reduction="none").shape != targets.shape:  # one number a region, not one an element
        baseline = losses.cross_entropy_loss if softmax else losses.binary_cross_entropy_loss
        return over_regions(shown, ("cross entropy", baseline), softmax=softmax)
    if softmax:
        return over_right_class(shown)
    twice = {f"{label}, target {target}": one for label, one in shown.items() for target in (1, 0)}
    return over_probability(twice, {label: float(label[-1]) for label in twice})


def _over_option(loss: Loss, option: str, symbol: str, values: tuple[float, ...]) -> Curves:
    return {f"{symbol} = {value:.3g}": partial(loss, **{option: value}) for value in values}


def _over_targets(loss: Loss) -> list[Panel]:
    targets = {f"target {target:g}": target for target in (1.0, 0.75, 0.5, 0.25, 0.0)}
    return over_probability(dict.fromkeys(targets, loss), targets)


def _focal() -> list[Panel]:
    curves = _over_option(partial(losses.sigmoid_focal_loss, alpha=None), "gamma", "γ", (0, 0.5, 1, 2, 5))
    return over_probability(curves, dict.fromkeys(curves, 1.0), xlabel="probability of what is right (alpha off)")


def _asymmetric() -> list[Panel]:
    curves: Curves = {
        "positive": losses.asymmetric_loss,
        "negative": losses.asymmetric_loss,
        "negative, clip off": partial(losses.asymmetric_loss, clip=None),
        "negative, γ₋ = 0": partial(losses.asymmetric_loss, gamma_negative=0.0),
    }
    return over_probability(curves, {label: float(label == "positive") for label in curves})


def _class_weights() -> list[Panel]:
    counts = torch.tensor(sorted({round(10 ** (step / 12)) for step in range(61)}), dtype=torch.float64)
    lines = []
    for beta in (0.0, 0.9, 0.99, 0.999, 0.9999):
        pairs = [losses.effective_number_weights([1.0, count], beta=beta) for count in counts.tolist()]
        lines.append(Line(f"β = {beta:g}", counts, torch.stack([pair[1] / pair[0] for pair in pairs])))
    return [Panel("weight, relative to a class of one", "examples of the class", lines, "log", "log")]


def _distances() -> list[Panel]:
    y, x = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    maps = losses.signed_distance_maps((x**2 + y**2 <= 64).long()[None], 2)
    return along_row(maps[0, 1, 16], [("region", 7.5, 24.5)])


def _of_both_maps(loss: Loss) -> Loss:
    """A loss of one binary map as one of two, the other being the background."""

    def of_both(logits: Tensor, targets: Tensor, *, weighting: str) -> Tensor:
        return loss(torch.cat([logits, -logits], 1), torch.cat([targets, 1 - targets], 1), weighting=weighting)

    return of_both


def _region_curves(prefix: str) -> dict[str, Curves]:
    """The lines of the region losses, which come with a softmax and with a sigmoid."""
    loss = {name: getattr(losses, f"{prefix}_{name}_loss") for name in REGIONS}
    dice, tversky = loss["dice"], loss["tversky"]
    # Weighting is by the volume of each map: with a single one there is nothing to weigh.
    generalized = loss["generalized_dice"] if prefix == "softmax" else _of_both_maps(loss["generalized_dice"])
    pairs = ((0.5, 0.5), (0.3, 0.7), (0.1, 0.9))
    curves = {
        "dice": {"Dice": dice, "Dice, squared": partial(dice, form="squared")},
        "jaccard": {"Jaccard": loss["jaccard"], "Dice": dice},
        "tversky": {f"α = {a}, β = {b}": partial(tversky, alpha=a, beta=b) for a, b in pairs},
        "focal_tversky": _over_option(loss["focal_tversky"], "gamma", "γ", (0.5, 1, 4 / 3, 2)),
        "log_cosh_dice": {"log-cosh Dice": loss["log_cosh_dice"], "Dice": dice},
        "generalized_dice": {
            f"{how} weighting": partial(generalized, weighting=how) for how in ("square", "simple", "uniform")
        },
    }
    return {f"{prefix}_{name}_loss": lines for name, lines in curves.items()}


def _box_curves() -> dict[str, Curves]:
    """Each box loss with its options, or beside the one it improves on."""
    focal, wise = losses.focal_eiou_loss, partial(losses.wise_iou_loss, running_mean=0.4)
    return {
        "iou_loss": {"-log IoU": partial(losses.iou_loss, mode="log")},
        "giou_loss": {"GIoU": losses.giou_loss},
        "diou_loss": {"DIoU": losses.diou_loss, "GIoU": losses.giou_loss},
        "ciou_loss": {"CIoU": losses.ciou_loss, "DIoU": losses.diou_loss},
        "eiou_loss": {"EIoU": losses.eiou_loss, "CIoU": losses.ciou_loss},
        "focal_eiou_loss": _over_option(focal, "gamma", "γ", (0, 0.5, 1)),
        "siou_loss": _over_option(losses.siou_loss, "theta", "θ", (2, 4, 6)),
        "alpha_iou_loss": _over_option(partial(losses.alpha_iou_loss, kind="diou"), "alpha", "α", (1, 2, 3)),
        "wise_iou_loss": {version: partial(wise, version=version) for version in ("v1", "v2", "v3")},
        "mpdiou_loss": {
            "MPDIoU": losses.mpdiou_loss,
            "MPDIoU, image 240 x 240": partial(losses.mpdiou_loss, image_size=(240, 240)),
        },
        "inner_iou_loss": _over_option(losses.inner_iou_loss, "ratio", "ratio", (0.5, 0.7, 1.3)),
        "shape_iou_loss": _over_option(losses.shape_iou_loss, "scale", "scale", (0, 0.5, 1)),
        "nwd_loss": _over_option(losses.nwd_loss, "constant", "C", (6.4, 12.8, 25.6)),
    }


REGIONS = ("dice", "jaccard", "tversky", "focal_tversky", "log_cosh_dice", "generalized_dice")
DISTANCES: Curves = {"L1": losses.l1_loss, "L2": losses.l2_loss, "smooth L1": losses.smooth_l1_loss}

CURVES: dict[str, Curves] = {
    "cross_entropy_loss": _over_option(losses.cross_entropy_loss, "label_smoothing", "label smoothing", (0, 0.1, 0.3)),
    "softmax_focal_loss": _over_option(losses.softmax_focal_loss, "gamma", "γ", (0, 0.5, 1, 2, 5)),
    "poly1_cross_entropy_loss": _over_option(losses.poly1_cross_entropy_loss, "epsilon", "ε", (-1, 0, 1, 3)),
    "ohem_cross_entropy_loss": _over_option(
        partial(losses.ohem_cross_entropy_loss, min_kept=0), "threshold", "threshold", (0.9, 0.7, 0.5)
    ),
    "l1_loss": DISTANCES,
    "l2_loss": DISTANCES,
    "smooth_l1_loss": _over_option(losses.smooth_l1_loss, "beta", "β", (0.1, 0.5, 1, 2)),
    "balanced_l1_loss": _over_option(losses.balanced_l1_loss, "alpha", "α", (0.2, 0.5, 1.0))
    | {"smooth L1": losses.smooth_l1_loss},
    **_box_curves(),
    **_region_curves("softmax"),
    **_region_curves("sigmoid"),
    "lovasz_softmax_loss": {"Lovász": losses.lovasz_softmax_loss, "Jaccard": losses.softmax_jaccard_loss},
    "lovasz_hinge_loss": {"Lovász hinge": losses.lovasz_hinge_loss, "Jaccard": losses.sigmoid_jaccard_loss},
}
"""Options worth comparing, for the slices that the arguments choose."""

OWN_SLICES: dict[str, Callable[[], list[Panel]]] = {
    "binary_cross_entropy_loss": lambda: _over_targets(losses.binary_cross_entropy_loss),
    "balanced_binary_cross_entropy_loss": lambda: over_share_of_positives(
        partial(losses.balanced_binary_cross_entropy_loss, per_image=True), losses.binary_cross_entropy_loss
    ),
    "sigmoid_focal_loss": _focal,
    "quality_focal_loss": lambda: _over_targets(losses.quality_focal_loss),
    "varifocal_loss": lambda: _over_targets(losses.varifocal_loss),
    "matchability_aware_loss": lambda: _over_targets(losses.matchability_aware_loss),
    "iou_aware_binary_cross_entropy_loss": lambda: _over_targets(losses.iou_aware_binary_cross_entropy_loss),
    "asymmetric_loss": _asymmetric,
    "distribution_focal_loss": lambda: over_expectation(losses.distribution_focal_loss),
    "effective_number_weights": _class_weights,
    "boundary_loss": lambda: over_displacement({"boundary": losses.boundary_loss}, softmax=True),
    "sigmoid_boundary_loss": lambda: over_displacement({"boundary": losses.sigmoid_boundary_loss}, softmax=False),
    "signed_distance_maps": _distances,
    "hausdorff_loss": lambda: over_displacement(
        _over_option(losses.hausdorff_loss, "alpha", "α", (1, 2)), softmax=True
    ),
    "sigmoid_hausdorff_loss": lambda: over_displacement(
        _over_option(losses.sigmoid_hausdorff_loss, "alpha", "α", (1, 2)), softmax=False
    ),
    "soft_cldice_loss": lambda: over_gaps(
        {"centre lines": losses.soft_cldice_loss, "Dice": losses.softmax_dice_loss}, softmax=True
    ),
    "sigmoid_soft_cldice_loss": lambda: over_gaps(
        {"centre lines": losses.sigmoid_soft_cldice_loss, "Dice": losses.sigmoid_dice_loss}, softmax=False
    ),
    **ROTATED_SLICES,
    **QUAD_SLICES,
}


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"plot: expected a path that ends in {' or '.join(SUFFIXES)}, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
