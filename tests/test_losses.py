"""The laws: what every loss of the table obeys."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import matchloss
from cases import LOSSES, LossCase
from inputs import Inputs, generator

CASES = [
    pytest.param(case, options, id=f"{case.name}-{case.make.__name__}-{number}")
    for case in LOSSES
    for number, options in enumerate(case.options)
]
DEFAULTS = [pytest.param(case, case.options[0], id=f"{case.name}-{case.make.__name__}") for case in LOSSES]
over_options = pytest.mark.parametrize(("case", "options"), CASES)
over_losses = pytest.mark.parametrize(("case", "options"), DEFAULTS)


def call(case: LossCase, inputs: Inputs, options: Mapping[str, Any], **more: Any) -> Tensor:
    return case.function(inputs.predictions, inputs.targets, **inputs.extra, **options, **more)


def with_predictions(inputs: Inputs, predictions: Tensor) -> Inputs:
    return Inputs(predictions, inputs.targets, inputs.mask_shape, inputs.extra)


def leaf(inputs: Inputs, dtype: torch.dtype = torch.float64) -> Inputs:
    return with_predictions(inputs, inputs.predictions.detach().to(dtype).requires_grad_())


def random_mask(inputs: Inputs) -> Tensor:
    return torch.rand(inputs.mask_shape, generator=generator(9)) < 0.7


def random_weights(inputs: Inputs) -> Tensor:
    return torch.rand(inputs.mask_shape, generator=generator(10), dtype=torch.float64) + 0.5


def elementary(case: LossCase) -> Iterator[dict[str, Tensor]]:
    """The mask and weight arguments to try."""
    inputs = case.make(3)
    yield {}
    yield {"mask": random_mask(inputs)}
    if case.takes_weights:
        yield {"weights": random_weights(inputs)}
        yield {"mask": random_mask(inputs), "weights": random_weights(inputs)}


def to_numpy(value: Any) -> Any:
    return value.detach().numpy() if isinstance(value, Tensor) else value


def gradient(case: LossCase, inputs: Inputs, options: Mapping[str, Any], **more: Any) -> tuple[Tensor, Tensor]:
    """Value and gradient of the mean."""
    inputs = leaf(inputs, inputs.predictions.dtype)
    value = call(case, inputs, options, **more)
    (grad,) = torch.autograd.grad(value, inputs.predictions)
    return value.detach(), grad


@over_options
def test_equals_the_reference_in_float64(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    numpy_options = {name: to_numpy(value) for name, value in (options | dict(inputs.extra)).items()}
    for tensors in elementary(case):
        arrays = {name: to_numpy(value) for name, value in tensors.items()}
        elements, divisor = case.reference(
            to_numpy(inputs.predictions), to_numpy(inputs.targets), **arrays, **numpy_options
        )
        wanted = torch.as_tensor(elements)
        mean = wanted.sum() / (divisor or 1.0)
        for path in ("fast", "plain"):
            with matchloss.reference() if path == "plain" else torch.enable_grad():
                close = {"rtol": 1e-10, "atol": 1e-12, "msg": lambda m, at=(path, list(tensors)): f"{at}: {m}"}
                torch.testing.assert_close(call(case, inputs, options, **tensors, reduction="none"), wanted, **close)
                torch.testing.assert_close(
                    call(case, inputs, options, **tensors, reduction="sum"), wanted.sum(), **close
                )
                torch.testing.assert_close(call(case, inputs, options, **tensors), mean, **close)


@over_options
def test_gradient_equals_finite_differences(case: LossCase, options: Mapping[str, Any]) -> None:
    if not case.gradcheck:
        pytest.skip("not differentiable by finite differences; the table says why")
    inputs = leaf(case.make(2))
    for tensors in ({}, {"mask": random_mask(inputs)}):

        def loss(predictions: Tensor, tensors: Mapping[str, Tensor] = tensors) -> Tensor:
            return call(case, with_predictions(inputs, predictions), options, **tensors)

        assert torch.autograd.gradcheck(loss, inputs.predictions)
        assert torch.autograd.gradgradcheck(loss, inputs.predictions)


@over_options
def test_fast_and_plain_paths_have_equal_gradients(case: LossCase, options: Mapping[str, Any]) -> None:
    for tensors in elementary(case):
        inputs = with_predictions(case.make(3), case.make(3).predictions.float())
        _, fast = gradient(case, inputs, options, **tensors)
        with matchloss.reference():
            _, plain = gradient(case, inputs, options, **tensors)
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-6)


@over_options
def test_module_equals_function(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    module = case.module(**options).double()
    tensors = list(elementary(case))[-1]
    got = module(inputs.predictions, inputs.targets, **inputs.extra, **tensors)
    torch.testing.assert_close(got, call(case, inputs, options, **tensors))
    assert copy.deepcopy(module).extra_repr() == module.extra_repr()


@over_losses
def test_module_has_the_function_s_options(case: LossCase, options: Mapping[str, Any]) -> None:
    def described(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
        return {name: value.default for name, value in parameters.items() if name != "self"}

    function = described(inspect.signature(case.function).parameters)
    construct = described(inspect.signature(case.module.__init__).parameters)
    forward = described(inspect.signature(case.module.forward).parameters)
    assert set(case.module_only) <= set(construct)
    assert {name: value for name, value in (construct | forward).items() if name not in case.module_only} == function
    assert not set(construct) & set(forward)
    assert list(inspect.signature(case.function).parameters)[-1] == "reduction"
    kinds = [parameter.kind for parameter in inspect.signature(case.function).parameters.values()]
    assert kinds[:2] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
    assert set(kinds[2:]) == {inspect.Parameter.KEYWORD_ONLY}


@over_losses
def test_unknown_reduction_is_an_error_that_lists_the_choices(case: LossCase, options: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{case.name}: .*'none', 'sum', 'mean', got 'average'"):
        call(case, case.make(2), options, reduction="average")


@over_losses
def test_wrong_shapes_are_an_error_that_names_both(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    wrong = Inputs(inputs.predictions, inputs.targets[:2], inputs.mask_shape, inputs.extra)
    with pytest.raises(ValueError, match=rf"{case.name}: .*\(.*\).*\(.*\)"):
        call(case, wrong, options)
    with pytest.raises(ValueError, match=f"{case.name}: .*floating"):
        call(case, with_predictions(inputs, inputs.predictions.long()), options)
    with pytest.raises(ValueError, match=f"{case.name}: .*mask"):
        call(case, inputs, options, mask=torch.ones(inputs.mask_shape))
    with pytest.raises(ValueError, match=f"{case.name}: .*mask"):
        call(case, inputs, options, mask=torch.ones(7, 7, 7, 7, dtype=torch.bool))


@over_options
def test_empty_batch_is_zero_with_a_gradient(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    empty = leaf(Inputs(inputs.predictions[:0], inputs.targets[:0], (0,), {k: v[:0] for k, v in inputs.extra.items()}))
    for reduction in ("mean", "sum"):
        value = call(case, empty, options, reduction=reduction)
        assert value.item() == 0
        (grad,) = torch.autograd.grad(value, empty.predictions)
        assert grad.shape == empty.predictions.shape


@over_options
def test_all_masked_is_zero_with_a_zero_gradient(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    bad = torch.full_like(inputs.predictions, float("nan"))
    for path in ("fast", "plain"):
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            mask = torch.zeros(inputs.mask_shape, dtype=torch.bool)
            value, grad = gradient(case, with_predictions(inputs, bad), options, mask=mask)
        assert value.item() == 0, path
        assert torch.equal(grad, torch.zeros_like(grad)), path


@over_options
def test_masked_nan_changes_neither_value_nor_gradient(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    mask = random_mask(inputs)
    over = inputs.over_predictions(mask)
    for bad in (float("nan"), float("inf"), -float("inf")):
        poisoned = with_predictions(inputs, torch.where(over, inputs.predictions, bad))
        for path in ("fast", "plain"):
            with matchloss.reference() if path == "plain" else torch.enable_grad():
                wanted, wanted_grad = gradient(case, inputs, options, mask=mask)
                value, grad = gradient(case, poisoned, options, mask=mask)
            torch.testing.assert_close(value, wanted, msg=lambda m, p=path: f"{p}: {m}")
            torch.testing.assert_close(grad, wanted_grad, msg=lambda m, p=path: f"{p}: {m}")
            assert not grad[~over.expand_as(grad)].any()


@over_options
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(case: LossCase, options: Mapping[str, Any], dtype: torch.dtype) -> None:
    half = with_predictions(case.make(3), case.make(3).predictions.to(dtype))
    same_in_double = with_predictions(half, half.predictions.double())
    wanted, wanted_grad = gradient(case, same_in_double, options)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            value, grad = gradient(case, half, options)
        assert value.dtype == torch.float32
        assert grad.dtype == dtype
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(grad.double(), wanted_grad, rtol=2e-2, atol=1e-3)


@over_options
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_inputs_stay_finite(case: LossCase, options: Mapping[str, Any], dtype: torch.dtype) -> None:
    for number, extreme in enumerate(case.extremes(case.make(3))):
        for path in ("fast", "plain"):
            with matchloss.reference() if path == "plain" else torch.enable_grad():
                value, grad = gradient(case, with_predictions(extreme, extreme.predictions.to(dtype)), options)
            assert value.isfinite(), (path, number, extreme.predictions)
            assert grad.isfinite().all(), (path, number, extreme.predictions)


@over_options
def test_a_nan_that_counts_is_seen(case: LossCase, options: Mapping[str, Any]) -> None:
    """A GradScaler must be able to skip the step, so nothing may hide a NaN."""
    inputs = case.make(3)
    value = call(case, with_predictions(inputs, torch.full_like(inputs.predictions, float("nan"))), options)
    assert value.isnan()


@over_options
def test_order_of_the_batch_does_not_matter(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    order = torch.tensor([2, 0, 1])
    moved = Inputs(
        inputs.predictions[order],
        inputs.targets[order],
        inputs.mask_shape,
        {name: tensor[order] for name, tensor in inputs.extra.items()},
    )
    torch.testing.assert_close(call(case, moved, options), call(case, inputs, options))
    elements = call(case, inputs, options, reduction="none")
    if not case.batch_coupled and len(elements) == len(order):  # else the batch is pooled
        torch.testing.assert_close(call(case, moved, options, reduction="none"), elements[order])


@over_options
def test_memory_layout_does_not_matter(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    strided = inputs.predictions.transpose(0, -1).contiguous().transpose(0, -1)
    assert not strided.is_contiguous()
    wanted, wanted_grad = gradient(case, inputs, options)
    value, grad = gradient(case, with_predictions(inputs, strided), options)
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(grad, wanted_grad)


@over_options
def test_inputs_are_left_alone_and_backward_runs_twice(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = leaf(case.make(3))
    before = [tensor.detach().clone() for tensor in (inputs.predictions, inputs.targets, *inputs.extra.values())]
    value = 3 * call(case, inputs, options)
    (first,) = torch.autograd.grad(value, inputs.predictions, retain_graph=True)
    (second,) = torch.autograd.grad(value, inputs.predictions)
    assert torch.equal(first, second)
    for tensor, copied in zip((inputs.predictions, inputs.targets, *inputs.extra.values()), before, strict=True):
        assert torch.equal(tensor.detach(), copied)


@over_options
def test_traces_in_one_graph(case: LossCase, options: Mapping[str, Any]) -> None:
    torch._dynamo.reset()
    inputs = with_predictions(case.make(3), case.make(3).predictions.float())
    compiled = torch.compile(
        lambda p, t: call(case, Inputs(p, t, (), inputs.extra), options), fullgraph=True, backend="aot_eager"
    )
    leafed = leaf(inputs, torch.float32)
    value = compiled(leafed.predictions, leafed.targets)
    (grad,) = torch.autograd.grad(value, leafed.predictions)
    wanted, wanted_grad = gradient(case, inputs, options)
    torch.testing.assert_close(value.detach(), wanted)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-4, atol=1e-6)


@over_options
def test_reads_no_data_on_the_host(case: LossCase, options: Mapping[str, Any]) -> None:
    """Tensors on the meta device have no data: any `.item()`, `nonzero` or branch on a value raises there."""
    if case.syncs:
        pytest.skip("the docstring says that it reads data on the host")
    inputs = case.make(3)
    on_meta = {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in options.items()}
    extra = {name: tensor.to("meta") for name, tensor in inputs.extra.items()}
    tensors = {"mask": random_mask(inputs).to("meta")}
    meta = Inputs(inputs.predictions.to("meta").requires_grad_(), inputs.targets.to("meta"), inputs.mask_shape, extra)
    value = call(case, meta, on_meta, **tensors)
    (grad,) = torch.autograd.grad(value, meta.predictions)
    assert value.shape == ()
    assert grad.shape == meta.predictions.shape


@over_options
def test_works_under_torch_func(case: LossCase, options: Mapping[str, Any]) -> None:
    inputs = case.make(3)
    grad = torch.func.grad(lambda p: call(case, with_predictions(inputs, p), options))(inputs.predictions)
    torch.testing.assert_close(grad, gradient(case, inputs, options)[1])
