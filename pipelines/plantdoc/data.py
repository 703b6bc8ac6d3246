"""The dataset folder that the steps before this one wrote, and the backbone's features of its pictures.

    train/            pictures, originals and augmented copies alike
    train.csv         filename,width,height,class,xmin,ymin,xmax,ymax   one row a box, in pixels of the picture
    images.csv        split,filename,width,height,source                one row a picture, also those without boxes
    classes.json      ["Apple Scab Leaf", ...]                          the index is the class id

Only the train split is ever read. What is found there is checked before it is used: the message names the file and the line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from backbone import MEAN, STD, usable_cores

CHUNK = 8  # pictures a call of the backbone: larger ones fall out of the processor's cache and are slower
MAX_PICTURE_PIXELS = 64 << 20  # a larger picture is a mistake or a bomb: it would take 200 MB to decode
SPLIT = "train"
IMAGES_HEADER = ["split", "filename", "width", "height", "source"]
BOXES_HEADER = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]


class DataError(Exception):
    """The dataset is missing something or holds something that cannot be trained on."""


@dataclass(frozen=True)
class Dataset:
    """The train split: `files` [P] with `sizes` [P] (width, height), `boxes` P arrays [B,5] of class id and corners in
    pixels of the model's input."""

    folder: Path
    classes: list[str]
    files: list[str]
    sizes: list[tuple[int, int]]
    boxes: list[np.ndarray]


def read(folder: Path, size: int) -> Dataset:
    """Reads and checks the train split of `folder`; boxes are scaled to a `size` x `size` input. Decodes no picture yet."""
    classes = _classes(folder / "classes.json")
    sizes: dict[str, tuple[int, int]] = {}
    for line, row in _rows(folder / "images.csv", IMAGES_HEADER):
        name = row["filename"]
        if row["split"] != SPLIT:
            continue
        if name in sizes or name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise DataError(f"images.csv, line {line}: `{name}` is listed twice or is not a plain file name")
        width, height = (_integer(row, column, f"images.csv, line {line}") for column in ("width", "height"))
        if not 0 < width * height <= MAX_PICTURE_PIXELS:
            raise DataError(f"images.csv, line {line}: a picture of {width} x {height} pixels")
        sizes[name] = (width, height)
    boxes: dict[str, list[list[float]]] = {name: [] for name in sizes}
    for line, row in _rows(folder / f"{SPLIT}.csv", BOXES_HEADER):
        where = f"{SPLIT}.csv, line {line}"
        if row["filename"] not in sizes:
            raise DataError(f"{where}: the picture `{row['filename']}` is not in images.csv")
        boxes[row["filename"]].append(_box(row, classes, sizes[row["filename"]], size, where))
    if not any(boxes.values()):
        raise DataError(f"no picture of the train split of `{folder}` has a box: there is nothing to learn")
    arrays = [np.array(found, np.float32).reshape(-1, 5) for found in boxes.values()]
    return Dataset(folder, list(classes), list(sizes), list(sizes.values()), arrays)


def features(dataset: Dataset, session: ort.InferenceSession, size: int) -> list[np.ndarray]:
    """The backbone's outputs for every picture: one float16 array [P,S/stride,S/stride,channels] a feature.

    Half precision keeps 9,000 pictures of 320 pixels in 1.4 GB; the features are below 100, so nothing overflows.
    """
    made: list[np.ndarray] = []
    start = 0
    for images in batches(dataset, size, CHUNK):
        outputs = [out.transpose(0, 2, 3, 1).astype(np.float16) for out in session.run(None, {"images": images})]
        made = made or [np.empty((len(dataset.files), *out.shape[1:]), np.float16) for out in outputs]
        for whole, part in zip(made, outputs):
            whole[start : start + len(images)] = part
        start += len(images)
    return made


def batches(dataset: Dataset, size: int, count: int) -> Iterator[np.ndarray]:
    """The pictures as network input float32 [<=count,3,size,size], in order, decoded ahead on all cores."""
    chunks = [range(start, min(start + count, len(dataset.files))) for start in range(0, len(dataset.files), count)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        ahead = [pool.submit(pixels, dataset, index, size) for index in chunks[0]]
        for following in [*chunks[1:], range(0)]:
            ready, ahead = ahead, [pool.submit(pixels, dataset, index, size) for index in following]
            yield np.stack([task.result() for task in ready])


def pixels(dataset: Dataset, index: int, size: int) -> np.ndarray:
    """One picture as float32 [3,size,size]: RGB, stretched (PIL's antialiased bilinear filter), (pixel - MEAN) / STD."""
    name = dataset.files[index]
    try:
        with Image.open(dataset.folder / SPLIT / name) as picture:
            if picture.size != dataset.sizes[index]:
                raise DataError(f"`{name}` has {picture.size} pixels, but {dataset.sizes[index]} in images.csv")
            small = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise DataError(f"cannot read the picture `{name}`: {err}") from err
    return ((np.asarray(small, np.float32) - MEAN) / STD).transpose(2, 0, 1)


def _classes(path: Path) -> dict[str, int]:
    """Class ids by name, in order of the ids."""
    try:
        names = json.loads(path.read_bytes())
    except OSError as err:
        raise DataError(f"cannot read `{path}`: {err.strerror}") from err
    except ValueError as err:
        raise DataError(f"`{path.name}` is not JSON: {err}") from err
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"`{path.name}` should be an array of class names")
    if len(set(names)) != len(names):
        raise DataError(f"`{path.name}` names a class twice")
    return {name: number for number, name in enumerate(names)}


def _rows(path: Path, header: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers, once its header is as expected."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != header:
                raise DataError(f"`{path.name}` should start with the line `{','.join(header)}`")
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{path.name}, line {reader.line_num}: {len(header)} cells expected")
                yield reader.line_num, row
    except OSError as err:
        raise DataError(f"cannot read `{path}`: {err.strerror}") from err
    except (csv.Error, UnicodeDecodeError) as err:
        raise DataError(f"`{path.name}` is not CSV in UTF-8: {err}") from err


def _integer(row: dict[str, str], column: str, where: str) -> int:
    text = row[column]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise DataError(f"{where}: `{column}` should be a whole number, not `{text[:40]}`")
    return int(text)


def _box(row: dict[str, str], classes: dict[str, int], picture: tuple[int, int], size: int, where: str) -> list[float]:
    """Class id and corners in pixels of the model's input. The box must have an area and lie in its picture."""
    if row["class"] not in classes:
        raise DataError(f"{where}: the class `{row['class']}` is not in classes.json")
    left, top, right, bottom = (_integer(row, column, where) for column in BOXES_HEADER[4:])
    width, height = picture
    if not (left < right <= width and top < bottom <= height):
        raise DataError(f"{where}: ({left}, {top}, {right}, {bottom}) is no box in a picture of {width} x {height}")
    x, y = size / width, size / height
    return [classes[row["class"]], left * x, top * y, right * x, bottom * y]
