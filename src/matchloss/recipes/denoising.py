"""Noisy targets as further queries, as RT-DETR trains with: what the network is given, and what it gives back as a set.

The network adds the noise itself. Of M targets, the largest count in a batch, it makes groups of 2 M queries each:
first one for each target, which should find it back, then one for each that is moved further away, which should say
that there is nothing.
"""

import torch
from torch import Tensor

from matchloss.types import QuerySet, Targets


def denoising_labels(targets: Targets) -> list[dict[str, Tensor]]:
    """List the objects of each image as the network wants them, cxcywh in fractions; no ignore regions.

    A batch without objects gets one that does not count: its terms, and the weights it reaches, are then those of any
    other batch, which processes that average their gradients rely on.
    """
    from matchloss.geometry import cxcywh_boxes

    boxes, objects = cxcywh_boxes("denoising", targets), targets.valid & ~targets.ignore
    listed = [
        {"class_labels": labels[real], "boxes": box[real]}
        for labels, box, real in zip(targets.labels, boxes, objects, strict=True)
    ]
    if not any(len(image["class_labels"]) for image in listed):
        listed[0] = {"class_labels": targets.labels.new_zeros(1), "boxes": boxes.new_full((1, 4), 0.5)}
    return listed


def denoising_set(logits: Tensor, boxes: Tensor, targets: Targets, groups: int) -> QuerySet:
    """From the predictions (L, N, groups * 2 M, .) of the noisy queries of all decoder layers."""
    objects = targets.valid & ~targets.ignore
    count = logits.shape[2] // (2 * groups)
    # The places of the objects among the targets, in their order, then those of what is none.
    places = torch.where(objects, 0, 1).argsort(dim=1, stable=True)[:, :count]
    real = objects.gather(1, places)
    if places.shape[1] < count:  # the object that stands for none in a batch without any
        places, real = (torch.nn.functional.pad(part, (0, count - part.shape[1])) for part in (places, real))
    found = torch.where(real, places, -1)
    one_group = torch.cat([found, torch.full_like(found, -1)], dim=1)
    return QuerySet(
        logits=logits,
        boxes=boxes,
        target_of_query=one_group.repeat(1, groups),
        counted=real.repeat(1, 2 * groups),
        repeats=groups,
    )
