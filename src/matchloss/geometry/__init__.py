"""Pure functions on boxes and points; losses and assigners meet here."""

from .boxes import (
    box_area as box_area,
    clip_boxes as clip_boxes,
    cxcywh_to_xyxy as cxcywh_to_xyxy,
    xywh_to_xyxy as xywh_to_xyxy,
    xyxy_boxes as xyxy_boxes,
    xyxy_to_cxcywh as xyxy_to_cxcywh,
    xyxy_to_xywh as xyxy_to_xywh,
)
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
    grid_points as grid_points,
    inside_boxes as inside_boxes,
)
