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
from .regions import (
    covered_by_regions as covered_by_regions,
    nothing_set as nothing_set,
    target_chunks as target_chunks,
)
from .sampling import (
    random_points as random_points,
    sample_points as sample_points,
    uncertain_points as uncertain_points,
)
