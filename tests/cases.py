"""One row a loss: the list that tests, benchmarks and plots read. A new loss adds its row, and every law holds it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inputs
import reference as ref
from matchloss import losses


@dataclass(frozen=True)
class LossCase:
    """A loss, its module, its example inputs, its slow reference, and the options worth trying."""

    function: Callable[..., Tensor]
    module: type[nn.Module]
    make: Callable[[int], inputs.Inputs]
    """Batch size -> float64 inputs, the same on each call."""
    reference: Callable[..., tuple[Any, float]]
    """NumPy: (predictions, targets, mask, weights, **options) -> (unreduced loss, divisor of the mean)."""
    options: tuple[Mapping[str, Any], ...] = ({},)
    takes_weights: bool = True
    batch_coupled: bool = False
    """The loss of one item depends on the others of the batch (balancing, hard-example mining, batch pooling)."""
    gradcheck: bool = True
    """False only where the loss is piecewise constant in a way finite differences cannot see; say why beside it."""
    syncs: bool = False
    """True where the loss reads data on the host; its docstring says so."""
    module_only: tuple[str, ...] = ()
    """Options of the module that the function lacks, since only the module keeps something between calls."""
    extremes: Callable[[inputs.Inputs], Iterator[inputs.Inputs]] = inputs.extreme_logits
    """Inputs -> what must have a finite loss and gradient in every dtype."""

    @property
    def name(self) -> str:
        return self.function.__name__


POS_WEIGHT = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)
RUNNING_MEAN = torch.tensor(0.375, dtype=torch.float64)
CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64)

LOSSES: tuple[LossCase, ...] = (
    # Classification
    LossCase(
        losses.cross_entropy_loss,
        losses.CrossEntropyLoss,
        inputs.class_logits,
        ref.cross_entropy_loss,
        options=(
            {},
            {"class_weights": CLASS_WEIGHTS},
            {"label_smoothing": 0.1, "class_weights": CLASS_WEIGHTS},
        ),
    ),
    LossCase(
        losses.cross_entropy_loss,
        losses.CrossEntropyLoss,
        inputs.class_logits_255,
        ref.cross_entropy_loss,
        options=({"ignore_index": 255}, {"ignore_index": 255, "label_smoothing": 0.1}),
    ),
    LossCase(
        losses.cross_entropy_loss,
        losses.CrossEntropyLoss,
        inputs.class_distributions,
        ref.cross_entropy_loss,
        options=({}, {"class_weights": CLASS_WEIGHTS}, {"label_smoothing": 0.1}),
    ),
    LossCase(
        losses.binary_cross_entropy_loss,
        losses.BinaryCrossEntropyLoss,
        inputs.binary_logits,
        ref.binary_cross_entropy_loss,
        options=({}, {"pos_weight": POS_WEIGHT}, {"label_smoothing": 0.2, "pos_weight": POS_WEIGHT}),
    ),
    LossCase(
        losses.binary_cross_entropy_loss,
        losses.BinaryCrossEntropyLoss,
        inputs.anchor_scores,
        ref.binary_cross_entropy_loss,
    ),
    LossCase(
        losses.balanced_binary_cross_entropy_loss,
        losses.BalancedBinaryCrossEntropyLoss,
        inputs.binary_logits,
        ref.balanced_binary_cross_entropy_loss,
        options=({}, {"empty": "skip"}),
        batch_coupled=True,
    ),
    LossCase(
        losses.balanced_binary_cross_entropy_loss,
        losses.BalancedBinaryCrossEntropyLoss,
        inputs.binary_logits,
        ref.balanced_binary_cross_entropy_loss,
        options=({"per_image": True},),
    ),
    LossCase(
        losses.balanced_binary_cross_entropy_loss,
        losses.BalancedBinaryCrossEntropyLoss,
        inputs.anchor_labels,
        ref.balanced_binary_cross_entropy_loss,
        options=({},),
        batch_coupled=True,
    ),
    LossCase(
        losses.sigmoid_focal_loss,
        losses.SigmoidFocalLoss,
        inputs.binary_logits,
        ref.sigmoid_focal_loss,
        options=({}, {"alpha": None}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": 0.7}),
    ),
    LossCase(
        losses.sigmoid_focal_loss,
        losses.SigmoidFocalLoss,
        inputs.anchor_labels,
        ref.sigmoid_focal_loss,
        options=({}, {"alpha": None, "gamma": 0.5}, {"alpha": 0.9, "gamma": 0.0}),
    ),
    LossCase(
        losses.sigmoid_focal_loss,
        losses.SigmoidFocalLoss,
        inputs.anchor_scores,
        ref.sigmoid_focal_loss,
    ),
    LossCase(
        losses.softmax_focal_loss,
        losses.SoftmaxFocalLoss,
        inputs.class_logits,
        ref.softmax_focal_loss,
        options=({}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": 0.25}, {"alpha": CLASS_WEIGHTS}),
    ),
    LossCase(
        losses.softmax_focal_loss,
        losses.SoftmaxFocalLoss,
        inputs.class_logits_255,
        ref.softmax_focal_loss,
        options=({"ignore_index": 255},),
    ),
    LossCase(
        losses.softmax_focal_loss,
        losses.SoftmaxFocalLoss,
        inputs.class_distributions,
        ref.softmax_focal_loss,
        options=({}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": 0.25}, {"alpha": CLASS_WEIGHTS}),
    ),
    LossCase(
        losses.quality_focal_loss,
        losses.QualityFocalLoss,
        inputs.binary_logits,
        ref.quality_focal_loss,
        options=({}, {"beta": 0.0}, {"beta": 0.5}, {"beta": 3.0}),
    ),
    LossCase(
        losses.quality_focal_loss,
        losses.QualityFocalLoss,
        inputs.anchor_scores,
        ref.quality_focal_loss,
    ),
    LossCase(
        losses.varifocal_loss,
        losses.VarifocalLoss,
        inputs.binary_logits,
        ref.varifocal_loss,
        options=({}, {"alpha": None, "gamma": 0.0}, {"gamma": 0.5}),
    ),
    LossCase(
        losses.varifocal_loss,
        losses.VarifocalLoss,
        inputs.anchor_scores,
        ref.varifocal_loss,
        options=({}, {"positives": "labels"}),
    ),
    LossCase(
        losses.varifocal_loss,
        losses.VarifocalLoss,
        inputs.anchor_scores,
        ref.varifocal_loss,
        options=({"positives": "labels", "detach": True},),
        gradcheck=False,  # finite differences see the weight that the gradient takes for a constant
    ),
    LossCase(
        losses.matchability_aware_loss,
        losses.MatchabilityAwareLoss,
        inputs.binary_logits,
        ref.matchability_aware_loss,
        options=({"detach": False}, {"detach": False, "gamma": 0.5, "alpha": 0.7}),
    ),
    LossCase(
        losses.matchability_aware_loss,
        losses.MatchabilityAwareLoss,
        inputs.anchor_scores,
        ref.matchability_aware_loss,
        options=({"detach": False}, {"detach": False, "gamma": 2.0}),
    ),
    LossCase(
        losses.matchability_aware_loss,
        losses.MatchabilityAwareLoss,
        inputs.anchor_scores,
        ref.matchability_aware_loss,
        options=({}, {"alpha": 0.25}),
        gradcheck=False,  # finite differences see the weight that the gradient takes for a constant
    ),
    LossCase(
        losses.iou_aware_binary_cross_entropy_loss,
        losses.IoUAwareBinaryCrossEntropyLoss,
        inputs.binary_logits,
        ref.iou_aware_binary_cross_entropy_loss,
        options=({"alpha": 0.0}, {"alpha": 0.0, "gamma": 0.5, "floor": 0.3}),
    ),
    LossCase(
        losses.iou_aware_binary_cross_entropy_loss,
        losses.IoUAwareBinaryCrossEntropyLoss,
        inputs.anchor_scores,
        ref.iou_aware_binary_cross_entropy_loss,
        options=({}, {"alpha": 1.0, "floor": 0.0}, {"gamma": 0.0, "floor": 0.5}),
        gradcheck=False,  # finite differences see the target that the gradient takes for a constant
    ),
    LossCase(
        losses.poly1_cross_entropy_loss,
        losses.Poly1CrossEntropyLoss,
        inputs.class_logits,
        ref.poly1_cross_entropy_loss,
        options=({}, {"epsilon": 0.0}, {"epsilon": -0.5}),
    ),
    LossCase(
        losses.poly1_cross_entropy_loss,
        losses.Poly1CrossEntropyLoss,
        inputs.class_distributions,
        ref.poly1_cross_entropy_loss,
        options=({}, {"epsilon": 2.0}),
    ),
    LossCase(
        losses.asymmetric_loss,
        losses.AsymmetricLoss,
        inputs.binary_logits,
        ref.asymmetric_loss,
        options=({}, {"clip": None}, {"gamma_negative": 0.5, "gamma_positive": 0}, {"gamma_negative": 0, "clip": 0.3}),
    ),
    LossCase(
        losses.asymmetric_loss,
        losses.AsymmetricLoss,
        inputs.anchor_labels,
        ref.asymmetric_loss,
    ),
    LossCase(
        losses.asymmetric_loss,
        losses.AsymmetricLoss,
        inputs.anchor_labels,
        ref.asymmetric_loss,
        options=({"detach": True},),
        gradcheck=False,  # finite differences see the weight that the gradient takes for a constant
    ),
    LossCase(
        losses.ohem_cross_entropy_loss,
        losses.OHEMCrossEntropyLoss,
        inputs.class_logits,
        ref.ohem_cross_entropy_loss,
        options=({}, {"min_kept": 0, "threshold": 0.3}, {"min_kept": 20}, {"min_kept": 0.3, "threshold": None}),
        batch_coupled=True,
    ),
    # Regression
    LossCase(losses.l1_loss, losses.L1Loss, inputs.value_pairs, ref.l1_loss),
    LossCase(losses.l2_loss, losses.L2Loss, inputs.value_pairs, ref.l2_loss),
    LossCase(
        losses.smooth_l1_loss,
        losses.SmoothL1Loss,
        inputs.value_pairs,
        ref.smooth_l1_loss,
        options=({}, {"beta": 0.0}, {"beta": 0.3}),
    ),
    LossCase(
        losses.balanced_l1_loss,
        losses.BalancedL1Loss,
        inputs.value_pairs,
        ref.balanced_l1_loss,
        options=({}, {"alpha": 0.3, "gamma": 2.0, "beta": 0.5}),
    ),
    LossCase(
        losses.distribution_focal_loss,
        losses.DistributionFocalLoss,
        inputs.bin_logits,
        ref.distribution_focal_loss,
    ),
    # Boxes
    LossCase(
        losses.iou_loss,
        losses.IoULoss,
        inputs.box_pairs,
        ref.iou_loss,
        options=({}, {"mode": "log"}),
        extremes=inputs.extreme_boxes,
    ),
    LossCase(losses.giou_loss, losses.GIoULoss, inputs.box_pairs, ref.giou_loss, extremes=inputs.extreme_boxes),
    LossCase(losses.diou_loss, losses.DIoULoss, inputs.box_pairs, ref.diou_loss, extremes=inputs.extreme_boxes),
    LossCase(
        losses.ciou_loss,
        losses.CIoULoss,
        inputs.box_pairs,
        ref.ciou_loss,
        gradcheck=False,  # finite differences see the factor alpha that the gradient takes for a constant
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.siou_loss,
        losses.SIoULoss,
        inputs.box_pairs,
        ref.siou_loss,
        options=({}, {"theta": 2.5}),
        extremes=inputs.extreme_boxes,
    ),
    LossCase(losses.eiou_loss, losses.EIoULoss, inputs.box_pairs, ref.eiou_loss, extremes=inputs.extreme_boxes),
    LossCase(
        losses.focal_eiou_loss,
        losses.FocalEIoULoss,
        inputs.box_pairs,
        ref.focal_eiou_loss,
        options=({}, {"gamma": 0.0}, {"gamma": 2.0}),
        gradcheck=False,  # finite differences see the weight that the gradient takes for a constant
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.alpha_iou_loss,
        losses.AlphaIoULoss,
        inputs.box_pairs,
        ref.alpha_iou_loss,
        options=({}, {"kind": "giou"}, {"kind": "diou", "alpha": 1.5}),
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.alpha_iou_loss,
        losses.AlphaIoULoss,
        inputs.box_pairs,
        ref.alpha_iou_loss,
        options=({"kind": "ciou"}, {"kind": "ciou", "alpha": 1.0}),
        gradcheck=False,  # as for ciou_loss
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.wise_iou_loss,
        losses.WiseIoULoss,
        inputs.box_pairs,
        ref.wise_iou_loss,
        options=(
            {},
            {"version": "v2", "running_mean": RUNNING_MEAN},
            {"version": "v3", "running_mean": RUNNING_MEAN},
            {"version": "v2", "running_mean": 0.5, "gamma": 2.0},
            {"version": "v3", "running_mean": 0.25, "alpha": 1.5, "delta": 2.0},
        ),
        module_only=("momentum",),
        gradcheck=False,  # finite differences see the factors that the gradient takes for constants
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.mpdiou_loss,
        losses.MPDIoULoss,
        inputs.box_pairs,
        ref.mpdiou_loss,
        options=({}, {"image_size": (20, 30)}),
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.inner_iou_loss,
        losses.InnerIoULoss,
        inputs.box_pairs,
        ref.inner_iou_loss,
        options=(
            {},
            {"ratio": 1.25},
            *({"kind": kind, "ratio": ratio} for kind, ratio in (("giou", 0.5), ("diou", 0.8), ("eiou", 1.2))),
            {"kind": "siou"},
        ),
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.inner_iou_loss,
        losses.InnerIoULoss,
        inputs.box_pairs,
        ref.inner_iou_loss,
        options=({"kind": "ciou"},),
        gradcheck=False,  # as for ciou_loss
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.shape_iou_loss,
        losses.ShapeIoULoss,
        inputs.box_pairs,
        ref.shape_iou_loss,
        options=({}, {"scale": 1.0}, {"scale": 0.4}),
        extremes=inputs.extreme_boxes,
    ),
    LossCase(
        losses.nwd_loss,
        losses.NWDLoss,
        inputs.box_pairs,
        ref.nwd_loss,
        options=({}, {"constant": 3.0}),
        extremes=inputs.extreme_boxes,
    ),
    # Rotated boxes and scene text
    LossCase(
        losses.edge_iou_loss,
        losses.EdgeIoULoss,
        inputs.edge_pairs,
        ref.edge_iou_loss,
        options=(
            {},
            {"distance_order": "tblr", "mode": "linear"},
            {"distance_order": "ltrb", "smooth": 1.0},
            {"mode": "linear", "smooth": 0.5},
        ),
        extremes=inputs.extreme_edges,
    ),
    LossCase(losses.angle_loss, losses.AngleLoss, inputs.angle_pairs, ref.angle_loss, options=({}, {"symmetry": 2})),
    LossCase(
        losses.rotated_iou_loss,
        losses.RotatedIoULoss,
        inputs.rotated_pairs,
        ref.rotated_iou_loss,
        options=({}, {"mode": "log"}),
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.rotated_giou_loss,
        losses.RotatedGIoULoss,
        inputs.rotated_pairs,
        ref.rotated_giou_loss,
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.rotated_diou_loss,
        losses.RotatedDIoULoss,
        inputs.rotated_pairs,
        ref.rotated_diou_loss,
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.gwd_loss,
        losses.GWDLoss,
        inputs.rotated_pairs,
        ref.gwd_loss,
        options=({}, {"tau": 2.0, "transform": "sqrt"}, {"normalize": True}),
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.kld_loss,
        losses.KLDLoss,
        inputs.rotated_pairs,
        ref.kld_loss,
        options=({}, {"tau": 2.0, "transform": "sqrt"}),
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.kfiou_loss,
        losses.KFIoULoss,
        inputs.rotated_pairs,
        ref.kfiou_loss,
        options=({}, {"mode": "log", "center_weight": 0.5}, {"mode": "exp", "center_weight": 0.0}),
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.probiou_loss,
        losses.ProbIoULoss,
        inputs.rotated_pairs,
        ref.probiou_loss,
        options=({}, {"mode": "l2"}),
        extremes=inputs.extreme_rotated,
    ),
    LossCase(
        losses.quad_smooth_l1_loss,
        losses.QuadSmoothL1Loss,
        inputs.quad_pairs,
        ref.quad_smooth_l1_loss,
        options=({}, {"beta": 0.0}, {"beta": 0.3}),
        extremes=inputs.extreme_quads,
    ),
    LossCase(
        losses.quad_smooth_l1_loss,
        losses.QuadSmoothL1Loss,
        inputs.measured_quads,
        ref.quad_smooth_l1_loss,
        extremes=inputs.extreme_quads,
    ),
    # Region overlap
    LossCase(
        losses.softmax_dice_loss,
        losses.SoftmaxDiceLoss,
        inputs.absent_classes,
        ref.softmax_dice_loss,
        options=(
            {},
            {"smooth": 1.0},
            {"form": "squared"},
            {"empty": "penalize"},
            {"empty": "keep", "smooth": 1e-5},
            {"empty": "zero"},
            {"per_image": False},
            {"class_weights": CLASS_WEIGHTS},
            {"per_image": False, "empty": "penalize", "class_weights": CLASS_WEIGHTS},
        ),
    ),
    LossCase(
        losses.softmax_dice_loss,
        losses.SoftmaxDiceLoss,
        inputs.class_distributions,
        ref.softmax_dice_loss,
        options=(
            {},
            {"form": "squared"},
            {"form": "min"},
        ),
    ),
    LossCase(
        losses.sigmoid_dice_loss,
        losses.SigmoidDiceLoss,
        inputs.binary_maps,
        ref.sigmoid_dice_loss,
        options=(
            {},
            {"smooth": 1.0},
            {"empty": "skip"},
            {"empty": "keep", "smooth": 1e-5},
            {"empty": "zero"},
            {"per_image": False},
            {"class_weights": CLASS_WEIGHTS[:3]},
        ),
    ),
    LossCase(
        losses.sigmoid_dice_loss,
        losses.SigmoidDiceLoss,
        inputs.binary_logits,
        ref.sigmoid_dice_loss,
        options=(
            {},
            {"form": "squared"},
            {"form": "min"},
        ),
    ),
    LossCase(
        losses.sigmoid_dice_loss,
        losses.SigmoidDiceLoss,
        inputs.map_labels,
        ref.sigmoid_dice_loss,
        options=(
            {},
            {"form": "squared"},
        ),
    ),
    LossCase(
        losses.softmax_jaccard_loss,
        losses.SoftmaxJaccardLoss,
        inputs.absent_classes,
        ref.softmax_jaccard_loss,
        options=(
            {},
            {"smooth": 1.0},
            {"form": "squared"},
            {"per_image": False, "empty": "penalize"},
        ),
    ),
    LossCase(
        losses.softmax_jaccard_loss,
        losses.SoftmaxJaccardLoss,
        inputs.class_distributions,
        ref.softmax_jaccard_loss,
        options=(
            {},
            {"form": "min"},
        ),
    ),
    LossCase(
        losses.sigmoid_jaccard_loss,
        losses.SigmoidJaccardLoss,
        inputs.binary_maps,
        ref.sigmoid_jaccard_loss,
        options=(
            {},
            {"smooth": 1.0},
            {"empty": "skip"},
        ),
    ),
    LossCase(
        losses.softmax_tversky_loss,
        losses.SoftmaxTverskyLoss,
        inputs.absent_classes,
        ref.softmax_tversky_loss,
        options=(
            {},
            {"alpha": 0.9, "beta": 0.2, "smooth": 0.5},
            {"class_weights": CLASS_WEIGHTS},
        ),
    ),
    LossCase(
        losses.sigmoid_tversky_loss,
        losses.SigmoidTverskyLoss,
        inputs.binary_maps,
        ref.sigmoid_tversky_loss,
        options=(
            {},
            {"alpha": 1.0, "beta": 0.0, "empty": "skip"},
        ),
    ),
    LossCase(
        losses.softmax_focal_tversky_loss,
        losses.SoftmaxFocalTverskyLoss,
        inputs.absent_classes,
        ref.softmax_focal_tversky_loss,
        options=(
            {},
            {"gamma": 0.5},
        ),
    ),
    LossCase(
        losses.sigmoid_focal_tversky_loss,
        losses.SigmoidFocalTverskyLoss,
        inputs.binary_maps,
        ref.sigmoid_focal_tversky_loss,
        options=({},),
    ),
    LossCase(
        losses.softmax_log_cosh_dice_loss,
        losses.SoftmaxLogCoshDiceLoss,
        inputs.absent_classes,
        ref.softmax_log_cosh_dice_loss,
        options=(
            {},
            {"smooth": 1.0},
        ),
    ),
    LossCase(
        losses.sigmoid_log_cosh_dice_loss,
        losses.SigmoidLogCoshDiceLoss,
        inputs.binary_maps,
        ref.sigmoid_log_cosh_dice_loss,
        options=({},),
    ),
    LossCase(
        losses.softmax_generalized_dice_loss,
        losses.SoftmaxGeneralizedDiceLoss,
        inputs.absent_classes,
        ref.softmax_generalized_dice_loss,
        options=(
            {},
            {"weighting": "simple", "smooth": 1.0, "empty": "penalize"},
            {"weighting": "uniform"},
            {"class_weights": CLASS_WEIGHTS, "per_image": False},
        ),
    ),
    LossCase(
        losses.sigmoid_generalized_dice_loss,
        losses.SigmoidGeneralizedDiceLoss,
        inputs.binary_maps,
        ref.sigmoid_generalized_dice_loss,
        options=(
            {},
            {"empty": "skip"},
        ),
    ),
    LossCase(
        losses.lovasz_softmax_loss,
        losses.LovaszSoftmaxLoss,
        inputs.absent_classes,
        ref.lovasz_softmax_loss,
        options=({}, {"classes": "all"}, {"class_weights": CLASS_WEIGHTS}),
        takes_weights=False,
        batch_coupled=True,
    ),
    LossCase(
        losses.lovasz_softmax_loss,
        losses.LovaszSoftmaxLoss,
        inputs.absent_classes,
        ref.lovasz_softmax_loss,
        options=({"per_image": True}, {"per_image": True, "classes": "all", "class_weights": CLASS_WEIGHTS}),
        takes_weights=False,
    ),
    LossCase(
        losses.lovasz_hinge_loss,
        losses.LovaszHingeLoss,
        inputs.binary_labels,
        ref.lovasz_hinge_loss,
        takes_weights=False,
        batch_coupled=True,
    ),
    LossCase(
        losses.lovasz_hinge_loss,
        losses.LovaszHingeLoss,
        inputs.binary_labels,
        ref.lovasz_hinge_loss,
        options=({"per_image": True},),
        takes_weights=False,
    ),
    LossCase(
        losses.lovasz_hinge_loss,
        losses.LovaszHingeLoss,
        inputs.binary_maps,
        ref.lovasz_hinge_loss,
        options=({"per_image": True, "ignore_index": None},),
        takes_weights=False,
    ),
    # Boundary and topology
    LossCase(
        losses.boundary_loss,
        losses.BoundaryLoss,
        inputs.absent_classes,
        ref.boundary_loss,
        options=(
            {},
            {"classes": (3, 1)},
            {"spacing": (0.5, 2.0)},
        ),
        syncs=True,
    ),
    LossCase(
        losses.boundary_loss,
        losses.BoundaryLoss,
        inputs.class_volumes,
        ref.boundary_loss,
        syncs=True,
    ),
    LossCase(
        losses.boundary_loss,
        losses.BoundaryLoss,
        inputs.class_distributions,
        ref.boundary_loss,
        syncs=True,
    ),
    LossCase(
        losses.boundary_loss,
        losses.BoundaryLoss,
        inputs.given_distances,
        ref.boundary_loss,
        options=(
            {},
            {"classes": (2, 0)},
        ),
    ),
    LossCase(
        losses.sigmoid_boundary_loss,
        losses.SigmoidBoundaryLoss,
        inputs.binary_maps,
        ref.sigmoid_boundary_loss,
        options=(
            {},
            {"spacing": (3.0, 0.7)},
        ),
        syncs=True,
    ),
    LossCase(
        losses.sigmoid_boundary_loss,
        losses.SigmoidBoundaryLoss,
        inputs.map_labels,
        ref.sigmoid_boundary_loss,
        syncs=True,
    ),
    LossCase(
        losses.sigmoid_boundary_loss,
        losses.SigmoidBoundaryLoss,
        inputs.binary_volumes,
        ref.sigmoid_boundary_loss,
        options=({"class_dim": None},),
        syncs=True,
    ),
    LossCase(
        losses.hausdorff_loss,
        losses.HausdorffLoss,
        inputs.absent_classes,
        ref.hausdorff_loss,
        options=(
            {},
            {"classes": (3, 1)},
            {"alpha": 1.5},
        ),
        syncs=True,
    ),
    LossCase(
        losses.hausdorff_loss,
        losses.HausdorffLoss,
        inputs.class_volumes,
        ref.hausdorff_loss,
        syncs=True,
    ),
    LossCase(
        losses.hausdorff_loss,
        losses.HausdorffLoss,
        inputs.class_distributions,
        ref.hausdorff_loss,
        syncs=True,
    ),
    LossCase(
        losses.sigmoid_hausdorff_loss,
        losses.SigmoidHausdorffLoss,
        inputs.binary_maps,
        ref.sigmoid_hausdorff_loss,
        options=(
            {},
            {"alpha": 1.0},
        ),
        syncs=True,
    ),
    LossCase(
        losses.sigmoid_hausdorff_loss,
        losses.SigmoidHausdorffLoss,
        inputs.map_labels,
        ref.sigmoid_hausdorff_loss,
        syncs=True,
    ),
    LossCase(
        losses.sigmoid_hausdorff_loss,
        losses.SigmoidHausdorffLoss,
        inputs.binary_volumes,
        ref.sigmoid_hausdorff_loss,
        options=({"class_dim": None},),
        syncs=True,
    ),
    LossCase(
        losses.soft_cldice_loss,
        losses.SoftClDiceLoss,
        inputs.absent_classes,
        ref.soft_cldice_loss,
        options=(
            {},
            {"classes": (3, 1), "smooth": 0.1},
            {"iterations": 0},
        ),
        takes_weights=False,
    ),
    LossCase(
        losses.soft_cldice_loss,
        losses.SoftClDiceLoss,
        inputs.class_volumes,
        ref.soft_cldice_loss,
        takes_weights=False,
    ),
    LossCase(
        losses.soft_cldice_loss,
        losses.SoftClDiceLoss,
        inputs.class_distributions,
        ref.soft_cldice_loss,
        options=({"iterations": 1},),
        takes_weights=False,
    ),
    LossCase(
        losses.sigmoid_soft_cldice_loss,
        losses.SigmoidSoftClDiceLoss,
        inputs.binary_maps,
        ref.sigmoid_soft_cldice_loss,
        options=(
            {},
            {"iterations": 1, "smooth": 0.5},
        ),
        takes_weights=False,
    ),
    LossCase(
        losses.sigmoid_soft_cldice_loss,
        losses.SigmoidSoftClDiceLoss,
        inputs.map_labels,
        ref.sigmoid_soft_cldice_loss,
        takes_weights=False,
    ),
    LossCase(
        losses.sigmoid_soft_cldice_loss,
        losses.SigmoidSoftClDiceLoss,
        inputs.binary_volumes,
        ref.sigmoid_soft_cldice_loss,
        options=({"class_dim": None},),
        takes_weights=False,
    ),
)
