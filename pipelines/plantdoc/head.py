"""The part that is trained: a small anchor-free head in the manner of FCOS (Tian et al. 2019, arXiv:1904.01355).

Every cell of the two feature maps answers for one point of the picture: class logits, the distances to the four sides of its box
(left, top, right, bottom), and how near to the box's centre it is. Both maps share the two towers; convolutions are plain, normalised by
group norm (Wu and He 2018, arXiv:1803.08494). Arrays are NHWC here; A is the number of points of both maps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backbone import FEATURES

WIDTH, DEPTH, GROUPS, EPSILON = 96, 2, 8, 1e-5
LONGEST = 4.5  # clamp of the log distance: e^4.5 strides is far more than any picture
Params = dict[str, jax.Array]


def points(size: int) -> np.ndarray:
    """The points [A,3] of both maps: x, y in pixels of the input, and the stride."""
    maps = []
    for feature in FEATURES:
        centres = (np.arange(size // feature.stride) + 0.5) * feature.stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        maps.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, feature.stride)], 1))
    return np.concatenate(maps).astype(np.float32)


def assign(boxes: np.ndarray, where: np.ndarray, size: int, radius: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Which box each point answers for: class ids [A] (-1: background) and distances [A,4] in pixels.

    A point answers for the smallest box that holds it, has its centre within `radius` strides, and is of its map's
    size: boxes shorter than half the picture belong to the finer map. Each box has at least its nearest point.
    """
    labels, distances = np.full(len(where), -1, np.int32), np.zeros((len(where), 4), np.float32)
    if len(boxes) == 0:
        return labels, distances
    corners = boxes[:, 1:]
    x, y, stride = where[:, 0:1], where[:, 1:2], where[:, 2:3]
    sides = np.stack([x - corners[:, 0], y - corners[:, 1], corners[:, 2] - x, corners[:, 3] - y], -1)
    away = np.maximum(
        np.abs(x - (corners[:, 0] + corners[:, 2]) / 2), np.abs(y - (corners[:, 1] + corners[:, 3]) / 2)
    )
    length = np.maximum(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    own_map = np.where(stride == FEATURES[0].stride, length < size / 2, length >= size / 2)
    fits = (sides.min(-1) > 0) & (away < radius * stride) & own_map
    nearest = away / stride + ~own_map * 1e3
    for box in np.flatnonzero(~fits.any(0)):
        fits[nearest[:, box].argmin(), box] = True
    area = np.where(fits, (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]), np.inf)
    owner, taken = area.argmin(1), fits.any(1)
    labels[taken] = boxes[owner[taken], 0]
    distances[taken] = np.maximum(sides[np.arange(len(where)), owner][taken], 0.01)
    return labels, distances


def initial(key: jax.Array, classes: int) -> Params:
    """Fresh weights: He normal, the class bias at a prior of 1 % (focal loss, arXiv:1708.02002)."""
    keys = iter(jax.random.split(key, 16))

    def weight(*shape: int, scale: float | None = None) -> jax.Array:
        return jax.random.normal(next(keys), shape) * (scale or float(np.sqrt(2 / np.prod(shape[:-1]))))

    params: Params = {"log_scale": jnp.ones(len(FEATURES))}
    for feature in FEATURES:
        params[f"{feature.name}.weight"] = weight(1, 1, feature.channels, WIDTH)
        params[f"{feature.name}.bias"] = jnp.zeros(WIDTH)
    for tower in ("class", "box"):
        for layer in range(DEPTH):
            params[f"{tower}.{layer}.weight"] = weight(3, 3, WIDTH, WIDTH)
            params[f"{tower}.{layer}.gamma"], params[f"{tower}.{layer}.beta"] = jnp.ones(WIDTH), jnp.zeros(WIDTH)
    params["logits.weight"], params["logits.bias"] = weight(1, 1, WIDTH, classes, scale=0.01), jnp.full(classes, -4.6)
    params["sides.weight"], params["sides.bias"] = weight(1, 1, WIDTH, 5, scale=0.01), jnp.zeros(5)
    return params


def apply(params: Params, maps: list[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits [N,A,C], distances [N,A,4] in pixels and centre-ness logits [N,A] from normalised maps [N,H,W,channels]."""
    fine, coarse = (
        _conv(x, params[f"{feature.name}.weight"]) + params[f"{feature.name}.bias"] for feature, x in zip(FEATURES, maps)
    )
    fine = fine + jnp.repeat(jnp.repeat(coarse, 2, 1), 2, 2)
    answers = []
    for level, (feature, x) in enumerate(zip(FEATURES, (fine, coarse))):
        by_class = by_box = jax.nn.relu(x)
        for layer in range(DEPTH):
            by_class = _layer(params, f"class.{layer}", by_class)
            by_box = _layer(params, f"box.{layer}", by_box)
        logits = _conv(by_class, params["logits.weight"]) + params["logits.bias"]
        sides = _conv(by_box, params["sides.weight"]) + params["sides.bias"]
        distances = jnp.exp(jnp.clip(sides[..., :4] + params["log_scale"][level], -6, LONGEST)) * feature.stride
        count = x.shape[0]
        answers.append((logits.reshape(count, -1, logits.shape[-1]), distances.reshape(count, -1, 4), sides[..., 4].reshape(count, -1)))
    logits, distances, centre = (jnp.concatenate(parts, 1) for parts in zip(*answers))
    return logits, distances, centre


def loss(params: Params, maps: list[jax.Array], labels: jax.Array, wanted: jax.Array) -> tuple[jax.Array, tuple]:
    """The sum of three losses, and each: focal loss of classes (arXiv:1708.02002), GIoU of boxes (arXiv:1902.09630)
    weighted by centre-ness, and cross entropy of centre-ness. `labels` [N,A], `wanted` distances [N,A,4]."""
    logits, distances, centre = apply(params, maps)
    positive = labels >= 0
    count = jnp.maximum(positive.sum(), 1.0)
    target = jax.nn.one_hot(labels, logits.shape[-1])
    probability = jax.nn.sigmoid(logits)
    right = probability * target + (1 - probability) * (1 - target)
    class_loss = ((0.25 * target + 0.75 * (1 - target)) * (1 - right) ** 2 * _cross_entropy(logits, target)).sum() / count
    centred = _centredness(wanted) * positive
    box_loss = ((1 - _giou(distances, wanted)) * centred).sum() / jnp.maximum(centred.sum(), 1e-3)
    centre_loss = (_cross_entropy(centre, centred) * positive).sum() / count
    return class_loss + box_loss + centre_loss, (class_loss, box_loss, centre_loss)


def _conv(x: jax.Array, weight: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _layer(params: Params, name: str, x: jax.Array) -> jax.Array:
    """Convolution, group norm, ReLU."""
    x = _conv(x, params[f"{name}.weight"])
    n, h, w, c = x.shape
    grouped = x.reshape(n, h * w, GROUPS, c // GROUPS)
    mean = grouped.mean((1, 3), keepdims=True)
    variance = ((grouped - mean) ** 2).mean((1, 3), keepdims=True)
    x = ((grouped - mean) * lax.rsqrt(variance + EPSILON)).reshape(x.shape)
    return jax.nn.relu(x * params[f"{name}.gamma"] + params[f"{name}.beta"])


def _cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def _centredness(distances: jax.Array) -> jax.Array:
    """1 at the centre of the box, 0 at its edge (FCOS, equation 3)."""
    left, top, right, bottom = (distances[..., side] for side in range(4))
    ratio = lambda a, b: jnp.minimum(a, b) / jnp.maximum(jnp.maximum(a, b), 1e-6)  # noqa: E731
    return jnp.sqrt(ratio(left, right) * ratio(top, bottom))


def _giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised intersection over union of boxes around one point, from their distances [...,4]."""
    area = lambda d: (d[..., 0] + d[..., 2]) * (d[..., 1] + d[..., 3])  # noqa: E731
    inside, around = area(jnp.minimum(a, b)), area(jnp.maximum(a, b))
    union = area(a) + area(b) - inside
    return inside / jnp.maximum(union, 1e-6) - (around - union) / jnp.maximum(around, 1e-6)
