"""Laws of task-aligned assignment: forms agree, order and padding do not matter, memory is bounded, no data is read."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import matchloss
from matchloss.assigners import TaskAlignedAssigner
from matchloss.geometry import regions
from matchloss.types import Assignment
from reference.task_aligned import VARIANTS
from task_aligned_scenes import RULES, Scene, by_reference, hard_scenes, plain, random_scene, same

over_rules = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
SCENES = {f"random {seed}": random_scene(seed) for seed in range(3)} | hard_scenes()
over_scenes = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)


def in_double(scene: Scene) -> Scene:
    scores, boxes, points, strides = (x.double() for x in (scene.scores, scene.boxes, scene.points, scene.strides))
    return Scene(scores, boxes, points, scene.targets._replace(boxes=scene.targets.boxes.double()), strides)


@over_scenes
@over_rules
def test_all_forms_agree(scene: Scene, rules: dict[str, Any]) -> None:
    """Numba, plain torch in single and in double precision, and the loops of the reference."""
    single = plain(scene, rules)
    same(scene.assign(TaskAlignedAssigner(**rules)), single)
    double = plain(in_double(scene), rules)
    same(double, by_reference(in_double(scene), rules), scores=1e-9)
    same(single, double, scores=1e-4)


@over_rules
def test_larger_scenes_of_numba(rules: dict[str, Any]) -> None:
    """Many targets to a point; and scores that are laid out class by class, as a convolution leaves them."""
    scene = random_scene(11, images=4, targets=60, side=160)
    same(scene.assign(TaskAlignedAssigner(**rules)), plain(scene, rules))
    by_class = scene._replace(scores=scene.scores.transpose(1, 2).contiguous().transpose(1, 2))
    same(by_class.assign(TaskAlignedAssigner(**rules)), plain(scene, rules))


@pytest.mark.parametrize("name", ["random 0", "one target repeated", "one prediction repeated", "no overlap anywhere"])
@over_rules
def test_chunks_do_not_matter(name: str, rules: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One target at a time, as in a scene of many; ties between chunks go to the lowest target too."""
    whole = plain(SCENES[name], rules)
    monkeypatch.setattr(regions, "PAIRS_AT_ONCE", 1)
    same(plain(SCENES[name], rules), whole, scores=0)


def test_scenes_are_not_trivial() -> None:
    """What the laws compare has positives, conflicts, ignored points, and differs between the rules."""
    scene = SCENES["random 0"]
    results = [plain(scene, rules).target_index for rules in RULES.values()]
    assert all((result >= 0).sum() >= 5 for result in results)
    assert sum(not torch.equal(results[0], other) for other in results[1:]) >= len(results) - 2
    assert plain(scene, {}).ignore.any()


@over_rules
def test_order_of_images_does_not_matter(rules: dict[str, Any]) -> None:
    scene, order = random_scene(1), torch.tensor([2, 0, 1])
    moved = scene._replace(
        scores=scene.scores[order],
        boxes=scene.boxes[order],
        targets=scene.targets._replace(
            **{name: getattr(scene.targets, name)[order] for name in ("labels", "boxes", "valid", "ignore", "weights")}
        ),
    )
    result = scene.assign(TaskAlignedAssigner(**rules))
    same(moved.assign(TaskAlignedAssigner(**rules)), Assignment(*(tensor[order] for tensor in result)), scores=0)


@over_rules
def test_padding_does_not_matter(rules: dict[str, Any]) -> None:
    """Whatever stands in the empty rows."""
    scene = random_scene(2)
    fields = {}
    for name in ("labels", "boxes", "valid", "ignore", "weights"):
        field = getattr(scene.targets, name)
        junk = torch.full_like(field[:, :1], False if name == "valid" else 1)
        fields[name] = torch.cat([field, junk.expand(-1, 5, *field.shape[2:])], 1)
    padded = scene._replace(targets=scene.targets._replace(**fields))
    same(padded.assign(TaskAlignedAssigner(**rules)), scene.assign(TaskAlignedAssigner(**rules)), scores=0)
    same(plain(padded, rules), plain(scene, rules), scores=0)


@pytest.mark.parametrize("name", [name for name in RULES if not {"min_points", "conflict"} & set(RULES[name])])
def test_order_of_targets_does_not_matter(name: str) -> None:
    """But for ties, which are at 0 alone here, and for `min_points`, which serves the targets in their order."""
    scene = random_scene(3, noise=0.05)
    scene = scene._replace(targets=scene.targets._replace(valid=torch.ones_like(scene.targets.valid)))
    rules = RULES[name] | {"zero_metric": False}
    order = torch.tensor([3, 6, 0, 5, 1, 2, 4])
    fields = {name: getattr(scene.targets, name)[:, order] for name in ("labels", "boxes", "valid", "ignore")}
    moved = scene._replace(targets=scene.targets._replace(**fields))
    first, second = scene.assign(TaskAlignedAssigner(**rules)), moved.assign(TaskAlignedAssigner(**rules))
    back = torch.where(second.target_index >= 0, order[second.target_index.clamp(min=0)], -1)
    same(first, second._replace(target_index=back), scores=0)


def test_ties_go_to_the_lowest() -> None:
    scene = hard_scenes()["one prediction repeated"]
    boxes = torch.tensor([0.0, 0.0, 64.0, 64.0]).expand_as(scene.targets.boxes).contiguous()
    whole = torch.ones_like(scene.targets.valid)
    targets = scene.targets._replace(
        boxes=boxes, valid=whole, ignore=~whole, labels=torch.zeros_like(scene.targets.labels)
    )
    for result in (
        scene._replace(targets=targets).assign(TaskAlignedAssigner(topk=5)),
        plain(scene._replace(targets=targets), {"topk": 5}),
    ):
        assert (result.target_index[:, :5] == 0).all()
        assert (result.target_index[:, 5:] == -1).all()


@pytest.mark.parametrize("rules", [RULES[name] for name in ("default", *VARIANTS, "everything")])
def test_traces_in_one_graph(rules: dict[str, Any]) -> None:
    torch._dynamo.reset()
    scene = random_scene(4, images=2, targets=3)
    assigner = TaskAlignedAssigner(**rules)

    def step(scores: Tensor, boxes: Tensor) -> Assignment:
        return assigner(scores, boxes, scene.points, scene.targets, strides=scene.strides)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    same(compiled(scene.scores, scene.boxes), plain(scene, rules))


class Seen(TorchDispatchMode):
    """Names of the operators, and the elements of the largest tensor any of them makes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.names.add(function.name().removeprefix("aten::").partition(".")[0])
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, Tensor) and tensor._base is None:  # a view holds no memory
                self.largest = max(self.largest, tensor.numel())
        return result


@over_rules
def test_reads_no_data_on_the_host(rules: dict[str, Any]) -> None:
    """Tensors on the meta device have no data, so any read raises; and shapes do not follow from values."""
    scene = random_scene(6)
    fields = {
        name: getattr(scene.targets, name).to("meta") for name in ("labels", "boxes", "valid", "ignore", "weights")
    }
    tensors = [tensor.to("meta") for tensor in (scene.scores, scene.boxes, scene.points)]
    with Seen() as seen:
        result = TaskAlignedAssigner(**rules)(
            *tensors, scene.targets._replace(**fields), strides=scene.strides.to("meta")
        )
    assert result.scores.shape == scene.boxes.shape[:2]
    assert not seen.names & {"nonzero", "masked_select", "_local_scalar_dense", "item", "index", "unique", "_unique2"}


def test_memory_does_not_grow_with_the_targets() -> None:
    """3000 targets: no tensor holds a value for each pair of target and point."""
    scene = random_scene(7, images=2, targets=3000, side=512, classes=1)
    scene = scene._replace(targets=scene.targets._replace(valid=torch.ones_like(scene.targets.valid)))
    with matchloss.reference(), Seen() as seen:
        result = scene.assign(TaskAlignedAssigner.yolov8())
    assert scene.boxes.shape[:2].numel() * 3000 > 32e6
    # Four columns of the largest chunk are as much as is ever made at once.
    assert seen.largest <= 2**20
    same(scene.assign(TaskAlignedAssigner.yolov8()), result)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_single(dtype: torch.dtype) -> None:
    scene = random_scene(8)
    half = scene._replace(scores=scene.scores.to(dtype), boxes=scene.boxes.to(dtype))
    widened = half._replace(scores=half.scores.float(), boxes=half.boxes.float())
    assigner = TaskAlignedAssigner.yolov8()
    result = half.assign(assigner)
    assert result.scores.dtype == torch.float32
    same(result, widened.assign(assigner), scores=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same(widened.assign(assigner), plain(widened, vars(assigner)))


def test_broken_predictions_are_never_positive_and_change_no_other() -> None:
    scene = hard_scenes()["broken predictions"]
    broken = ~scene.boxes.isfinite().all(-1)
    for result in (scene.assign(TaskAlignedAssigner(min_points=2)), plain(scene, {"min_points": 2})):
        assert (result.target_index[broken] == -1).all()
        assert result.scores.isfinite().all()
        at_label = scene.scores.gather(2, result.labels.clamp(min=0).unsqueeze(2)).squeeze(2)
        assert at_label[result.target_index >= 0].isfinite().all()
        assert (result.target_index >= 0).any()


@pytest.mark.parametrize("score", [1.5, -0.5])
def test_what_is_no_probability_is_not_matched(score: float) -> None:
    scene = random_scene(0)
    wrong = scene._replace(scores=torch.full_like(scene.scores, score))
    for result in (wrong.assign(TaskAlignedAssigner()), plain(wrong, {})):
        assert (result.target_index == -1).all()


def test_no_gradient() -> None:
    scene = random_scene(0)
    result = scene._replace(scores=scene.scores.requires_grad_(), boxes=scene.boxes.requires_grad_()).assign(
        TaskAlignedAssigner()
    )
    assert not result.scores.requires_grad


@pytest.mark.parametrize("points", [0, 1])
def test_hardly_any_points(points: int) -> None:
    scene = random_scene(0)
    cut = scene._replace(
        scores=scene.scores[:, :points],
        boxes=scene.boxes[:, :points],
        points=scene.points[:points],
        strides=scene.strides[:points],
    )
    for rules in ({}, {"min_points": 2, "second_topk": 1}):
        same(cut.assign(TaskAlignedAssigner(**rules)), plain(cut, rules))
        assert cut.assign(TaskAlignedAssigner(**rules)).target_index.shape == (3, points)


def test_no_images() -> None:
    scene = random_scene(0)
    fields = {name: getattr(scene.targets, name)[:0] for name in ("labels", "boxes", "valid", "ignore", "weights")}
    nothing = scene._replace(scores=scene.scores[:0], boxes=scene.boxes[:0], targets=scene.targets._replace(**fields))
    for result in (nothing.assign(TaskAlignedAssigner(min_points=1)), plain(nothing, {"min_points": 1})):
        assert [tuple(tensor.shape) for tensor in result] == [(0, len(scene.points))] * 4


def test_errors_in_one_sentence() -> None:
    scene, assigner = random_scene(0), TaskAlignedAssigner()
    wrong = [
        ("scores", scene._replace(scores=scene.scores[0])),
        ("scores", scene._replace(scores=scene.scores.long())),
        ("scores", scene._replace(scores=scene.scores[..., :0])),
        ("boxes", scene._replace(boxes=scene.boxes[:, :-1])),
        ("points", scene._replace(points=scene.points[1:])),
        ("strides", scene._replace(strides=scene.strides[1:])),
        ("targets", scene._replace(scores=scene.scores[:2], boxes=scene.boxes[:2])),
        ("boxes of shape .*5", scene._replace(targets=scene.targets._replace(box_format="cxcywha"))),
        ("labels", scene._replace(targets=scene.targets._replace(labels=scene.targets.labels + 4))),
        ("labels", scene._replace(targets=scene.targets._replace(labels=scene.targets.labels - 1))),
    ]
    for word, bad in wrong:
        with pytest.raises(ValueError, match=rf"^TaskAlignedAssigner: expected .*{word}"):
            bad.assign(assigner)


def test_labels_of_rows_that_do_not_count_are_not_checked() -> None:
    scene = random_scene(0)
    counts = scene.targets.valid & ~scene.targets.ignore
    junk = scene._replace(targets=scene.targets._replace(labels=torch.where(counts, scene.targets.labels, 99)))
    same(junk.assign(TaskAlignedAssigner()), scene.assign(TaskAlignedAssigner()), scores=0)


def test_fractions_and_centres_are_read_as_pixels() -> None:
    scene = random_scene(0)
    x1, y1, x2, y2 = (scene.targets.boxes / 64).unbind(-1)
    other = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
    fractions = scene.targets._replace(boxes=other, box_format="cxcywh", normalized=True, image_size=(64, 64))
    result = scene._replace(targets=fractions).assign(TaskAlignedAssigner())
    same(result, scene.assign(TaskAlignedAssigner()), scores=1e-4)


def test_without_numba() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import torch\n"
        "from matchloss.assigners import TaskAlignedAssigner\n"
        "from task_aligned_scenes import random_scene\n"
        "print(int((random_scene(0).assign(TaskAlignedAssigner()).target_index >= 0).sum()))\n"
    )
    path = "import sys; sys.path.insert(0, 'tests')\n"
    out = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True).stdout
    assert int(out) == int((random_scene(0).assign(TaskAlignedAssigner()).target_index >= 0).sum())


def test_threads_share_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = pytest.importorskip("matchloss.kernels.task_aligned_cpu")
    scene, threads = random_scene(0), torch.get_num_threads()
    alone, blocks, block = scene.assign(TaskAlignedAssigner()), [], kernel._assign_block
    monkeypatch.setattr(kernel, "_assign_block", lambda *given: blocks.append(given) or block(*given))
    monkeypatch.setattr(kernel, "PAIRS_A_THREAD", 1)
    torch.set_num_threads(2)
    try:
        same(scene.assign(TaskAlignedAssigner()), alone)
    finally:
        torch.set_num_threads(threads)
    assert len(blocks) == 2
