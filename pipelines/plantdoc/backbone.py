"""The frozen backbone: EfficientNet-Lite0 as an ONNX graph, built from its ImageNet weights and run by ONNX Runtime.

EfficientNet-Lite0 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite) is
EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6 for swish: plain
convolutions throughout, so its features cost little on a CPU. Batch norm is folded into the convolutions.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from weights import WeightsError

MEAN, STD = 127.0, 128.0  # the pixels the ImageNet weights were trained on: x = (pixel - 127) / 128
BATCH_NORM_EPSILON = 1e-3
OPSET, IR_VERSION = 17, 8  # old enough for ONNX Runtime 1.17, new enough for LayerNormalization

# (repeats, kernel, stride of the first, expansion, channels out), one row a stage of the paper's table 1
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


class Feature(NamedTuple):
    """One output of the backbone: its ONNX name, the stride in pixels and the number of channels."""

    name: str
    stride: int
    channels: int


FEATURES = (Feature("stride16", 16, 112), Feature("stride32", 32, 320))
TAPS = {10: "stride16", 15: "stride32"}  # block index -> feature


class GraphWriter:
    """Collects the nodes and weights of an ONNX graph; every method returns the name of the tensor it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """Stores `value` under `name`."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, inputs: list[str], out: str, **attributes: object) -> str:
        """One node of the ONNX operator `kind` with a single output `out`."""
        self.nodes.append(helper.make_node(kind, inputs, [out], name=out, **attributes))
        return out

    def model(self, size: int, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The finished model with the input `images` float32 [N,3,size,size]; checked."""
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, size, size])
        graph = helper.make_graph(self.nodes, "detector", [images], outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="flowrun-plantdoc")
        onnx.checker.check_model(model, full_check=True)
        return model


def add_backbone(graph: GraphWriter, weights: dict[str, np.ndarray]) -> None:
    """Adds the network from `images` [N,3,S,S] to `FEATURES`, each [N,channels,S/stride,S/stride].

    The stride-2 convolutions of TensorFlow pad more at the bottom and right ("SAME"), which the weights were
    trained with: pad (0, 1) for kernel 3 and (1, 2) for kernel 5.
    """

    def conv(x: str, name: str, norm: str, stride: int = 1, depthwise: bool = False, activate: bool = True) -> str:
        weight, bias = _fold(weights, f"{name}.weight", norm)
        kernel = weight.shape[2]
        before, after = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2
        names = [x, graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", bias)]
        attributes = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [before, before, after, after],
            "group": weight.shape[0] if depthwise else 1,
        }
        x = graph.op("Conv", names, name, **attributes)
        return graph.op("Clip", [x, "relu6.low", "relu6.high"], f"{name}.relu6") if activate else x

    graph.constant("relu6.low", np.float32(0))
    graph.constant("relu6.high", np.float32(6))
    x, index = conv("images", "_conv_stem", "_bn0", stride=2), 0
    for repeats, _kernel, first_stride, expansion, _channels in STAGES:
        for repeat in range(repeats):
            name, shortcut = f"_blocks.{index}", x
            if expansion > 1:
                x = conv(x, f"{name}._expand_conv", f"{name}._bn0")
            stride = first_stride if repeat == 0 else 1
            x = conv(x, f"{name}._depthwise_conv", f"{name}._bn1", stride, depthwise=True)
            x = conv(x, f"{name}._project_conv", f"{name}._bn2", activate=False)
            if repeat > 0:
                x = graph.op("Add", [x, shortcut], f"{name}.add")
            if index in TAPS:
                graph.op("Identity", [x], TAPS[index])
            index += 1


def _fold(weights: dict[str, np.ndarray], conv: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """The convolution `conv` (no bias) followed by batch norm `norm` as one convolution: its weight and bias."""
    try:
        weight = weights[conv].astype(np.float64)
        gamma, beta, mean, variance = (
            weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as err:
        raise WeightsError(f"the weights lack the tensor {err}: not EfficientNet-Lite0") from err
    if weight.ndim != 4 or gamma.shape != (weight.shape[0],):
        raise WeightsError(f"`{conv}` has the shape {weight.shape}: not EfficientNet-Lite0")
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    return (weight * scale[:, None, None, None]).astype(np.float32), (beta - mean * scale).astype(np.float32)


def build(weights: dict[str, np.ndarray], size: int) -> onnx.ModelProto:
    """The backbone alone, for `size` x `size` pictures, with one output per entry of `FEATURES`."""
    graph = GraphWriter()
    add_backbone(graph, weights)
    outputs = [
        helper.make_tensor_value_info(f.name, TensorProto.FLOAT, ["N", f.channels, size // f.stride, size // f.stride])
        for f in FEATURES
    ]
    return graph.model(size, outputs)


def session(model: onnx.ModelProto, threads: int | None = None) -> ort.InferenceSession:
    """An ONNX Runtime session on `threads` cores (all that this process may use unless given)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning only burns a shared CPU
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def usable_cores() -> int:
    """How many cores this process may run on; a container or `taskset` may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
