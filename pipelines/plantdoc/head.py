"""The part that is trained: a small anchor-free head in the manner of FCOS (Tian et al. 2019, arXiv:1904.01355).

    stride 16 [N,2H,2W,112] --2x2 cells become one, four times the channels--+
                                                                             +-> 1x1 -> class tower -> class logits
    stride 32 [N,H,W,320] ---------------------------------------------------+       -> box tower   -> sides, centre-ness

Every cell of the one map that results answers for one point of the picture: class logits, the distances to the four sides of its
box (left, top, right, bottom), and how near to the box's centre it is. FCOS has a map for each size of box; here one map
for all was better by half and five times cheaper: leaves fill much of their picture, and with a few hundred pictures two maps
never learn which of them should speak. Arrays are NHWC; A = H*W is the number of points, C the number of classes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backbone import FEATURES

WIDTH, DEPTH = 96, 2  # channels and convolutions of a tower
EPSILON = 1e-5
STRIDE = FEATURES[1].stride  # of the points, in pixels
RADIUS = 1.5  # a point answers for a box if the box's centre is within this many strides
SHORTEST, LONGEST = -5.0, 4.0  # distances are STRIDE * exp(x) pixels, x clamped so that exp never overflows
DROPOUT = 0.1  # the part of channels that are left out at random, of the features and after each layer
PRIOR = 0.01  # the score that every class starts with, arXiv:1708.02002 section 4.1
Params = dict[str, jax.Array]
Maps = list[jax.Array]


def points(size: int) -> np.ndarray:
    """The points [A,2] of a `size` x `size` picture: x, y in pixels."""
    centres = (np.arange(size // STRIDE) + 0.5) * STRIDE
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def assign(boxes: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which box each point answers for: class ids [A] (-1: background) and distances [A,4] in pixels.

    `boxes` is [B,5]: class id and corners. A point answers for the smallest box that holds it and whose centre is
    near; each box has at least its nearest point, unless a smaller box took that one.
    """
    labels, distances = np.full(len(where), -1, np.int32), np.zeros((len(where), 4), np.float32)
    if len(boxes) == 0:
        return labels, distances
    low, high = boxes[:, 1:3], boxes[:, 3:5]
    sides = np.concatenate([where[:, None] - low, high - where[:, None]], -1)  # [A,B,4]
    away = np.abs(where[:, None] - (low + high) / 2).max(-1)  # [A,B]
    fits = (sides.min(-1) > 0) & (away < RADIUS * STRIDE)
    for box in np.flatnonzero(~fits.any(0)):
        fits[away[:, box].argmin(), box] = True
    area = np.where(fits, (high - low).prod(-1), np.inf)
    owner, taken = area.argmin(1), fits.any(1)
    labels[taken] = boxes[owner[taken], 0]
    distances[taken] = np.maximum(sides[np.arange(len(where)), owner][taken], 0.01)
    return labels, distances


def mirrored(labels: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the points of the pictures' mirror images answer for: `labels` [N,A], `distances` [N,A,4]."""
    side = round(labels.shape[1] ** 0.5)

    def turned(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), side, side, -1)[:, :, ::-1].reshape(x.shape)

    return turned(labels), turned(distances)[..., [2, 1, 0, 3]]


def initial(key: jax.Array, classes: int) -> Params:
    """Fresh weights: He normal (arXiv:1502.01852), class bias at `PRIOR`."""
    keys = iter(jax.random.split(key, 3 + 2 * DEPTH))
    channels = 4 * FEATURES[0].channels + FEATURES[1].channels

    def layer(name: str, kernel: int, inputs: int, outputs: int, scale: float | None = None) -> Params:
        scale = scale or float(np.sqrt(2 / (kernel * kernel * inputs)))
        weight = jax.random.normal(next(keys), (kernel, kernel, inputs, outputs)) * scale
        return {f"{name}.weight": weight, f"{name}.bias": jnp.zeros(outputs)}

    params = layer("fuse", 1, channels, WIDTH)
    for tower in ("class", "box"):
        for depth in range(DEPTH):
            params |= layer(f"{tower}.{depth}", 3, WIDTH, WIDTH)
            params[f"{tower}.{depth}.gamma"] = jnp.ones(WIDTH)
    params |= layer("logits", 1, WIDTH, classes, 0.01) | layer("sides", 1, WIDTH, 5, 0.01)
    params["logits.bias"] += float(np.log(PRIOR / (1 - PRIOR)))
    params["sides.bias"] += jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])  # boxes start e strides from their point
    return params


def apply(params: Params, maps: Maps, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits [N,A,C], distances [N,A,4] in pixels and centre-ness logits [N,A] from normalised features.

    With a `key` channels are left out at random (Tompson et al. 2015, arXiv:1411.4280), which is for training only.
    """
    keys = iter(jax.random.split(key, 2 + 2 * DEPTH)) if key is not None else None

    def dropout(x: jax.Array) -> jax.Array:
        if keys is None:
            return x
        kept = jax.random.bernoulli(next(keys), 1 - DROPOUT, (x.shape[0], 1, 1, x.shape[3]))
        return x * kept / (1 - DROPOUT)

    fine, coarse = (dropout(x) for x in maps)
    shared = jax.nn.relu(_conv(params, "fuse", jnp.concatenate([_space_to_depth(fine), coarse], -1)))
    ends = []
    for tower in ("class", "box"):
        x = shared
        for depth in range(DEPTH):
            x = dropout(jax.nn.relu(_normalised_conv(params, f"{tower}.{depth}", x)))
        ends.append(x)
    logits, sides = _conv(params, "logits", ends[0]), _conv(params, "sides", ends[1])
    count, classes = len(logits), logits.shape[-1]
    sides = sides.reshape(count, -1, 5)
    return logits.reshape(count, -1, classes), jnp.exp(jnp.clip(sides[..., :4], SHORTEST, LONGEST)) * STRIDE, sides[..., 4]


def detect(params: Params, maps: Maps, size: int) -> tuple[jax.Array, jax.Array]:
    """What the exported model answers: boxes [N,A,4] as corners in pixels, and scores [N,A,C]."""
    logits, distances, centre = apply(params, maps)
    where = points(size)
    corners = jnp.concatenate([where - distances[..., :2], where + distances[..., 2:]], -1)
    return jnp.clip(corners, 0, size), jax.nn.sigmoid(logits) * jax.nn.sigmoid(centre)[..., None]


def loss(params: Params, maps: Maps, labels: jax.Array, wanted: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum of three losses, and that sum with each of them [4]. `labels` [N,A], `wanted` distances [N,A,4].

    Classes: quality focal loss (Li et al. 2020, arXiv:2006.04388): the score to reach is the IoU of the point's own
    box, so that well-placed boxes rank first. Boxes: GIoU (arXiv:1902.09630), weighted by centre-ness.
    Centre-ness: cross entropy. All are means over the points that have a box.
    """
    logits, distances, centre = apply(params, maps, key)
    positive = labels >= 0
    count = jnp.maximum(positive.sum(), 1.0)
    iou, giou = overlap(distances, wanted)
    target = jax.nn.one_hot(labels, logits.shape[-1]) * lax.stop_gradient(iou)[..., None]
    class_loss = ((jax.nn.sigmoid(logits) - target) ** 2 * _cross_entropy(logits, target)).sum() / count
    centred = centredness(wanted) * positive
    box_loss = ((1 - giou) * centred).sum() / jnp.maximum(centred.sum(), 1e-3)
    centre_loss = (_cross_entropy(centre, centred) * positive).sum() / count
    total = class_loss + box_loss + centre_loss
    return total, jnp.stack([total, class_loss, box_loss, centre_loss])


def centredness(distances: jax.Array) -> jax.Array:
    """1 at the centre of the box, 0 at its edge (FCOS, equation 3)."""
    low, high = distances[..., :2], distances[..., 2:]
    ratio = jnp.minimum(low, high) / jnp.maximum(jnp.maximum(low, high), 1e-6)
    return jnp.sqrt(ratio[..., 0] * ratio[..., 1])


def overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """IoU and generalised IoU of boxes around one point, from their distances [...,4]."""

    def area(d: jax.Array) -> jax.Array:
        return (d[..., 0] + d[..., 2]) * (d[..., 1] + d[..., 3])

    inside, around = area(jnp.minimum(a, b)), area(jnp.maximum(a, b))
    union = area(a) + area(b) - inside
    iou = inside / jnp.maximum(union, 1e-6)
    return iou, iou - (around - union) / jnp.maximum(around, 1e-6)


def _space_to_depth(x: jax.Array) -> jax.Array:
    """[N,2H,2W,D] to [N,H,W,4D]: the four cells of a block beside each other, row by row, as ONNX's SpaceToDepth."""
    n, h, w, d = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, d).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * d)


def _conv(params: Params, name: str, x: jax.Array) -> jax.Array:
    y = lax.conv_general_dilated(x, params[f"{name}.weight"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + params[f"{name}.bias"]


def _normalised_conv(params: Params, name: str, x: jax.Array) -> jax.Array:
    """Convolution, then layer norm over the channels of each cell (arXiv:1607.06450): scaled by gamma, shifted by the bias."""
    weight = params[f"{name}.weight"]
    x = lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred * lax.rsqrt(variance + EPSILON) * params[f"{name}.gamma"] + params[f"{name}.bias"]


def _cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(-jnp.abs(logits)))
