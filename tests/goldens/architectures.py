"""Write architectures/, architectures.json and architectures.safetensors: tiny random models of each architecture and
each kind of head that rq reads, and what Hugging Face transformers, in fp32 on the CPU, answers for them.

    venv/bin/python tests/goldens/architectures.py            # the models, their tokenizers and the answers
    venv/bin/python tests/goldens/architectures.py --answers  # the answers only, of the models as committed

README.md beside this file says how the environment is made, and which versions made the committed files. The Unigram
vocabularies are trained by sentencepiece, which only the first of the two calls needs. Half a minute, no network.
"""

import argparse
import io
import json
import os
import shutil
import tempfile
import unicodedata
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ATEN_CPU_CAPABILITY"] = "avx2"

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (AutoTokenizer, BertTokenizer, CamembertTokenizer, MPNetTokenizer, RobertaTokenizer,
                          XLMRobertaTokenizer)

HERE = Path(__file__).resolve().parent
OUT = HERE / "architectures"
TOKENS = 128  # the longest sequence that the models take, with the special tokens

# What the vocabularies are learnt from, written for this purpose.
TEXT = """
The cat sat on the mat and the dog lay by the door. It was a quiet morning in the small town near the river.
Where did you put the keys? They were on the table, under the newspaper, and nobody had moved them since Monday.
She opened the window, looked at the street and counted the people who were waiting for the bus.
A good model answers the question that it was asked, and says so when it doesn't know the answer.
The train to the city leaves at seven; the last one comes back at half past ten in the evening.
Who wrote the letter that came yesterday? My brother wrote it, but he won't say why he was so angry.
Water boils at one hundred degrees, and freezes at zero, unless the pressure or the salt in it changes that.
We're going to the market to buy bread, apples, cheese, six eggs and a bottle of milk for the children.
The teacher explained the problem again, slowly, with a drawing on the board, and everyone understood it.
He walked along the beach for hours, thinking about the book he would write when the summer was over.
Rain fell during the night, and the garden smelled of wet earth, leaves and flowers in the early light.
The new bridge is longer than the old one: it has four lanes, two paths and a view over the whole valley.
I can't remember the name of the restaurant, but it's between the library and the railway station.
The company sold its first machine in spring, and by the end of the year had sold nearly a thousand.
Doctors say that walking, sleeping well and eating less sugar helps most of their patients.
Nobody believed the story until the photographs were found in a box behind the wall of the kitchen.
The river was higher than in other years, so the farmers moved the sheep to the fields on the hill.
If the answer isn't in the text, the first token is the answer; if it is, some of its words are.
Music from the open door of the school filled the square, and the old man on the bench began to sing.
Please send the report before Friday, and don't forget to include the figures of the third quarter.
"""
OTHER_TEXT = """
Le chat dort sur le canapé pendant que la pluie tombe sur les toits de la ville et que le café refroidit.
Où est la clé de la maison ? Elle était sur la table de la cuisine, à côté du pain et des fleurs séchées.
L'été dernier, nous avons traversé la forêt à pied, puis mangé une crème brûlée près de la gare.
Die Katze schläft auf dem Sofa, während der Regen auf die Dächer der Stadt fällt und der Tee kalt wird.
Wo ist der Schlüssel für das Haus? Er lag auf dem Tisch in der Küche, neben dem Brot und den Blumen.
El gato duerme en el sofá mientras la lluvia cae sobre los tejados de la ciudad. ¿Dónde está la llave?
Кошка спит на диване, пока дождь стучит по крышам города. Где ключ от дома? Привет, мир.
Η γάτα κοιμάται στον καναπέ. Πού είναι το κλειδί του σπιτιού; Γειά σου κόσμε.
猫在沙发上睡觉，雨落在城市的屋顶上。你好，世界。钥匙在哪里？
ねこはソファで寝ています。こんにちは、世界。かぎはどこですか。
고양이가 소파에서 자고 있다. 열쇠는 어디에 있니? 한국어 안녕하세요.
القطة تنام على الأريكة. مرحبا بالعالم. أين مفتاح البيت؟
"""

LONG = (
    "She opened the window, looked at the street and counted the people who were waiting for the bus. It was a quiet "
    "morning, and the garden smelled of wet earth, so nobody believed the story about the bridge; the old man on the "
    "bench began to sing."
)
# Each tokenizer gets all of these once, and each model those of FEW and FEW_PAIRS, whose tensors are kept.
TEXTS = [
    "The cat sat on the mat.",
    "",
    "A",
    "Does it  keep   double spaces,\ttabs\nand\r\nnew lines?",
    " leading and trailing blanks  ",
    "Crème brûlée, naïve café, Ångström & Łódź, SÃO PAULO!",
    "cafe\u0301 and n\u0303 with combining accents, \u1ea5 \u0323x",
    "Smile 😀 and wave 👋🏽, a family 👨\u200d👩\u200d👧 & a flag 🇫🇷.",
    "Привет, мир. Γειά σου κόσμε. 你好，世界。 こんにちは 한국어 مرحبا",
    "ﬁne ﬂour, Ｆｕｌｌ－ｗｉｄｔｈ, ½ of x² is ™ … Ⅳ",
    "I can't, won't, I'm; we'll (don't) \"quote\" 'em -- e.g. 3.5% of $1,000.00!",
    "Tokens written out: [SEP] and <s> or </s> then [MASK] <mask> , [CLS]<pad>[UNK]<unk>.",
    "the first <mask> and [MASK]of the year",
    "\u00a0no-break\u2009thin\u200bzero\u00adsoft\u3000wide\ufeffmark",
    "bell\x07, nul\x00, delete\x7f, next\x85line, unassigned \u0378 and replaced \ufffd",
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen and supercalifragilisticexpialidocious",
    "x" * 101 + " is one word too long for WordPiece",
    "Straße STRASSE ŞİŞLİ ıI ΣΑΣ ǅ",
    "Où est la clé ? Elle était sur la table, à côté du pain.",
    LONG,
]
PAIRS = [
    ("Who sat on the mat?", "The cat sat on the mat."),
    ("", "only the second"),
    ("only the first", ""),
    ("", ""),
    (" Où est  la clé ?", "Elle était sur la table 😀. "),
    ("Where did the people wait?", LONG[:200]),
    (LONG[:120], "it was a story of a [SEP] in </s> it"),
]
FEW = [TEXTS[i] for i in (0, 1, 5, 7, 12, 19)]
FEW_PAIRS = [PAIRS[i] for i in (0, 4, 6)]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def word_pieces(lower):
    """A WordPiece vocabulary: special tokens, characters alone and inside a word, words, and the ends of words."""
    text = TEXT + OTHER_TEXT[:420]
    if lower:
        text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    words = "".join(c if c.isalnum() else " " for c in text).split()
    count = {word: words.count(word) for word in words}
    ends = [word[i:] for word in words for i in range(1, len(word) - 1)]
    count_ends = {end: ends.count(end) for end in ends if len(end) < 5}
    ascii_ = [chr(c) for c in range(33, 127) if not (lower and chr(c).isupper())]
    alnum = [c for c in ascii_ if c.isalnum()]
    best = lambda counts, n: sorted(counts, key=lambda key: (-counts[key], key))[:n]
    more = list("你世a̧αω") if lower else list("éèüßñçÅŁ你世αω😀")
    vocab = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ascii_, *("##" + c for c in alnum), *more,
             *best(count, 130), *("##" + end for end in best(count_ends, 80))]
    if not lower:
        vocab += ["##é", "##ñ", "##ü", "##ß"]
    return {token: i for i, token in enumerate(dict.fromkeys(vocab))}


def wordpiece(folder, lower=True):
    tokenizer = BertTokenizer(vocab=word_pieces(lower), do_lower_case=lower, model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)


def wordpiece_file(folder):
    """Cased, and as the oldest checkpoints have it: no tokenizer.json."""
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in word_pieces(False)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "model_max_length": TOKENS}) + "\n")


def mpnet_pieces():
    """BERT's pieces among the special tokens of MPNet, whose mask comes last."""
    vocab = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", *list(word_pieces(True))[6:], "<mask>"]
    return {token: i for i, token in enumerate(vocab)}


def mpnet(folder):
    MPNetTokenizer(vocab=mpnet_pieces(), model_max_length=TOKENS).save_pretrained(folder)


def mpnet_file(folder):
    """As the oldest checkpoints have it: no tokenizer.json."""
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in mpnet_pieces()))
    settings = {"do_lower_case": True, "model_max_length": TOKENS, "tokenizer_class": "MPNetTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")


def byte_level(folder):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=419, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(TEXT.splitlines(), trainer)
    model = json.loads(bpe.to_str())["model"]
    vocab = model["vocab"] | {"<mask>": len(model["vocab"])}
    merges = [tuple(merge) for merge in model["merges"]]
    mask = AddedToken("<mask>", lstrip=True, special=True)
    RobertaTokenizer(vocab=vocab, merges=merges, mask_token=mask, model_max_length=TOKENS).save_pretrained(folder)


def rules():
    """A small part of nmt_nfkc as sentencepiece's rules, for its compiled table takes 300 KB in a tokenizer.json."""
    lines = [f"{c:X}\t" for c in [*range(1, 9), 11, *range(14, 32), 127, 0x200B]]
    lines += [f"{c:X}\t20" for c in (9, 10, 12, 13, 0xA0, 0x2009, 0x3000, 0xFEFF, 0x85)]
    for c in [*range(0xA1, 0x250), *range(0x1E00, 0x1F00), *range(0x2020, 0x2190), *range(0xFB00, 0xFB07),
              *range(0xFF01, 0xFF5F)]:
        plain = unicodedata.normalize("NFKC", chr(c))
        if plain != chr(c):
            lines.append(f"{c:X}\t" + " ".join(f"{ord(x):X}" for x in plain))
        parts = unicodedata.normalize("NFD", chr(c))
        if len(parts) == 2 and unicodedata.normalize("NFC", parts) == chr(c):
            lines.append(" ".join(f"{ord(x):X}" for x in parts) + f"\t{c:X}")
    return "".join(line + "\n" for line in lines)


def sentence_piece(folder, full=False):
    """Train a vocabulary, and write it as sentencepiece does."""
    import sentencepiece

    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "rules.tsv").write_text(rules())
        options = {"normalization_rule_name": "nmt_nfkc"} if full else {"normalization_rule_tsv": f"{scratch}/rules.tsv"}
        model = io.BytesIO()
        lines = [line for line in (TEXT + OTHER_TEXT).splitlines() if line]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=420, num_threads=1,
            character_coverage=0.9995, minloglevel=2, **options)
    (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())


def unigram(kind, full):
    """A tokenizer's maker: transformers' own converter makes it of a vocabulary of sentencepiece."""

    def make(folder):
        with tempfile.TemporaryDirectory() as scratch:
            sentence_piece(Path(scratch), full)
            mask = AddedToken("<mask>", lstrip=True, special=True)  # as the published tokenizers have it
            tokenizer = kind.from_pretrained(scratch, model_max_length=TOKENS, mask_token=mask)
        tokenizer.save_pretrained(folder)

    return make


def older(folder, source, change):
    """The same vocabulary with the steps that an earlier converter wrote."""
    folder.mkdir()
    spec = json.loads((source / "tokenizer.json").read_text())
    change(spec)
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False, indent=1) + "\n")


def as_first_published(spec):
    """As in the files of xlm-roberta-base: fields of Metaspace that tokenizers has since renamed."""
    assert spec["normalizer"]["type"] == "Precompiled"
    space = {"type": "Metaspace", "replacement": "▁", "str_rep": "▁", "add_prefix_space": True}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]}
    spec["decoder"] = space


def as_of_version_4(spec):
    """As transformers 4.38 to 4.57 converts: blanks at the end go, runs of blanks become one."""
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    replace = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
    spec["normalizer"] = {"type": "Sequence", "normalizers": [spec["normalizer"], strip, replace]}
    spec["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


SHAPE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, dtype="float32")
BERT = SHAPE | dict(type_vocab_size=2, max_position_embeddings=TOKENS, layer_norm_eps=1e-12, pad_token_id=0)
ROBERTA = SHAPE | dict(type_vocab_size=1, max_position_embeddings=TOKENS + 2, layer_norm_eps=1e-5, pad_token_id=1)
CAMEMBERT = ROBERTA | dict(bos_token_id=5, eos_token_id=6)
# Of odd sizes: heads, products and embeddings that end inside a vector or a block.
DISTILBERT = dict(dim=36, n_layers=2, n_heads=3, hidden_dim=52, max_position_embeddings=TOKENS, pad_token_id=0,
                  dtype="float16")
ELECTRA = BERT | dict(embedding_size=24, hidden_size=36, num_attention_heads=3, intermediate_size=52, dtype="float16")
ELECTRA_BASE = ELECTRA | dict(embedding_size=36)  # without a projection, as the base and large ones
MPNET = ROBERTA | dict(hidden_size=40, num_attention_heads=4, intermediate_size=52, bos_token_id=0, eos_token_id=2,
                       dtype="float16")
del MPNET["type_vocab_size"]
LABELS = dict(id2label={0: "low", 1: "middle", 2: "high"}, label2id={"low": 0, "middle": 1, "high": 2})
NER = dict(id2label=dict(enumerate(TAGS)), label2id={tag: i for i, tag in enumerate(TAGS)})
FOUR = dict(id2label=dict(enumerate("abcd")), label2id={c: i for i, c in enumerate("abcd")})
XLMR_FULL, XLMR, CAMEM = (unigram(XLMRobertaTokenizer, True), unigram(XLMRobertaTokenizer, False),
                          unigram(CamembertTokenizer, False))

# name: class, configuration, tokenizer, and for sentence-transformers what follows the encoder.
MODELS = {
    "bert-mlm": ("BertForMaskedLM", BERT, wordpiece),
    "bert-base-model": ("BertModel", BERT, wordpiece),
    "bert-classifier": ("BertForSequenceClassification", BERT | LABELS, wordpiece),
    "bert-tagger": ("BertForTokenClassification", BERT | NER, wordpiece),
    "bert-qa": ("BertForQuestionAnswering", BERT, wordpiece),
    "bert-gelu-new": ("BertForMaskedLM", BERT | dict(hidden_act="gelu_new", num_attention_heads=2), wordpiece),
    "bert-cased-vocab-txt": ("BertForTokenClassification", BERT | NER, wordpiece_file),
    "xlm-roberta-mlm": ("XLMRobertaForMaskedLM", ROBERTA, XLMR_FULL),
    "xlm-roberta-classifier": ("XLMRobertaForSequenceClassification", ROBERTA | LABELS, XLMR),
    "camembert-mlm": ("CamembertForMaskedLM", CAMEMBERT, CAMEM),
    "camembert-tagger": ("CamembertForTokenClassification", CAMEMBERT | NER, CAMEM),
    "roberta-base-model": ("RobertaModel", ROBERTA, byte_level),
    "roberta-regression": ("RobertaForSequenceClassification",
                           ROBERTA | dict(num_labels=1, problem_type="regression"), byte_level),
    "roberta-multilabel": ("RobertaForSequenceClassification",
                           ROBERTA | FOUR | dict(problem_type="multi_label_classification"), byte_level),
    "sentence-mean": ("BertModel", BERT, wordpiece, "mean", True, dict(max_seq_length=48, do_lower_case=False)),
    "sentence-cls": ("XLMRobertaModel", ROBERTA, XLMR, "cls", False, dict(max_seq_length=128, do_lower_case=False)),
    "sentence-max": ("RobertaModel", ROBERTA, byte_level, "max", False, dict(max_seq_length=64, do_lower_case=True)),
    "distilbert-base-model": ("DistilBertModel", DISTILBERT, wordpiece),
    "distilbert-mlm": ("DistilBertForMaskedLM", DISTILBERT | dict(activation="gelu_new"), wordpiece),
    "distilbert-classifier": ("DistilBertForSequenceClassification", DISTILBERT | LABELS, wordpiece),
    "distilbert-tagger": ("DistilBertForTokenClassification", DISTILBERT | NER, wordpiece),
    "distilbert-qa": ("DistilBertForQuestionAnswering", DISTILBERT, wordpiece),
    "electra-base-model": ("ElectraModel", ELECTRA, wordpiece),
    "electra-mlm": ("ElectraForMaskedLM", ELECTRA | dict(hidden_act="gelu_new"), wordpiece),
    "electra-classifier": ("ElectraForSequenceClassification", ELECTRA_BASE | LABELS, wordpiece),
    "electra-tagger": ("ElectraForTokenClassification", ELECTRA_BASE | NER, wordpiece),
    "electra-qa": ("ElectraForQuestionAnswering", ELECTRA, wordpiece),
    "electra-discriminator": ("ElectraForPreTraining", ELECTRA, wordpiece),
    "mpnet-base-model": ("MPNetModel", MPNET, mpnet),
    "mpnet-mlm": ("MPNetForMaskedLM", MPNET | dict(hidden_act="gelu_new"), mpnet),
    "mpnet-classifier": ("MPNetForSequenceClassification", MPNET | LABELS, mpnet),
    "mpnet-tagger-vocab-txt": ("MPNetForTokenClassification", MPNET | NER, mpnet_file),
    "mpnet-qa": ("MPNetForQuestionAnswering", MPNET, mpnet),
    "electra-mlm-untied": ("ElectraForMaskedLM", ELECTRA | dict(tie_word_embeddings=False), wordpiece),
}


def randomize(model):
    """Large enough that texts differ clearly, and nothing left at zero or one."""
    for name, parameter in model.named_parameters():
        if "LayerNorm.weight" in name or "layer_norm.weight" in name:
            parameter.data.normal_(1, 0.1)
        elif "relative_attention_bias" in name:
            parameter.data.normal_(0, 1)
        elif "embeddings" in name or name.endswith("bias"):
            parameter.data.normal_(0, 0.2)
        elif name.startswith(("classifier", "qa_outputs")):
            parameter.data.normal_(0, 0.4)
        else:
            parameter.data.normal_(0, 0.18)


def balance(model, tokenizer):
    """Shift the bias of a head of several labels so that each of them is the answer somewhere."""
    seen = []
    for text in FEW[:5]:
        inputs = {"input_ids": torch.tensor([tokenizer.encode(text).ids])}
        seen.append(model.eval()(**inputs).logits.flatten(0, -2))
    model.classifier.bias.data -= torch.cat(seen).mean(0)


def sentence_transformers(folder, mode, normalize, limits):
    """The files that sentence-transformers adds to a checkpoint."""
    chain = [("Transformer", ""), ("Pooling", "1_Pooling")] + ([("Normalize", "2_Normalize")] if normalize else [])
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (kind, path) in enumerate(chain)]
    kinds = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    pooling = {"word_embedding_dimension": SHAPE["hidden_size"]}
    pooling |= {f"pooling_mode_{kind}": kind.removesuffix("s") == f"{mode}_token" for kind in kinds}
    for path, value in (("modules.json", modules), ("sentence_bert_config.json", limits), ("1_Pooling/config.json", pooling)):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(value, indent=2) + "\n")


def write_models():
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, (kind, fields, tokenizer, *rest)) in enumerate(MODELS.items()):
        folder = OUT / name
        folder.mkdir(parents=True)
        tokenizer(folder)
        (folder / "special_tokens_map.json").unlink(missing_ok=True)
        torch.manual_seed(seed)
        kind = getattr(transformers, kind)
        file = folder / "tokenizer.json"
        vocab = Tokenizer.from_file(str(file)).get_vocab_size() if file.exists() else len((folder / "vocab.txt").read_text().splitlines())
        model = kind(kind.config_class(vocab_size=vocab, **fields))
        randomize(model)
        if fields in (BERT | NER, CAMEMBERT | NER) and file.exists():
            balance(model, Tokenizer.from_file(str(file)))
        model.to(model.config.dtype).save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if rest:
            sentence_transformers(folder, *rest)
    (OUT / "sentencepiece").mkdir()
    sentence_piece(OUT / "sentencepiece")
    older(OUT / "xlm-roberta-as-first-published", OUT / "xlm-roberta-classifier", as_first_published)
    older(OUT / "xlm-roberta-as-of-version-4", OUT / "xlm-roberta-classifier", as_of_version_4)


def fields(encoding):
    return {
        "ids": encoding.ids,
        "token_type_ids": encoding.type_ids,
        "offsets": encoding.offsets,
        "special_tokens_mask": encoding.special_tokens_mask,
        "word_ids": encoding.word_ids,
        "sequence_ids": encoding.sequence_ids,
    }


def encoded(tokenizer, text, pair, **options):
    return fields(tokenizer(text, pair, return_offsets_mapping=True, **options).encodings[0])


def raw(tokenizer, text, pair):
    return fields(tokenizer.encode(text) if pair is None else tokenizer.encode(text, pair))


def embedding(hidden, mode, normalize):
    """Pooling and Normalize of sentence-transformers, for one text without padding."""
    pooled = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0).values}[mode]
    return torch.nn.functional.normalize(pooled, dim=0) if normalize else pooled


class Answers:
    def __init__(self):
        self.cases, self.tensors = [], {}

    def add(self, record, tensors):
        self.tensors |= {f"{kind}.{len(self.cases)}": np.ascontiguousarray(x) for kind, x in tensors.items()}
        self.cases.append(record)


def answer(answers, name, texts):
    kind, _, _, *rest = MODELS[name]
    folder = OUT / name
    tokenizer, untouched = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    if rest and rest[2]["do_lower_case"]:
        steps = [normalizers.Lowercase()] + [step for step in [tokenizer.backend_tokenizer.normalizer] if step]
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(steps)
    file = folder / "tokenizer.json"
    plain = Tokenizer.from_file(str(file)) if file.exists() else None
    model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    for text, pair in texts:
        record = {"model": name, "text": text, "pair": pair}
        if rest:
            limits = rest[2]
            record |= encoded(tokenizer, text, None, truncation=True, max_length=limits["max_seq_length"])
            older = text.strip().lower() if limits["do_lower_case"] else text.strip()
            older = encoded(untouched, older, None, truncation=True, max_length=limits["max_seq_length"])["ids"]
            if older != record["ids"]:
                record["ids_stripped"] = older
        else:
            record |= encoded(tokenizer, text, pair)
            # transformers takes an empty second text for none; else the two agree.
            if plain is not None and raw(plain, text, pair) != {key: record[key] for key in raw(plain, text, pair)}:
                assert pair == "", (name, text)
                record["tokenizers"] = raw(plain, text, pair)
        typed = getattr(model.config, "type_vocab_size", 0) > 1
        if not typed:  # DistilBERT's tokenizer tells the texts of a pair apart, and the model doesn't
            for those in (record, record.get("tokenizers", {})):
                those.update({key: [0] * len(ids) for key, ids in those.items() if key == "token_type_ids"})
        assert len(record["ids"]) <= TOKENS, (name, text, len(record["ids"]))
        if not rest and (pair is not None or text not in FEW) and (text, pair) not in FEW_PAIRS:
            answers.add(record, {})
            continue
        inputs = {"input_ids": torch.tensor([record["ids"]])}
        if typed:
            inputs["token_type_ids"] = torch.tensor([record["token_type_ids"]])
        out = model(**inputs, output_hidden_states=True)
        hidden = out.hidden_states[-1][0]
        tensors = {} if rest else {"hidden": hidden.numpy()}
        if rest:
            tensors["embedding"] = embedding(hidden, *rest[:2]).numpy()
        elif kind.endswith("MaskedLM"):
            masks = [i for i, token in enumerate(record["ids"]) if token == tokenizer.mask_token_id]
            record["logits_at"] = masks or [0, len(record["ids"]) // 2]
            tensors["logits"] = out.logits[0, record["logits_at"]].numpy()
        elif kind.endswith("QuestionAnswering"):
            tensors["logits"] = torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1).numpy()
        elif kind.endswith("Classification"):
            tensors["logits"] = out.logits[0].numpy()
        elif kind == "ElectraForPreTraining":  # one logit, that a token was replaced: beside it a zero, that it is original
            tensors["logits"] = torch.stack([torch.zeros_like(out.logits[0]), out.logits[0]], dim=-1).numpy()
        elif "pooler_output" in out:
            tensors["pooled"] = out.pooler_output[0].numpy()
        answers.add(record, tensors)


def write_answers():
    answers, seen = Answers(), set()
    everything = [(text, None) for text in TEXTS] + PAIRS
    few = [(text, None) for text in FEW] + FEW_PAIRS
    for name, (_, _, tokenizer, *rest) in MODELS.items():
        texts = few if tokenizer in seen else everything
        seen.add(tokenizer)
        answer(answers, name, [(text, None) for text, pair in everything if pair is None] if rest else texts)
    for name in ("xlm-roberta-as-first-published", "xlm-roberta-as-of-version-4"):
        plain = Tokenizer.from_file(str(OUT / name / "tokenizer.json"))
        for text, pair in everything:
            answers.add({"model": name, "text": text, "pair": pair} | raw(plain, text, pair), {})
    packages = ("transformers", "tokenizers", "torch", "safetensors", "numpy", "sentencepiece")
    made_with = {package: version(package) for package in packages} | {"torch_cpu": torch.backends.cpu.get_cpu_capability()}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in answers.cases)
    (HERE / "architectures.json").write_text(f'{{"made_with": {json.dumps(made_with)}, "cases": [\n{lines}\n]}}\n')
    save_file(answers.tensors, HERE / "architectures.safetensors")
    (HERE / "architectures.safetensors").chmod(0o644)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", action="store_true", help="leave the models as they are")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    if not args.answers:
        write_models()
    write_answers()


if __name__ == "__main__":
    main()
