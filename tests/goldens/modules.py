"""Embeddings of sentence-transformers for modules in all their forms, over the encoder of tests/data/published/st-default-prompt.

python tests/goldens/modules.py, from the root; the versions are those of requirements.txt. A few seconds, no network.
Writes modules.json: for each model the files that differ from that checkpoint's, texts, and embeddings in fp32.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

ROOT = Path(__file__).parent
DATA = ROOT.parent / "data" / "published"
CASE = "st-default-prompt"
HIDDEN = 32
TEXTS = ["Where did you put the keys?", "a", "The cat sat on the mat and the dog lay by the door. " * 4]


def module(path, kind):
    return {"idx": 0, "name": path or "0", "path": path, "type": f"sentence_transformers.models.{kind}"}


def pooling(*modes, **more):
    return {"embedding_dimension": HIDDEN, "pooling_mode": list(modes) if len(modes) > 1 else modes[0], **more}


def older(*modes):
    names = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    return {"word_embedding_dimension": HIDDEN, **{f"pooling_mode_{name}": name in modes for name in names}}


def dense(inputs, outputs, bias=True, activation="torch.nn.modules.activation.Tanh"):
    settings = {"in_features": inputs, "out_features": outputs, "bias": bias}
    if activation:
        settings["activation_function"] = activation
    tensors = {"linear.weight": torch.randn(outputs, inputs).mul(inputs**-0.5).mul(1024).round().div(1024)}
    if bias:
        tensors["linear.bias"] = torch.randn(outputs).mul(0.5).mul(1024).round().div(1024)
    return settings, tensors


torch.manual_seed(1)
PROMPTS = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
NONE = {"prompts": {}}
# name: pooling, what follows it, config_sentence_transformers.json
MODELS = {
    "mean-sqrt": (pooling("mean_sqrt_len_tokens"), [], NONE),
    "weighted": (pooling("weightedmean"), [], PROMPTS),
    "weighted-without-prompt": (pooling("weightedmean", include_prompt=False), ["normalize"], PROMPTS),
    "last": (pooling("lasttoken"), [], NONE),
    "cls-without-prompt": (pooling("cls", include_prompt=False), [], PROMPTS),
    "max-without-prompt": (pooling("max", include_prompt=False), [], PROMPTS),
    "several": (pooling("max", "cls", "weightedmean"), ["normalize"], NONE),
    "several-older": (older("lasttoken", "mean_tokens", "cls_token", "mean_sqrt_len_tokens"), [], NONE),
    "none-older": (older(), [], NONE),
    "dense": (pooling("mean"), [dense(32, 12), "normalize"], NONE),
    "dense-without-bias": (pooling("cls"), [dense(32, 8, False, "torch.nn.modules.linear.Identity")], NONE),
    "dense-of-others": (pooling("mean"), [dense(32, 6, True, "my.own.Activation")], NONE),
    "two-dense": (
        pooling("mean", "max"),
        [dense(64, 20, True, "torch.nn.modules.activation.GELU"), "normalize",
         dense(20, 10, False, "torch.nn.modules.activation.Sigmoid")],
        NONE,
    ),
    "relu": (pooling("mean"), [dense(32, 9, True, "torch.nn.modules.activation.ReLU")], NONE),
}

# A vector for each token: as sentence-transformers 6 saves it, and PyLate before. Of the latter, punctuation is left out, which
# the texts that are compared don't have.
KINDS = {"MultiVectorMask": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"}
OF_TOKENS = {"module_input_name": "token_embeddings"}
IDENTITY = "torch.nn.modules.linear.Identity"


def of_tokens(layer, **names):
    return {**layer[0], **names}, layer[1]


WORDS = ["where did you put the keys", "a", "the cat sat on the mat and the dog lay by the door"]
MODELS |= {
    "tokens": (None, [of_tokens(dense(32, 12, False, IDENTITY), **OF_TOKENS), "mask", "normalize"],
               {"model_type": "MultiVectorEncoder", "similarity_fn_name": "maxsim", "prompts": {"query": "query: "},
                "default_prompt_name": "query"}),
    "tokens-two-dense": (None, [of_tokens(dense(32, 20), **OF_TOKENS), of_tokens(dense(20, 8, False, IDENTITY), **OF_TOKENS)],
                         {"model_type": "MultiVectorEncoder", "prompts": {}}),
    "tokens-pylate": (None, [dense(32, 16, False, IDENTITY)],
                      {"model_type": "ColBERT", "prompts": {}, "query_prefix": "the ", "document_prefix": "a ",
                       "query_length": 32, "document_length": 180, "attend_to_expansion_tokens": False}),
}

links = next(case["links"] for case in json.loads((DATA / "cases.json").read_text())["cases"] if case["case"] == CASE)
made = []
for name, (settings, steps, prompts) in MODELS.items():
    files = {"1_Pooling/config.json": settings} if settings else {}
    files["config_sentence_transformers.json"] = prompts
    modules, tensors = [module("", "Transformer")], {}
    if settings:
        modules.append(module("1_Pooling", "Pooling"))
    for n, step in enumerate(steps, len(modules)):
        if step == "normalize":
            modules.append(module(f"{n}_Normalize", "Normalize"))
            if not settings:
                files[f"{n}_Normalize/config.json"] = OF_TOKENS
        elif step == "mask":
            modules.append({**module(f"{n}_MultiVectorMask", ""), "type": KINDS["MultiVectorMask"]})
            files[f"{n}_MultiVectorMask/config.json"] = {"skiplist_words": [], "skiplist_tasks": ["document"]}
        else:
            modules.append(module(f"{n}_Dense", "Dense"))
            if name == "tokens-pylate":
                modules[-1]["type"] = "pylate.models.Dense.Dense"
            files[f"{n}_Dense/config.json"], tensors[f"{n}_Dense/model.safetensors"] = step
    for i, entry in enumerate(modules):
        entry["idx"], entry["name"] = i, str(i)
    files["modules.json"] = modules
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(DATA / CASE, folder)
        for file, link in links.items():
            shutil.copyfile(DATA / link, folder / file)
        for file, content in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(json.dumps(content))
        for file, content in tensors.items():
            save_file(content, folder / file)
        for module_ in modules:
            (folder / module_["path"]).mkdir(exist_ok=True)
        make = SentenceTransformer if settings else MultiVectorEncoder
        texts = TEXTS if settings else WORDS
        model = make(str(folder), device="cpu").float()
        # The vectors of tokens one behind the other.
        embeddings = [model.encode(text).flatten().tolist() for text in texts]
    made.append({
        "name": name, "files": files,
        "tensors": {f: {n: [list(t.shape), t.flatten().tolist()] for n, t in c.items()} for f, c in tensors.items()},
        "texts": texts, "embeddings": [[round(x, 6) for x in row] for row in embeddings],
    })
text = ",\n".join(json.dumps(entry) for entry in made)
(ROOT / "modules.json").write_text(f"[\n{text}\n]\n")
