"""Ask an exported model about a cell, with onnxruntime and NumPy alone.

python onnx_minimal.py model.onnx cell.npy      # uint8, shape (H, W, 3), RGB
"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
classes = json.loads(about["classes"])
image = np.load(sys.argv[2])  # any size: the model resizes, crops and normalises by itself

probs, pred, distance = session.run(None, {"image": image[None]})

# The rule of the bundle. Each comparison is made so that what is no number is not accepted.
unknown_above, review_below = json.loads(about["unknown_above"]), json.loads(about["review_below"])
smallest, largest = json.loads(about.get("short_sides_px", "null")) or (0, float("inf"))
status = "accepted"
if unknown_above is not None and not distance[0] <= unknown_above:
    status = "unknown"
elif not smallest / 2 <= min(image.shape[:2]) <= 2 * largest:
    status = "review"  # far from the sizes trained on: perhaps not one cell
elif review_below is None or not probs[0, pred[0]] >= review_below:
    status = "review"
print(f"{classes[pred[0]]}  {probs[0, pred[0]]:.4f}  {status}")
