"""Checks of the train step that need no data set: `python -m unittest test_train`."""

from __future__ import annotations

import io
import pickle
import unittest

import jax
import jax.numpy as jnp
import numpy as np

import backbone
import export
import head
import weights


class Targets(unittest.TestCase):
    """Which point answers for which box."""

    def test_a_box_comes_back_from_its_points(self) -> None:
        where = head.points(256)
        box = np.array([[3, 20.0, 40.0, 180.0, 200.0]], np.float32)
        labels, distances = head.assign(box, where)
        chosen = np.flatnonzero(labels >= 0)
        self.assertTrue(len(chosen) > 4 and (labels[chosen] == 3).all())
        low, high = where[chosen] - distances[chosen, :2], where[chosen] + distances[chosen, 2:]
        np.testing.assert_allclose(np.concatenate([low, high], 1), np.repeat(box[:, 1:], len(chosen), 0), atol=1e-3)

    def test_the_smallest_box_has_a_point(self) -> None:
        labels, _ = head.assign(np.array([[1, 100, 100, 102, 102]], np.float32), head.points(256))
        self.assertEqual((labels == 1).sum(), 1)

    def test_mirroring_twice_changes_nothing_and_once_moves_the_box(self) -> None:
        where = head.points(256)
        labels, distances = (x[None] for x in head.assign(np.array([[0, 16, 32, 80, 96]], np.float32), where))
        turned = head.mirrored(labels, distances)
        for once, twice in zip((labels, distances), head.mirrored(*turned)):
            np.testing.assert_array_equal(once, twice)
        other = head.assign(np.array([[0, 256 - 80, 32, 256 - 16, 96]], np.float32), where)
        np.testing.assert_array_equal(turned[0][0], other[0])
        np.testing.assert_allclose(turned[1][0], other[1], atol=1e-4)


class Weights(unittest.TestCase):
    """A file of weights runs nothing."""

    def test_a_hostile_pickle_is_refused(self) -> None:
        class Hostile:
            def __reduce__(self) -> tuple:
                return print, ("this must not be printed",)

        stream = io.BytesIO()
        for part in (weights.MAGIC, weights.PROTOCOL, {"little_endian": True}, Hostile()):
            pickle.dump(part, stream, protocol=2)
        with self.assertRaises(weights.WeightsError):
            weights.read_pth(stream.getvalue())


class Export(unittest.TestCase):
    """The ONNX head is the trained head."""

    def test_random_weights_give_the_same_answers(self) -> None:
        size, classes = 64, ["a", "b", "c"]
        rng = np.random.default_rng(0)
        params = head.initial(jax.random.PRNGKey(1), len(classes))
        params = {name: value + 0.05 * rng.standard_normal(value.shape).astype(np.float32) for name, value in params.items()}
        norms = [(rng.random(f.channels).astype(np.float32), 1 + rng.random(f.channels).astype(np.float32)) for f in backbone.FEATURES]
        original, export.add_backbone = export.add_backbone, _features_from_pixels
        try:
            model = export.detector({}, {k: np.asarray(v) for k, v in params.items()}, norms, classes, size)
        finally:
            export.add_backbone = original
        images = rng.standard_normal((2, 3, size, size)).astype(np.float32)
        boxes, scores = backbone.session(model).run(["boxes", "scores"], {"images": images})
        maps = [np.repeat(images.mean(1)[:, :: f.stride, :: f.stride, None], f.channels, 3) for f in backbone.FEATURES]
        logits, distances, centre = head.apply(params, [(jnp.asarray(m) - mean) / std for m, (mean, std) in zip(maps, norms)])
        at = head.points(size)
        wanted = jnp.clip(jnp.concatenate([at - distances[..., :2], at + distances[..., 2:]], -1), 0, size)
        np.testing.assert_allclose(boxes, wanted, atol=2e-3)
        np.testing.assert_allclose(scores, jax.nn.sigmoid(logits) * jax.nn.sigmoid(centre)[..., None], atol=1e-4)


def _features_from_pixels(graph: backbone.GraphWriter, _weights: dict) -> None:
    """In the backbone's place: each feature is the mean of the colours at every stride-th pixel, in every channel."""
    mean = graph.op("ReduceMean", ["images"], "grey", axes=[1], keepdims=1)
    for feature in backbone.FEATURES:
        name = f"every{feature.stride}"
        ends = graph.constant(f"{name}.ends", np.array([1 << 30] * 2, np.int64))
        starts = graph.constant(f"{name}.starts", np.array([0] * 2, np.int64))
        axes = graph.constant(f"{name}.axes", np.array([2, 3], np.int64))
        steps = graph.constant(f"{name}.steps", np.array([feature.stride] * 2, np.int64))
        small = graph.op("Slice", [mean, starts, ends, axes, steps], name)
        shape = graph.constant(f"{name}.shape", np.array([1, feature.channels, 1, 1], np.int64))
        graph.op("Expand", [small, shape], feature.name)


if __name__ == "__main__":
    unittest.main()
