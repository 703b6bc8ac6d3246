"""The part that is trained: a small anchor-free head in the manner of FCOS (Tian et al. 2019, arXiv:1904.01355).

Every cell of the finer feature map answers for one point of the picture: class logits, the distances to the four sides of its
box (left, top, right, bottom), and how near to the box's centre it is. One shared layer over both features, group norm
(Wu and He 2018, arXiv:1803.08494), and an opinion of the whole scene on each class. Deeper heads learned the few hundred training
pictures by heart. Arrays are NHWC here; A is the number of points.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backbone import FEATURES

WIDTH, GROUPS, EPSILON = 96, 8, 1e-5
STRIDE = FEATURES[0].stride  # of the points
INNER = 0.35  # a point answers for a box when it is within this part of its sides from the centre
NEAREST = 1.5  # ... or within this many strides, for boxes that are small
UNIT, SHORTEST, LONGEST = 64.0, -3.0, 2.0  # distances are UNIT * exp(x) pixels, x clamped: 3 to 473 pixels
SCENE_WEIGHT = 0.5
Params = dict[str, jax.Array]


def points(size: int) -> np.ndarray:
    """The points [A,2] of a `size` x `size` picture: x, y in pixels."""
    centres = (np.arange(size // STRIDE) + 0.5) * STRIDE
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def assign(boxes: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which box each point answers for: class ids [A] (-1: background) and distances [A,4] in pixels.

    `boxes` is [B,5]: class id and corners. A point answers for the smallest box in whose middle it lies; each box has
    at least its nearest point.
    """
    labels, distances = np.full(len(where), -1, np.int32), np.zeros((len(where), 4), np.float32)
    if len(boxes) == 0:
        return labels, distances
    corners = boxes[:, 1:]
    x, y = where[:, 0:1], where[:, 1:2]
    sides = np.stack([x - corners[:, 0], y - corners[:, 1], corners[:, 2] - x, corners[:, 3] - y], -1)
    width, height = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    away_x, away_y = np.abs(x - (corners[:, 0] + corners[:, 2]) / 2), np.abs(y - (corners[:, 1] + corners[:, 3]) / 2)
    middle = (away_x < np.maximum(INNER * width, NEAREST * STRIDE)) & (away_y < np.maximum(INNER * height, NEAREST * STRIDE))
    fits = (sides.min(-1) > 0) & middle
    away = np.maximum(away_x, away_y)
    for box in np.flatnonzero(~fits.any(0)):
        fits[away[:, box].argmin(), box] = True
    area = np.where(fits, width * height, np.inf)
    owner, taken = area.argmin(1), fits.any(1)
    labels[taken] = boxes[owner[taken], 0]
    distances[taken] = np.maximum(sides[np.arange(len(where)), owner][taken], 0.01)
    return labels, distances


def mirrored(labels: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the points of the pictures' mirror images answer for: `labels` [N,A], `distances` [N,A,4]."""
    side = int(np.sqrt(labels.shape[1]))
    turn = lambda x: x.reshape(len(x), side, side, -1)[:, :, ::-1].reshape(x.shape)  # noqa: E731
    return turn(labels), turn(distances)[..., [2, 1, 0, 3]]


def initial(key: jax.Array, classes: int) -> Params:
    """Fresh weights: He normal, the class bias at a prior of 1 % (focal loss, arXiv:1708.02002)."""
    keys = iter(jax.random.split(key, 4))
    channels = sum(feature.channels for feature in FEATURES)

    def weight(*shape: int, scale: float) -> jax.Array:
        return jax.random.normal(next(keys), shape) * scale

    return {
        "hidden.weight": weight(3, 3, channels, WIDTH, scale=float(np.sqrt(2 / (9 * channels)))),
        "hidden.bias": jnp.zeros(WIDTH),
        "hidden.gamma": jnp.ones(WIDTH),
        "hidden.beta": jnp.zeros(WIDTH),
        "logits.weight": weight(3, 3, WIDTH, classes, scale=0.01),
        "logits.bias": jnp.full(classes, -4.6),
        "sides.weight": weight(3, 3, WIDTH, 5, scale=0.01),
        "sides.bias": jnp.zeros(5),
        "scene.weight": weight(FEATURES[1].channels, classes, scale=0.01),
        "scene.bias": jnp.zeros(classes),
    }


def scene(params: Params, maps: list[jax.Array]) -> jax.Array:
    """Logits [N,C] of each class being anywhere in the picture, from the mean of the coarser feature."""
    return maps[1].mean((1, 2)) @ params["scene.weight"] + params["scene.bias"]


def apply(params: Params, maps: list[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits [N,A,C], distances [N,A,4] in pixels and centre-ness logits [N,A] from normalised features [N,H,W,channels]."""
    fine, coarse = maps
    x = jnp.concatenate([fine, jnp.repeat(jnp.repeat(coarse, 2, 1), 2, 2)], -1)
    x = _conv(x, params["hidden.weight"]) + params["hidden.bias"]
    n, h, w, c = x.shape
    grouped = x.reshape(n, h * w, GROUPS, c // GROUPS)
    mean = grouped.mean((1, 3), keepdims=True)
    variance = ((grouped - mean) ** 2).mean((1, 3), keepdims=True)
    x = ((grouped - mean) * lax.rsqrt(variance + EPSILON)).reshape(x.shape)
    x = jax.nn.relu(x * params["hidden.gamma"] + params["hidden.beta"])
    logits = (_conv(x, params["logits.weight"]) + params["logits.bias"]).reshape(n, h * w, -1)
    sides = (_conv(x, params["sides.weight"]) + params["sides.bias"]).reshape(n, h * w, 5)
    distances = jnp.exp(jnp.clip(sides[..., :4], SHORTEST, LONGEST)) * UNIT
    return logits + scene(params, maps)[:, None], distances, sides[..., 4]


def loss(params: Params, maps: list[jax.Array], labels: jax.Array, wanted: jax.Array) -> tuple[jax.Array, tuple]:
    """The sum of the losses, and three of them: focal loss of classes (arXiv:1708.02002), GIoU of boxes (arXiv:1902.09630)
    weighted by centre-ness, cross entropy of centre-ness; the scene's cross entropy is in the sum only.
    `labels` [N,A], `wanted` distances [N,A,4]."""
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
    scene_loss = _cross_entropy(scene(params, maps), target.max(1)).sum(-1).mean()
    return class_loss + box_loss + centre_loss + SCENE_WEIGHT * scene_loss, (class_loss, box_loss, centre_loss)


def _conv(x: jax.Array, weight: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


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
