"""ONNX Runtime: the graph fused by its transformers optimizer, in dynamic int8 or with MatMulNBits.

- q8: `quantize_dynamic`, weights per channel. Without VNNI its AVX2 kernel adds pairs of products in 16 bits, which saturate
  with 8-bit weights; so there `reduce_range`, as its documentation advises.
- q4: `MatMulNBitsQuantizer`, symmetric, blocks of 32, accuracy level 4, which is int8 activations. Attention is fused to
  MultiHeadAttention, which leaves its products to MatMulNBits.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from models import Checkpoint, plain_encoder

NAME = "ONNX Runtime"
FORMATS = {"q8": "int8, dynamic", "q4": "int4, MatMulNBits"}


def vnni() -> bool:
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_vnni" in flags or "avx_vnni" in flags or "asimddp" in flags


def fused(checkpoint: Checkpoint, multi_head: bool, path: Path) -> None:
    """Writes it in fp32 to `path`."""
    import torch
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    plain = path.with_name("plain.onnx")
    ids = torch.randint(4, 1000, (1, 16))
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        plain_encoder(checkpoint, sdpa=False), (ids, torch.ones_like(ids)), str(plain),
        input_names=["input_ids", "attention_mask"], output_names=["states"], opset_version=17, dynamo=False,
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "states": axes},
    )
    options = FusionOptions("bert")
    options.use_multi_head_attention = multi_head
    config = checkpoint.config
    model = optimizer.optimize_model(
        str(plain), "bert", num_heads=config["num_attention_heads"], hidden_size=config["hidden_size"],
        optimization_options=options, opt_level=0,
    )
    statistics = model.get_fused_operator_statistics()
    if not statistics["MultiHeadAttention" if multi_head else "Attention"]:
        raise RuntimeError(f"attention was not fused: {statistics}")
    model.save_model_to_file(str(path))
    plain.unlink()


def build(checkpoint: Checkpoint, fmt: str, path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    fp32 = path / "fp32.onnx"
    fused(checkpoint, fmt == "q4", fp32)
    if fmt == "q8":
        extra = {"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(
            fp32, path / "model.onnx", per_channel=True, weight_type=QuantType.QInt8, reduce_range=not vnni(),
            extra_options=extra,
        )
    else:
        options = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, accuracy_level=4, bits=4)
        quantizer = MatMulNBitsQuantizer(onnx.load(fp32), algo_config=options)
        quantizer.process()
        quantizer.model.save_model_to_file(str(path / "model.onnx"), False)
    fp32.unlink()


def load(path: Path, fmt: str, threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin within a pass, and not between passes, when others work.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def version() -> str:
    import onnxruntime

    return onnxruntime.__version__
