"""The dataset folder that the steps before this one wrote, and the backbone's features of its pictures.

Layout: `train/` with pictures, `train.csv` (filename,width,height,class,xmin,ymin,xmax,ymax in pixels), `images.csv`
(split,filename,width,height,source: one line a picture, also those without boxes) and `classes.json` (names; the index is the class id).
Only the train split is ever read.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from backbone import MEAN, STD

CHUNK = 16  # pictures a call of the backbone


class DataError(Exception):
    """The dataset is missing something or holds something that cannot be trained on."""


@dataclass
class Dataset:
    """The train split: `files` [P], `boxes` P arrays [B,5] of class id and corners in pixels of the model's input."""

    folder: Path
    classes: list[str]
    files: list[str]
    boxes: list[np.ndarray]


def read(folder: Path, size: int) -> Dataset:
    """Reads the train split of `folder`; boxes are scaled to a `size` x `size` input."""
    classes = json.loads(_text(folder / "classes.json"))
    index = {name: number for number, name in enumerate(classes)}
    found: dict[str, list[list[float]]] = {}
    for number, row in enumerate(_rows(folder / "train.csv"), start=2):
        try:
            scale_x, scale_y = size / float(row["width"]), size / float(row["height"])
            corners = [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")]
            box = [corners[0] * scale_x, corners[1] * scale_y, corners[2] * scale_x, corners[3] * scale_y]
            label = index[row["class"]]
        except (KeyError, ValueError, TypeError, ZeroDivisionError) as err:
            raise DataError(f"train.csv, line {number}: {type(err).__name__}: {err}") from err
        if not (np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]):
            raise DataError(f"train.csv, line {number}: not a box with an area")
        found.setdefault(row["filename"], []).append([label, *box])
    files = [row["filename"] for row in _rows(folder / "images.csv") if row["split"] == "train"]
    if not any(found.get(name) for name in files):
        raise DataError(f"no picture of the train split of `{folder}` has a box: there is nothing to learn")
    boxes = [np.array(found.get(name, []), np.float32).reshape(-1, 5) for name in files]
    return Dataset(folder, classes, files, boxes)


def features(dataset: Dataset, session: ort.InferenceSession, size: int) -> list[np.ndarray]:
    """The backbone's outputs for every picture: one float16 array [P,S/stride,S/stride,channels] a feature."""
    made: list[np.ndarray] | None = None
    for start in range(0, len(dataset.files), CHUNK):
        chunk = dataset.files[start : start + CHUNK]
        pixels = np.stack([_pixels(dataset.folder / "train" / name, size) for name in chunk])
        images = np.ascontiguousarray(((pixels - MEAN) / STD).transpose(0, 3, 1, 2))
        outputs = [out.transpose(0, 2, 3, 1).astype(np.float16) for out in session.run(None, {"images": images})]
        if made is None:
            made = [np.empty((len(dataset.files), *out.shape[1:]), np.float16) for out in outputs]
        for whole, part in zip(made, outputs):
            whole[start : start + len(chunk)] = part
    return made or []


def _pixels(path: Path, size: int) -> np.ndarray:
    """A picture as float32 [size,size,3], stretched (PIL's antialiased bilinear filter)."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32)
    except OSError as err:
        raise DataError(f"cannot read the picture `{path.name}`: {err}") from err


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(path).splitlines()))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as err:
        raise DataError(f"cannot read `{path}`: {err.strerror}") from err
