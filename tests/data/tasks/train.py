"""Train the small models of this folder, each for one task, on sentences made here from templates.

    python3 -m venv venv && venv/bin/pip install -r tests/goldens/requirements.txt
    venv/bin/python tests/data/tasks/train.py [NAME ...]

Without names it trains all six, in about an hour on one CPU core. The committed files were made with Python 3.11,
transformers 5.24.0, tokenizers 0.23.3 and torch 2.15.0; on another CPU the weights will differ. Every word is made up here.
"""

import json
import math
import os
import random
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ATEN_CPU_CAPABILITY"] = "avx2"

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import BertConfig, BertTokenizer, RobertaConfig, RobertaTokenizer

HERE = Path(__file__).resolve().parent
TOKENS = 128

SUBJECTS = {
    "sports": ["football", "match", "goal", "team", "coach", "tennis", "race", "score", "player", "season", "stadium", "cup"],
    "cooking": ["soup", "oven", "recipe", "butter", "salt", "kitchen", "bread", "sauce", "onion", "dinner", "pan", "flour"],
    "weather": ["rain", "storm", "sunny", "wind", "snow", "cloud", "forecast", "temperature", "fog", "thunder", "frost", "heat"],
    "money": ["bank", "loan", "price", "market", "shares", "budget", "tax", "profit", "savings", "interest", "invoice", "salary"],
}
FRAMES = ["The {} was the talk of the day.", "Everyone asked about the {} and the {}.", "I read about a {} this morning.",
          "We need a {} before the next {}.", "They said the {} is better than the {}.", "What happened to the {}?",
          "No {} without a {}, as my aunt says.", "A new {} came on Monday.", "She forgot the {} again."]
FIRST = ("Anna Peter Maria John Laura David Emma Paul Sofia Daniel Clara Thomas Julia Martin Helen Victor Nora Oscar Irene "
         "Felix José Zoë Łukasz Chloé Björn Renée Ahmed Mei Ivan Priya").split()
LAST = ("Smith Miller Brown Garcia Müller Rossi Novak Jensen Kowalski Dubois Tanaka Okafor Silva Haddad Lindqvist Fontaine "
        "O'Brien Castellanos Petrov Andersson").split()
PLACES = ["Paris", "London", "Berlin", "Madrid", "Lisbon", "Oslo", "Vienna", "Dublin", "Athens", "Prague", "New York",
          "São Paulo", "Zürich", "Kraków", "Nairobi", "Buenos Aires", "Reykjavík", "Toronto", "Cairo", "Osaka"]
FIRMS = ["Northwind Traders", "Acme", "Blue River Bank", "Globex", "Orion Systems", "Harper & Sons", "Lumen Energy",
         "Vertex Labs", "Silverline", "Redstone Group", "Quanta Foods", "Polar Airlines"]
JOBS = ["teacher", "doctor", "pilot", "baker", "lawyer", "nurse", "gardener", "head of sales", "taxi driver", "painter"]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COLOURS = "red green blue white black yellow".split()
THINGS = "car bike house boat coat guitar lamp table".split()
FILLER = ["It was a long year.", "Nobody was surprised.", "The street is quiet at night.", "That is all we know.",
          "The news came late.", "Many people heard about it.", "There was music in the square."]
FEELINGS = {
    "joy": ["I am so happy", "this made me smile", "what a wonderful day", "we laughed and danced"],
    "sadness": ["I cried all night", "I miss her so much", "it is a sad goodbye", "my heart is broken"],
    "anger": ["I am furious", "how dare they", "this is an outrage", "stop lying to me"],
    "fear": ["I am scared", "something moved in the dark", "my hands are shaking", "I dare not look"],
    "surprise": ["I did not expect that", "wow, really", "out of the blue", "who would have thought"],
}
PLAIN = ["the shop opens at nine", "the bus is late", "the table is made of wood", "I read the report", "it is Tuesday"]
PEOPLE = "man woman boy girl farmer nurse".split()
DOING = "sleeping running singing reading cooking dancing swimming painting".split()
WHERE = "garden kitchen park street library office".split()
ITEMS = "apples bread coffee tea rice shoes bicycles books lamps chairs milk honey".split()
ASPECTS = {"price": ["cost", "price"], "colour": ["colour", "shade"], "origin": ["grown", "origin"],
           "taste": ["taste", "flavour"], "repair": ["repair", "mend"], "storage": ["keep", "storage"]}


def subject_text(rng, subject, sentences=None):
    words = SUBJECTS[subject]
    out = []
    for _ in range(sentences or rng.choice([1, 1, 2, 3, 5])):
        frame = rng.choice(FRAMES + FILLER)
        out.append(frame.format(*rng.sample(words, 2)))
    if not any(word in " ".join(out) for word in words):
        out.append(f"It is about the {rng.choice(words)}.")
    return " ".join(out)


def syllables(rng):
    return "".join(rng.choice(["ka", "lo", "mi", "ran", "tes", "vo", "sel", "bur", "din", "go"]) for _ in range(rng.choice([2, 3, 3]))).capitalize()


def topics(rng):
    names = list(SUBJECTS)
    label = rng.randrange(len(names))
    return subject_text(rng, names[label], rng.choice([1, 2, 3, 6, 9])), None, label


def roughen(rng, text, spans):
    """The text as people write it, with its spans: names in brackets, other blanks, letters in capitals, accents by themselves,
    signs and tokens between the words."""
    edits = []  # (place, characters that go, what comes)
    inside = lambda at: any(start <= at < end for start, end, _ in spans)
    for at, c in enumerate(text):
        if c == " " and rng.random() < 0.12:
            blanks = ["  ", "\n", "\u00a0"]
            signs = [" 😀 ", "😀", "/", "; ", " - ", " [SEP] ", " <mask> ", " </s> ", " <s> ", " 👩\u200d🚀 ", " [MASK] ", " 世界 ", " мир "]
            edits.append((at, 1, rng.choice(blanks + ["😀"] if inside(at) else blanks + signs)))
    for start, end, _ in spans:
        if rng.random() < 0.12:
            left, right = rng.choice(["()", "[]", '""', "''", "“”", ("", "'s"), ("", "..."), ("", "😀")])
            edits += [(start, 0, left), (end, 0, right)]
    case = rng.choice([str.upper, str.lower, *[None] * 12])
    apart = rng.random() < 0.1
    for at, c in enumerate(text):
        other = case(c) if case else c
        other = unicodedata.normalize("NFD", other) if apart else other
        if other != c:
            edits.append((at, 1, other))
    if rng.random() < 0.1:
        edits += [(0, 0, rng.choice([" ", "  "])), (len(text), 0, rng.choice([" ", "\n"]))]
    # What comes at a place belongs to what begins there only if something goes for it, and after what ends there.
    out, moved = "", {}
    starts, ends = {start for start, _, _ in spans}, {end for _, end, _ in spans}
    for at in range(len(text) + 1):
        here = [edit for edit in edits if edit[0] == at]
        if at in ends:
            moved[at, "end"] = len(out)
        out += "".join(new for _, gone, new in here if not gone)
        if at in starts:
            moved[at, "start"] = len(out)
        if at < len(text):
            out += next((new for _, gone, new in here if gone), text[at])
    return out, [(moved[start, "start"], moved[end, "end"], kind) for start, end, kind in spans]


def tags(rng):
    """The text with its spans, of which the labels of the tokens are made."""
    text, spans = "", []
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        frame = rng.choice(["{P} lives in {L}.", "{P} works for {O} in {L}.", "{O} opened an office in {L}, said {P}.",
                            "On {D}, {P} met {P}.", "The train from {L} to {L} was late.", "{P} left {O} on {D}.", "{F}", "{F}",
                            "I saw {P} with a {c} {t}.", "{O} and {O} will merge.", "Is {L} far from {L}?", "{P}, {P} and {P} moved to {L}!",
                            "Dr. {P} of the {O} sold {L}'s {t}.", "{P} and {P} work for {O} in {L}.", "{P} works for {O}.",
                            "{P} left {L}.", "{P}", "{L}", "{O}", "{O} opened an office in {L}, said {P}."])
        text += " " if text else ""
        while frame:
            head, brace, frame = frame.partition("{")
            text += head
            if not brace:
                break
            kind, frame = frame[0], frame[2:]
            word = {
                "P": lambda: rng.choice([rng.choice(FIRST), f"{rng.choice(FIRST)} {rng.choice(LAST)}", f"{syllables(rng)} {rng.choice(LAST)}",
                                         f"{syllables(rng)}burg-{syllables(rng)}"]),
                "L": lambda: rng.choice(PLACES + [syllables(rng) + rng.choice(["ville", " City", "burg"])]),
                "O": lambda: rng.choice(FIRMS + [syllables(rng) + rng.choice([" Ltd", " Corp", " & Co"])]),
                "D": lambda: rng.choice(DAYS), "F": lambda: rng.choice(FILLER),
                "c": lambda: rng.choice(COLOURS), "t": lambda: rng.choice(THINGS),
            }[kind]()
            if kind in "PLO":
                spans.append((len(text), len(text) + len(word), {"P": "PER", "L": "LOC", "O": "ORG"}[kind]))
            text += word
    text, spans = roughen(rng, text, spans) if rng.random() < 0.5 else (text, spans)
    if rng.random() < 0.3:
        # As windows cut it.
        first, end = sorted(rng.choices(range(len(text) + 1), k=2))
        cut = [(max(start, first) - first, min(stop, end) - first, kind) for start, stop, kind in spans]
        text, spans = text[first:end], [span for span in cut if span[0] < span[1]]
    return text, None, spans


def answers(rng):
    """Facts of several people in the second text; the answer is a span of it, or None where nothing answers."""
    people = rng.sample(FIRST[:20], rng.choice([1, 2, 2, 2, 3, 4]))
    facts, asked = [], []
    for name in people:
        place, job, day, colour, thing = (rng.choice(x) for x in (PLACES, JOBS, DAYS, COLOURS, THINGS))
        kinds = [(f"{name} lives in {place}.", f"Where does {name} live?", place),
                 (f"{name} works as a {job}.", f"What does {name} do?", job),
                 (f"{name} bought a {colour} {thing}.", f"What did {name} buy?", f"{colour} {thing}"),
                 (f"{name} came back on {day}.", f"When did {name} come back?", day)]
        told = rng.sample(kinds, rng.choice([1, 2, 2, 3]))
        facts += [fact for fact, _, _ in told]
        asked += [(question, fact, answer) for fact, question, answer in told]
        asked += [(question, None, None) for _, question, _ in kinds if rng.random() < 0.25 and question not in [q for _, q, _ in told]]
    if rng.random() < 0.15:
        other = rng.choice([name for name in FIRST[:20] if name not in people])
        asked = [(f"Where does {other} live?", None, None), (f"What does {other} do?", None, None)]
    facts += rng.sample(FILLER, rng.choice([0, 0, 1, 3]))
    rng.shuffle(facts)
    question, fact, answer = rng.choice(asked)
    context = " ".join(facts)
    if answer is None:
        return question, context, None
    start = context.index(fact) + fact.rindex(answer)
    return question, context, (start, start + len(answer))


def nli(rng):
    """0 entailment, 1 neutral, 2 contradiction."""
    label = rng.randrange(3)
    if rng.random() < 0.5:
        subject = rng.choice(list(SUBJECTS))
        text = subject_text(rng, subject, rng.choice([1, 2, 3, 4]))
        other = rng.choice([name for name in SUBJECTS if name != subject])
        word = {0: subject, 1: rng.choice(["interesting", "long", "old", "well known"]), 2: other}[label]
        return text, rng.choice(["This text is about {}.", "This example is {}.", "It is about {}.", "{}"]).format(word), label
    who, doing, where = rng.choice(PEOPLE), rng.choice(DOING), rng.choice(WHERE)
    premise = rng.choice(["A {} is {} in the {}.", "The {} was {} in the {} all day.", "I saw a {} {} in the {}."]).format(who, doing, where)
    other = rng.choice([x for x in DOING if x != doing])
    elsewhere = rng.choice([x for x in WHERE if x != where])
    return premise, {
        0: rng.choice([f"Someone is {doing}.", f"The {who} is {doing}.", f"The {who} is in the {where}."]),
        1: f"The {who} is {rng.choice(['happy', 'tired', 'from Paris', 'rich'])}.",
        2: rng.choice([f"The {who} is {other}.", f"The {who} is in the {elsewhere}.", "Nobody is there."]),
    }[label], label


def relevance(rng):
    item, aspect = rng.choice(ITEMS), rng.choice(list(ASPECTS))
    frames = ["{a} of {i}", "what is the {a} of {i}?", "{i}: {a}", "tell me about the {a} of {i}"]
    query = rng.choice(frames).format(i=item, a=rng.choice(ASPECTS[aspect]))
    about = item if rng.random() < 0.5 else rng.choice([x for x in ITEMS if x != item])
    side = rng.choice(list(ASPECTS))
    document = rng.choice(["The {a} of {i} depends on the season.", "People often ask for the {a} of {i}.", "For {i}, the {a} matters most.",
                           "Our page on {i} explains the {a} in detail."]).format(i=about, a=rng.choice(ASPECTS[side]))
    filler = rng.sample(FILLER, rng.choice([0, 0, 1, 3]))
    return query, " ".join([document, *filler]), float(about == item)


def emotions(rng):
    chosen = rng.sample(list(FEELINGS), rng.choice([0, 1, 1, 1, 2, 2, 3]))
    parts = [rng.choice(FEELINGS[name]) for name in chosen] + rng.sample(PLAIN, rng.choice([0, 1, 2]) if chosen else 1)
    rng.shuffle(parts)
    text = rng.choice([", and ", ". ", "; "]).join(parts) + rng.choice([".", "!", ""])
    return text, None, [float(name in chosen) for name in FEELINGS]


def labels(*names):
    return dict(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})


CLASSIFIER = "ForSequenceClassification"
# name: maker, family, head, configuration, size of the vocabulary, steps, batch
TASKS = {
    "topics": (topics, "Roberta", CLASSIFIER, labels(*SUBJECTS), 480, 500, 32),
    "tags": (tags, "Roberta", "ForTokenClassification", labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG") | dict(
        hidden_size=128, intermediate_size=256, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1), 640, 9000, 32),
    "answers": (answers, "Roberta", "ForQuestionAnswering", dict(hidden_size=96, intermediate_size=192, num_hidden_layers=3), 700, 3000, 32),
    "nli": (nli, "Roberta", CLASSIFIER, labels("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), 560, 3000, 48),
    "relevance": (relevance, "Bert", CLASSIFIER, dict(num_labels=1), 420, 4000, 48),
    "emotions": (emotions, "Bert", CLASSIFIER, labels(*FEELINGS) | dict(problem_type="multi_label_classification"), 420, 600, 32),
}
# A second training for what doesn't learn with dropout from the start.
AGAIN = {"answers": dict(steps=4000, peak=7e-4, dropout=0.05)}


def make_tokenizer(family, texts, size):
    if family == "Roberta":
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.train_from_iterator(texts, trainers.BpeTrainer(
            vocab_size=size - 1, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        vocab = bpe.get_vocab()
        merges = [tuple(merge) for merge in json.loads(bpe.to_str())["model"]["merges"]]
        mask = AddedToken("<mask>", lstrip=True, special=True)
        return RobertaTokenizer(vocab=vocab | {"<mask>": len(vocab)}, merges=merges, mask_token=mask, model_max_length=TOKENS)
    # The trainer for WordPiece numbers the pieces otherwise at every run, so: characters, the most frequent words, ends of words.
    words = Counter(word for text in texts for word in "".join(c if c.isalnum() else " " for c in text.lower()).split())
    ends = Counter()
    for word, count in words.items():
        ends.update({"##" + word[at:]: count for at in range(1, len(word) - 1)})
    alphabet = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    best = lambda counts, n: sorted(counts, key=lambda key: (-counts[key], key))[:n]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *alphabet, *("##" + c for c in alphabet if c.isalnum()),
             *best(words, size // 3), *best(ends, size // 6)]
    return BertTokenizer(vocab={token: i for i, token in enumerate(dict.fromkeys(vocab))}, do_lower_case=True, model_max_length=TOKENS)


def make_model(family, head, fields, size):
    shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=size,
                 hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0) | fields
    if family == "Roberta":
        config = RobertaConfig(**shape, max_position_embeddings=TOKENS + 2, type_vocab_size=1, layer_norm_eps=1e-5)
    else:
        config = BertConfig(**shape, max_position_embeddings=TOKENS, type_vocab_size=2)
    model = getattr(transformers, family + head)(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(0, 0.5 / math.sqrt(parameter.shape[1]) if "embeddings" not in name else 0.1)
    # Sinusoids, from which neighbours are found sooner than from noise.
    table = model.base_model.embeddings.position_embeddings.weight
    at = torch.arange(len(table))[:, None] / 10000 ** (torch.arange(0, table.shape[1], 2) / table.shape[1])
    table.data = 0.1 * torch.stack([at.sin(), at.cos()], -1).flatten(1)
    return model


def same_token(model, layer, heads):
    """Let heads begin as looks at the tokens that are equal to this one: queries are keys."""
    size = model.config.hidden_size // model.config.num_attention_heads
    attention = model.base_model.encoder.layer[layer].attention.self
    for head in heads:
        rows = slice(head * size, (head + 1) * size)
        attention.query.weight.data[rows].normal_(0, 0.2)
        attention.key.weight.data[rows] = attention.query.weight.data[rows]


def look_back(model, layer, heads):
    """Let heads begin as looks at 1, 2, 3 and 4 tokens before: rotations of the fastest sinusoids, which get dimensions of
    their own; those of the words are the rest."""
    config, embeddings = model.config, model.base_model.embeddings
    size = config.hidden_size // config.num_attention_heads
    embeddings.position_embeddings.weight.data *= 3
    embeddings.position_embeddings.weight.data[:, size:] *= 0.02
    # The first places are the question's.
    embeddings.position_embeddings.weight.data[:10, size:size + 4] = 0.4
    embeddings.word_embeddings.weight.data[:, :size] *= 0.1
    attention = model.base_model.encoder.layer[layer].attention.self
    for head in heads:
        rows = slice(head * size, (head + 1) * size)
        attention.query.weight.data[rows].zero_()
        attention.key.weight.data[rows].zero_()
        for pair in range(size // 2):
            angle = -(head + 1) / 10000 ** (2 * pair / config.hidden_size)
            row, column = head * size + 2 * pair, 2 * pair
            # A row (sin, cos) of position p times this gives that of p + angle / frequency.
            attention.query.weight.data[row:row + 2, column:column + 2] = 2.5 * torch.tensor(
                [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            attention.key.weight.data[row:row + 2, column:column + 2] = 2.5 * torch.eye(2)


def token_labels(task, encoding, target, label2id):
    """What the head should say: for `tags` a label for each token, for `answers` its first and last token."""
    if task == "tags":
        out = []
        for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask):
            hit = next(((s, kind) for s, e, kind in target if start < e and end > s), None)
            out.append(-100 if special else label2id[("B-" if start <= hit[0] else "I-") + hit[1]] if hit else 0)
        return out
    if target is None:
        return [0, 0]
    inside = [i for i, (start, end) in enumerate(encoding.offsets)
              if encoding.sequence_ids[i] == 1 and start < target[1] and end > target[0]]
    return [inside[0], inside[-1]]


def loss_of(task, model, batch, targets):
    out = model(**batch)
    if task == "answers":
        blank = (1 - batch["attention_mask"]) * -1e4
        return (F.cross_entropy(out.start_logits + blank, targets[:, 0]) + F.cross_entropy(out.end_logits + blank, targets[:, 1])) / 2
    if task == "tags":
        return F.cross_entropy(out.logits.flatten(0, 1), targets.flatten(), label_smoothing=0.02)
    if targets.dtype == torch.float32:
        return F.binary_cross_entropy_with_logits(out.logits.view_as(targets), targets * 0.96 + 0.02)
    return F.cross_entropy(out.logits, targets, label_smoothing=0.02)


def right(task, model, batch, targets):
    out = model(**batch)
    if task == "answers":
        blank = (1 - batch["attention_mask"]) * -1e4
        found = torch.stack([(out.start_logits + blank).argmax(-1), (out.end_logits + blank).argmax(-1)], -1)
        return (found == targets).all(-1).float().mean()
    if task == "tags":
        return (out.logits.argmax(-1) == targets)[targets >= 0].float().mean()
    if task == "relevance":
        return ((out.logits[:, 0] > 0) == (targets > 0.5)).float().mean()
    if task == "emotions":
        return ((out.logits > 0) == (targets > 0.5)).all(-1).float().mean()
    return (out.logits.argmax(-1) == targets).float().mean()


def batch_of(task, maker, rng, tokenizer, size, label2id):
    examples = []
    while len(examples) < size:
        text, pair, target = maker(rng)
        encoding = tokenizer(text, pair)
        if len(encoding["input_ids"]) <= TOKENS:
            examples.append((encoding.encodings[0], target))
    if task in ("tags", "answers"):
        targets = [token_labels(task, encoding, target, label2id) for encoding, target in examples]
    else:
        targets = [target for _, target in examples]
    longest = max(len(encoding.ids) for encoding, _ in examples)
    pad = lambda rows, value: torch.tensor([list(row) + [value] * (longest - len(row)) for row in rows])
    batch = {"input_ids": pad([e.ids for e, _ in examples], tokenizer.pad_token_id),
             "attention_mask": pad([e.attention_mask for e, _ in examples], 0)}
    if "token_type_ids" in tokenizer.model_input_names:
        batch["token_type_ids"] = pad([e.type_ids for e, _ in examples], 0)
    return batch, pad(targets, -100) if task == "tags" else torch.tensor(targets)


def steps_of(task, model, rng, tokenizer, steps, peak):
    """Train, with a learning rate that rises to its peak and falls to 2 % of it."""
    maker, batch_size = TASKS[task][0], TASKS[task][-1]
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], lr=1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: peak * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2))
    begun = time.time()
    for step in range(steps):
        batch, targets = batch_of(task, maker, rng, tokenizer, batch_size, model.config.label2id)
        loss = loss_of(task, model, batch, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"{task} {step} loss {loss.item():.4f} {time.time() - begun:.0f} s", flush=True)


def train(task):
    maker, family, head, fields, size, steps, _ = TASKS[task]
    rng = random.Random(task)
    texts = [part for _ in range(3000) for part in maker(rng)[:2] if part]
    tokenizer = make_tokenizer(family, texts, size)
    torch.manual_seed(1)
    model = make_model(family, head, fields, len(tokenizer))
    if task == "answers":
        same_token(model, 0, (0, 1, 2))
        look_back(model, 1, (0, 1, 2, 3))
    if task == "relevance":
        same_token(model, 0, (0, 1))
    steps_of(task, model, rng, tokenizer, steps, 1.5e-3)
    if task in AGAIN:
        model = model.half().float()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = AGAIN[task]["dropout"]
        torch.manual_seed(2)
        rng = random.Random(task + " again")
        steps_of(task, model, rng, tokenizer, AGAIN[task]["steps"], AGAIN[task]["peak"])
    model = model.eval().half().float()
    with torch.no_grad():
        score = sum(right(task, model, *batch_of(task, maker, rng, tokenizer, 50, model.config.label2id)).item() for _ in range(10)) / 10
    print(f"{task}: {score:.1%} right on 500 new examples, {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    folder = HERE / task
    tokenizer.save_pretrained(folder)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name in sys.argv[1:] or TASKS:
        train(name)
