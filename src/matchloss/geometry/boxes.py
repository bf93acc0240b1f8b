"""Axis-aligned boxes: formats, areas, clipping, and the boxes of `Targets` in pixels."""

import torch
from torch import Tensor

from ..types import Targets


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to centre and size.

    Example:
        >>> xyxy_to_cxcywh(torch.tensor([2.0, 0.0, 6.0, 2.0]))
        tensor([4., 1., 4., 2.])
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    # Half the sum of halves: the sum of two half precision coordinates may overflow.
    return torch.stack([x1 / 2 + x2 / 2, y1 / 2 + y2 / 2, x2 - x1, y2 - y1], dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size to corners.

    Example:
        >>> cxcywh_to_xyxy(torch.tensor([4.0, 1.0, 4.0, 2.0]))
        tensor([2., 0., 6., 2.])
    """
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners to the top left corner and size, the form of COCO's files.

    Example:
        >>> xyxy_to_xywh(torch.tensor([2.0, 0.0, 6.0, 2.0]))
        tensor([2., 0., 4., 2.])
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1, y1, x2 - x1, y2 - y1], dim=-1)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Top left corner and size, the form of COCO's files, to corners.

    Example:
        >>> xywh_to_xyxy(torch.tensor([2.0, 0.0, 4.0, 2.0]))
        tensor([2., 0., 6., 2.])
    """
    x1, y1, width, height = boxes.unbind(-1)
    return torch.stack([x1, y1, x1 + width, y1 + height], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Area of xyxy boxes; an inverted box is empty, its area 0.

    Example:
        >>> box_area(torch.tensor([[2.0, 0.0, 6.0, 2.0], [6.0, 0.0, 2.0, 2.0]]))
        tensor([8., 0.])
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Cut xyxy boxes at the border of an image of ``(H, W)``.

    Example:
        >>> clip_boxes(torch.tensor([-5.0, 2.0, 6.0, 30.0]), (20, 40))
        tensor([ 0.,  2.,  6., 20.])
    """
    height, width = image_size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], dim=-1)


def xyxy_boxes(caller: str, targets: Targets) -> Tensor:
    """Boxes of targets as ``(B, M, 4)`` xyxy in pixels, whatever form they came in.

    Raises:
        ValueError: rotated boxes, which have no corners of this kind, or fractions without an image size.

    Example:
        >>> whole = {"boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0]]), "labels": torch.tensor([0])}
        >>> targets = Targets.from_list([whole], box_format="cxcywh", normalized=True, image_size=(20, 40))
        >>> xyxy_boxes("example", targets)
        tensor([[[ 0.,  0., 40., 20.]]])
    """
    if targets.box_format not in ("xyxy", "cxcywh"):
        raise ValueError(f"{caller}: expected targets with xyxy or cxcywh boxes, got {targets.box_format}")
    boxes = targets.boxes if targets.box_format == "xyxy" else cxcywh_to_xyxy(targets.boxes)
    if not targets.normalized:
        return boxes
    if targets.image_size is None:
        raise ValueError(f"{caller}: expected targets with image_size=(H, W), since their boxes are fractions of it")
    height, width = targets.image_size
    x1, y1, x2, y2 = boxes.unbind(-1)
    # Number by number: a tensor of them would be a copy to the GPU, for which the host may wait.
    return torch.stack([x1 * width, y1 * height, x2 * width, y2 * height], dim=-1)


def cxcywh_boxes(caller: str, targets: Targets) -> Tensor:
    """Boxes of targets as ``(B, M, 4)`` cxcywh in fractions of the image, whatever form they came in.

    Raises:
        ValueError: rotated boxes, or pixels without an image size.

    Example:
        >>> whole = {"boxes": torch.tensor([[0.0, 0.0, 40.0, 20.0]]), "labels": torch.tensor([0])}
        >>> cxcywh_boxes("example", Targets.from_list([whole], image_size=(20, 40)))
        tensor([[[0.5000, 0.5000, 1.0000, 1.0000]]])
    """
    if targets.box_format not in ("xyxy", "cxcywh"):
        raise ValueError(f"{caller}: expected targets with xyxy or cxcywh boxes, got {targets.box_format}")
    boxes = targets.boxes if targets.box_format == "cxcywh" else xyxy_to_cxcywh(targets.boxes)
    if targets.normalized:
        return boxes
    if targets.image_size is None:
        raise ValueError(f"{caller}: expected targets with image_size=(H, W), of which to take fractions")
    height, width = targets.image_size
    cx, cy, box_width, box_height = boxes.unbind(-1)
    return torch.stack([cx / width, cy / height, box_width / width, box_height / height], dim=-1)
