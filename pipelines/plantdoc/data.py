"""Reads the dataset folder: class names, pictures and their boxes, scaled to the square that the network sees.

    train/            pictures, originals and augmented copies alike
    train.csv         filename,width,height,class,xmin,ymin,xmax,ymax   one row a box, in pixels of the picture
    images.csv        split,filename,width,height,source                one row a picture, also those without boxes
    classes.json      ["Apple Scab Leaf", ...]                          the index is the class id

Only the split that is asked for is looked at, so training cannot see a test picture by accident.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backbone import MEAN, STD, usable_cores
from errors import TrainError

IMAGES_HEADER = ["split", "filename", "width", "height", "source"]
BOXES_HEADER = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
MAX_PICTURE_PIXELS = 64 << 20  # a larger picture is a mistake or a bomb: it would take 200 MB to decode


@dataclass(frozen=True)
class Picture:
    """One picture and its boxes, float32 [n,4] as (xmin, ymin, xmax, ymax) in 0..1 of its sides; classes int32 [n]."""

    path: Path
    width: int
    height: int
    boxes: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """The class names and one split's pictures, in the order of images.csv."""

    classes: list[str]
    pictures: list[Picture]


def load(folder: Path, split: str = "train") -> Dataset:
    """Reads and checks one split; no picture is decoded yet. Raises `TrainError` with the file and line at fault."""
    classes = _read_classes(folder / "classes.json")
    index = {name: number for number, name in enumerate(classes)}
    sizes: dict[str, tuple[int, int]] = {}
    for line, row in _rows(folder / "images.csv", IMAGES_HEADER):
        name = row["filename"]
        if row["split"] != split:
            continue
        if name in sizes or name in (".", "..") or Path(name).name != name or "\\" in name:
            raise TrainError("bad_images_csv", f"line {line}: `{name}` is listed twice or is not a plain file name")
        sizes[name] = (_integer(row, "width", line), _integer(row, "height", line))
        if not (0 < min(sizes[name]) and sizes[name][0] * sizes[name][1] <= MAX_PICTURE_PIXELS):
            raise TrainError("bad_images_csv", f"line {line}: `{name}` cannot have the size {sizes[name]}")
    boxes: dict[str, list[tuple[int, tuple[float, ...]]]] = {name: [] for name in sizes}
    for line, row in _rows(folder / f"{split}.csv", BOXES_HEADER):
        name = row["filename"]
        if name not in sizes or row["class"] not in index:
            raise TrainError("bad_box", f"{split}.csv line {line}: unknown picture or class: `{name}`, `{row['class']}`")
        boxes[name].append((index[row["class"]], _box(row, sizes[name], f"{split}.csv line {line}")))
    pictures = [
        Picture(
            folder / split / name,
            *sizes[name],
            np.array([box for _, box in found], np.float32).reshape(-1, 4),
            np.array([number for number, _ in found], np.int32),
        )
        for name, found in boxes.items()
    ]
    if not any(len(p.classes) for p in pictures):
        raise TrainError("no_boxes", f"none of the {len(pictures)} pictures of `{split}` has a box: nothing to learn")
    return Dataset(classes, pictures)


def batches(pictures: list[Picture], size: int, count: int) -> Iterator[np.ndarray]:
    """The pictures as network input: float32 [<=count,3,size,size], decoded ahead on all cores, in order."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        ahead = [pictures[i : i + count] for i in range(0, len(pictures), count)]
        pending = [pool.submit(decode, p, size) for p in ahead[0]] if ahead else []
        for following in [*ahead[1:], []]:
            current, pending = pending, [pool.submit(decode, p, size) for p in following]
            yield np.stack([task.result() for task in current])


def decode(picture: Picture, size: int) -> np.ndarray:
    """One picture as float32 [3,size,size]: RGB, stretched to the square, (pixel - MEAN) / STD."""
    try:
        with Image.open(picture.path) as image:
            if image.size != (picture.width, picture.height):
                raise TrainError("bad_picture", f"`{picture.path.name}` is {image.size}, images.csv says otherwise")
            pixels = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise TrainError("bad_picture", f"cannot read `{picture.path.name}`: {err}") from err
    return ((np.asarray(pixels, np.float32) - MEAN) / STD).transpose(2, 0, 1)


def _read_classes(path: Path) -> list[str]:
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise TrainError("missing_file", f"the dataset folder has no `{path.name}`") from err
    except ValueError as err:
        raise TrainError("bad_classes", f"`{path.name}` is not JSON: {err}") from err
    if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
        raise TrainError("bad_classes", f"`{path.name}` should be an array of names")
    if not classes or len(set(classes)) != len(classes):
        raise TrainError("bad_classes", f"`{path.name}` should hold at least one name, and none twice")
    return classes


def _rows(path: Path, header: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers, once its header is as expected."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != header:
                raise TrainError("bad_csv", f"`{path.name}` should start with the line `{','.join(header)}`")
            for row in reader:
                if None in row or None in row.values():
                    raise TrainError("bad_csv", f"`{path.name}` line {reader.line_num}: {len(header)} cells expected")
                yield reader.line_num, row
    except FileNotFoundError as err:
        raise TrainError("missing_file", f"the dataset folder has no `{path.name}`") from err
    except (csv.Error, UnicodeDecodeError) as err:
        raise TrainError("bad_csv", f"`{path.name}` is not CSV in UTF-8: {err}") from err


def _integer(row: dict[str, str], column: str, line: int) -> int:
    text = row[column]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise TrainError("bad_csv", f"line {line}: `{column}` should be a whole number, found `{text[:40]}`")
    return int(text)


def _box(row: dict[str, str], size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    """(xmin, ymin, xmax, ymax) in 0..1; a box without area or outside of its picture is an error."""
    line = int(where.rsplit(" ", 1)[1])
    x0, y0, x1, y1 = (_integer(row, column, line) for column in BOXES_HEADER[4:])
    width, height = size
    if not (x0 < x1 <= width and y0 < y1 <= height):
        raise TrainError("bad_box", f"{where}: ({x0}, {y0}, {x1}, {y1}) has no area or leaves its picture {size}")
    return x0 / width, y0 / height, x1 / width, y1 / height
