"""The benchmark has a row for everything, counts right, and compares equal losses."""

import json
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import Tensor

from command_line import assert_one_line, run_cli
from matchloss import losses
from matchloss.bench import families, plans, run as benchmark, scenes
from matchloss.bench.aims import Faster, Lighter, Sooner, Within
from matchloss.bench.environment import ENVIRONMENT
from matchloss.bench.measure import FEWEST, HostClock, time_in_turns
from matchloss.bench.memory import peak_extra_bytes
from matchloss.bench.operators import count_operators
from matchloss.bench.peers import Peers
from matchloss.bench.plans import Plan
from matchloss.bench.provenance import provenance
from matchloss.bench.result import NEAR, measure
from matchloss.bench.rows import Row, Variant, least_traffic
from matchloss.bench.setting import Setting
from matchloss.bench.tables import block
from matchloss.bench.variants import OURS, variants_of

ROOT = Path(__file__).parents[1]
PLANS = plans.all_plans()


# Completeness


def test_everything_public_has_a_row() -> None:
    assert plans.missing() == []
    titles = [plan.title for plan in PLANS]
    assert len(set(titles)) == len(titles)


def test_missing_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "OTHERS", tuple(plan for plan in plans.OTHERS if plan.name != "ATSSAssigner"))
    assert plans.missing() == ["ATSSAssigner"]


def charbonnier_loss(predictions: Tensor, targets: Tensor, *, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    return torch.hypot(predictions - targets, torch.tensor(eps)).mean()


def test_new_loss_of_a_known_family_needs_no_edit() -> None:
    row = families.loss_row(charbonnier_loss, Setting(quick=True))
    assert row.size == "100 x 4 predictions"
    row.ours().backward()
    assert row.leaf is not None
    assert row.leaf.grad is not None


def test_loss_of_no_family_is_told_of() -> None:
    def odd_loss(graphs: Tensor, targets: Tensor) -> Tensor:
        return graphs.sum() + targets.sum()

    with pytest.raises(
        ValueError, match=r"expected a loss whose arguments fit a scene, got odd_loss\(graphs, targets\)"
    ):
        families.loss_row(odd_loss, Setting(quick=True))


@pytest.mark.parametrize(
    ("loss", "size"),
    [
        (losses.cross_entropy_loss, "2 x 19 x 16 x 16 logits"),
        (losses.sigmoid_dice_loss, "2 x 4 x 16 x 16 logits"),
        (losses.lovasz_hinge_loss, "4 x 32 x 32 logits"),
        (losses.varifocal_loss, "2 x 84 x 8 logits"),
        (losses.distribution_focal_loss, "100 x 16 logits"),
        (losses.giou_loss, "100 x 4 boxes"),
        (losses.kld_loss, "20 x 5 boxes"),
        (losses.quad_smooth_l1_loss, "20 x 4 x 2 quads"),
    ],
)
def test_families_are_told_by_arguments(loss, size: str) -> None:
    assert families.loss_row(loss, Setting(quick=True)).size == size


# Equal losses are compared


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.title)
def test_variants_have_one_value(plan: Plan) -> None:
    """So that no time is that of another loss; whoever differs says why."""
    row = plan.make(Setting(quick=True, peers=Peers(wanted=True)))
    variants = {name: one for name, one in variants_of(row, compiled=False).items() if not one.differs}
    values = {name: one.call().item() for name, one in variants.items()}
    assert list(values.values()) == pytest.approx([values[OURS]] * len(values), rel=NEAR / 5), values
    assert np.isfinite(values[OURS])


class Everybody(Peers):
    """As if all libraries were there."""

    def find(self, module: str, name: str) -> MagicMock:
        return MagicMock()


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.aims], ids=lambda plan: plan.title)
def test_aims_name_who_is_timed(plan: Plan) -> None:
    """Or an aim would never be judged, and nobody would see it."""
    row = plan.make(Setting(quick=True, peers=Everybody(wanted=True)))
    named = {aim.than for aim in plan.aims if isinstance(aim, Faster | Within)}
    assert named <= set(variants_of(row, compiled=False))


def test_labels_in_patches_hold_every_class() -> None:
    _, labels = scenes.class_maps(Setting(), (2, 19, 64, 64))
    assert all(set(image.flatten().tolist()) == set(range(19)) for image in labels)


def test_peers_are_imported_only_when_asked_for() -> None:
    peers = Peers(wanted=False)
    assert peers.find("kornia.losses", "dice_loss") is None
    assert peers.left_out == {}


def test_missing_peer_is_left_out() -> None:
    peers = Peers(wanted=True)
    assert peers.find("no_such_library.losses", "loss") is None
    assert peers.left_out == {"no_such_library": "No module named 'no_such_library'"}


# What is measured


def test_peak_of_a_known_loss() -> None:
    """The sigmoid is kept for the backward pass, which adds the gradient: two tensors."""
    logits = torch.randn(1000, 1000, requires_grad=True)
    assert peak_extra_bytes(lambda: logits.sigmoid().sum(), logits, "cpu") == pytest.approx(8e6, rel=0.01)


def test_peak_sees_what_is_freed_again_and_numpy() -> None:
    logits = torch.randn(1000, 1000, requires_grad=True)

    def loss() -> Tensor:
        (logits.detach() + 1).exp()  # two more at a time, gone before the sigmoid
        np.ones(250_000)  # float64: half a tensor
        return logits.sum()

    assert peak_extra_bytes(loss, logits, "cpu") == pytest.approx(8e6 + 2e6, rel=0.01)


def test_operators_are_counted_without_views() -> None:
    leaf = torch.ones(3, 4, requires_grad=True)
    assert count_operators(lambda: leaf.t().reshape(4, 3).exp().sum(), None) == 2
    # Backward: ones for the start, and a product; expand and transposes are views.
    assert count_operators(lambda: leaf.t().exp().sum(), leaf) == 4


def test_forward_and_backward_are_told_apart() -> None:
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            time.sleep(0.01)
            return x.sum()

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            time.sleep(0.03)
            return grad.expand(1)

    leaf = torch.zeros(1, requires_grad=True)
    (times,) = time_in_turns({"slow": lambda: Slow.apply(leaf)}, leaf, HostClock(), rounds=5, seconds=0).values()
    assert times.whole.median - times.forward.median >= 30
    assert times.forward.median >= 10


def test_variants_take_turns() -> None:
    leaf, order = torch.zeros(1, requires_grad=True), []

    def named(name: str):
        def loss() -> Tensor:
            order.append(name)
            return leaf.sum()

        return loss

    times = time_in_turns({"a": named("a"), "b": named("b")}, leaf, HostClock(), rounds=6, seconds=60)
    assert "".join(order) == "ab" + "abba" * 3  # a first time each, then six rounds
    assert times["b"].whole.rounds == 6
    times = time_in_turns({"a": named("a")}, leaf, HostClock(), rounds=50, seconds=0)
    assert times["a"].whole.rounds == FEWEST


def test_least_traffic_reads_twice_and_writes_once() -> None:
    assert least_traffic(torch.zeros(10), torch.zeros(5, dtype=torch.int64)) == 2 * (40 + 40) + 40


def facts(milliseconds: float, times_ours: float, beside: float | None = None) -> dict[str, object]:
    return {"milliseconds": {"median": milliseconds}, "times_ours": times_ours, "tensors_beside_gradient": beside}


def test_aims_are_judged() -> None:
    measured = {OURS: facts(10.0, 1.0, 1.3), "peer": facts(49.9, 4.99)}
    missed = Faster("peer", 5.0).judge(measured)
    assert missed is not None
    assert (missed.aim, missed.measured, missed.hit) == ("at least 5x as fast as peer", 4.99, False)
    hits = [Faster("peer", 4.99), Within("peer", 0.21), Lighter(1.3), Sooner(10.0)]
    misses = [Within("peer", 0.19), Lighter(1.2), Sooner(9.9)]
    assert [aim.judge(measured).hit for aim in (*hits, *misses)] == [True] * 4 + [False] * 3
    assert Faster("absent", 1.0).judge(measured) is None
    assert Lighter(1.0).judge({OURS: facts(1.0, 1.0)}) is None


def row_of(leaf: Tensor) -> Row:
    def fails() -> Tensor:
        raise RuntimeError("cannot")

    others = {
        "peer": Variant(lambda: leaf.exp().log().square().sum(), "peer"),
        "another": Variant(lambda: leaf.sum(), "peer", "no square"),
        "broken": Variant(fails, "peer"),
    }
    return Row("1000 numbers", lambda: leaf.square().sum(), leaf, others=others, least_bytes=2**20)


def test_measured_row() -> None:
    leaf = torch.linspace(-1, 2, 1000, requires_grad=True)
    plan = Plan("title", "name", lambda setting: row_of(leaf), (Faster("peer", 0.0), Faster("absent", 1.0)))
    result = measure(plan, Setting(), HostClock(), rounds=5, seconds=0, compiled=False)
    assert result["left_out"] == {"broken": "RuntimeError: cannot"}
    assert {name: (one["kind"], one["agrees"]) for name, one in result["variants"].items()} == {
        OURS: ("ours", True),
        "matchloss, plain torch": ("plain torch", True),
        "peer": ("peer", True),
        "another": ("peer", False),
    }
    assert [aim["aim"] for aim in result["aims"]] == ["at least 0x as fast as peer"]
    assert result["least_mib"] == 1
    ours, other = (result["variants"][name] for name in (OURS, "peer"))
    whole = other["milliseconds"]["median"] / ours["milliseconds"]["median"]
    assert other["times_ours"] == pytest.approx(whole, abs=1e-3)
    assert ours["forward_milliseconds"]["median"] <= ours["milliseconds"]["median"]
    text = block(result)
    assert "another value: no square" in text
    assert "hit    at least 0x as fast as peer" in text
    json.dumps(result)


def test_ours_must_work() -> None:
    leaf = torch.zeros(1, requires_grad=True)
    broken = Row("", lambda: leaf[3], leaf)
    with pytest.raises(IndexError):
        measure(Plan("", "", lambda setting: broken), Setting(), HostClock(), rounds=5, seconds=0, compiled=False)


# The command


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # or it would start itself again
    return lambda *arguments: run_cli(monkeypatch, capsys, "bench", *arguments)


def test_command_measures_and_writes(bench, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.json"
    result = bench("gIoU", "--quick", "--threads", "1", "--json", out)
    assert result.code == 0, result.err
    assert "GIoU: 2000 pairs, float32" in result.out
    assert "2 rows" in result.out  # and the rotated one
    written = json.loads(out.read_text())
    assert [row["name"] for row in written["rows"]] == ["giou_loss", "rotated_giou_loss"]
    assert written["rows"][0]["aims"] == []  # small tensors say nothing of speed
    assert (written["threads"], written["quick"]) == (1, True)
    assert {"commit", "uncommitted_changes", "python", "versions", "device", "environment", "memory"} <= set(written)
    assert str(tmp_path) not in out.read_text()


def test_command_lists(bench) -> None:
    result = bench("dice", "--list")
    assert result.code == 0
    assert "sigmoid_log_cosh_dice_loss" in result.out
    assert "giou" not in result.out


def test_unknown_name_is_one_line(bench) -> None:
    assert_one_line(bench("no_such_row"), "'no_such_row'", "matchloss bench --list")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(bench) -> None:
    assert_one_line(bench("giou", "--device", "cuda"), "torch sees no CUDA GPU here")


def test_process_starts_again_with_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.bench import environment

    started = []
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.setattr(environment.sys, "orig_argv", ["python", "-m", "matchloss", "bench"])
    monkeypatch.setattr(environment.os, "execve", lambda *arguments: started.append(arguments))
    environment.set_environment()
    ((program, arguments, variables),) = started
    assert program == sys.executable
    assert arguments == [sys.executable, "-m", "matchloss", "bench"]  # run by its path, it would find other modules
    assert variables["MALLOC_MMAP_MAX_"] == "0"


def test_provenance_names_no_machine() -> None:
    facts = provenance()
    assert facts["threads"] == torch.get_num_threads()
    assert str(ROOT) not in json.dumps(facts)


def test_effort_is_long_where_there_are_aims(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(plan: Plan, setting: Setting, clock: object, **effort: float) -> dict[str, float]:
        seen.append((plan.title, effort["rounds"], effort["compiled"]))
        return {}

    monkeypatch.setattr(benchmark, "measure", noted)
    chosen = [plan for plan in PLANS if plan.title in ("GIoU", "l1_loss")]
    benchmark.measure_all(chosen, Setting(), compiled=False, begin=lambda plan: None, done=lambda result: None)
    assert seen == [("GIoU", benchmark.LONG.rounds, True), ("l1_loss", benchmark.SHORT.rounds, False)]
