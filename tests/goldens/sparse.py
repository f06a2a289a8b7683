"""Sparse embeddings of sentence-transformers' SparseEncoder, over masked language models that lie in tests/.

python tests/goldens/sparse.py, from the root; the versions are those of requirements.txt. A few seconds, no network.
Writes sparse.json: for each model the files that are put beside the checkpoint's, texts, and their weights in fp32.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from sentence_transformers import SparseEncoder

ROOT = Path(__file__).parent
TESTS = ROOT.parent
TEXTS = ["The cat sat on the mat.", "", "Where did you put the keys? They were on the table, under the newspaper."]
BOOK = ["He walked to the house and opened the door.", "The garden was quiet.", "<mask>"]


def modules(first, second):
    """modules.json with these classes, as version 6 names them, or version 5."""
    kinds = [("", first), ("1_SpladePooling", second)]
    return [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]


NEW = modules(
    "sentence_transformers.base.modules.transformer.Transformer",
    "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling",
)
OLD = modules(
    "sentence_transformers.sparse_encoder.models.MLMTransformer",
    "sentence_transformers.sparse_encoder.models.SpladePooling",
)
FILL_MASK = {
    "transformer_task": "fill-mask",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
    "module_output_name": "token_embeddings",
}


def splade(strategy, activation, **more):
    return {"pooling_strategy": strategy, "activation_function": activation, **more}


def whole(**more):
    return {"model_type": "SparseEncoder", "prompts": {"query": "", "document": ""}, "default_prompt_name": None,
            "similarity_fn_name": "dot", **more}


# name: checkpoint, the files beside it, texts, and how many weights of each are kept
MODELS = {
    "bert": ("goldens/architectures/bert-mlm", {
        "modules.json": NEW,
        "sentence_bert_config.json": FILL_MASK,
        "1_SpladePooling/config.json": splade("max", "relu", embedding_dimension=323),
        "config_sentence_transformers.json": whole(similarity_fn_name=None),
    }, TEXTS, None),
    "xlm-roberta-sum": ("goldens/architectures/xlm-roberta-mlm", {
        "modules.json": OLD,
        "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
        "1_SpladePooling/config.json": splade("sum", "relu", word_embedding_dimension=None),
        "config_sentence_transformers.json": whole(),
    }, TEXTS, None),
    "distilbert-log-prompt": ("goldens/architectures/distilbert-mlm", {
        "modules.json": NEW,
        "sentence_bert_config.json": FILL_MASK,
        "1_SpladePooling/config.json": splade("max", "log1p_relu"),
        "config_sentence_transformers.json": whole(
            prompts={"query": "query: ", "document": ""}, default_prompt_name="query", max_active_dims=20),
    }, TEXTS, None),
    "camembert-log-sum": ("goldens/architectures/camembert-mlm", {
        "modules.json": OLD,
        "1_SpladePooling/config.json": splade("sum", "log1p_relu"),
        "config_sentence_transformers.json": whole(max_active_dims=100),
    }, TEXTS, None),
    # Without modules.json: what SparseEncoder makes of a masked language model.
    "electra-plain": ("goldens/architectures/electra-mlm", {}, TEXTS[:1], None),
    "demo-model": ("data/demo-model", {}, BOOK, 64),
}

made = []
for name, (checkpoint, files, texts, most) in MODELS.items():
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(TESTS / checkpoint, folder)
        for file, content in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(json.dumps(content))
        model = SparseEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        rows = [model.encode(text, max_active_dims=most).to_dense() for text in texts]
        sums = [model.encode(text).to_dense().double().sum().item() for text in texts]
        similarity = model.similarity(rows[0], torch.stack(rows)).tolist()[0]
    embeddings = []
    for row in rows:
        (indices,) = row.nonzero(as_tuple=True)
        embeddings.append({"indices": indices.tolist(), "values": [round(x, 6) for x in row[indices].tolist()]})
    made.append({"name": name, "checkpoint": checkpoint, "files": files, "max_active_dims": most, "texts": texts,
                 "embeddings": embeddings, "sums": [round(x, 4) for x in sums],
                 "similarity": [round(x, 5) for x in similarity]})
text = ",\n".join(json.dumps(entry) for entry in made)
(ROOT / "sparse.json").write_text(f"[\n{text}\n]\n")
