"""The catalogue of losses, a line each under its heading.

Docs, plots, the command line and the benchmarks read these lines: a loss that stands here stands everywhere.
"""

# Classification
from .cross_entropy import CrossEntropyLoss as CrossEntropyLoss, cross_entropy_loss as cross_entropy_loss
from .binary_cross_entropy import BinaryCrossEntropyLoss as BinaryCrossEntropyLoss
from .binary_cross_entropy import binary_cross_entropy_loss as binary_cross_entropy_loss
from .balanced_binary_cross_entropy import BalancedBinaryCrossEntropyLoss as BalancedBinaryCrossEntropyLoss
from .balanced_binary_cross_entropy import balanced_binary_cross_entropy_loss as balanced_binary_cross_entropy_loss
from .sigmoid_focal import SigmoidFocalLoss as SigmoidFocalLoss, sigmoid_focal_loss as sigmoid_focal_loss
from .softmax_focal import SoftmaxFocalLoss as SoftmaxFocalLoss, softmax_focal_loss as softmax_focal_loss
from .quality_focal import QualityFocalLoss as QualityFocalLoss, quality_focal_loss as quality_focal_loss
from .varifocal import VarifocalLoss as VarifocalLoss, varifocal_loss as varifocal_loss
from .matchability_aware import MatchabilityAwareLoss as MatchabilityAwareLoss
from .matchability_aware import matchability_aware_loss as matchability_aware_loss
from .iou_aware_binary_cross_entropy import IoUAwareBinaryCrossEntropyLoss as IoUAwareBinaryCrossEntropyLoss
from .iou_aware_binary_cross_entropy import iou_aware_binary_cross_entropy_loss as iou_aware_binary_cross_entropy_loss
from .poly1_cross_entropy import Poly1CrossEntropyLoss as Poly1CrossEntropyLoss
from .poly1_cross_entropy import poly1_cross_entropy_loss as poly1_cross_entropy_loss
from .asymmetric import AsymmetricLoss as AsymmetricLoss, asymmetric_loss as asymmetric_loss
from .ohem_cross_entropy import OHEMCrossEntropyLoss as OHEMCrossEntropyLoss
from .ohem_cross_entropy import ohem_cross_entropy_loss as ohem_cross_entropy_loss

# Class weights
from .effective_number import effective_number_weights as effective_number_weights

# Regression
from .l1 import L1Loss as L1Loss, l1_loss as l1_loss
from .l2 import L2Loss as L2Loss, l2_loss as l2_loss
from .smooth_l1 import SmoothL1Loss as SmoothL1Loss, smooth_l1_loss as smooth_l1_loss
from .balanced_l1 import BalancedL1Loss as BalancedL1Loss, balanced_l1_loss as balanced_l1_loss
from .distribution_focal import DistributionFocalLoss as DistributionFocalLoss
from .distribution_focal import distribution_focal_loss as distribution_focal_loss

# Boxes
from .iou import IoULoss as IoULoss, iou_loss as iou_loss
from .giou import GIoULoss as GIoULoss, giou_loss as giou_loss
from .diou import DIoULoss as DIoULoss, diou_loss as diou_loss
from .ciou import CIoULoss as CIoULoss, ciou_loss as ciou_loss
from .eiou import EIoULoss as EIoULoss, eiou_loss as eiou_loss
from .focal_eiou import FocalEIoULoss as FocalEIoULoss, focal_eiou_loss as focal_eiou_loss
from .siou import SIoULoss as SIoULoss, siou_loss as siou_loss
from .alpha_iou import AlphaIoULoss as AlphaIoULoss, alpha_iou_loss as alpha_iou_loss
from .wise_iou import WiseIoULoss as WiseIoULoss, wise_iou_loss as wise_iou_loss
from .mpdiou import MPDIoULoss as MPDIoULoss, mpdiou_loss as mpdiou_loss
from .inner_iou import InnerIoULoss as InnerIoULoss, inner_iou_loss as inner_iou_loss
from .shape_iou import ShapeIoULoss as ShapeIoULoss, shape_iou_loss as shape_iou_loss
from .nwd import NWDLoss as NWDLoss, nwd_loss as nwd_loss

# Rotated boxes and scene text
from .edge_iou import EdgeIoULoss as EdgeIoULoss, edge_iou_loss as edge_iou_loss
from .angle import AngleLoss as AngleLoss, angle_loss as angle_loss
from .rotated_iou import RotatedIoULoss as RotatedIoULoss, rotated_iou_loss as rotated_iou_loss
from .rotated_giou import RotatedGIoULoss as RotatedGIoULoss, rotated_giou_loss as rotated_giou_loss
from .rotated_diou import RotatedDIoULoss as RotatedDIoULoss, rotated_diou_loss as rotated_diou_loss
from .gwd import GWDLoss as GWDLoss, gwd_loss as gwd_loss
from .kld import KLDLoss as KLDLoss, kld_loss as kld_loss
from .kfiou import KFIoULoss as KFIoULoss, kfiou_loss as kfiou_loss
from .probiou import ProbIoULoss as ProbIoULoss, probiou_loss as probiou_loss
from .quad_smooth_l1 import QuadSmoothL1Loss as QuadSmoothL1Loss, quad_smooth_l1_loss as quad_smooth_l1_loss

# Region overlap
from .dice import SoftmaxDiceLoss as SoftmaxDiceLoss, softmax_dice_loss as softmax_dice_loss
from .dice import SigmoidDiceLoss as SigmoidDiceLoss, sigmoid_dice_loss as sigmoid_dice_loss
from .jaccard import SoftmaxJaccardLoss as SoftmaxJaccardLoss, softmax_jaccard_loss as softmax_jaccard_loss
from .jaccard import SigmoidJaccardLoss as SigmoidJaccardLoss, sigmoid_jaccard_loss as sigmoid_jaccard_loss
from .tversky import SoftmaxTverskyLoss as SoftmaxTverskyLoss, softmax_tversky_loss as softmax_tversky_loss
from .tversky import SigmoidTverskyLoss as SigmoidTverskyLoss, sigmoid_tversky_loss as sigmoid_tversky_loss
from .focal_tversky import (
    SoftmaxFocalTverskyLoss as SoftmaxFocalTverskyLoss,
    softmax_focal_tversky_loss as softmax_focal_tversky_loss,
)
from .focal_tversky import (
    SigmoidFocalTverskyLoss as SigmoidFocalTverskyLoss,
    sigmoid_focal_tversky_loss as sigmoid_focal_tversky_loss,
)
from .log_cosh_dice import (
    SoftmaxLogCoshDiceLoss as SoftmaxLogCoshDiceLoss,
    softmax_log_cosh_dice_loss as softmax_log_cosh_dice_loss,
)
from .log_cosh_dice import (
    SigmoidLogCoshDiceLoss as SigmoidLogCoshDiceLoss,
    sigmoid_log_cosh_dice_loss as sigmoid_log_cosh_dice_loss,
)
from .generalized_dice import (
    SoftmaxGeneralizedDiceLoss as SoftmaxGeneralizedDiceLoss,
    softmax_generalized_dice_loss as softmax_generalized_dice_loss,
)
from .generalized_dice import (
    SigmoidGeneralizedDiceLoss as SigmoidGeneralizedDiceLoss,
    sigmoid_generalized_dice_loss as sigmoid_generalized_dice_loss,
)
from .lovasz_softmax import LovaszSoftmaxLoss as LovaszSoftmaxLoss, lovasz_softmax_loss as lovasz_softmax_loss
from .lovasz_hinge import LovaszHingeLoss as LovaszHingeLoss, lovasz_hinge_loss as lovasz_hinge_loss

# Boundary and topology
from .boundary import BoundaryLoss as BoundaryLoss, boundary_loss as boundary_loss
from .boundary import SigmoidBoundaryLoss as SigmoidBoundaryLoss, sigmoid_boundary_loss as sigmoid_boundary_loss
from .distance_maps import signed_distance_maps as signed_distance_maps
from .hausdorff import HausdorffLoss as HausdorffLoss, hausdorff_loss as hausdorff_loss
from .hausdorff import SigmoidHausdorffLoss as SigmoidHausdorffLoss, sigmoid_hausdorff_loss as sigmoid_hausdorff_loss
from .soft_cldice import SoftClDiceLoss as SoftClDiceLoss, soft_cldice_loss as soft_cldice_loss
from .soft_cldice import SigmoidSoftClDiceLoss as SigmoidSoftClDiceLoss
from .soft_cldice import sigmoid_soft_cldice_loss as sigmoid_soft_cldice_loss
