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
from head import DEPTH, EPSILON, GROUPS, LONGEST, WIDTH, points

Weights = dict[str, np.ndarray]


def detector(backbone: Weights, head: Weights, norms: list[tuple[np.ndarray, np.ndarray]], classes: list[str], size: int) -> onnx.ModelProto:
    """The model. `head` holds the trained weights by their names in `head.py`; `norms` the mean and deviation of each feature's channels."""
    graph = GraphWriter()
    add_backbone(graph, backbone)
    _constants(graph, size)
    maps = [_lateral(graph, head, feature.name, mean, deviation) for feature, (mean, deviation) in zip(FEATURES, norms)]
    graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
    coarse = graph.op(
        "Resize", [maps[1], "", "twice"], "coarse", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )
    maps[0] = graph.op("Add", [maps[0], coarse], "fine")
    answers = [_answers(graph, head, level, x, len(classes), size) for level, x in enumerate(maps)]
    logits, sides, centre = (graph.op("Concat", list(parts), name, axis=1) for parts, name in zip(zip(*answers), ("logits", "sides", "centre")))
    _boxes(graph, sides, size)
    scores = [graph.op("Sigmoid", [logits], "class.score"), graph.op("Sigmoid", [centre], "centre.score")]
    graph.op("Mul", scores, "scores")
    count = sum((size // feature.stride) ** 2 for feature in FEATURES)
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count, len(classes)]),
    ]
    model = graph.model(size, outputs)
    described = {"classes": json.dumps(classes), "mean": json.dumps([MEAN] * 3), "std": json.dumps([STD] * 3), "resize": "stretch"}
    helper.set_model_props(model, described)
    return model


def _constants(graph: GraphWriter, size: int) -> None:
    graph.constant("group.ones", np.ones(GROUPS, np.float32))
    graph.constant("group.zeros", np.zeros(GROUPS, np.float32))
    graph.constant("group.shape", np.array([0, GROUPS, -1], np.int64))
    graph.constant("log.low", np.float32(-6))
    graph.constant("log.high", np.float32(LONGEST))
    graph.constant("edge.low", np.float32(0))
    graph.constant("edge.high", np.float32(size))
    graph.constant("points", points(size)[None, :, :2])
    for name, value in (("four", 4), ("five", 5), ("two", 2), ("zero", 0), ("last", 2)):
        graph.constant(f"at.{name}", np.array([value], np.int64))


def _lateral(graph: GraphWriter, head: Weights, name: str, mean: np.ndarray, deviation: np.ndarray) -> str:
    """The 1x1 convolution over a normalised feature, with the normalisation folded in."""
    weight = head[f"{name}.weight"][0, 0] / deviation[:, None]
    bias = head[f"{name}.bias"] - mean @ weight
    graph.constant(f"{name}.weight", weight.T[:, :, None, None].astype(np.float32))
    graph.constant(f"{name}.bias", bias.astype(np.float32))
    return graph.op("Conv", [name, f"{name}.weight", f"{name}.bias"], f"{name}.lateral")


def _conv(graph: GraphWriter, head: Weights, name: str, out: str, x: str, pad: int) -> str:
    """A convolution of the head; its weight is shared between levels, so it is stored once."""
    if not any(known.name == f"{name}.weight" for known in graph.initializers):
        graph.constant(f"{name}.weight", head[f"{name}.weight"].transpose(3, 2, 0, 1).astype(np.float32))
        if f"{name}.bias" in head:
            graph.constant(f"{name}.bias", head[f"{name}.bias"].astype(np.float32))
        else:
            for part in ("gamma", "beta"):
                graph.constant(f"{name}.{part}", head[f"{name}.{part}"][:, None, None].astype(np.float32))
    bias = [f"{name}.bias"] if f"{name}.bias" in head else []
    return graph.op("Conv", [x, f"{name}.weight", *bias], out, pads=[pad] * 4)


def _answers(graph: GraphWriter, head: Weights, level: int, x: str, classes: int, size: int) -> tuple[str, str, str]:
    """Logits [N,H*W,C], distances [N,H*W,4] and centre-ness logits [N,H*W,1] of one map."""
    side = f"level{level}"
    shape = graph.constant(f"{side}.shape", np.array([0, WIDTH, -1, size // FEATURES[level].stride], np.int64))
    start, ends = graph.op("Relu", [x], f"{side}.start"), {}
    for tower in ("class", "box"):
        y = start
        for layer in range(DEPTH):
            name = f"{tower}.{layer}"
            out = f"{side}.{name}"
            y = _conv(graph, head, name, out, y, 1)
            y = graph.op("Reshape", [y, "group.shape"], f"{out}.grouped")
            y = graph.op("InstanceNormalization", [y, "group.ones", "group.zeros"], f"{out}.normal", epsilon=EPSILON)
            y = graph.op("Reshape", [y, shape], f"{out}.whole")
            y = graph.op("Mul", [y, f"{name}.gamma"], f"{out}.scaled")
            y = graph.op("Add", [y, f"{name}.beta"], f"{out}.shifted")
            y = graph.op("Relu", [y], f"{out}.relu")
        ends[tower] = y
    logits = _rows(graph, _conv(graph, head, "logits", f"{side}.logits", ends["class"], 0), f"{side}.logits", classes)
    sides = _rows(graph, _conv(graph, head, "sides", f"{side}.sides", ends["box"], 0), f"{side}.sides", 5)
    logs = graph.op("Slice", [sides, "at.zero", "at.four", "at.last"], f"{side}.logs")
    centre = graph.op("Slice", [sides, "at.four", "at.five", "at.last"], f"{side}.centre")
    scale = graph.constant(f"{side}.scale", np.float32(head["log_scale"][level]))
    stride = graph.constant(f"{side}.stride", np.float32(FEATURES[level].stride))
    logs = graph.op("Clip", [graph.op("Add", [logs, scale], f"{side}.log"), "log.low", "log.high"], f"{side}.clipped")
    return logits, graph.op("Mul", [graph.op("Exp", [logs], f"{side}.exp"), stride], f"{side}.distances"), centre


def _rows(graph: GraphWriter, x: str, name: str, channels: int) -> str:
    """[N,channels,H,W] to [N,H*W,channels]."""
    shape = graph.constant(f"{name}.rows.shape", np.array([0, -1, channels], np.int64))
    return graph.op("Reshape", [graph.op("Transpose", [x], f"{name}.last", perm=[0, 2, 3, 1]), shape], f"{name}.rows")


def _boxes(graph: GraphWriter, sides: str, size: int) -> None:
    before = graph.op("Slice", [sides, "at.zero", "at.two", "at.last"], "before")
    after = graph.op("Slice", [sides, "at.two", "at.four", "at.last"], "after")
    corners = [graph.op("Sub", ["points", before], "corner.low"), graph.op("Add", ["points", after], "corner.high")]
    graph.op("Clip", [graph.op("Concat", corners, "corners", axis=2), "edge.low", "edge.high"], "boxes")
