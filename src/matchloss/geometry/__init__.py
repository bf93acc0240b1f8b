"""Pure functions on boxes and points; losses and assigners meet here."""

from .anchors import (
    OCTAVE_SCALES as OCTAVE_SCALES,
    SIDE_RATIOS as SIDE_RATIOS,
    decode_deltas as decode_deltas,
    encode_deltas as encode_deltas,
    grid_anchors as grid_anchors,
)
from .boxes import (
    box_area as box_area,
    clip_boxes as clip_boxes,
    cxcywh_boxes as cxcywh_boxes,
    cxcywh_to_xyxy as cxcywh_to_xyxy,
    xywh_to_xyxy as xywh_to_xyxy,
    xyxy_boxes as xyxy_boxes,
    xyxy_to_cxcywh as xyxy_to_cxcywh,
    xyxy_to_xywh as xyxy_to_xywh,
)
from .convex import convex_intersection as convex_intersection
from .edges import (
    DISTANCE_ORDERS as DISTANCE_ORDERS,
    DistanceOrder as DistanceOrder,
    edges_from_rotated as edges_from_rotated,
    reorder_edges as reorder_edges,
    rotated_from_edges as rotated_from_edges,
)
from .gaussians import (
    bhattacharyya_distance as bhattacharyya_distance,
    gaussian_kl_divergence as gaussian_kl_divergence,
    gaussian_symmetric_divergence as gaussian_symmetric_divergence,
    gaussian_wasserstein as gaussian_wasserstein,
    hellinger_distance as hellinger_distance,
    kalman_iou as kalman_iou,
)
from .levels import DenseOutputs as DenseOutputs, Levels as Levels, flatten_levels as flatten_levels
from .overlaps import (
    BoxPair as BoxPair,
    box_ciou as box_ciou,
    box_diou as box_diou,
    box_eiou as box_eiou,
    box_giou as box_giou,
    box_iou as box_iou,
    box_siou as box_siou,
    compare_boxes as compare_boxes,
    pairwise as pairwise,
)
from .points import (
    Points as Points,
    boxes_from_distances as boxes_from_distances,
    distances_from_boxes as distances_from_boxes,
    expected_distances as expected_distances,
    grid_points as grid_points,
    inside_boxes as inside_boxes,
)
from .quad_overlaps import filled_area as filled_area, quad_intersection as quad_intersection, quad_iou as quad_iou
from .quads import (
    clockwise as clockwise,
    crosses_itself as crosses_itself,
    enclosing_rectangles as enclosing_rectangles,
    is_convex as is_convex,
    quad_area as quad_area,
)
from .regions import (
    covered_by_regions as covered_by_regions,
    nothing_set as nothing_set,
    target_chunks as target_chunks,
)
from .rotated_boxes import (
    AngleConvention as AngleConvention,
    convert_angles as convert_angles,
    corners_to_rotated as corners_to_rotated,
    rotated_corners as rotated_corners,
)
from .rotated_overlaps import (
    rotated_box_diou as rotated_box_diou,
    rotated_box_giou as rotated_box_giou,
    rotated_box_iou as rotated_box_iou,
)
from .rotated_targets import (
    rotated_fractions as rotated_fractions,
    rotated_pixels as rotated_pixels,
    rotated_to_pixels as rotated_to_pixels,
)
from .sampling import (
    random_points as random_points,
    sample_points as sample_points,
    uncertain_points as uncertain_points,
)
