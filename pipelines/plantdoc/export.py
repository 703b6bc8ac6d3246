"""The whole detector as one ONNX model: backbone, head, and the decoding of boxes and scores. No suppression of overlaps inside.

Input `images` float32 [N,3,S,S], (pixel - mean) / std of RGB pixels. Outputs `boxes` float32 [N,A,4], corners in pixels of
the input, and `scores` float32 [N,A,C], from 0 to 1. The metadata says `classes`, `mean`, `std` and `resize`.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import TensorProto, helper

from backbone import FEATURES, MEAN, STD, GraphWriter, add_backbone
from head import EPSILON, GROUPS, LONGEST, SHORTEST, STRIDE, UNIT, WIDTH, points

Weights = dict[str, np.ndarray]
Norms = list[tuple[np.ndarray, np.ndarray]]


def detector(backbone: Weights, head: Weights, norms: Norms, classes: list[str], size: int) -> onnx.ModelProto:
    """The model. `head` holds the trained weights by their names in `head.py`, `norms` the mean and deviation [channels] of each feature."""
    graph = GraphWriter()
    add_backbone(graph, backbone)
    fine, coarse = (_normal(graph, feature.name, mean, deviation) for feature, (mean, deviation) in zip(FEATURES, norms))
    hidden = _hidden(graph, head, fine, coarse, size // STRIDE)
    logits = _rows(graph, _conv(graph, head, "logits", hidden), "logits", len(classes))
    sides = _rows(graph, _conv(graph, head, "sides", hidden), "sides", 5)
    opinion = graph.op("Add", [logits, _scene(graph, head, coarse)], "opinion")
    for name, value in (("zero", 0), ("two", 2), ("four", 4), ("five", 5), ("axis", 2)):
        graph.constant(f"at.{name}", np.array([value], np.int64))
    centre = graph.op("Slice", [sides, "at.four", "at.five", "at.axis"], "centre")
    graph.op("Mul", [graph.op("Sigmoid", [opinion], "class.score"), graph.op("Sigmoid", [centre], "centre.score")], "scores")
    _boxes(graph, sides, size)
    count = (size // STRIDE) ** 2
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count, len(classes)]),
    ]
    model = graph.model(size, outputs)
    described = {"classes": json.dumps(classes), "mean": json.dumps([MEAN] * 3), "std": json.dumps([STD] * 3), "resize": "stretch"}
    helper.set_model_props(model, described)
    return model


def _normal(graph: GraphWriter, name: str, mean: np.ndarray, deviation: np.ndarray) -> str:
    """A feature with mean 0 and deviation 1 in each channel."""
    graph.constant(f"{name}.mean", mean[:, None, None].astype(np.float32))
    graph.constant(f"{name}.deviation", deviation[:, None, None].astype(np.float32))
    return graph.op("Div", [graph.op("Sub", [name, f"{name}.mean"], f"{name}.centred"), f"{name}.deviation"], f"{name}.normal")


def _conv(graph: GraphWriter, head: Weights, name: str, x: str) -> str:
    """A 3x3 convolution of the head, [N,channels,H,W]."""
    weight = graph.constant(f"{name}.weight", head[f"{name}.weight"].transpose(3, 2, 0, 1).astype(np.float32))
    bias = graph.constant(f"{name}.bias", head[f"{name}.bias"].astype(np.float32))
    return graph.op("Conv", [x, weight, bias], f"{name}.conv", pads=[1] * 4)


def _hidden(graph: GraphWriter, head: Weights, fine: str, coarse: str, side: int) -> str:
    """The shared layer: both features, convolution, group norm (instance norm over groups), ReLU."""
    graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
    larger = graph.op(
        "Resize", [coarse, "", "twice"], "larger", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )
    x = _conv(graph, head, "hidden", graph.op("Concat", [fine, larger], "both", axis=1))
    ones, zeros = graph.constant("ones", np.ones(GROUPS, np.float32)), graph.constant("zeros", np.zeros(GROUPS, np.float32))
    x = graph.op("Reshape", [x, graph.constant("groups", np.array([0, GROUPS, -1], np.int64))], "hidden.grouped")
    x = graph.op("InstanceNormalization", [x, ones, zeros], "hidden.instance", epsilon=EPSILON)
    x = graph.op("Reshape", [x, graph.constant("whole", np.array([0, WIDTH, side, side], np.int64))], "hidden.whole")
    for kind, part in (("Mul", "gamma"), ("Add", "beta")):
        x = graph.op(kind, [x, graph.constant(f"hidden.{part}", head[f"hidden.{part}"][:, None, None].astype(np.float32))], f"hidden.{kind}")
    return graph.op("Relu", [x], "hidden.relu")


def _scene(graph: GraphWriter, head: Weights, coarse: str) -> str:
    """What the whole picture says of each class: [N,1,C]."""
    mean = graph.op("ReduceMean", [coarse], "scene.mean", axes=[2, 3], keepdims=0)
    weight = graph.constant("scene.weight", head["scene.weight"].astype(np.float32))
    bias = graph.constant("scene.bias", head["scene.bias"].astype(np.float32))
    logits = graph.op("Gemm", [mean, weight, bias], "scene.logits")
    return graph.op("Unsqueeze", [logits, graph.constant("at.one", np.array([1], np.int64))], "scene.rows")


def _rows(graph: GraphWriter, x: str, name: str, channels: int) -> str:
    """[N,channels,H,W] to [N,H*W,channels]."""
    shape = graph.constant(f"{name}.shape", np.array([0, -1, channels], np.int64))
    return graph.op("Reshape", [graph.op("Transpose", [x], f"{name}.last", perm=[0, 2, 3, 1]), shape], f"{name}.rows")


def _boxes(graph: GraphWriter, sides: str, size: int) -> None:
    """Corners from points and distances, inside the picture."""
    logs = graph.op("Slice", [sides, "at.zero", "at.four", "at.axis"], "logs")
    low, high = graph.constant("log.low", np.float32(SHORTEST)), graph.constant("log.high", np.float32(LONGEST))
    lengths = graph.op("Exp", [graph.op("Clip", [logs, low, high], "logs.clipped")], "lengths")
    distances = graph.op("Mul", [lengths, graph.constant("unit", np.float32(UNIT))], "distances")
    before = graph.op("Slice", [distances, "at.zero", "at.two", "at.axis"], "before")
    after = graph.op("Slice", [distances, "at.two", "at.four", "at.axis"], "after")
    where = graph.constant("points", points(size)[None])
    corners = [graph.op("Sub", [where, before], "corner.low"), graph.op("Add", [where, after], "corner.high")]
    edges = [graph.constant("edge.low", np.float32(0)), graph.constant("edge.high", np.float32(size))]
    graph.op("Clip", [graph.op("Concat", corners, "corners", axis=2), *edges], "boxes")
