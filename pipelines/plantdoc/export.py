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
from head import DEPTH, EPSILON, LONGEST, SHORTEST, STRIDE, points

Weights = dict[str, np.ndarray]
Norms = list[tuple[np.ndarray, np.ndarray]]


def detector(backbone: Weights, head: Weights, norms: Norms, classes: list[str], size: int) -> onnx.ModelProto:
    """The model. `head` holds the trained weights by their names in `head.py`, `norms` the mean and deviation [channels]
    of each feature."""
    graph = GraphWriter()
    add_backbone(graph, backbone)
    for name, value in (("zero", 0), ("two", 2), ("four", 4), ("five", 5), ("axis", 2)):
        graph.constant(f"at.{name}", np.array([value], np.int64))
    graph.constant("epsilon", np.float32(EPSILON))
    fine, coarse = (_standardised(graph, f.name, mean, deviation) for f, (mean, deviation) in zip(FEATURES, norms))
    blocks = graph.op("SpaceToDepth", [fine], "blocks", blocksize=2)
    shared = _conv(graph, head, "fuse", graph.op("Concat", [blocks, coarse], "both", axis=1))
    shared = graph.op("Relu", [shared], "shared")
    logits = _rows(graph, _conv(graph, head, "logits", _tower(graph, head, "class", shared)), "logits", len(classes))
    sides = _rows(graph, _conv(graph, head, "sides", _tower(graph, head, "box", shared)), "sides", 5)
    centre = graph.op("Slice", [sides, "at.four", "at.five", "at.axis"], "centre")
    graph.op("Mul", [graph.op("Sigmoid", [logits], "class.score"), graph.op("Sigmoid", [centre], "centre.score")], "scores")
    _boxes(graph, sides, size)
    count = (size // STRIDE) ** 2
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count, len(classes)]),
    ]
    model = graph.model(size, outputs)
    pixels = {"mean": json.dumps([MEAN] * 3), "std": json.dumps([STD] * 3), "resize": "stretch"}
    helper.set_model_props(model, {"classes": json.dumps(classes), **pixels})
    return model


def _standardised(graph: GraphWriter, name: str, mean: np.ndarray, deviation: np.ndarray) -> str:
    """A feature with mean 0 and deviation 1 in each channel."""
    names = [graph.constant(f"{name}.{part}", _per_channel(x)) for part, x in (("mean", mean), ("deviation", deviation))]
    return graph.op("Div", [graph.op("Sub", [name, names[0]], f"{name}.centred"), names[1]], f"{name}.standardised")


def _conv(graph: GraphWriter, head: Weights, name: str, x: str, bias: bool = True) -> str:
    """A convolution of the head with "same" padding, [N,channels,H,W]."""
    weight = head[f"{name}.weight"].transpose(3, 2, 0, 1).astype(np.float32)
    names = [x, graph.constant(f"{name}.weight", weight)]
    if bias:
        names.append(graph.constant(f"{name}.bias", head[f"{name}.bias"].astype(np.float32)))
    return graph.op("Conv", names, f"{name}.conv", pads=[weight.shape[2] // 2] * 4)


def _tower(graph: GraphWriter, head: Weights, tower: str, x: str) -> str:
    """Convolution, layer norm over the channels of each cell, ReLU; `DEPTH` times."""
    for name in (f"{tower}.{depth}" for depth in range(DEPTH)):
        x = _conv(graph, head, name, x, bias=False)
        mean = graph.op("ReduceMean", [x], f"{name}.mean", axes=[1])
        centred = graph.op("Sub", [x, mean], f"{name}.centred")
        squares = graph.op("Mul", [centred, centred], f"{name}.squares")
        variance = graph.op("ReduceMean", [squares], f"{name}.variance", axes=[1])
        deviation = graph.op("Sqrt", [graph.op("Add", [variance, "epsilon"], f"{name}.positive")], f"{name}.deviation")
        x = graph.op("Div", [centred, deviation], f"{name}.normal")
        gamma, bias = (graph.constant(f"{name}.{part}", _per_channel(head[f"{name}.{part}"])) for part in ("gamma", "bias"))
        x = graph.op("Add", [graph.op("Mul", [x, gamma], f"{name}.scaled"), bias], f"{name}.shifted")
        x = graph.op("Relu", [x], f"{name}.relu")
    return x


def _per_channel(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float32)[:, None, None]


def _rows(graph: GraphWriter, x: str, name: str, channels: int) -> str:
    """[N,channels,H,W] to [N,H*W,channels]."""
    shape = graph.constant(f"{name}.shape", np.array([0, -1, channels], np.int64))
    return graph.op("Reshape", [graph.op("Transpose", [x], f"{name}.last", perm=[0, 2, 3, 1]), shape], f"{name}.rows")


def _boxes(graph: GraphWriter, sides: str, size: int) -> None:
    """Corners from points and distances, inside the picture."""
    logs = graph.op("Slice", [sides, "at.zero", "at.four", "at.axis"], "logs")
    low, high = graph.constant("log.low", np.float32(SHORTEST)), graph.constant("log.high", np.float32(LONGEST))
    lengths = graph.op("Exp", [graph.op("Clip", [logs, low, high], "logs.clipped")], "lengths")
    distances = graph.op("Mul", [lengths, graph.constant("stride", np.float32(STRIDE))], "distances")
    before = graph.op("Slice", [distances, "at.zero", "at.two", "at.axis"], "before")
    after = graph.op("Slice", [distances, "at.two", "at.four", "at.axis"], "after")
    where = graph.constant("points", points(size)[None])
    corners = [graph.op("Sub", [where, before], "corner.low"), graph.op("Add", [where, after], "corner.high")]
    edges = [graph.constant("edge.low", np.float32(0)), graph.constant("edge.high", np.float32(size))]
    graph.op("Clip", [graph.op("Concat", corners, "corners", axis=2), *edges], "boxes")
