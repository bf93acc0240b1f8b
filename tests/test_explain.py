"""The table that says who was matched to what, and the tensors behind it."""

import pytest
import torch

from matchloss.assigners import TaskAlignedAssigner
from matchloss.explain import explain_assignment
from matchloss.types import Assignment, Targets
from task_aligned_scenes import Scene, hard_scenes, random_scene


def textbook() -> Scene:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0], [200.0, 0.0, 300.0, 100.0]])
    return Scene(
        torch.tensor([[[0.9, 0.05], [0.1, 0.3], [0.2, 0.1]]]),
        torch.tensor([[[0.0, 0.0, 100.0, 60.0], [200.0, 0.0, 300.0, 40.0], [0.0, 0.0, 100.0, 10.0]]]),
        torch.tensor([[50.0, 30.0], [250.0, 20.0], [50.0, 5.0]]),
        Targets.from_list([{"boxes": boxes, "labels": torch.tensor([0, 1])}]),
        torch.full((3,), 8.0),
    )


def explain(scene: Scene, assigner: TaskAlignedAssigner | None = None, **options):
    assigner = assigner or TaskAlignedAssigner()
    return explain_assignment(assigner, scene.scores, scene.boxes, scene.points, scene.targets, **options)


def test_textbook_tables() -> None:
    said = explain(textbook(), TaskAlignedAssigner(topk=1, min_overlap=0.5), class_names=["car", "person"])
    assert str(said).splitlines() == [
        "prediction  point      target    class score  overlap  metric   result    soft target",
        "0           (50, 30)   0 car     0.9          0.6      0.042    positive  0.6",
        "1           (250, 20)  1 person  0.3          0.4      0.00123  negative",
        "2           (50, 5)    0 car     0.2          0.1      2e-07    negative",
        "",
        "target    points",
        "0 car     1",
        "1 person  0       starved",
        "",
        "1 positive, 2 negative, 0 ignored, 0 claimed by several targets; 1 of 2 targets starved",
    ]
    lines = str(explain(textbook(), class_names=["car", "person"])).splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == ["0.6", "0.4", "2.86e-06"]
    assert lines[-1].startswith("3 positive, 0 negative")


@pytest.mark.parametrize("name", ["tood", "ppyoloe", "yolov8"])
def test_tensors_are_those_of_the_assignment(name: str) -> None:
    scene, assigner = random_scene(2), getattr(TaskAlignedAssigner, name)()
    result = scene.assign(assigner)
    for image in range(len(scene.scores)):
        said = explain(scene, assigner, image=image, counts=(64, 16, 4))
        assert torch.equal(said.positive, result.target_index[image] >= 0)
        assert torch.equal(said.target[said.positive], result.target_index[image][said.positive])
        assert torch.equal(said.ignored, result.ignore[image])
        assert torch.equal(said.soft_target, result.scores[image])
        assert said.rows.tolist() == scene.targets.valid[image].nonzero().squeeze(1).tolist()
        assert said.positives.sum() == said.positive.sum()
        held = result.target_index[image]
        for number, row in enumerate(said.rows.tolist()):
            wanted = [int((part == row).sum()) for part in held.split([64, 16, 4])]
            assert said.positives[number].tolist() == wanted
            assert said.starved[number] == (sum(wanted) == 0 and not scene.targets.ignore[image, row])


def test_metric_overlap_and_best_target() -> None:
    """By hand for each prediction: the best of all targets by metric."""
    scene = random_scene(1, images=1, targets=5)
    scene = scene._replace(targets=scene.targets._replace(valid=torch.ones(1, 5, dtype=torch.bool)))
    said = explain(scene, TaskAlignedAssigner(topk=2))
    from matchloss.geometry import box_iou, pairwise

    overlap = pairwise(box_iou, scene.targets.boxes, scene.boxes)[0]
    score = scene.scores[0].T[scene.targets.labels[0]]
    metric = torch.where(scene.targets.ignore[0][:, None], -1.0, score * overlap**6)
    negative = ~said.positive & (metric.amax(0) > 0)
    assert negative.any()
    assert torch.equal(said.target[negative], metric.argmax(0)[negative])
    where = said.target, torch.arange(len(scene.points))
    torch.testing.assert_close(said.overlap, overlap[where])
    torch.testing.assert_close(said.metric, metric[where], rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(said.class_score, score[where])


def test_conflicts() -> None:
    scene = textbook()
    twins = torch.tensor([[[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 90.0]]])
    said = explain(scene._replace(targets=scene.targets._replace(boxes=twins)))
    assert said.conflict.tolist() == [True, False, True]
    assert "positive, contested" in str(said)
    assert "2 claimed by several targets; 1 of 2 targets starved" in str(said)


def test_predictions_that_overlap_with_nothing_belong_to_the_nearest() -> None:
    scene = textbook()
    far = scene._replace(boxes=scene.boxes + 1000, points=torch.tensor([[130.0, 50.0], [170.0, 50.0], [151.0, 50.0]]))
    said = explain(far)
    assert not said.positive.any()
    assert said.target.tolist() == [0, 1, 1]


def test_assigners_without_a_metric() -> None:
    """Their result is given, or they are called alike; there may be no scores."""
    scene = textbook()
    nothing = torch.zeros(1, 3)
    given = Assignment(torch.tensor([[0, -1, -1]]), torch.tensor([[0, -1, -1]]), nothing + 1, nothing.bool())
    said = explain_assignment(None, None, scene.boxes, scene.points, scene.targets, assignment=given)
    assert (said.metric, said.conflict, said.class_score) == (None, None, None)
    assert said.target.tolist() == [0, 1, 0]
    assert said.overlap.tolist() == pytest.approx([0.6, 0.4, 0.1])
    assert "claimed" not in str(said)
    called = explain_assignment(
        lambda scores, boxes, points, targets, strides: given, scene.scores, scene.boxes, scene.points, scene.targets
    )
    assert called.positive.tolist() == [True, False, False]


def test_many_predictions_are_summed_up() -> None:
    scene = random_scene(3, side=256)
    said = explain(scene, counts=(1024, 256, 64))
    assert int(said.positive.sum()) > 20
    predictions, targets, _ = str(said).split("\n\n")
    assert len(predictions.splitlines()) == 1 + 20 + 5 + 1
    assert predictions.splitlines()[-1] == f"... and {1344 - 25} more"
    assert "level 2" in targets.splitlines()[0]
    soft = [float(line.split()[-1]) for line in predictions.splitlines()[1:21]]
    assert soft == sorted(soft, reverse=True)


@pytest.mark.parametrize("name", hard_scenes())
def test_hard_scenes_print(name: str) -> None:
    scene = hard_scenes()[name]
    for image in range(3):
        text = str(explain(scene, image=image))
        assert "nan" not in text.replace("(nan", "")
        assert "starved" in text.splitlines()[-1]
        assert f"{int((scene.targets.valid & ~scene.targets.ignore)[image].sum())} targets" in text


def test_no_targets_at_all() -> None:
    scene = textbook()
    none = Targets.from_list([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}])
    said = explain(scene._replace(targets=none))
    assert said.target.tolist() == [-1, -1, -1]
    assert str(said).splitlines()[-1].endswith("0 of 0 targets starved")


def test_errors() -> None:
    scene = textbook()
    with pytest.raises(ValueError, match=r"explain_assignment: .*neither"):
        explain_assignment(None, None, scene.boxes, scene.points, scene.targets)
    with pytest.raises(ValueError, match=r"explain_assignment: expected counts that add up to 3, got 4"):
        explain(scene, counts=(2, 2))
