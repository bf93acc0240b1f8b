"""Plants one fault after another in a copy of the package, and says which of them the tests would miss.

Run by `make mutants`, not by pytest. A law that no fault can trip is no law.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


DENSE = ("task_aligned_criterion", "retinanet_criterion", "decode", "geometry_boxes")
SETS = ("set_criterion", "query_sets", "set_criterion_ranks")
TESTS = [f"tests/test_{name}.py" for name in ("losses", "segmentation_criterion", "core", "structure", *DENSE, *SETS)]


class Fault(NamedTuple):
    law: str
    """The tests that must fail, as pytest's -k."""
    file: str
    old: str
    new: str


FAULTS = (
    # The laws of tests/test_losses.py, one fault each at least
    Fault("equals_the_reference and dice", "losses/dice.py", "2 * sums.overlap + smooth", "sums.overlap + smooth"),
    Fault("equals_the_reference and cross", "losses/cross_entropy.py", "smoothing / classes", "smoothing"),
    Fault("equals_the_reference and focal", "losses/_focal_term.py", "(2 * alpha - 1) + (1 - alpha)", "alpha"),
    Fault("equals_the_reference and focal", "losses/_focal_rows.py", "(1 - alpha, alpha)", "(alpha, 1 - alpha)"),
    Fault("equals_the_reference and l1", "_core.py", "total = valid.sum()", "total = torch.ones_like(valid).sum()"),
    Fault("equals_the_reference and cross", "_core.py", "or_one(total.to(loss.dtype))", "max(loss.numel(), 1)"),
    Fault("finite_differences and dice", "losses/_softmax_statistics.py", "(through_sum + grad", "(grad"),
    Fault("finite_differences and focal", "losses/_focal_rows.py", "value=-gamma)", "value=gamma)"),
    Fault("equal_gradients and dice", "losses/_softmax_statistics.py", "(through_sum + grad", "(grad"),
    Fault("module_equals_function and l1", "losses/l1.py", "weights=weights, reduction=self", "reduction=self"),
    Fault("function_s_options and focal", "losses/sigmoid_focal.py", "alpha: float | None = 0.25,\n        g", "g"),
    Fault("unknown_reduction", "_core.py", 'check_option(caller, "reduction"', 'str("reduction"'),
    Fault("wrong_shapes and l1", "losses/_pairs.py", "    check_same_shape(", "    str("),
    Fault("empty_batch and l1", "_core.py", "max(loss.numel(), 1)", "loss.numel()"),
    Fault("all_masked and cross", "_core.py", "torch.where(total == 0, 1.0, total)", "total"),
    Fault("masked_nan and l1", "_core.py", "torch.where(valid, values, 0.0)", "values * valid"),
    Fault("masked_nan and dice", "losses/_softmax_statistics.py", "if bool(prob_sum.isfinite().all()):", "if True:"),
    Fault(
        "half_precision and l1",
        "_core.py",
        "return torch.float64 if predictions.dtype == ",
        "return predictions.dtype\n    if ",
    ),
    Fault("extreme and focal", "losses/_focal_term.py", "missed.clamp(min=torch.finfo(missed.dtype).tiny)", "missed"),
    Fault("extreme and cross", "losses/_softmax_plain.py", ".log_softmax(1)", ".softmax(1).log()"),
    Fault(
        "nan_that_counts and dice",
        "losses/_region.py",
        "torch.where(whole == 0, 1.0, part",
        "torch.where(~(whole > 0), 1.0, part",
    ),
    Fault(
        "order_of_the_batch and dice",
        "losses/_region.py",
        "        return sums\n",
        "        return RegionSums(sums[0].cumsum(0), *sums[1:])\n",
    ),
    Fault(
        "memory_layout and cross",
        "losses/_class_inputs.py",
        "values.movedim(class_dim, 1)",
        "values.contiguous().as_strided(values.shape, values.stride()).movedim(class_dim, 1)",
    ),
    Fault("left_alone and focal", "losses/_focal_term.py", "return slope * grad", "return slope.mul_(grad)"),
    Fault(
        "one_graph and dice",
        "losses/_region.py",
        "return torch.where(whole == 0",
        "print()\n    return torch.where(whole == 0",
    ),
    Fault(
        "no_data_on_the_host and cross",
        "_core.py",
        "return loss.sum() / or_one(",
        "return loss.sum() / (total.item() or 1) if total == 0 else loss.sum() / or_one(",
    ),
    Fault("torch_func and cross", "_core.py", "return not torch._C._are_functorch_transforms_active()", "return True"),
    Fault(
        "equals_the_reference and dice", "losses/_map_inputs.py", "return targets.shape != logits.shape", "return False"
    ),
    Fault(
        "equals_the_reference and boundary", "losses/_map_inputs.py", "movedim(class_dim, 1)", "movedim(class_dim, -1)"
    ),
    Fault("module_equals_function and dice", "losses/_region_body.py", "per_image=per_image", "per_image=True"),
    # The criterion
    Fault("two_processes", "_core.py", "clamp(min=at_least) / world_size", "clamp(min=at_least)"),
    Fault(
        "two_processes",
        "_core.py",
        "return _SumOverRanks.forward(ctx, grad)",
        "",
    ),
    Fault(
        "sum_of_all_terms",
        "criteria/_segmentation_parts.py",
        "Part(-log_prob.sum(), valid)",
        "Part(-log_prob.mean(), valid)",
    ),
    Fault("as_often_as_one", "criteria/_segmentation_parts.py", 'return module.form != "squared"', "return False"),
    Fault("deep_supervision", "criteria/segmentation.py", "0.5**level", "0.25**level"),
    Fault("deep_supervision", "criteria/segmentation.py", "+ 0.5) * (large / small)", ") * (large / small)"),
    Fault(
        "sigmoid_labels",
        "criteria/_segmentation_parts.py",
        "both(mask, is_labelled.unsqueeze(1).expand_as(logits))",
        "mask",
    ),
    Fault("half_precision_sums", "losses/_region.py", "else torch.float64", "else torch.float16"),
    Fault(
        "normalizer_of_two",
        "_core.py",
        "or_one(total).clamp(min=at_least) / world_size",
        "(total / world_size).clamp(min=at_least)",
    ),
    # The criteria of dense detectors
    Fault("presets_equal", "criteria/task_aligned.py", "weights * scores if", "weights if"),
    Fault("presets_equal", "criteria/task_aligned.py", "box_weight=7.5", "box_weight=7.0"),
    Fault("presets_equal", "criteria/_box_rows.py", "bins - 1.01", "bins - 1.5"),
    Fault("presets_equal", "criteria/_box_rows.py", "(loss.mean(-1) * rows", "(loss.sum(-1) * rows"),
    Fault("presets_equal", "criteria/_class_rows.py", "scores=scores, ", ""),
    Fault("textbook", "criteria/_box_rows.py", "rows.target_boxes / rows.strides, mask", "rows.target_boxes, mask"),
    Fault("textbook", "criteria/_class_rows.py", "logits.shape[-1] - 1)", "0)"),
    Fault("ignored_points_none", "criteria/_class_rows.py", "~assignment.ignore", "assignment.ignore | True"),
    Fault("without_objects", "criteria/_dense.py", "if targets.labels.shape[1]:", "if True:"),
    Fault("do_not_learn_background", "assigners/_targets.py", "ignore & ~positive", "(ignore & ~positive) & False"),
    Fault(
        "weights_of_targets",
        "criteria/task_aligned.py",
        "of_targets(targets.weights, ",
        "1 + 0 * of_targets(targets.weights, ",
    ),
    Fault("forms_of_input", "geometry/levels.py", "permute(0, 3, 4, 1, 2)", "permute(0, 4, 3, 1, 2)"),
    Fault("forms_of_input", "geometry/boxes.py", "y1 * height, x2 * width", "y1 * width, x2 * width"),
    Fault(
        "non_finite_prediction",
        "criteria/_box_rows.py",
        "torch.where(positive[:, None], head.sides.flatten(0, 1)[rows], 0.0)",
        "head.sides.flatten(0, 1)[rows] * positive[:, None]",
    ),
    Fault(
        "all_rows_or",
        "criteria/_box_rows.py",
        "return torch.arange(positive.numel()",
        "return positive.nonzero().squeeze(1)\n    return torch.arange(positive.numel()",
    ),
    Fault(
        "normalizer_replaces",
        "criteria/task_aligned.py",
        "if normalizer is None else normalizer",
        "if normalizer is None else normalizer + 1",
    ),
    Fault(
        "two_processes and not classes and not losses",
        "criteria/retinanet.py",
        "over_ranks(positives.to(anchors.dtype))",
        "positives.to(anchors.dtype).clamp(min=1)",
    ),
    Fault(
        "terms_written_out and deltas",
        "criteria/retinanet.py",
        "encode_deltas(target_boxes, anchors)",
        "encode_deltas(anchors, target_boxes)",
    ),
    Fault(
        "only_positives_learn", "criteria/retinanet.py", "assignment.target_index >= 0", "assignment.target_index >= -1"
    ),
    Fault("points_give", "postprocess/select.py", "index // classes", "index % classes"),
    Fault(
        "one_place_may_be",
        "postprocess/select.py",
        "        labels,\n        threshold",
        "        None,\n        threshold",
    ),
    Fault("levels_and_rows_are_one", "postprocess/select.py", "boxes = clip_boxes(boxes, image_size)", "pass"),
    # The criterion of set prediction
    Fault(
        "ranks_have", "criteria/_set_divisors.py", "over_ranks(counted, at_least=floors)", "counted.clamp(min=floors)"
    ),
    Fault(
        "repeats_are_targets",
        "criteria/_set_divisors.py",
        "torch.full_like(loss.targets, loss.copies)",
        "torch.ones_like(loss.targets)",
    ),
    Fault("repeats_are_targets", "criteria/_set_divisors.py", "else number * loss.copies", "else number"),
    Fault(
        "batch_without_objects_has_class",
        "criteria/_set_divisors.py",
        "torch.zeros_like(loss.class_total)",
        "torch.ones_like(loss.class_total)",
    ),
    Fault(
        "groups_are_the_mean",
        "criteria/_set_divisors.py",
        "reshape(len(named.suffixes), -1).sum(1)",
        "reshape(-1, len(named.suffixes)).sum(0)",
    ),
    Fault("on_a_crowd", "criteria/_set_losses.py", "ignore = ~positive & _in", "ignore = _in"),
    Fault(
        "on_a_crowd",
        "criteria/_set_losses.py",
        "counted * module.class_weights[labels]",
        "module.class_weights[labels]",
    ),
    Fault("a_weight_multiplies", "criteria/_set_losses.py", "torch.where(index >= 0, rows * weights, rows)", "rows"),
    Fault(
        "equals_the_slow_form", "criteria/_set_losses.py", "no_object = len(module.class_weights) - 1", "no_object = 0"
    ),
    Fault("equals_the_slow_form", "criteria/_set_losses.py", "logits.amax(-1) > 0\n", "logits.amax(-1) > 1\n"),
    Fault(
        "shared_queries",
        "criteria/_set_losses.py",
        "rows.real & (target_of_query.gather(2, rows.query) == rows.target)",
        "rows.real",
    ),
    Fault("nothing_but_broken", "criteria/_set_losses.py", "mask=rows.real.unsqueeze(-1), ", ""),
    Fault(
        "batch_without_objects_has_class",
        "criteria/_set_losses.py",
        "100 * wrong / pairs.clamp(min=1)",
        "100 * wrong / pairs",
    ),
    Fault(
        "more_targets_than_queries_are",
        "criteria/_set_losses.py",
        "(objects - logits.shape[1])",
        "(objects - logits.shape[0])",
    ),
    Fault(
        "half_precision_is_widened",
        "criteria/_set_rows.py",
        "to_compute(take(named.queries.boxes, query))",
        "take(named.queries.boxes, query)",
    ),
    Fault("half_precision_is_widened", "criteria/_set_rows.py", "target), 0.0).to(boxes.dtype)", "target), 0.0)"),
    Fault("padded_slots", "criteria/_set_rows.py", "real & counted.gather(2, query.clamp(min=0))", "real"),
    Fault(
        "equals_the_slow_form and denoising", "criteria/_set_rows.py", " & objects.gather(1, index.clamp(0, last))", ""
    ),
    Fault("masks_may_have", "criteria/_set_rows.py", "masks=queries.masks", "masks=-queries.masks"),
    Fault("groups_are_the_mean", "criteria/_query_sets.py", "apart.movedim(2, 1)", "apart.movedim(2, 0)"),
    Fault(
        "learn_the_target",
        "criteria/_query_sets.py",
        "torch.cat([values] * times, dim=1)",
        "values.repeat_interleave(times, 1)",
    ),
    Fault("errors_are_one and aux", "criteria/_query_sets.py", "if layers.keys() & set(suffixes):", "if False:"),
    Fault(
        "their_own_targets",
        "criteria/_query_sets.py",
        "own = targets if queries.targets is None else",
        "own = targets if True else",
    ),
    Fault("each_layer_is", "criteria/_query_sets.py", "None if masks is None else masks.shape)", "None)"),
    Fault(
        "weight_multiplies_all", "criteria/set_prediction.py", "loss.weight * self.weights[name]", "self.weights[name]"
    ),
    Fault("equals_the_slow_form", "criteria/set_prediction.py", 'name == "class" and exclusive', 'name == "class"'),
    Fault(
        "sets_stand_beside",
        "criteria/set_prediction.py",
        'torch.stack([loss.stats["broken"] for loss in losses])',
        'losses[0].stats["broken"]',
    ),
    Fault("gradient_of_rtdetr", "criteria/set_prediction.py", 'positives="labels", detach=True', 'positives="labels"'),
    Fault(
        "equals_the_slow_form and denoising",
        "criteria/set_prediction.py",
        "if named.queries.target_of_query is not None:",
        "if False:",
    ),
    Fault(
        "groups_are_the_mean",
        "criteria/set_prediction.py",
        "objects.to(rows.weights.dtype) * named.queries.groups",
        "objects.to(rows.weights.dtype)",
    ),
    Fault("equals_the_slow_form and deformable", "criteria/set_prediction.py", "class_weight=2.0", "class_weight=1.0"),
    Fault(
        "broken_query_crashes",
        "assigners/hungarian.py",
        "torch.where(usable, total.shape[-1] - finite.sum(-1), 0)",
        "(~finite)",
    ),
    Fault(
        "equals_the_slow_form and detr",
        "assigners/hungarian.py",
        "self._solve(total, queries.matchable)",
        "self._solve(total, queries.matchable | True)",
    ),
    Fault("equals_the_slow_form and weights", "assigners/hungarian.py", "self.l1_weight * l1 + self", "5 * l1 + self"),
    Fault(
        "shared_queries",
        "assigners/hungarian.py",
        "(query_of_target < 0) & usable & finite",
        "(query_of_target < 0) & finite",
    ),
    # The shape of the package
    Fault(
        "imports_point_downwards", "losses/l1.py", "from ._pairs", "from ..criteria import segmentation\nfrom ._pairs"
    ),
    Fault("row_of_the_table", "losses/__init__.py", "# Regression", "from .l1 import l1_loss as l3_loss\n# Regression"),
    Fault("import_is_light", "__init__.py", "from . import assigners", "import matplotlib\nfrom . import assigners"),
)


def is_caught(fault: Fault, copy: Path) -> bool:
    """Whether the named tests fail with the fault in place."""
    file = copy / "src" / "matchloss" / fault.file
    sound = file.read_text()
    if sound.count(fault.old) < 1:
        sys.exit(f"{fault.file} no longer holds {fault.old!r}: mend the list of faults")
    file.write_text(sound.replace(fault.old, fault.new, 1))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS, "-k", fault.law]
        environment = os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        if run.returncode == 5:
            sys.exit(f"no test is called {fault.law!r}")
        return run.returncode != 0
    finally:
        file.write_text(sound)


def main() -> None:
    chosen = [fault for fault in FAULTS if len(sys.argv) < 2 or any(word in fault.law for word in sys.argv[1:])]
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests", "pyproject.toml", "conftest.py"):
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        for fault in chosen:
            caught = is_caught(fault, copy)
            print(f"{'caught' if caught else 'MISSED'}  {fault.law:<36} {fault.file}: {fault.new!r}"[:150], flush=True)
            missed += [] if caught else [fault]
    print(f"{len(chosen) - len(missed)} passed, {len(missed)} failed")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
