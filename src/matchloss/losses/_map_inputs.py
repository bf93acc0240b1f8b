"""How every loss of binary maps tells maps from labels, and brings the classes to the second place."""

from torch import Tensor


def has_labels(caller: str, logits: Tensor, targets: Tensor, class_dim: int | None) -> bool:
    """Whether targets are ``(N, *)`` labels and not maps of the logits' shape; an error for any other shape."""
    if class_dim is None:
        if logits.ndim == 0 or targets.shape != logits.shape:
            expected, got = tuple(logits.shape), tuple(targets.shape)
            raise ValueError(f"{caller}: expected targets of the logits' shape {expected}, got {got}")
        return False
    if logits.ndim < 2 or not -logits.ndim <= class_dim < logits.ndim:
        raise ValueError(f"{caller}: expected (N, C, *) logits for {class_dim=}, got shape {tuple(logits.shape)}")
    one = logits.select(class_dim, 0)
    if targets.shape not in (logits.shape, one.shape):
        raise ValueError(
            f"{caller}: expected targets of shape {tuple(logits.shape)} or labels of shape {tuple(one.shape)}, "
            f"got {tuple(targets.shape)}"
        )
    return targets.shape != logits.shape


def class_first(values: Tensor, class_dim: int | None) -> Tensor:
    """``(N, C, *)`` from wherever the classes are; one class where there is no such dimension."""
    return values.unsqueeze(1) if class_dim is None else values.movedim(class_dim, 1)
