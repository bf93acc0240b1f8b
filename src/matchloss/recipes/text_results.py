"""What a trained text detector is worth: scores on a split, and words of new photos."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from matchloss.evaluation import ICDARScores, evaluate_icdar
from matchloss.recipes.checkpoint import load_checkpoint, trained_weights, write_atomically, write_json
from matchloss.recipes.data.icdar import write_icdar
from matchloss.recipes.data.pixels import read_image
from matchloss.recipes.data.words import WordFolder
from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import METRICS, versions
from matchloss.recipes.text import MODEL, stored_settings
from matchloss.recipes.text_inference import Seen, Words, found_words, look_at
from matchloss.recipes.text_method import Method, choose_method
from matchloss.recipes.text_models import build_text_network
from matchloss.recipes.text_pictures import FOUND, draw_words
from matchloss.recipes.text_settings import Settings

SURER = (0.25, 0.5, 0.75, 0.9)
"""How far from the cells' threshold to 1 word scores are to be, to see how precision trades for recall."""


@dataclass(frozen=True)
class Trained:
    """A model from a run's checkpoint, ready to predict."""

    model: nn.Module
    method: Method
    settings: Settings
    checkpoint: str
    step: int
    seconds: float

    def look(self, image: Tensor) -> Seen:
        """Put a photo, uint8 (3, H, W), through the model."""
        with torch.inference_mode():
            return look_at(self.model, image, self.settings.long_side)

    def predict(self, image: Tensor) -> Words:
        """Find the words of a photo, the surest first."""
        return found_words(self.look(image), self.method.decode)


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split, and what was found in each of its photos."""

    data: WordFolder
    split: str
    scores: ICDARScores
    at_thresholds: dict[float, ICDARScores]
    found: list[Words]


def load_trained(run: Path, checkpoint: str = "best") -> Trained:
    """Rebuild a run's model on the GPU, or the CPU where there is none."""
    settings = stored_settings(run)
    saved = load_checkpoint(run / f"{checkpoint}.pt")
    try:
        model = build_text_network(settings.model, head=settings.head, folder=run / MODEL, pretrained=False)
        model.load_state_dict(trained_weights(saved))
    except (ValueError, KeyError, RuntimeError) as error:
        raise RunError(f"{run} is damaged or from another version: {' '.join(str(error).split())[:200]}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = saved["state"]
    return Trained(model, choose_method(settings), settings, checkpoint, state["step"], state["seconds"])


def evaluate(trained: Trained, data: WordFolder, split: str) -> Evaluation:
    """Score a model on a split by the rules of ICDAR 2015."""
    found = [trained.predict(data[index].image) for index in range(len(data))]
    truths = [data.truth(index) for index in range(len(data))]
    pairs = [(truth.quads, truth.ignore) for truth in truths]
    least = trained.settings.score_threshold
    thresholds = [round(least + (1 - least) * part, 4) for part in SURER]
    at_thresholds = {
        threshold: evaluate_icdar([surer(words, threshold) for words in found], pairs) for threshold in thresholds
    }
    return Evaluation(data, split, evaluate_icdar(found, pairs), at_thresholds, found)


def surer(words: Words, threshold: float) -> Words:
    """Those that score so much."""
    kept = words.scores >= threshold
    return Words(words.quads[kept], words.scores[kept])


def write_metrics(run: Path, trained: Trained, evaluation: Evaluation) -> Path:
    """Write the scores with what they were measured on."""
    content = {
        "data": str(evaluation.data.root),
        "split": evaluation.split,
        "images": len(evaluation.data),
        "images_left_out": len(evaluation.data.skipped),
        "checkpoint": trained.checkpoint,
        "step": trained.step,
        "scores": as_json(evaluation.scores),
        "at_word_scores": {f"{threshold:g}": as_json(scores) for threshold, scores in evaluation.at_thresholds.items()},
        "versions": versions(),
    }
    write_json(run / METRICS, content)
    return run / METRICS


def predict_file(trained: Trained, path: Path, out: Path, *, min_score: float) -> list[Path]:
    """Write the overlay and the words of a photo; the words are corners in its pixels, as ICDAR's submissions are."""
    image = torch.from_numpy(read_image(path).transpose(2, 0, 1).copy())
    words = surer(trained.predict(image), min_score)
    drawn = draw_words(image, words.quads, color=FOUND)
    picture = Image.fromarray(np.ascontiguousarray(drawn.permute(1, 2, 0).numpy()))
    overlay, listed = out / f"{path.stem}_overlay.png", out / f"res_{path.stem}.txt"
    write_atomically(overlay, partial(picture.save, format="PNG"))
    write_icdar(listed, words.quads)
    return [overlay, listed]


def as_json(scores: ICDARScores) -> dict[str, float | int | None]:
    """The numbers over all photos."""
    return {name: value for name, value in asdict(scores).items() if isinstance(value, int | float)}
