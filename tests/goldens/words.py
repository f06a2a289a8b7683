"""Labels of words that are divided already: tokens as transformers makes them with is_split_into_words, and a word's first token.

python tests/goldens/words.py, from the root; the versions are those of requirements.txt. A few seconds, no network.
Writes words.json: for each model lists of words, their tokens' ids, and each word's label, its probability in fp32, and by how much
it is more probable than the next.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

ROOT = Path(__file__).parent
# name: what the tokenizer is made with in place of what its file says
MODELS = {
    "data/tasks/tags": {"add_prefix_space": True},
    "goldens/architectures/bert-tagger": {},
    "goldens/architectures/camembert-tagger": {},
    "goldens/architectures/distilbert-tagger": {},
}
WORDS = [
    ["Anna", "Smith", "lives", "in", "New", "York", "."],
    ["The", "New-York", "office", "", "doesn't", "open", "\u00e9t\u00e9", "  two words ", "!", "\U0001f600"],
    [],
]

cases = []
for name, settings in MODELS.items():
    folder = ROOT.parent / name
    tokenizer = AutoTokenizer.from_pretrained(folder, **settings)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    for words in WORDS:
        encoding = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        labels = [None] * len(words)
        if words:
            with torch.no_grad():
                probabilities = model(**encoding).logits[0].softmax(-1)
            for row, word in reversed(list(enumerate(encoding.word_ids()))):
                if word is not None:
                    (first, second), (best, _) = (x.tolist() for x in probabilities[row].topk(2))
                    labels[word] = [model.config.id2label[best], round(first, 5), round(first - second, 5)]
        ids = encoding["input_ids"][0].tolist() if words else None
        cases.append({"model": name, "words": words, "ids": ids, "labels": labels})
lines = ",\n".join(json.dumps(case) for case in cases)
(ROOT / "words.json").write_text(f'{{"cases": [\n{lines}\n]}}\n')
