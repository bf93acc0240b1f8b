"""One query for each target, as cheaply as possible in sum: :class:`HungarianAssigner`."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, check_positive, compute_dtype, has_numba, use_fast_path, use_triton
from ..types import Matching, MatchingCost, Targets
from ._linear_assignment import linear_assignment
from ._mask_cost import MaskCost, dice_cost, mask_cost, read_masks
from ._matching_cost import ClassCost, RotatedCost, class_cost, giou_cost, l1_cost, rotated_cost
from ._matching_numba import match_with_numba
from ._matching_triton import total_costs
from ._queries import Queries, read_queries
from ._targets import check_count

CALLER = "HungarianAssigner"


@dataclass(frozen=True, kw_only=True)
class HungarianAssigner:
    """Match queries and targets one to one, at the least total cost.

        cost(q, t) = w_class class(q, t) + w_l1 |b_q - b_t|_1 - w_giou GIoU(b_q, b_t) [+ w_mask mask + w_dice dice]

    For set prediction (DETR, YOLOS, Deformable DETR, DINO, RT-DETR): each object trains the one query that fits it best
    by now, all others learn to say that there is nothing, and no suppression is needed. The class cost is -p(class)
    with softmax, and the focal loss as a positive less that as a negative with sigmoids. For dense heads, where each
    object trains many points, see :class:`TaskAlignedAssigner`.

    Shapes:
        logits: (..., B, Q, C), any float dtype; leading dimensions are layers or groups of queries, all of which are
            matched with the same targets, in one call. With softmax the last logit is for no object.
        boxes: (..., B, Q, 4) cxcywh in fractions of the image; or (..., B, Q, 5), rotated, with an angle in radians,
            clockwise on the screen, and the sides' lengths in pixels over the width and the height of the image.
        targets: Targets of B images, in any box format; pixels, and rotated boxes, need their image_size.
        masks: (..., B, Q, h, w) logits, where a mask cost is on; then the targets have masks too.
        returns: Matching; query_of_target (..., B, M) and target_of_query (..., B, Q), both -1 where there is none.

    Args:
        class_cost: "softmax" or "focal".
        class_weight, l1_weight, giou_weight, mask_weight, dice_weight: factors of the costs; at least one is not 0.
        mask_cost: "bce" (Mask2Former) or "focal" (MaskFormer).
        mask_points: compare masks at so many random points, the same for all masks of an image, instead of at all.
        alpha, gamma: of the focal costs.
        rotated_cost: what takes the place of the GIoU where boxes are rotated, from -1 to 0: minus the ProbIoU, minus
            1 / (1 + log(1 + KL divergence)), or minus the exact IoU, which is the same for all boxes apart. The L1 cost
            then has a fifth number, the angle between the two over π, where half a turn is none.
        surplus: what becomes of targets beyond the number of queries. "leave": they have no query, and are counted.
            "share": each takes the query that is cheapest for it; ``query_of_target`` then holds a query more than
            once, ``target_of_query`` stays one to one.

    Raises:
        ValueError: all weights 0, shapes that do not fit, on the CPU a label out of range.

    Notes:
        The sum is the least there is. Where several matchings have it, a target takes a free query before one it would
        have to push another target from, and of equal ones the first. Costs that are not finite (a NaN in a
        query, a box beyond all range) are never matched and are counted in ``stats``; they move no other target from
        its best query. Without a kernel, or on a GPU with more than 4096 queries or targets, the problems are solved on
        the host, which waits for the device once.

    Reference:
        Carion et al. 2020, DETR, arXiv:2005.12872, eq. 1 and appendix A.2; Zhu et al. 2021, Deformable DETR,
        arXiv:2010.04159, appendix A.4, for the focal cost.

    Differs:
        DETR and transformers build the costs of all queries with the targets of all images and keep the blocks on the
        diagonal; they raise on an inverted box, and put the largest float in place of a NaN cost, in whose rounding
        the costs of other targets get lost. Surplus targets are dropped without a word there.

    Example:
        Two targets, three queries; the second query fits the first target.

        >>> logits = torch.zeros(1, 3, 2)
        >>> boxes = torch.tensor([[[0.9, 0.9, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2], [0.6, 0.6, 0.2, 0.2]]])
        >>> objects = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]])
        >>> image = {"boxes": objects, "labels": torch.tensor([0, 0])}
        >>> targets = Targets.from_list([image], box_format="cxcywh", normalized=True)
        >>> matching = HungarianAssigner.detr()(logits, boxes, targets)
        >>> matching.query_of_target, matching.target_of_query
        (tensor([[1, 2]]), tensor([[-1,  0,  1]]))
    """

    class_cost: ClassCost = "softmax"
    class_weight: float = 1.0
    l1_weight: float = 1.0
    giou_weight: float = 1.0
    mask_weight: float = 0.0
    dice_weight: float = 0.0
    mask_cost: MaskCost = "bce"
    mask_points: int | None = None
    alpha: float = 0.25
    gamma: float = 2.0
    rotated_cost: RotatedCost = "probiou"
    surplus: Literal["leave", "share"] = "leave"

    def __post_init__(self) -> None:
        check_option(CALLER, "class_cost", self.class_cost, ("softmax", "focal"))
        check_option(CALLER, "rotated_cost", self.rotated_cost, ("probiou", "kld", "iou"))
        check_option(CALLER, "surplus", self.surplus, ("leave", "share"))
        check_option(CALLER, "mask_cost", self.mask_cost, ("bce", "focal"))
        if self.mask_points is not None:
            check_count(CALLER, "mask_points", self.mask_points)
        names = [name for name in vars(self) if name.endswith("_weight")]
        for name in (*names, "gamma"):
            check_positive(CALLER, name, getattr(self, name), or_zero=True)
        if not any(getattr(self, name) for name in names):
            raise ValueError(f"{CALLER}: expected a weight other than 0, got {', '.join(names)} all 0")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"{CALLER}: expected alpha in [0, 1], got {self.alpha}")

    @classmethod
    def detr(cls) -> "HungarianAssigner":
        """Weights of DETR and YOLOS: 1, 5, 2."""
        return cls(l1_weight=5.0, giou_weight=2.0)

    @classmethod
    def deformable_detr(cls) -> "HungarianAssigner":
        """Focal cost and weights of Deformable DETR, DINO and RT-DETR: 2, 5, 2."""
        return cls(class_cost="focal", class_weight=2.0, l1_weight=5.0, giou_weight=2.0)

    @property
    def uses_masks(self) -> bool:
        """Whether masks have a part in the cost."""
        return self.mask_weight > 0 or self.dice_weight > 0

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets, *, masks: Tensor | None = None) -> Matching:
        """Match."""
        if not self.uses_masks and self._takes_numba(boxes):
            return match_with_numba(
                CALLER,
                logits,
                boxes,
                targets,
                num_classes=self._classes(logits),
                weights=(self.class_weight, self.l1_weight, self.giou_weight),
                focal_alpha=self._focal_alpha,
                share=self.surplus == "share",
            )
        queries = self._read(logits, boxes, targets)
        total = self._total(queries)
        if self.uses_masks:
            mask, dice = self._mask_parts(masks, targets, logits)
            total = total + self.mask_weight * mask + self.dice_weight * dice
        return self._solve(total, queries.matchable)

    @torch.no_grad()
    def cost(self, logits: Tensor, boxes: Tensor, targets: Targets, *, masks: Tensor | None = None) -> MatchingCost:
        """Each query's cost for each target, part by part."""
        queries = self._read(logits, boxes, targets)
        parts = self._parts(queries)
        total, of_masks = self._sum(*parts), list[Tensor]()
        if self.uses_masks:
            of_masks += self._mask_parts(masks, targets, logits)
            total = total + self.mask_weight * of_masks[0] + self.dice_weight * of_masks[1]
        total = torch.where(queries.matchable.unsqueeze(-1), total, torch.inf)
        return MatchingCost(*(part.transpose(-1, -2) for part in (*parts, total, *of_masks)))

    def _read(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Queries:
        return read_queries(CALLER, logits, boxes, targets, self._classes(logits))

    def _classes(self, logits: Tensor) -> int:
        """At least 1; the shapes are checked later."""
        return max((logits.shape or (1,))[-1] - (self.class_cost == "softmax"), 1)

    @property
    def _focal_alpha(self) -> float | None:
        return self.alpha if self.class_cost == "focal" else None

    def _parts(self, queries: Queries) -> tuple[Tensor, Tensor, Tensor]:
        return (
            class_cost(queries, self.class_cost, alpha=self.alpha, gamma=self.gamma),
            l1_cost(queries),
            giou_cost(queries) if queries.image_size is None else rotated_cost(queries, self.rotated_cost),
        )

    def _mask_parts(self, masks: Tensor | None, targets: Targets, logits: Tensor) -> tuple[Tensor, Tensor]:
        places = read_masks(CALLER, masks, targets, logits.shape[:-1], self.mask_points)
        return mask_cost(places, self.mask_cost, alpha=self.alpha, gamma=self.gamma), dice_cost(places)

    def _sum(self, classes: Tensor, l1: Tensor, giou: Tensor) -> Tensor:
        return self.class_weight * classes + self.l1_weight * l1 + self.giou_weight * giou

    def _total(self, queries: Queries) -> Tensor:
        """``(..., B, M, Q)``; what stands at targets that are not matchable does not count."""
        if queries.image_size is None and self._takes_numba(queries.boxes):
            return self._total_with_numba(queries)
        if queries.image_size is None and use_triton(queries.boxes):
            weights = [self.class_weight, self.l1_weight, self.giou_weight]
            return total_costs(queries, weights, [self.alpha, self.gamma] if self.class_cost == "focal" else None)
        return self._sum(*self._parts(queries))

    def _takes_numba(self, boxes: Tensor) -> bool:
        """Numba makes the costs of upright boxes in float32 on the CPU, and solves too if there are no others."""
        single = boxes.device.type == "cpu" and compute_dtype(boxes) == torch.float32 and boxes.shape[-1:] == (4,)
        known = self.class_cost == "softmax" or self.gamma == 2
        return single and known and use_fast_path() and not use_triton(boxes) and has_numba()

    def _total_with_numba(self, queries: Queries) -> Tensor:
        """The first call ever on a machine compiles for some seconds; the result is kept."""
        from ..kernels.matching_cost_cpu import read_numbers, total_costs

        numbers = read_numbers((self.class_weight, self.l1_weight, self.giou_weight), self._focal_alpha)
        return total_costs(*queries[:5], numbers)

    def _solve(self, total: Tensor, matchable: Tensor) -> Matching:
        usable = matchable.expand(total.shape[:-1])
        flat = linear_assignment(total.flatten(0, -3), usable.flatten(0, -2))
        query_of_target = flat.reshape(usable.shape)
        target_of_query = invert(query_of_target, total.shape[-1])
        finite = total.abs() < torch.inf  # and not NaN; `isfinite` goes over the costs twice as often
        stats = {
            "matched": (query_of_target >= 0).sum(),
            "surplus": (usable.sum(-1) - total.shape[-1]).clamp(min=0).sum(),
            "broken": torch.where(usable, total.shape[-1] - finite.sum(-1), 0).sum(),
        }
        if self.surplus == "share" and total.shape[-1]:
            left = (query_of_target < 0) & usable & finite.any(-1)
            cheapest = torch.where(finite, total, torch.inf).argmin(-1)
            query_of_target = torch.where(left, cheapest, query_of_target)
        return Matching(query_of_target, target_of_query, stats)


def invert(query_of_target: Tensor, queries: int) -> Tensor:
    """From the query of each target ``(..., M)`` to the target of each query ``(..., Q)``; -1 for none."""
    # Targets without a query write into a column more, which is cut off.
    inverse = query_of_target.new_full((*query_of_target.shape[:-1], queries + 1), -1)
    numbers = torch.arange(query_of_target.shape[-1], device=query_of_target.device)
    place = torch.where(query_of_target >= 0, query_of_target, queries)
    return inverse.scatter(-1, place, numbers.expand_as(place))[..., :queries]
