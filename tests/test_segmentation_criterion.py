"""SegmentationCriterion equals the sum of its losses, reads the logits once, and is one process however many run."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import matchloss
from inputs import absent_classes, binary_maps, class_distributions, class_logits, generator, map_labels
from matchloss import losses
from matchloss.criteria import SegmentationCriterion
from matchloss.criteria._segmentation_terms import SIGMOID_TERMS, SOFTMAX_TERMS

WEIGHTS = [0.5, 1.0, 2.0, 1.0]
SHARED = ("cross_entropy", "focal", "dice", "jaccard", "tversky", "focal_tversky", "log_cosh_dice", "generalized_dice")


def value_and_gradient(loss: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    (grad,) = torch.autograd.grad(value, logits)
    return value.detach(), grad


def assert_equals_sum(criterion: SegmentationCriterion, modules: dict[str, nn.Module], logits, targets, **mask) -> None:
    """Value, gradient and each term; in float32 too, where only rounding may differ."""
    for dtype, close in ((torch.float64, {}), (torch.float32, {"rtol": 1e-4, "atol": 1e-6})):
        x = logits.to(dtype)

        def separate(x: Tensor) -> Tensor:
            return sum(criterion.weights[name] * module(x, targets, **mask) for name, module in modules.items())

        got, got_grad = value_and_gradient(lambda x: criterion(x, targets, **mask).total, x)
        wanted, wanted_grad = value_and_gradient(separate, x)
        torch.testing.assert_close(got, wanted, **close)
        torch.testing.assert_close(got_grad, wanted_grad, **close)
        terms = criterion(x, targets, **mask).terms
        assert list(terms) == list(modules)
        for name, module in modules.items():
            torch.testing.assert_close(terms[name], criterion.weights[name] * module(x, targets, **mask), **close)


@pytest.mark.parametrize("make", [class_logits, absent_classes, class_distributions])
@pytest.mark.parametrize("masked", [False, True])
def test_softmax_equals_the_sum_of_all_terms(make, masked: bool) -> None:
    inputs = make(3)
    mask = {"mask": torch.rand(inputs.mask_shape, generator=generator(1)) < 0.7} if masked else {}
    hard = {"lovasz", "boundary", "hausdorff", "soft_cldice", "ohem_cross_entropy"}  # of labels alone
    names = [name for name in SOFTMAX_TERMS if make is not class_distributions or name not in hard]
    modules = {name: SOFTMAX_TERMS[name]() for name in names}
    criterion = SegmentationCriterion({name: 0.5 + number for number, name in enumerate(names)})
    assert_equals_sum(criterion, modules, inputs.predictions, inputs.targets, **mask)


def test_softmax_in_three_dimensions_with_configured_terms() -> None:
    inputs = class_logits(2, size=(3, 4, 5))
    modules = {
        "cross_entropy": losses.CrossEntropyLoss(class_weights=WEIGHTS),
        "focal": losses.SoftmaxFocalLoss(alpha=WEIGHTS, gamma=0.5),
        "dice": losses.SoftmaxDiceLoss(smooth=1, per_image=False, class_weights=WEIGHTS),
        "jaccard": losses.SoftmaxJaccardLoss(form="squared"),
        "tversky": losses.SoftmaxTverskyLoss(empty="penalize"),
    }
    criterion = SegmentationCriterion({name: (2.0, module) for name, module in modules.items()})
    assert_equals_sum(criterion, modules, inputs.predictions, inputs.targets)
    smoothed = {"cross_entropy": losses.CrossEntropyLoss(label_smoothing=0.1, class_weights=WEIGHTS)}
    criterion = SegmentationCriterion({"cross_entropy": (1.5, smoothed["cross_entropy"])})
    assert_equals_sum(criterion, smoothed, inputs.predictions, inputs.targets)


def test_class_weights_and_ignore_index_reach_every_term() -> None:
    inputs = class_logits(3)
    labels = inputs.targets.where(inputs.targets >= 0, 255)
    names = ("cross_entropy", "dice", "lovasz")
    modules = {name: SOFTMAX_TERMS[name](class_weights=WEIGHTS, ignore_index=255) for name in names}
    criterion = SegmentationCriterion(dict.fromkeys(names, 1.0), class_weights=WEIGHTS, ignore_index=255)
    assert_equals_sum(criterion, modules, inputs.predictions, labels)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_sigmoid_equals_the_sum_of_all_terms(soft: bool, masked: bool) -> None:
    inputs = binary_maps(3)
    mask = {"mask": torch.rand(inputs.mask_shape, generator=generator(1)) < 0.7} if masked else {}
    targets = inputs.targets * 0.8 if soft else inputs.targets.bool()
    modules = {name: kind() for name, kind in SIGMOID_TERMS.items() if not (soft and name == "lovasz")}
    criterion = SegmentationCriterion(dict.fromkeys(modules, 0.7), activation="sigmoid")
    assert_equals_sum(criterion, modules, inputs.predictions, targets, **mask)


def test_sigmoid_labels_equal_their_maps() -> None:
    inputs = map_labels(3)
    criterion = SegmentationCriterion(dict.fromkeys(SIGMOID_TERMS, 1.0), activation="sigmoid")
    maps = inputs.targets.unsqueeze(1) == torch.arange(3).view(1, 3, 1, 1)
    is_labelled = (inputs.targets != -100).unsqueeze(1)
    for mask in (torch.ones(3, 1, 1, 1, dtype=torch.bool), torch.rand(3, 1, 4, 5, generator=generator(1)) < 0.7):
        both = mask & is_labelled
        got = value_and_gradient(lambda x, m=mask: criterion(x, inputs.targets, mask=m).total, inputs.predictions)
        wanted = value_and_gradient(lambda x, m=both: criterion(x, maps, mask=m).total, inputs.predictions)
        torch.testing.assert_close(got, wanted)


class Reads(TorchDispatchMode):
    """Counts the operators that take a tensor of the logits' size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.counts = size, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(isinstance(arg, Tensor) and arg.numel() >= self.size for arg in args):
            self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_eight_terms_read_the_logits_as_often_as_one(activation: str) -> None:
    inputs = absent_classes(3) if activation == "softmax" else binary_maps(3)
    targets = inputs.targets if activation == "softmax" else inputs.targets.bool()
    # The focal loss of binary maps works on the shared cross entropy, which has the logits' size itself.
    several = SHARED if activation == "softmax" else [name for name in SHARED if name != "focal"]
    counts = []
    for terms in (("dice",), several):
        criterion = SegmentationCriterion(dict.fromkeys(terms, 1.0), activation=activation)
        logits = inputs.predictions.clone().requires_grad_()
        with Reads(logits.numel()) as reads:
            criterion(logits, targets).total.backward()
        counts.append(reads.counts)
    extra = counts[1] - counts[0]
    assert counts[0]["_log_softmax" if activation == "softmax" else "sigmoid"] == 1
    assert sum(extra.values()) <= (0 if activation == "softmax" else 3), extra


def test_deep_supervision_weighs_halving_levels() -> None:
    inputs = class_logits(2, size=(8, 12))
    coarse = torch.randn(2, 4, 4, 6, generator=generator(3), dtype=torch.float64)
    criterion = SegmentationCriterion({"cross_entropy": 1.0, "dice": 0.5})
    small = inputs.targets[:, 1::2, 1::2]
    wanted = (2 * criterion(inputs.predictions, inputs.targets).total + criterion(coarse, small).total) / 3
    torch.testing.assert_close(criterion([inputs.predictions, coarse], inputs.targets).total, wanted)
    given = SegmentationCriterion({"cross_entropy": 1.0, "dice": 0.5}, level_weights=(0.0, 2.0))
    got = given([inputs.predictions, coarse], inputs.targets)
    torch.testing.assert_close(got.total, 2 * criterion(coarse, small).total)
    assert got.terms.keys() == {"cross_entropy", "dice"}
    mask = torch.rand(2, 8, 12, generator=generator(4)) < 0.5
    wanted = criterion(coarse, small, mask=mask[:, 1::2, 1::2]).total
    torch.testing.assert_close(given([inputs.predictions, coarse], inputs.targets, mask=mask).total, 2 * wanted)
    with pytest.raises(ValueError, match="expected 2 levels of logits as level_weights has, got 1"):
        given(coarse, small)


def test_nothing_valid_is_zero_with_a_gradient_and_the_same_keys() -> None:
    inputs = class_logits(2)
    criterion = SegmentationCriterion(dict.fromkeys(SOFTMAX_TERMS, 1.0))
    some = criterion(inputs.predictions, inputs.targets)
    logits = torch.full_like(inputs.predictions, float("nan")).requires_grad_()
    none = criterion(logits, torch.full_like(inputs.targets, -100))
    assert none.terms.keys() == some.terms.keys()
    assert none.stats.keys() == some.stats.keys()
    assert none.total.item() == 0
    assert none.stats["valid"].item() == 0
    assert some.stats["valid"].item() == (inputs.targets >= 0).sum().item()
    (grad,) = torch.autograd.grad(none.total, logits)
    assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ({"dise": 1.0}, {}, "each softmax term to be one of 'cross_entropy', .*'lovasz'.*got 'dise'"),
        ({}, {}, "at least one term out of cross_entropy, "),
        ({"dice": 1.0}, {"activation": "relu"}, "activation to be one of 'softmax', 'sigmoid', got 'relu'"),
        ({"dice": (1.0, losses.SigmoidDiceLoss())}, {}, "'dice' to be a SoftmaxDiceLoss, got SigmoidDiceLoss"),
        ({"dice": (1.0, losses.SoftmaxDiceLoss(ignore_index=255))}, {}, "'dice' with ignore_index=-100 .* got 255"),
        ({"dice": (1.0, losses.SoftmaxDiceLoss(reduction="sum"))}, {}, "'dice' with reduction='mean' .* got 'sum'"),
        ({"focal": 1.0}, {"class_weights": WEIGHTS}, "'focal' takes no class_weights"),
    ],
)
def test_wrong_terms_are_one_clear_sentence(terms, options, message: str) -> None:
    with pytest.raises(ValueError, match="SegmentationCriterion: .*" + message):
        SegmentationCriterion(terms, **options)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_gradient_traces_and_reads_no_data_on_the_host(activation: str) -> None:
    inputs = absent_classes(2) if activation == "softmax" else binary_maps(2)
    targets = inputs.targets if activation == "softmax" else inputs.targets.bool()
    criterion = SegmentationCriterion(dict.fromkeys(SHARED, 1.0), activation=activation)
    logits = inputs.predictions.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: criterion(x, targets).total, logits)
    assert torch.autograd.gradgradcheck(lambda x: criterion(x, targets).total, logits)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets).total, criterion(logits, targets).total)
    on_meta = criterion(logits.detach().to("meta").requires_grad_(), targets.to("meta"))
    on_meta.total.backward()
    with matchloss.reference():
        plain = value_and_gradient(lambda x: criterion(x, targets).total, logits)
    torch.testing.assert_close(value_and_gradient(lambda x: criterion(x, targets).total, logits), plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(dtype: torch.dtype) -> None:
    """segmentation_models_pytorch's Dice is NaN at this size in float16."""
    logits = torch.randn(1, 2, 512, 512, generator=generator(0)).to(dtype)
    labels = torch.randint(0, 2, (1, 512, 512), generator=generator(1))
    criterion = SegmentationCriterion(dict.fromkeys(SHARED, 1.0))
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            got, grad = value_and_gradient(lambda x: criterion(x, labels).total, logits)
        wanted, _ = value_and_gradient(lambda x: criterion(x, labels).total, logits.double())
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)
        assert grad.isfinite().all()


PARTS = ((slice(0, 3), slice(3, 4)), (slice(0, 4), slice(4, 4)))  # uneven; the second rank empty


def criterion_of_ranks() -> SegmentationCriterion:
    return SegmentationCriterion(
        {
            "cross_entropy": (1.0, losses.CrossEntropyLoss(class_weights=WEIGHTS)),
            "focal": 0.5,
            "dice": 1.0,
            "jaccard": (2.0, losses.SoftmaxJaccardLoss(per_image=False, sync=True)),
        }
    )


def run_rank(rank: int, folder: Path, part: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    inputs = absent_classes(4)
    mine = PARTS[part][rank]
    logits = inputs.predictions[mine].clone().requires_grad_()
    loss = criterion_of_ranks()(logits, inputs.targets[mine])
    loss.total.backward()
    torch.save((logits.grad, loss.total.detach()), folder / f"{rank}.pt")
    torch.distributed.barrier()  # a rank that leaves first can take the other's connection with it
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("part", range(len(PARTS)))
def test_two_processes_have_the_gradient_of_one(tmp_path: Path, part: int) -> None:
    inputs = absent_classes(4)
    wanted, wanted_grad = value_and_gradient(
        lambda x: criterion_of_ranks()(x, inputs.targets).total, inputs.predictions
    )
    mp.spawn(run_rank, args=(tmp_path, part), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    # Distributed data parallel averages: each rank's own gradient counts half.
    torch.testing.assert_close(torch.cat([grad for grad, _ in ranks]) / 2, wanted_grad)
    torch.testing.assert_close(sum(total for _, total in ranks) / 2, wanted)
