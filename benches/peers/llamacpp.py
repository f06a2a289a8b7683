"""llama.cpp, by the library in llama-cpp-python's source package, built for this processor: Q8_0 and Q4_0.

Flash attention on, one micro-batch of 512 tokens, weights repacked by its defaults.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
from models import Checkpoint, made

NAME = "llama.cpp"
FORMATS = {"q8": "Q8_0", "q4": "Q4_0"}
MAX_TOKENS = 512

LAYER = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}
TABLES = {"word_embeddings": "token_embd", "position_embeddings": "position_embd", "token_type_embeddings": "token_types"}


def write_f32(checkpoint: Checkpoint, path: Path) -> None:
    """Writes model.gguf without a tokenizer: ids are given."""
    import gguf

    config = checkpoint.config
    writer = gguf.GGUFWriter(path / "model.gguf", "bert")
    writer.add_context_length(MAX_TOKENS)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.NONE)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_token_type_count(config["type_vocab_size"])
    tensors = {name: tensor.numpy() for name, tensor in checkpoint.tensors().items()}
    for name, table in TABLES.items():
        rows = tensors[f"embeddings.{name}.weight"]
        writer.add_tensor(f"{table}.weight", rows[checkpoint.position_offset :] if table == "position_embd" else rows)
    for kind in ("weight", "bias"):
        writer.add_tensor(f"token_embd_norm.{kind}", tensors[f"embeddings.LayerNorm.{kind}"])
        for i in range(config["num_hidden_layers"]):
            for name, theirs in LAYER.items():
                writer.add_tensor(f"blk.{i}.{theirs}.{kind}", tensors[f"encoder.layer.{i}.{name}.{kind}"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build(checkpoint: Checkpoint, fmt: str, path: Path) -> None:
    import llama_cpp

    source = made(path.with_name("llamacpp-f32"), lambda part: write_f32(checkpoint, part)) / "model.gguf"
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0 if fmt == "q8" else llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(path / "model.gguf").encode(), ctypes.byref(options)
    )
    if status:
        raise RuntimeError(f"llama_model_quantize: status {status}")


def load(path: Path, fmt: str, threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import llama_cpp

    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(path / "model.gguf").encode(), llama_cpp.llama_model_default_params()
    )
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = MAX_TOKENS
    options.n_threads = options.n_threads_batch = threads
    options.embeddings = True
    options.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
    options.flash_attn_type = 1
    context = llama_cpp.llama_init_from_model(model, options) if model else None
    if not context:
        raise RuntimeError(f"{path}: llama.cpp doesn't load it")
    width = llama_cpp.llama_model_n_embd(model)
    batch = llama_cpp.llama_batch_init(MAX_TOKENS, 0, 1)

    def encode(ids: np.ndarray, _mask: np.ndarray) -> np.ndarray:
        if len(ids) != 1:
            raise ValueError("one sequence at a time")
        batch.n_tokens = ids.shape[1]
        for i, token in enumerate(ids[0].tolist()):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        if status := llama_cpp.llama_encode(context, batch):
            raise RuntimeError(f"llama_encode: status {status}")
        states = llama_cpp.llama_get_embeddings(context)
        return np.ctypeslib.as_array(states, (1, ids.shape[1], width)).copy()

    return encode


def version() -> str:
    import llama_cpp

    return f"llama-cpp-python {llama_cpp.__version__}"
