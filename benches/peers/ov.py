"""OpenVINO: full int8 by NNCF's calibration, or int8 and int4 weights with dynamically quantized activations.

- q8: `nncf.quantize` for transformers, static scales for activations, compiled for each shape, which is a little faster than
  one model for all.
- w8: `nncf.compress_weights`, INT8_SYM, a scale for each row.
- w4: INT4_SYM in groups of 128, and INT8 for embeddings and the last product, which is NNCF's default; with trained weights
  scales are estimated on the calibration text.

w8 and w4 ask for activations in groups of 128; on AVX2 without VNNI their errors show none quantized. Other
options: latency hint, one stream, f32 where nothing is quantized.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from models import Checkpoint, made, plain_encoder

NAME = "OpenVINO"
FORMATS = {"q8": "int8, calibrated", "w8": "int8 weights", "w4": "int4 weights"}


def export(checkpoint: Checkpoint, path: Path) -> None:
    """Writes model.xml and model.bin, in fp32."""
    import openvino
    import torch

    ids = torch.randint(4, 1000, (1, 16))
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    model = openvino.convert_model(plain_encoder(checkpoint, sdpa=True), example_input=example)
    model.reshape({port: openvino.PartialShape([1, -1]) for port in model.inputs})
    openvino.save_model(model, path / "model.xml", compress_to_fp16=False)


def build(checkpoint: Checkpoint, fmt: str, path: Path) -> None:
    import nncf
    import openvino

    fp32 = made(path.with_name("ov-fp32"), lambda part: export(checkpoint, part))
    model = openvino.Core().read_model(fp32 / "model.xml")
    samples = [np.array([ids], dtype=np.int64) for ids in checkpoint.calibration_ids(300 if fmt == "q8" else 128)]
    dataset = nncf.Dataset([{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in samples])
    if fmt == "q8":
        model = nncf.quantize(
            model, dataset, model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
        )
    elif fmt == "w8":
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    else:
        estimate = {"dataset": dataset, "scale_estimation": True} if checkpoint.calibration else {}
        model = nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=128, ratio=1.0, **estimate
        )
    openvino.save_model(model, path / "model.xml", compress_to_fp16=False)


def load(path: Path, fmt: str, threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import openvino

    core = openvino.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": threads,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128",
    }
    if not os.environ.get("RQ_PEERS_FREE"):
        # Where it may use all that the processor has, OpenVINO chooses: bf16 with AMX.
        options["INFERENCE_PRECISION_HINT"] = "f32"
    compiled: dict[int, tuple[openvino.InferRequest, list[int]]] = {}

    def compile_for(tokens: int) -> tuple["openvino.InferRequest", list[int]]:
        model = core.read_model(path / "model.xml")
        if fmt == "q8":
            model.reshape({port: [1, tokens] for port in model.inputs})
        order = [0 if "input_ids" in port.get_names() else 1 for port in model.inputs]
        return core.compile_model(model, "CPU", options).create_infer_request(), order

    def encode(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        shape = ids.shape[1] if fmt == "q8" else 0
        if shape not in compiled:
            compiled.clear()
            compiled[shape] = compile_for(ids.shape[1])
        request, order = compiled[shape]
        return request.infer([(ids, mask)[i] for i in order], share_inputs=True)[0]

    if fmt != "q8":
        compiled[0] = compile_for(0)
    return encode


def version() -> str:
    import openvino

    return openvino.__version__.split("-")[0]
