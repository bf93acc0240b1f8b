"""Weighted sums of segmentation losses: :class:`SegmentationCriterion`."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .._core import normalizer
from ..types import LossTerms
from ._segmentation_parts import CALLER, Parts, sigmoid_parts, softmax_parts
from ._segmentation_terms import Activation, Term, build_terms


class SegmentationCriterion(nn.Module):
    """Any weighted sum of segmentation losses, computed from one read of the logits.

        L = Σ_terms w_term L_term,   and over the levels of deep supervision Σ_levels 2^-level L / Σ_levels 2^-level

    Equal in value and gradient to the sum of the separate losses. Cross entropy, focal and the region losses share one
    softmax (or sigmoid) forward and one gradient backward; other terms, label smoothing, the squared form and dense
    targets of a softmax read the logits for themselves.

    Shapes:
        logits: (N, C, *), or a list of them for deep supervision, finest first.
        targets: softmax: (N, *) integer labels or (N, C, *) floats. sigmoid: (N, C, *) floats or bools, or (N, *)
            integer labels with -1 for background. Of the size of the first logits; coarser levels take the nearest.
        mask: optional bool, (N, *) for a softmax and broadcastable to the logits for a sigmoid, False = leave out.
        returns: LossTerms; ``terms`` has one scalar a term, weighted; ``stats`` has ``valid``, the elements that count
            at the finest level.

    Args:
        terms: name -> weight, or (weight, configured module). Softmax: cross_entropy, focal, poly1_cross_entropy,
            ohem_cross_entropy, dice, generalized_dice, log_cosh_dice, jaccard, tversky, focal_tversky, lovasz,
            boundary, hausdorff, soft_cldice. Sigmoid: cross_entropy, balanced_cross_entropy, focal, asymmetric, and
            all from dice on.
        activation: "softmax" for exclusive classes, "sigmoid" for maps that may overlap.
        class_weights: (C,) factor per class, for every term that was given as a bare weight.
        ignore_index: label that does not count, in every term.
        level_weights: weight of each level of deep supervision; halving and summing to 1 unless given.

    Raises:
        ValueError: an unknown term (the message lists the terms), a module of another kind or with another
            ignore_index, a number of levels that differs from `level_weights`.

    Reference:
        Isensee et al. 2021, nnU-Net, doi:10.1038/s41592-020-01008-z, for Dice + cross entropy and the level weights.

    Differs:
        Under distributed training each term is divided by what counts on *all* ranks, so that W processes on W parts
        of a batch have the gradient of one process on the whole, however the ignored pixels fall. Terms that reduce
        themselves (lovasz, ohem_cross_entropy, ...) are averaged over ranks.

    Example:
        >>> criterion = SegmentationCriterion({"cross_entropy": 1.0, "dice": 0.5})
        >>> logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
        >>> loss = criterion(logits, torch.tensor([[[0, 1]]]))
        >>> loss.total
        tensor(0.9431, grad_fn=<SumBackward0>)
        >>> {name: round(term.item(), 4) for name, term in loss.terms.items()}
        {'cross_entropy': 0.6931, 'dice': 0.25}
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        *,
        activation: Activation = "softmax",
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        level_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.losses = build_terms(CALLER, terms, activation, class_weights, ignore_index)
        self.activation: Activation = activation
        self.ignore_index = ignore_index
        self.level_weights = None if level_weights is None else tuple(level_weights)

    def forward(self, logits: Tensor | Sequence[Tensor], targets: Tensor, *, mask: Tensor | None = None) -> LossTerms:
        """Compute all terms."""
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        level_weights = self._weights_of(len(levels))
        parts = [self._level(level, targets, mask, levels[0]) for level in levels]
        totals = torch.stack([part.total for level in parts for part in level.terms.values()])
        divisors = iter(normalizer(totals, at_least=0.0))  # the one all-reduce: levels and terms travel together
        means = [{name: part.value / next(divisors) for name, part in level.terms.items()} for level in parts]
        terms = {name: weight * _over_levels(name, means, level_weights) for name, weight in self.weights.items()}
        total = torch.stack(list(terms.values())).sum()
        return LossTerms(total, terms, {"valid": parts[0].valid.detach()})

    def _weights_of(self, count: int) -> Sequence[float]:
        """Weights of so many levels."""
        if self.level_weights is None:
            halving = [0.5**level for level in range(count)]
            return [weight / sum(halving) for weight in halving]
        if len(self.level_weights) != count:
            expected = len(self.level_weights)
            raise ValueError(f"{CALLER}: expected {expected} levels of logits as level_weights has, got {count}")
        return self.level_weights

    def _level(self, logits: Tensor, targets: Tensor, mask: Tensor | None, finest: Tensor) -> Parts:
        """The terms at one resolution."""
        size, full = logits.shape[2:], finest.shape[2:]
        if size != full:
            targets = nearest(targets, size, full)
            mask = None if mask is None else nearest(mask, size, full)
        parts_of = softmax_parts if self.activation == "softmax" else sigmoid_parts
        return parts_of(self.losses, logits, targets, mask, self.ignore_index)

    def extra_repr(self) -> str:
        """Weights and options; the modules print themselves."""
        return f"weights={self.weights}, activation={self.activation!r}, ignore_index={self.ignore_index}"


def _over_levels(name: str, means: Sequence[Mapping[str, Tensor]], level_weights: Sequence[float]) -> Tensor:
    """Weighted sum of one term; plain numbers as factors, since a tensor of them would be a copy to the GPU."""
    return torch.stack([share * mean[name] for share, mean in zip(level_weights, means, strict=True)]).sum()


def nearest(values: Tensor, size: torch.Size, full: torch.Size) -> Tensor:
    """Labels or masks at another resolution: the pixel under each centre; never a mixture of two labels."""
    for offset, (small, large) in enumerate(zip(reversed(size), reversed(full), strict=True), start=1):
        if values.shape[-offset] == 1 and large != 1:  # a broadcast dimension of a mask
            continue
        centres = ((torch.arange(small, device=values.device) + 0.5) * (large / small)).long()
        values = values.index_select(values.ndim - offset, centres)
    return values
