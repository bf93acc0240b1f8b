"""Every loss has a figure, and its curves are the loss and its gradient."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from matchloss import cli, losses
from matchloss.catalogue import entries
from matchloss.plots import drawn, overview, plot
from matchloss.plots.figures import overview_panels, panels_by_arguments, panels_of
from matchloss.plots.panels import COLOURS, Line, Panel, draw

ROOT = Path(__file__).parents[1]
NAMES = [entry.name for entry in entries()]


def line_of(panel: Panel, label: str) -> Line:
    (line,) = (line for line in panel.lines if line.label == label)
    return line


def at(line: Line, x: float) -> float:
    """Value of a curve between its points."""
    right = int(torch.searchsorted(line.x.double(), x).clamp(1, len(line.x) - 1))
    (x0, x1), (y0, y1) = line.x[right - 1 : right + 1].tolist(), line.y[right - 1 : right + 1].tolist()
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def slope(line: Line) -> Tensor:
    return (torch.gradient(line.y, spacing=(line.x,))[0]).abs()


def test_all_of_the_catalogue_is_drawn() -> None:
    assert sorted(drawn()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_panels_can_be_read(name: str) -> None:
    panels = panels_of(name)
    assert 1 <= len(panels) <= 3
    for panel in panels:
        assert panel.title
        assert panel.xlabel
        labels = [line.label for line in panel.lines]
        assert len(set(labels)) == len(labels) >= 1
        assert labels == [line.label for line in panels[0].lines], "one legend serves all panels"
        assert sum(not line.dashed for line in panel.lines) <= len(COLOURS)
        for line in panel.lines:
            assert line.x.shape == line.y.shape
            assert line.y.isfinite().all(), line.label
            assert (line.x.diff() > 0).all()
            if panel.xscale == "log":
                assert (line.x > 0).all()
            if panel.yscale == "log":
                assert (line.y > 0).all(), line.label
        varied = torch.stack([line.y.double().max() - line.y.double().min() for line in panel.lines])
        assert varied.max() > 0, "a figure of flat lines shows nothing"
    if len(panels) == 2:
        assert min(line.y.min().item() for line in panels[1].lines) >= 0, "the size of a gradient"


@pytest.mark.parametrize("name", ["l1_loss", "smooth_l1_loss", "balanced_l1_loss"])
def test_gradients_over_a_difference_are_the_slopes(name: str) -> None:
    left, right = panels_of(name)
    for loss, grad in zip(left.lines, right.lines, strict=True):
        torch.testing.assert_close((slope(loss) - grad.y).abs().median(), torch.tensor(0.0).double(), atol=1e-2, rtol=0)
        assert torch.equal(loss.x, grad.x)


@pytest.mark.parametrize(
    "name",
    [
        "cross_entropy_loss",
        "softmax_focal_loss",
        "poly1_cross_entropy_loss",
        "binary_cross_entropy_loss",
        "balanced_binary_cross_entropy_loss",
        "sigmoid_focal_loss",
        "quality_focal_loss",
        "varifocal_loss",
        "asymmetric_loss",
    ],
)
def test_gradients_over_a_probability_are_the_slopes_over_its_logit(name: str) -> None:
    left, right = panels_of(name)
    for loss, grad in zip(left.lines, right.lines, strict=True):
        p = loss.x
        inner = slice(20, -20)  # finite differences are coarse where the curve is steep
        torch.testing.assert_close((slope(loss) * p * (1 - p))[inner], grad.y[inner], atol=2e-2, rtol=0)


def test_curves_are_those_of_the_options_in_their_labels() -> None:
    focal, _ = panels_of("sigmoid_focal_loss")
    for gamma in (0, 0.5, 2, 5):
        wanted = 0.75**gamma * -math.log(0.25)
        assert at(line_of(focal, f"γ = {gamma:g}"), 0.25) == pytest.approx(wanted, rel=1e-3)
    smooth, _ = panels_of("smooth_l1_loss")
    for beta in (0.1, 0.5, 1, 2):
        assert at(line_of(smooth, f"β = {beta:g}"), 2.5) == pytest.approx(2.5 - beta / 2, rel=1e-6)
    quality, _ = panels_of("quality_focal_loss")
    for target in (0, 0.25, 0.5, 0.75, 1):
        assert at(line_of(quality, f"target {target:g}"), target) == pytest.approx(0, abs=1e-3)
    balanced, _ = panels_of("balanced_binary_cross_entropy_loss")
    assert at(line_of(balanced, "10 % positives"), 0.5) == pytest.approx(0.9 * math.log(2), rel=1e-4)
    tversky, _, _ = panels_of("sigmoid_tversky_loss")
    tp, fp, fn = 0.99 * 500 + 0.01 * 500, 0.01 * 9000, 0.01 * 500 + 0.99 * 500
    assert at(line_of(tversky, "α = 0.3, β = 0.7"), 0.5) == pytest.approx(1 - tp / (tp + 0.3 * fp + 0.7 * fn), rel=1e-5)


@pytest.mark.parametrize("prefix", ["softmax", "sigmoid"])
def test_imbalance_is_that_of_the_axis(prefix: str) -> None:
    _, missed, gradient = panels_of(f"{prefix}_dice_loss")
    for x, value, norm in zip(*(t.tolist() for t in (*_xy(missed), _xy(gradient)[1])), strict=True):
        assert value == pytest.approx(-x * math.log(0.01) - (1 - x) * math.log(0.99), rel=1e-6)
        assert norm == pytest.approx(0.99 * math.sqrt(10_000 * x) / 10_000, rel=1e-6)
    dice = line_of(missed, "Dice")
    assert (dice.x[0].item(), dice.x[-1].item()) == pytest.approx((0.001, 0.5))
    if prefix == "sigmoid":
        share = dice.x
        assert torch.allclose(dice.y, 1 - 0.02 * share / (0.01 + share))


def _xy(panel: Panel) -> tuple[Tensor, Tensor]:
    line = line_of(panel, "cross entropy")
    assert line.dashed
    return line.x, line.y


def test_found_regions_cost_less() -> None:
    for name in NAMES:
        panels = panels_of(name)
        if panels[0].title.startswith("loss, foreground"):
            for line in panels[0].lines:
                assert (line.y.diff() < 0).all(), (name, line.label)


def test_what_lies_farther_off_costs_more() -> None:
    for name in ("boundary_loss", "sigmoid_boundary_loss", "hausdorff_loss", "sigmoid_hausdorff_loss"):
        panel, gradient = panels_of(name)
        for line in panel.lines:
            assert (line.y.diff() > 0).all(), name
        assert [span[0] for span in gradient.spans] == ["true", "predicted"]
    centre, _ = panels_of("sigmoid_soft_cldice_loss")
    assert (line_of(centre, "centre lines").y.diff() > 0).all()
    place, _ = panels_of("distribution_focal_loss")
    for line, width in zip(place.lines, (0.6, 1.0, 2.0), strict=True):
        # Moved along, distributions of this form are best where their expectation, not their centre, is the target.
        bins = torch.arange(9)
        probs = (-((bins - line.x[line.y.argmin()]) ** 2) / (2 * width**2)).softmax(0)
        assert (probs * bins).sum().item() == pytest.approx(3.3, abs=0.02)


def test_boxes_are_moved_and_widened() -> None:
    moved, pull, sized = panels_of("giou_loss")
    assert at(line_of(moved, "GIoU"), 0.5) == pytest.approx(2 / 3, rel=1e-3)  # a third is shared
    assert at(line_of(moved, "GIoU"), 1.5) == pytest.approx(1 + 0.5 / 2.5, rel=1e-3)
    assert at(line_of(moved, "IoU"), 1.5) == 1
    assert at(line_of(pull, "IoU"), 1.5) == 0
    assert line_of(sized, "IoU").dashed
    for width in (0.25, 3.0):
        assert at(line_of(sized, "GIoU"), width) == pytest.approx(1 - min(width, 1 / width), rel=1e-2)
    for name in ("giou_loss", "ciou_loss", "eiou_loss", "siou_loss", "nwd_loss", "mpdiou_loss"):
        loss, grad, _ = panels_of(name)
        for line, derivative in zip(loss.lines, grad.lines, strict=True):
            apart = (slope(line) - derivative.y).abs()[2:-2]
            assert apart.median() < 1e-3, (name, line.label)
    log = line_of(panels_of("iou_loss")[0], "-log IoU")
    assert at(log, 0.5) == pytest.approx(math.log(3), rel=1e-3)


def test_moved_discs_have_their_gradient_where_they_differ() -> None:
    for name in ("hausdorff_loss", "sigmoid_hausdorff_loss"):
        for line in panels_of(name)[1].lines:
            true, both, predicted = (line.y[x].item() for x in (4, 14, 24))
            assert min(true, predicted) > 20 * both


def test_helpers_of_losses_are_drawn_as_they_are() -> None:
    (weights,) = panels_of("effective_number_weights")
    for beta in (0, 0.9, 0.9999):
        line = line_of(weights, f"β = {beta:g}")
        wanted = (1 - beta) / (1 - beta ** line.x.double())
        torch.testing.assert_close(line.y.double(), wanted, rtol=1e-4, atol=0)
    (distances,) = panels_of("signed_distance_maps")
    (line,), ((_, start, end),) = distances.lines, distances.spans
    inside = (line.x > start) & (line.x < end)
    assert (line.y[inside] <= 0).all()
    assert (line.y[~inside] >= 1).all()


def test_the_overview_shows_what_its_titles_say() -> None:
    focal, smooth, missed = overview_panels()
    assert at(line_of(focal, "γ = 2"), 0.5) == pytest.approx(0.25 * math.log(2), rel=1e-3)
    assert at(line_of(smooth, "β = 1"), 2.0) == pytest.approx(1.5, rel=1e-6)
    assert [line.label for line in missed.lines] == ["Dice", "cross entropy"]
    share, cost = _xy(missed)
    assert cost[-1].item() == pytest.approx(0.5 * (-math.log(0.01) - math.log(0.99)), rel=1e-6)
    assert share[0].item() == pytest.approx(0.001)


def test_the_guide_s_new_loss_has_a_figure_at_once() -> None:
    code = re.search(r"^```py\n(.*?)^```$", (ROOT / "docs" / "adding_a_loss.md").read_text(), re.M | re.S)[1]
    names: dict[str, object] = {"__name__": "matchloss.losses.charbonnier", "__package__": "matchloss.losses"}
    exec(compile(code, "adding_a_loss.md", "exec"), names)
    left, right = panels_by_arguments(names["charbonnier_loss"])
    assert left.xlabel == right.xlabel == "prediction - target"
    assert at(left.lines[0], 3.0) == pytest.approx(math.hypot(3, 1e-3), rel=1e-6)


def test_a_new_loss_is_drawn_by_its_arguments() -> None:
    def of_classes(logits: Tensor, targets: Tensor, *, class_dim: int = 1, reduction: str = "mean") -> Tensor:
        return losses.cross_entropy_loss(logits, targets, class_dim=class_dim, reduction=reduction)

    def of_maps(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
        return losses.sigmoid_dice_loss(logits, targets, reduction=reduction)

    def of_elements(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
        return losses.binary_cross_entropy_loss(logits, targets, reduction=reduction)

    def of_boxes(boxes: Tensor, target_boxes: Tensor, *, reduction: str = "mean") -> Tensor:
        return losses.giou_loss(boxes, target_boxes, reduction=reduction)

    def of_points(points: Tensor, targets: Tensor) -> Tensor:
        return points - targets

    assert panels_by_arguments(of_classes)[0].xlabel == "probability of the right class"
    assert [line.label for line in panels_by_arguments(of_maps)[1].lines] == ["defaults", "cross entropy"]
    one, zero = panels_by_arguments(of_elements)[0].lines
    assert at(one, 0.25) == pytest.approx(-math.log(0.25), rel=1e-3)
    assert at(zero, 0.25) == pytest.approx(-math.log(0.75), rel=1e-3)
    assert [line.label for line in panels_by_arguments(of_boxes)[0].lines] == ["defaults", "IoU"]
    with pytest.raises(ValueError, match="plot: expected a loss of predictions, boxes or logits, got one of points"):
        panels_by_arguments(of_points)


def test_equal_figures_are_equal_bytes(tmp_path: Path) -> None:
    first, second = (plot("l1_loss", tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"<svg" in first
    assert b"<dc:date>" not in first
    assert b"<text" not in first, "glyphs are drawn, since a reader's fonts have other widths"


def test_png_and_the_folder_are_made(tmp_path: Path) -> None:
    path = plot("smooth_l1_loss", str(tmp_path / "deep" / "er" / "figure.png"))
    assert path == tmp_path / "deep" / "er" / "figure.png"
    picture = Image.open(path).convert("RGB")
    assert picture.width > 1000
    colours = {f"#{r:02X}{g:02X}{b:02X}" for _, (r, g, b) in picture.getcolors(1 << 24)}
    assert set(COLOURS[:4]) <= colours


def test_the_readme_s_figure_is_there_and_can_be_made(tmp_path: Path) -> None:
    committed = (ROOT / "docs" / "assets" / "losses.svg").read_text()
    made = overview(tmp_path / "losses.svg").read_text()
    for text in (committed, made):
        assert len(re.findall(r'<g id="axes_\d+">', text)) == 3
        assert len(re.findall(r'<g id="legend_\d+">', text)) == 3
        assert "<dc:date>" not in text
    width, height = (float(re.search(rf'{side}="([\d.]+)pt"', committed)[1]) for side in ("width", "height"))
    assert 2.5 < width / height < 4


def test_a_wrong_name_or_suffix_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^plot: expected the name of a loss, got 'focal_los'; .*softmax_focal_loss"):
        plot("focal_los", tmp_path / "x.svg")
    with pytest.raises(ValueError, match=r"got 'zzz'; `matchloss list` shows them all$"):
        plot("zzz", tmp_path / "x.svg")
    for draw_it in (lambda path: plot("l1_loss", path), overview):
        with pytest.raises(ValueError, match=r"^plot: expected a path that ends in \.svg or \.png, got x\.pdf$"):
            draw_it("x.pdf")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"expected matplotlib .*matchloss\[train\]"):
        draw([], "", tmp_path / "x.svg")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["matchloss", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0


def test_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "list") == 0
    assert all(name in capsys.readouterr().out for name in NAMES[:1])
    assert run(monkeypatch, "plot", "l1_loss") == 0
    assert capsys.readouterr().out == "l1_loss.svg\n"
    assert (tmp_path / "l1_loss.svg").stat().st_size > 1000
    assert run(monkeypatch, "plot", "l1_loss", "--out", "other.png") == 0
    assert Image.open(tmp_path / "other.png").format == "PNG"
    capsys.readouterr()
    for arguments, words in ((["l3_loss"], "l1_loss"), (["l1_loss", "--out", "x.gif"], ".svg or .png")):
        assert run(monkeypatch, "plot", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: plot: ")
        assert error.count("\n") == 1
        assert words in error
