"""The terms that a segmentation criterion can sum."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from .. import losses
from .._core import check_option

Activation = Literal["softmax", "sigmoid"]

SOFTMAX_TERMS: dict[str, type[nn.Module]] = {
    "cross_entropy": losses.CrossEntropyLoss,
    "focal": losses.SoftmaxFocalLoss,
    "poly1_cross_entropy": losses.Poly1CrossEntropyLoss,
    "ohem_cross_entropy": losses.OHEMCrossEntropyLoss,
    "dice": losses.SoftmaxDiceLoss,
    "generalized_dice": losses.SoftmaxGeneralizedDiceLoss,
    "log_cosh_dice": losses.SoftmaxLogCoshDiceLoss,
    "jaccard": losses.SoftmaxJaccardLoss,
    "tversky": losses.SoftmaxTverskyLoss,
    "focal_tversky": losses.SoftmaxFocalTverskyLoss,
    "lovasz": losses.LovaszSoftmaxLoss,
    "boundary": losses.BoundaryLoss,
    "hausdorff": losses.HausdorffLoss,
    "soft_cldice": losses.SoftClDiceLoss,
}

SIGMOID_TERMS: dict[str, type[nn.Module]] = {
    "cross_entropy": losses.BinaryCrossEntropyLoss,
    "balanced_cross_entropy": losses.BalancedBinaryCrossEntropyLoss,
    "focal": losses.SigmoidFocalLoss,
    "asymmetric": losses.AsymmetricLoss,
    "dice": losses.SigmoidDiceLoss,
    "generalized_dice": losses.SigmoidGeneralizedDiceLoss,
    "log_cosh_dice": losses.SigmoidLogCoshDiceLoss,
    "jaccard": losses.SigmoidJaccardLoss,
    "tversky": losses.SigmoidTverskyLoss,
    "focal_tversky": losses.SigmoidFocalTverskyLoss,
    "lovasz": losses.LovaszHingeLoss,
    "boundary": losses.SigmoidBoundaryLoss,
    "hausdorff": losses.SigmoidHausdorffLoss,
    "soft_cldice": losses.SigmoidSoftClDiceLoss,
}

Term = float | tuple[float, nn.Module]


def build_terms(
    caller: str,
    terms: Mapping[str, Term],
    activation: Activation,
    class_weights: Tensor | Sequence[float] | None,
    ignore_index: int | None,
) -> tuple[dict[str, float], nn.ModuleDict]:
    """Weights and modules by name; a bare weight gets a module with the criterion's own options."""
    check_option(caller, "activation", activation, ("softmax", "sigmoid"))
    known = SOFTMAX_TERMS if activation == "softmax" else SIGMOID_TERMS
    if not terms:
        raise ValueError(f"{caller}: expected at least one term out of {', '.join(known)}")
    weights, modules = {}, nn.ModuleDict()
    for name, term in terms.items():
        check_option(caller, f"each {activation} term", name, tuple(known))
        weight, module = term if isinstance(term, tuple) else (term, None)
        if module is None:
            module = _default_module(caller, name, known[name], class_weights, ignore_index)
        _check_module(caller, name, module, known[name], ignore_index)
        weights[name], modules[name] = float(weight), module
    return weights, modules


def _default_module(
    caller: str,
    name: str,
    kind: type[nn.Module],
    class_weights: Tensor | Sequence[float] | None,
    ignore_index: int | None,
) -> nn.Module:
    """A term with default options but for those that the criterion was given."""
    accepted = inspect.signature(kind.__init__).parameters
    options: dict[str, object] = {"ignore_index": ignore_index} if "ignore_index" in accepted else {}
    if class_weights is not None:
        if "class_weights" not in accepted:  # left out in silence, the weights would seem to work
            raise ValueError(f"{caller}: {name!r} takes no class_weights, give (weight, {kind.__name__}(...)) instead")
        options["class_weights"] = class_weights
    return kind(**options)


def _check_module(caller: str, name: str, module: nn.Module, kind: type[nn.Module], ignore_index: int | None) -> None:
    """A configured module must be of the term's kind and read the same pixels as the others."""
    if not isinstance(module, kind):
        raise ValueError(f"{caller}: expected {name!r} to be a {kind.__name__}, got {type(module).__name__}")
    for option, expected in (("reduction", "mean"), ("class_dim", 1), ("ignore_index", ignore_index)):
        got = getattr(module, option, expected)
        if got != expected:
            raise ValueError(f"{caller}: expected {name!r} with {option}={expected!r} as the criterion, got {got!r}")
