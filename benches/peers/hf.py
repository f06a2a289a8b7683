"""transformers on torch, in fp32, with scaled_dot_product_attention: what errors are measured against."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from models import Checkpoint

NAME = "transformers"
FORMATS = {"fp32": "fp32, torch"}


def build(checkpoint: Checkpoint, fmt: str, path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (path / file).symlink_to(checkpoint.directory.resolve() / file)


def load(path: Path, fmt: str, threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(path, dtype=torch.float32, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def encode(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        states = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
        return states.numpy()

    return encode


def version() -> str:
    import torch
    import transformers

    return f"{transformers.__version__}, torch {torch.__version__}"
