"""Makes `expected.json`: random boxes, and what pycocotools says of them.

    python3 -m venv venv && venv/bin/pip install pycocotools==2.0.11 numpy && venv/bin/python make_expected.py

With a folder as its argument it reads that folder's test.csv instead, draws detections round its true boxes and prints
the same table for them (used for `sample.json`, from pipelines/data/plantdoc-sample).
"""

import contextlib
import csv
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HERE = Path(__file__).parent


def corners(rng, size=320, least=8, most=200):
    width, height = rng.randint(least, most), rng.randint(least, most)
    left, top = rng.randint(0, size - width), rng.randint(0, size - height)
    return [left, top, left + width, top + height]


def shifted(rng, box, spread):
    """A box near `box`: each side moved by a normal number of pixels, never turned inside out."""
    left, top, right, bottom = (side + rng.gauss(0, spread) for side in box)
    left, right = sorted((round(left, 2), round(right, 2)))
    top, bottom = sorted((round(top, 2), round(bottom, 2)))
    return [left, top, right, bottom]


def detect(rng, truths, images, classes, *, spread, keep, noise, digits=3, double=0.2):
    """Detections as a middling model would give them; `digits` 1 makes many equal scores."""
    found = []
    for image, cls, box in truths:
        if rng.random() > keep:
            continue
        guess = cls if rng.random() > 0.15 else rng.randrange(classes)
        found.append([image, guess, round(rng.betavariate(4, 2), digits), shifted(rng, box, spread)])
        if rng.random() < double:
            found.append([image, guess, round(rng.betavariate(2, 3), digits), shifted(rng, box, spread)])
    for _ in range(noise):
        where, cls = rng.randrange(images), rng.randrange(classes)
        found.append([where, cls, round(rng.betavariate(1, 4), digits), [float(v) for v in corners(rng)]])
    rng.shuffle(found)
    return found


def scatter(rng, images, classes, per_image):
    return [[i, rng.randrange(classes), corners(rng)] for i in range(images) for _ in range(rng.randint(1, per_image))]


def plain(seed):
    rng = random.Random(seed)
    truths = scatter(rng, 20, 4, 4)
    return 20, 4, truths, detect(rng, truths, 20, 4, spread=8, keep=0.85, noise=30)


def ties(seed):
    """Scores with one digit: nearly every comparison is between equals, within a picture and across pictures."""
    rng = random.Random(seed)
    truths = scatter(rng, 15, 3, 3)
    return 15, 3, truths, detect(rng, truths, 15, 3, spread=10, keep=0.9, noise=60, digits=1, double=0.6)


def crowded(seed):
    """Many overlapping boxes of one class in each picture, so that who takes which matters."""
    rng = random.Random(seed)
    truths = []
    for image in range(6):
        base = corners(rng, most=160, least=60)
        truths += [[image, rng.randrange(2), [round(v) for v in shifted(rng, base, 12)]] for _ in range(12)]
    return 6, 2, truths, detect(rng, truths, 6, 2, spread=9, keep=1.0, noise=20, digits=2, double=0.8)


def empty_classes(seed):
    """Class 1 has no true box but detections, class 3 true boxes but no detection, class 5 neither; empty pictures."""
    rng = random.Random(seed)
    truths = [[i, rng.choice([0, 2, 3, 4]), corners(rng)] for i in range(12) for _ in range(2) if i % 4]
    found = [d for d in detect(rng, truths, 12, 6, spread=7, keep=0.9, noise=40) if d[1] not in (3, 5)]
    found.append([0, 1, 0.99, [1.0, 2.0, 90.5, 80.25]])
    return 12, 6, truths, found


def many(seed):
    """More than 100 detections of one class in a picture: the rest must be cut by score, ties at the cut included."""
    rng = random.Random(seed)
    truths = [[image, 0, corners(rng)] for image in range(2) for _ in range(6)]
    found = detect(rng, truths, 2, 1, spread=10, keep=0.9, noise=300, digits=2)
    return 2, 1, truths, found


def exact(seed):
    """Boxes on the pixel grid whose overlaps fall exactly on thresholds, and boxes without area."""
    rng = random.Random(seed)
    truths, found = [], []
    for image in range(10):
        left, top = rng.randint(0, 100), rng.randint(0, 100)
        truths.append([image, 0, [left, top, left + 100, top + 100]])
        width = rng.choice([50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100])
        found.append([image, 0, rng.randint(1, 9) / 10, [left, top, left + width, top + 100]])
        found.append([image, 0, rng.randint(1, 9) / 10, [left, top, left, top + 100]])
        # Two true boxes that a detection between them overlaps alike.
        truths += [[image, 1, [10, 10, 50, 50]], [image, 1, [20, 10, 60, 50]]]
        found.append([image, 1, rng.randint(1, 9) / 10, [15, 10, 55, 50]])
        found.append([image, 1, rng.randint(1, 9) / 10, [rng.choice([8, 12, 22]), 10, 50, 50]])
    return 10, 2, truths, found


def sample(folder, seed):
    """The true boxes of a folder's test.csv, and detections drawn round them."""
    rows = list(csv.DictReader(open(folder / "test.csv", encoding="utf-8", newline="")))
    files = sorted({row["filename"] for row in rows}, key=lambda name: name.encode())
    names = sorted({row["class"] for row in rows}, key=lambda name: name.encode())
    truths = [
        [files.index(r["filename"]), names.index(r["class"]), [int(r[k]) for k in ("xmin", "ymin", "xmax", "ymax")]]
        for r in rows
    ]
    rng = random.Random(seed)
    found = detect(rng, truths, len(files), len(names), spread=22, keep=0.9, noise=90)
    for detection in found:
        detection[3] = [min(320.0, max(0.0, side)) for side in detection[3]]
    return len(files), len(names), truths, found


def judge(images, classes, truths, found, most=100):
    """What pycocotools makes of it: (map, map50, map75) and for each class [ap, ap50, recall at 0.5] or null."""

    def xywh(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    gt = COCO()
    gt.dataset = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": c} for c in range(classes)],
        "annotations": [
            {"id": n + 1, "image_id": i, "category_id": c, "bbox": xywh(b), "iscrowd": 0, "area": xywh(b)[2] * xywh(b)[3]}
            for n, (i, c, b) in enumerate(truths)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        dt = gt.loadRes([{"image_id": i, "category_id": c, "bbox": xywh(b), "score": s} for i, c, s, b in found])
        run = COCOeval(gt, dt, "bbox")
        run.params.maxDets = [1, 10, most]
        run.evaluate()
        run.accumulate()
    precision, recall = run.eval["precision"][:, :, :, 0, 2], run.eval["recall"][:, :, 0, 2]

    def mean(values):
        values = values[values > -1]
        return float(np.mean(values)) if len(values) else -1.0

    table = []
    for c in range(classes):
        there = precision[0, 0, c] > -1
        row = [mean(precision[:, :, c]), mean(precision[0, :, c]), mean(precision[5, :, c]), float(recall[0, c])]
        table.append(row if there else None)
    return {
        "map": mean(precision),
        "map50": mean(precision[0]),
        "map75": mean(precision[5]),
        "classes": table,
        "curve": [round(float(v), 12) for v in precision[0, :, 0]],
    }


def case(name, made, most=100):
    images, classes, truths, found = made
    return {
        "name": name,
        "images": images,
        "classes": classes,
        "max_detections": most,
        "truths": truths,
        "detections": found,
        "expected": judge(*made, most),
    }


def write(path, cases):
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    path.write_text("[\n" + lines + "\n]\n", encoding="utf-8")


def main():
    if len(sys.argv) > 1:
        write(HERE / "sample.json", [case("plantdoc-sample", sample(Path(sys.argv[1]), 11))])
        return
    cases = [
        case("plain", plain(1)),
        case("plain, another seed", plain(2)),
        case("ties", ties(3)),
        case("ties, another seed", ties(4)),
        case("crowded", crowded(5)),
        case("empty classes", empty_classes(6)),
        case("more than 100", many(7)),
        case("more than 100, cut at 20", many(8), 20),
        case("overlaps on the threshold", exact(9)),
    ]
    write(HERE / "expected.json", cases)


if __name__ == "__main__":
    main()
