"""Who learns what in an annotated image, and why: a picture and tables, for any detector."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from matchloss.recipes.checkpoint import write_atomically
from matchloss.recipes.data.boxes import BoxSample
from matchloss.recipes.detect import open_splits
from matchloss.recipes.detect_results import Trained
from matchloss.recipes.errors import RunError
from matchloss.recipes.explain_points import ExplainedPoints, draw_points, explain_points
from matchloss.recipes.explain_queries import ExplainedQueries, draw_queries, explain_queries


def write_explanation(trained: Trained, image: str, out: Path) -> ExplainedPoints | ExplainedQueries:
    """Match the predictions with the annotations of one of the run's images, and draw that into a PNG file."""
    sample = find_sample(trained, image)
    explained: ExplainedPoints | ExplainedQueries
    if trained.method.matches_sets:
        explained = explain_queries(trained, sample)
        drawn = draw_queries(explained)
    else:
        explained = explain_points(trained, sample)
        drawn = draw_points(explained)
    picture = Image.fromarray(np.ascontiguousarray(drawn.permute(1, 2, 0).numpy()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, partial(picture.save, format="PNG"))
    return explained


def find_sample(trained: Trained, image: str) -> BoxSample:
    """The annotated image of that name, with or without folder and suffix, out of the run's two lists."""
    wanted = {image, Path(image).name, Path(image).stem}
    for data in open_splits(trained.settings):
        for index, name in enumerate(data.names):
            if name in wanted or Path(name).name in wanted:
                return data[index]
    raise RunError(f"{image}: expected an image of the run's train or val list in {trained.settings.data}, found none")
