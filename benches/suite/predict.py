"""A detector over a folder of pictures with onnxruntime, Pillow and numpy, as somebody without flowrun writes it.

    python3 predict.py MODEL IMAGES THREADS BATCH     writes detections.json; prints how many there are, as JSON
    python3 predict.py MODEL IMAGES THREADS BATCH session     prints seconds of the session alone: as onnxruntime makes it, and as flowrun does
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

SCORE, IOU, MOST = 0.01, 0.5, 100


def session(model, threads, as_flowrun):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if as_flowrun:
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.use_deterministic_compute = True
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Preparer:
    def __init__(self, network):
        about = network.get_modelmeta().custom_metadata_map
        self.side = network.get_inputs()[0].shape[2]
        self.mean = np.array(json.loads(about["mean"]), np.float32).reshape(3, 1, 1)
        self.std = np.array(json.loads(about["std"]), np.float32).reshape(3, 1, 1)
        self.letterbox = about.get("resize") == "letterbox"

    def __call__(self, path):
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        side, scaled = self.side, (self.side, self.side)
        if self.letterbox:
            longest = max(width, height)
            scaled = tuple(max(1, (length * side + longest // 2) // longest) for length in (width, height))
        pad = tuple((side - length) // 2 for length in scaled)
        square = np.full((side, side, 3), 114, np.uint8)
        picture = picture.resize(scaled, Image.BILINEAR)
        square[pad[1] : pad[1] + scaled[1], pad[0] : pad[0] + scaled[0]] = np.asarray(picture)
        planes = (square.transpose(2, 0, 1).astype(np.float32) - self.mean) / self.std
        return planes, (width, height, scaled, pad)


def overlap(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def found(boxes, scores, fit):
    width, height, scaled, pad = fit
    anchors, classes = np.nonzero(scores >= SCORE)
    shift, scale = np.array(pad * 2, np.float64), np.array([width / scaled[0], height / scaled[1]] * 2)
    bounds = np.clip((boxes[anchors] - shift) * scale, 0, [width, height] * 2)
    inside = (bounds[:, 0] < bounds[:, 2]) & (bounds[:, 1] < bounds[:, 3])
    bounds, classes, scores = bounds[inside], classes[inside], scores[anchors, classes][inside]
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left) and len(kept) < MOST:
        best, left = left[0], left[1:]
        kept.append({"class": int(classes[best]), "score": float(scores[best]), "box": bounds[best].tolist()})
        same = classes[left] == classes[best]
        left = left[~(same & (overlap(bounds[best], bounds[left]) > IOU))]
    return kept


def batches(images, batch):
    paths = sorted(Path(images).iterdir())
    return [paths[start : start + batch] for start in range(0, len(paths), batch)]


def detect(model, images, threads, batch):
    network = session(model, threads, as_flowrun=False)
    prepare, pictures = Preparer(network), []
    for paths in batches(images, batch):
        planes, fits = zip(*map(prepare, paths))
        boxes, scores = network.run(["boxes", "scores"], {"images": np.stack(planes)})
        for row, (path, fit) in enumerate(zip(paths, fits)):
            detections = found(boxes[row], scores[row], fit)
            pictures.append({"file": path.name, "width": fit[0], "height": fit[1], "detections": detections})
    Path("detections.json").write_text(json.dumps({"format": 1, "images": pictures}))
    print(json.dumps({"detections": sum(len(one["detections"]) for one in pictures)}))


def sessions(model, images, threads, batch):
    """One after the other, each alone: threads of a session that spin would take the other's cores."""
    prepare = Preparer(session(model, threads, True))
    planes = [np.stack([prepare(path)[0] for path in paths]) for paths in batches(images, batch)]
    seconds = {}
    for name in ("default", "flowrun"):
        network = session(model, threads, name == "flowrun")
        began = time.perf_counter()
        for images in planes:
            network.run(["boxes", "scores"], {"images": images})
        seconds[name] = time.perf_counter() - began
        del network
    print(json.dumps(seconds))


if __name__ == "__main__":
    model, images, threads, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    (sessions if sys.argv[5:] == ["session"] else detect)(model, images, threads, batch)
