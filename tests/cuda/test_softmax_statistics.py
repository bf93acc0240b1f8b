"""The softmax statistics of the kernel for a GPU against the plain form in float64; and that criteria read once."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import matchloss
from host_reads import NoHostReads
from inputs import generator
from matchloss.criteria import SegmentationCriterion
from matchloss.kernels import softmax_statistics_cuda
from matchloss.losses import (
    CrossEntropyLoss,
    SoftmaxFocalLoss,
    cross_entropy_loss,
    softmax_dice_loss,
    softmax_focal_loss,
)
from matchloss.losses._class_inputs import ClassInputs
from matchloss.losses._softmax_operator import label_statistics
from matchloss.losses._softmax_plain import plain_statistics
from matchloss.losses._softmax_statistics import label_log_prob, softmax_statistics

# Images, classes, pixels: two tiles and a bit, one pixel, one image less than a tile, each shape of a tile.
SHAPES = ((2, 19, 300), (3, 5, 1), (1, 2, 1100), (2, 16, 40), (1, 33, 70), (1, 128, 40), (2, 150, 20), (1, 256, 3))
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
WEIGHTS = [0.5, 1.0, 2.0, 1.0, 1.5]
TERMS = {
    "cross_entropy": (1.0, CrossEntropyLoss(class_weights=WEIGHTS)),
    "focal": (2.0, SoftmaxFocalLoss(alpha=WEIGHTS, gamma=1.5)),
    "dice": 0.5,
    "jaccard": 1.5,
    "tversky": 1.0,
}


def scene(shape: tuple[int, int, int], device: str, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels of which some are out of range, and what is valid: not these."""
    images, classes, pixels = shape
    rng = generator(seed)
    logits = scale * torch.randn(shape, generator=rng)
    labels = torch.randint(0, classes, (images, pixels), generator=rng)
    valid = torch.rand((images, pixels), generator=rng) < 0.8
    labels[~valid] = -100
    return logits.to(device), labels.to(device), valid.to(device)


def slopes(shape: tuple[int, int, int], device: str) -> tuple[Tensor, Tensor]:
    """Gradients of the results."""
    rng = generator(1)
    images, classes, pixels = shape
    return torch.randn((images, pixels), generator=rng).to(device), torch.randn((images, 3, classes), generator=rng).to(
        device
    )


def plain(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    log_prob, *sums = plain_statistics(logits, labels, valid)
    return log_prob, torch.stack(sums, 1)


def gradient(results: tuple[Tensor, ...], logits: Tensor, grads: tuple[Tensor, ...]) -> Tensor:
    wide = [grad.to(result) for grad, result in zip(grads, results, strict=True)]
    return torch.autograd.grad(results, logits, wide, retain_graph=True)[0]


def check(logits: Tensor, labels: Tensor, valid: Tensor | None, bound: float = 1e-5) -> None:
    """Values and gradients, with the sums and without them."""
    logits = logits.detach().requires_grad_()
    wide = logits.detach().double().requires_grad_()
    grads = slopes(logits.shape, logits.device.type)
    expected, found = plain(wide, labels, valid), label_statistics(logits, labels, valid, True)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[1][:, 2].double(), expected[1][:, 2])  # counts are exact
    log_prob, none = label_statistics(logits, labels, valid, False)
    assert torch.equal(log_prob, found[0])
    assert none.shape == (*logits.shape[:1], 3, 0)
    for mine, theirs, of in ((found, expected, grads), ((log_prob,), expected[:1], grads[:1])):
        grad, slope = gradient(mine, logits, of), gradient(theirs, wide, of)
        torch.testing.assert_close(grad.double(), slope, rtol=bound, atol=bound)


@over_shapes
def test_equals_the_plain_form(shape: tuple[int, int, int], device: str) -> None:
    check(*scene(shape, device))
    logits, labels, _ = scene(shape, device)
    check(logits, labels.clamp(min=0), None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_read_and_written_as_it_is(dtype: torch.dtype, device: str) -> None:
    logits, labels, valid = scene((2, 19, 150), device)
    check(logits.to(dtype), labels, valid, bound=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32], ids=str)
def test_labels_of_any_integers(dtype: torch.dtype, device: str) -> None:
    logits, labels, valid = scene((1, 6, 200), device)
    check(logits, torch.where(valid, labels, 100).to(dtype), valid)


def test_strides(device: str) -> None:
    for classes in (3, 19, 40):
        logits, labels, valid = scene((2, classes, 150), device)
        last = logits.transpose(1, 2).contiguous().transpose(1, 2)  # classes beside each other, as in channels_last
        check(last, labels, valid)
        check(torch.cat([logits, logits], 2)[:, :, ::2], labels, valid)
        check(logits, labels.clamp(min=0).T.contiguous().T, valid[:1].expand(2, -1))


@pytest.mark.parametrize("shape", [(2, 16, 700), (1, 19, 700), (1, 100, 150)], ids=str)
def test_a_program_adds_up_several_tiles(
    shape: tuple[int, int, int], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax_statistics_cuda, "MULTIPROCESSORS", 1)
    check(*scene(shape, device))


def test_a_gradient_without_memory_of_its_own(device: str) -> None:
    """The gradient of a sum is one number, expanded."""
    logits, labels, valid = scene((2, 5, 30), device)
    log_prob, _ = label_statistics(logits.requires_grad_(), labels, valid, True)
    expected, found = (
        torch.autograd.grad(log_prob, logits, of, retain_graph=True)[0]
        for of in (torch.ones_like(log_prob), log_prob.new_ones(()).expand_as(log_prob))
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 4, 0)], ids=str)
def test_nothing(shape: tuple[int, int, int], device: str) -> None:
    check(*scene(shape, device))


def test_far_logits_stay_finite(device: str) -> None:
    logits, labels, valid = scene((1, 7, 130), device, scale=1e4)
    check(logits, labels, valid, bound=1e-4)
    logits[0, :, :3] = torch.tensor([3e38, -3e38, -3e38, 0, 0, 0, 0], device=logits.device)[:, None]
    labels[0, :3], valid[0, :3] = 0, True
    check(logits, labels, valid, bound=1e-4)


def test_masked_broken_logits_reach_nothing(device: str) -> None:
    logits, labels, valid = scene((2, 19, 200), device)
    broken = torch.where(valid[:, None], logits, torch.tensor([torch.nan, torch.inf], device=device)[:, None, None])
    broken, clean = broken.requires_grad_(), logits.requires_grad_()
    results, expected = label_statistics(broken, labels, valid, True), label_statistics(clean, labels, valid, True)
    assert all(torch.equal(*pair) for pair in zip(results, expected, strict=True))
    grads = slopes((2, 19, 200), device)
    grad = gradient(results, broken, (torch.where(valid, grads[0], torch.nan), grads[1]))
    assert torch.equal(grad, gradient(expected, clean, grads))
    assert not grad.masked_select(~valid[:, None]).any()


def test_valid_broken_logits_are_seen(device: str) -> None:
    logits, labels, _ = scene((1, 5, 9), device)
    logits[0, 3, 2] = torch.nan
    log_prob, sums = label_statistics(logits.requires_grad_(), labels.clamp(min=0), None, True)
    assert log_prob.isnan().nonzero().tolist() == [[0, 2]]
    assert sums[:, 1].isnan().all()
    assert torch.autograd.grad(log_prob.sum(), logits)[0][0, :, 2].isnan().all()


@pytest.mark.parametrize("label", [-1, 5, 2**32])
def test_a_label_out_of_range_is_nan(label: int, device: str) -> None:
    """Nobody looks for it on a GPU; it must be seen, and nothing be read that is not there."""
    logits, labels, _ = scene((1, 5, 9), device)
    labels = labels.clamp(min=0)
    labels[0, 4] = label
    log_prob, sums = label_statistics(logits.requires_grad_(), labels, None, True)
    assert log_prob.isnan().nonzero().tolist() == [[0, 4]]
    assert sums[:, 2].sum() == 8
    torch.autograd.grad((log_prob.nansum(), sums.nansum()), logits)


def test_again_gives_the_same(device: str) -> None:
    logits, labels, valid = scene((2, 19, 700), device)
    logits.requires_grad_()
    results, again = (label_statistics(logits, labels, valid, True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(results, again, strict=True))
    grads, before = slopes((2, 19, 700), device), logits.detach().clone()
    first, second = (torch.autograd.grad(results, logits, grads, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(logits, before)


def test_second_derivative_is_that_of_the_plain_form(device: str) -> None:
    logits, labels, valid = scene((2, 4, 20), device)
    grads = slopes((2, 4, 20), device)

    def twice(with_kernel: bool, with_sums: bool) -> Tensor:
        x = logits.clone().requires_grad_()
        results = label_statistics(x, labels, valid, with_sums) if with_kernel else plain(x, labels, valid)
        count = 2 if with_sums else 1
        (grad,) = torch.autograd.grad(results[:count], x, grads[:count], create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x)[0]

    for with_sums in (True, False):
        torch.testing.assert_close(twice(True, with_sums), twice(False, with_sums))


class Counted(TorchDispatchMode):
    """How often each operator is called."""

    def __enter__(self):
        self.names: list[str] = []
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def loss_and_gradient(loss, logits: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, *others)
    return value, torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_criterion_reads_the_logits_once(dtype: torch.dtype, device: str) -> None:
    criterion = SegmentationCriterion(TERMS).to(device)
    logits, labels, _ = scene((2, 5, 120), device)
    logits, labels = logits.to(dtype).unflatten(2, (10, 12)), labels.unflatten(1, (10, 12))
    with Counted() as calls:
        value, grad = loss_and_gradient(lambda *inputs: criterion(*inputs).total, logits, labels)
    assert calls.names.count("softmax_statistics") == calls.names.count("softmax_statistics_backward") == 1
    assert not {"scatter_add", "_log_softmax", "_softmax"} & set(calls.names)
    assert grad.dtype == dtype
    with matchloss.reference():
        expected, slope = loss_and_gradient(lambda *inputs: criterion(*inputs).total, logits, labels)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    eps = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(grad, slope, rtol=eps, atol=eps * slope.abs().max().item())


def test_nothing_is_read_on_the_host(device: str) -> None:
    """But on the CPU the range of the labels."""
    logits, labels, valid = scene((2, 5, 120), device)
    inputs = ClassInputs(logits.requires_grad_(), labels, None, valid, None, labels.shape)
    with NoHostReads():
        sum(result.sum() for result in softmax_statistics(inputs)).backward()
        label_log_prob(inputs).sum().backward()


@pytest.mark.parametrize(
    "loss", [cross_entropy_loss, softmax_focal_loss, softmax_dice_loss], ids=lambda loss: loss.__name__
)
@pytest.mark.parametrize("class_dim", [1, -1])
def test_losses_equal_their_plain_form(loss, class_dim: int, device: str) -> None:
    logits, labels, _ = scene((4, 6, 70), device)
    for x, y in ((logits, labels), (logits[..., 0], labels[:, 0])):
        x = x.movedim(1, class_dim)
        with Counted() as calls:
            value, grad = loss_and_gradient(lambda x, y: loss(x, y, class_dim=class_dim), x, y)
        assert calls.names.count("softmax_statistics") == calls.names.count("softmax_statistics_backward") == 1
        with matchloss.reference(), Counted() as calls:
            expected, slope = loss_and_gradient(lambda x, y: loss(x, y, class_dim=class_dim), x, y)
        assert "softmax_statistics" not in calls.names
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(grad, slope)


def test_float64_and_many_classes_take_the_plain_form(device: str) -> None:
    logits, labels, _ = scene((2, 300, 4), device)
    for x in (logits, logits[:, :5].double()):
        with Counted() as calls:
            cross_entropy_loss(x, labels.clamp(max=4))
        assert "softmax_statistics" not in calls.names


def test_a_compiled_criterion_calls_the_kernels(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("read_statistics", "write_gradient"):
        kernel = getattr(softmax_statistics_cuda, name)
        monkeypatch.setattr(
            softmax_statistics_cuda, name, lambda *args, name=name, kernel=kernel: calls.append(name) or kernel(*args)
        )
    criterion = SegmentationCriterion(TERMS).to(device)
    logits, labels, _ = scene((2, 5, 60), device)
    logits = logits.half()
    compiled = torch.compile(lambda *inputs: criterion(*inputs).total, fullgraph=True, backend="aot_eager")
    value, grad = loss_and_gradient(compiled, logits, labels)
    assert calls == ["read_statistics", "write_gradient"]
    expected, slope = loss_and_gradient(lambda *inputs: criterion(*inputs).total, logits, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, slope)


def test_operators_keep_their_contract(device: str) -> None:
    logits, labels, valid = scene((1, 3, 20), device)
    for with_sums in (True, False):
        torch.library.opcheck(label_statistics, (logits.requires_grad_(), labels, valid, with_sums))
