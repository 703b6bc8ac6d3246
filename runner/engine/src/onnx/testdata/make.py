"""Makes the tiny models that the tests of the ONNX step run. Needs `onnx`: python make.py

`quadrants.onnx` is a detector by the contract whose answers are known: a 32 x 32 picture has four boxes, its quadrants, and
the scores of each for `red`, `green` and `blue` are the means of its channels. The others break the contract, each once.
"""

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

SIDE = 32
HALF = SIDE // 2
BOXES = np.array([[[x, y, x + HALF, y + HALF] for y in (0, HALF) for x in (0, HALF)]], dtype=np.float32)


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def model(input_name="images", count="N", side=SIDE, scores="means", nan=False, metadata=None):
    nodes = [
        helper.make_node("AveragePool", [input_name], ["pooled"], kernel_shape=[HALF, HALF], strides=[HALF, HALF]),
        helper.make_node("Reshape", ["pooled", "flat"], ["by_class"]),
        helper.make_node("Transpose", ["by_class"], ["means"], perm=[0, 2, 1]),
        helper.make_node("Shape", [input_name], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["count"]),
        helper.make_node("Concat", ["count", "rest"], ["all"], axis=0),
        helper.make_node("Expand", ["quadrants", "all"], ["boxes"]),
    ]
    constants = [
        constant("flat", np.array([0, 3, 4], np.int64)),
        constant("zero", np.array([0], np.int64)),
        constant("one", np.array([1], np.int64)),
        constant("rest", np.array([4, 4], np.int64)),
        constant("quadrants", BOXES),
    ]
    if nan:  # not a number where a mean is below a tenth
        constants.append(constant("tenth", np.array(0.1, np.float32)))
        nodes += [
            helper.make_node("Sub", ["means", "tenth"], ["less"]),
            helper.make_node("Sqrt", ["less"], ["scores"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["means"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "quadrants",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [count, 3, side, side])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [count, 4, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [count, 4, 3]),
        ],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="flowrun tests")
    helper.set_model_props(made, {"classes": json.dumps(["red", "green", "blue"])} if metadata is None else metadata)
    checker.check_model(made)
    return made


VARIANTS = {
    "quadrants": model(),
    "one-at-a-time": model(count=1),
    "five-at-a-time": model(count=5),
    "wrong-name": model(input_name="pixels"),
    "free-side": model(side="S"),
    "nan": model(nan=True),
    "no-classes": model(metadata={"producer": "x"}),
    "two-classes": model(metadata={"classes": '["red", "green"]'}),
    "bad-std": model(metadata={"classes": '["red", "green", "blue"]', "mean": "[0, 0, 0]", "std": "[255, 0, 255]"}),
    "letterbox": model(
        metadata={"classes": '["red", "green", "blue"]', "mean": "[0, 0, 0]", "std": "[510, 510, 510]", "resize": "letterbox"}
    ),
}

for name, made in VARIANTS.items():
    save(made, Path(__file__).parent / f"{name}.onnx")
