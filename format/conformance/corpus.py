#!/usr/bin/env python3
"""Makes the conformance corpus: files that a reader accepts, with answers, and changes of them that it accepts or refuses.

    corpus.py            writes the files and manifest.json anew
    corpus.py --check    compares what it would write with what is there, and reader.py with both
    corpus.py --write D  writes every file of the corpus, changes made, into a directory

It writes version 2 of the format from FORMAT.md alone. README.md describes the manifest.
"""

import base64
import json
import re
import struct
import sys
from pathlib import Path

import reader
from forward import Forward
from reader import F32, Q4, Q8, Model, Refused, expected_tensors, tensor_length, up
from strict_json import boolean, character, integer, string
from tokenizer_json import (
    BEHAVIOR, BOOLEAN_OR_NULL, PATTERN, SCHEME, SPECIAL_TOKENS, STRING_OR_NULL, TEMPLATE, token,
)
from tokenizer_json import STEPS as STEPS_OF_READER
from xxh3 import xxh3_64

HERE = Path(__file__).resolve().parent


class Numbers:
    """The same numbers everywhere: a linear congruential generator (Knuth's MMIX)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) * n >> 31

    def float(self, low, high):
        return low + (high - low) * self.below(1 << 24) / (1 << 24)


# Files -----------------------------------------------------------------------------------------------------------------


def content(config, name, format, rows, columns, numbers):
    """Bytes of a tensor, with zeros where heads are padded."""
    size = config["hidden_size"] // config["num_attention_heads"]
    of_heads = ".qkv." in name
    padded = up(size, 16)
    if format == F32:
        low, high = (0.8, 1.2) if "norm.weight" in name else (-0.5, 0.5)
        out = b""
        for _ in range(rows):
            row = [0.0 if of_heads and k % padded >= size else numbers.float(low, high) for k in range(columns)]
            out += struct.pack(f"<{up(columns, 16)}f", *row, *[0.0] * (up(columns, 16) - columns))
        return out
    panels, blocks = up(rows, 16) // 16, up(columns, 128) // 128
    codes, scales = bytearray(), b""
    for panel in range(panels):
        for _ in range(blocks):
            if format == Q8:
                block = bytearray(1 + numbers.below(255) for _ in range(2048))
            else:
                block = bytearray(numbers.below(256) for _ in range(1024))
                block += bytes(1 + numbers.below(15) | 1 + numbers.below(15) << 4 for _ in range(64))
            for r in range(16):
                row = 16 * panel + r
                if of_heads and row % padded >= size:
                    for at in range(0, 2048 if format == Q8 else 1024, 64):
                        block[at + 4 * r : at + 4 * r + 4] = b"\x80" * 4 if format == Q8 else b"\x88" * 4
                scale = numbers.float(0.02, 0.06) * (-1 if numbers.below(2) else 1)
                scales += struct.pack("<e", scale if row < rows else 0.0)
            codes += block
    return bytes(codes) + scales


def tensors_of(config, formats, numbers):
    """The tensors of a configuration; `formats` are those of its blocks, in turns. The norm of the embeddings' bias is last."""
    tensors = []
    for i, (name, rows, columns, blocks) in enumerate(expected_tensors(config)):
        format = formats[i % len(formats)] if blocks else F32
        tensors.append([name, format, rows, columns, content(config, name, format, rows, columns, numbers)])
    tensors.sort(key=lambda tensor: tensor[0] == "embeddings.norm.bias")
    return tensors


def build(config, provenance, tokenizer, tensors, records=None):
    """A file; `records` may change the tensors' records."""
    out, places = bytearray(224), []
    for section in [config, provenance, tokenizer, bytes(128 * len(tensors))]:
        out += bytes(up(len(out)) - len(out))
        places.append((len(out), len(section)))
        out += section
    out += bytes(up(len(out)) - len(out))
    data = len(out)
    for i, (name, format, rows, columns, bytes_of) in enumerate(tensors):
        out += bytes(up(len(out)) - len(out))
        at = places[3][0] + 128 * i
        out[at : at + 128] = name.encode().ljust(72, b"\0") + struct.pack(
            "<IIQQQQQQ", format, 0, rows, columns, len(out), len(bytes_of), xxh3_64(bytes_of), 0
        )
        out += bytes_of
    places.append((data, len(out) - data))
    struct.pack_into("<8sIIQQ", out, 0, reader.MAGIC, 2, 5, len(out), 64)
    for i, (offset, length) in enumerate(places):
        struct.pack_into("<IIQQ", out, 64 + 32 * i, i + 1, 0, offset, length)
    return seal(out)


def seal(data):
    """Makes the checksums right of the sections, where they are within the file, and of the header."""
    data = bytearray(data)
    for i in range(4):
        offset, length = struct.unpack_from("<QQ", data, 72 + 32 * i)
        if offset + length <= len(data):
            struct.pack_into("<Q", data, 88 + 32 * i, xxh3_64(bytes(data[offset : offset + length])))
    return seal_header(data)


def seal_header(data):
    data = bytearray(data)
    struct.pack_into("<Q", data, 56, xxh3_64(bytes(data[:56] + data[64:224])))
    return bytes(data)


def seal_tensor(data, index):
    """Makes the checksum of a tensor right, and those above it."""
    at = directory(data) + 128 * index
    offset, length = struct.unpack_from("<QQ", data, at + 96)
    return seal(put(data, at + 112, struct.pack("<Q", xxh3_64(data[offset : offset + length]))))


def put(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def section(data, number):
    """Where a section is: 1 is Config."""
    offset, length = struct.unpack_from("<QQ", data, 72 + 32 * (number - 1))
    return offset, offset + length


def directory(data):
    return section(data, 4)[0]


def names_of(data):
    start, end = section(data, 4)
    return [data[at : at + 72].rstrip(b"\0").decode() for at in range(start, end, 128)]


def with_section(data, number, text):
    """Another text in a section of a file that has spaces behind it, to be exchanged for it."""
    start, end = section(data, number)
    text = text if isinstance(text, bytes) else text.encode()
    if len(text) > end - start:
        raise SystemExit(f"{len(text)} bytes in a section of {end - start}")
    return seal(data[:start] + text.ljust(end - start) + data[end:])


# Models ----------------------------------------------------------------------------------------------------------------

ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def added(content, **fields):
    return {"content": content, **ADDED, **fields}


def bpe():
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "c", "d", "ab", "cd", "abc", "abcd"]
    return {
        "version": "1.0",
        "added_tokens": [{"id": 4, **added("<mask>", lstrip=True)}],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False,
        },
        "decoder": None,
        "model": {
            "type": "BPE",
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": [["a", "b"], ["c", "d"], ["ab", "cd"], ["ab", "c"]],
        },
    }


def word_piece():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "ab", "##a", "##b", "##ab", "##c"]
    special = {name: {"id": name, "ids": [tokens.index(name)], "tokens": [name]} for name in ["[CLS]", "[SEP]"]}
    a, b = [{"Sequence": {"id": id, "type_id": type_id}} for id, type_id in [("A", 0), ("B", 1)]]
    cls, sep, sep2 = [{"SpecialToken": {"id": f"[{n}]", "type_id": t}} for n, t in [("CLS", 0), ("SEP", 0), ("SEP", 1)]]
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": 4, **added("[MASK]")}],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [cls, a, sep], "pair": [cls, a, sep, b, sep2], "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 8,
            "vocab": {token: id for id, token in enumerate(tokens)},
        },
    }


BASE = {
    "architecture": "roberta", "head": "none", "vocab_size": 14, "hidden_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 1, "intermediate_size": 16, "max_position_embeddings": 10, "type_vocab_size": 1,
    "layer_norm_eps": 1e-05, "hidden_act": "gelu", "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    "mask_token_id": 4, "unk_token_id": 3, "position_offset": 2, "tie_word_embeddings": True, "labels": [],
    "quantization": "q4",
}  # fmt: skip
BERT = {
    "architecture": "bert", "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "unk_token_id": 1, "position_offset": 0,
    "type_vocab_size": 2, "max_position_embeddings": 8,
}  # fmt: skip
PROVENANCE = {
    "source": "rq/conformance",
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "weights": [{"file": "model.safetensors", "sha256": "0123456789abcdef" * 4, "bytes": 4096}],
    "converter": "corpus.py",
    "quantization": {"note": "random numbers"},
}
POOLING = {"modes": ["mean"], "include_prompt": True, "layers": ["normalize"], "prompts": {"query": "a: "}, "default_prompt": "query"}
DENSE = {
    "modes": ["cls", "max", "mean_sqrt_len"],
    "include_prompt": False,
    "layers": [
        {"dense": {"out_features": 20, "bias": True, "activation": "tanh"}},
        {"dense": {"out_features": 3, "bias": False, "activation": "identity"}},
        "normalize",
    ],
    "prompts": {"é\u2028": "a\n\u0000b", "other": ""},
}

# File, what it has of its own, its tokenizer, the formats of its blocks, and the bytes of its three texts, if they are filled up.
FILES = [
    ("roberta.rq", {"pooling": POOLING, "max_seq_length": 8}, bpe, [Q8, Q4], (1280, 640, 4096)),
    ("bert-masked-lm.rq", {**BERT, "head": "masked_lm", "hidden_size": 24, "num_attention_heads": 2, "hidden_act": "gelu_tanh",
      "tie_word_embeddings": False, "truncation_side": "left", "clean_up_spaces": True,
      "sparse_pooling": {"mode": "max", "activation": "log1p_relu", "max_active_dims": 8, "prompts": {}}}, word_piece, [Q4], None),
    ("electra-tagger.rq", {**BERT, "architecture": "electra", "head": "token_classification", "embedding_size": 8,
      "labels": ["O", "", "x y"], "classifier_act": "gelu_tanh"}, word_piece, [Q8], None),
    ("mpnet-classifier.rq", {"architecture": "mpnet", "head": "sequence_classification", "type_vocab_size": 0,
      "labels": ["no", "yes"], "classifier_act": "tanh", "score_function": "sigmoid"}, bpe, [Q4], None),
    ("distilbert-answerer.rq", {**BERT, "architecture": "distilbert", "head": "question_answering", "type_vocab_size": 0,
      "intermediate_size": 130, "quantization": "q4m"}, word_piece, [Q4], None),
    ("sentence-dense.rq", {"pooling": DENSE}, bpe, [Q4], None),
]  # fmt: skip


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def files():
    for seed, (name, own, tokenizer, formats, sizes) in enumerate(FILES):
        config = {**BASE, **own}
        config["quantization"] = config.pop("quantization")
        tensors = tensors_of(config, formats, Numbers(seed))
        texts = [dumps(value).encode() for value in [config, PROVENANCE, tokenizer()]]
        if sizes:
            texts = [text.ljust(size) for text, size in zip(texts, sizes)]
        yield name, build(*texts, tensors)


# Answers ---------------------------------------------------------------------------------------------------------------

TEXTS = ["", "ab abcd", "  abab\tb ", "abx <b>", "aab abcabcabcabc"]
IDS = [2, 5, 7, 6, 3]


def answers(data):
    """What a reader answers of a file."""
    model = Model(data)
    tensors = {}
    for name, tensor in model.tensors.items():
        stored = None
        if tensor.format != F32:
            rows = [tensor.stored(r, b) for r in range(tensor.rows) for b in range(tensor.blocks)]
            stored = checksum(rows)
        tensors[name] = [stored, checksum(tensor.rows_of())]
    forward = Forward(model)
    types = [0, 0, 0, 1, 1] if model.config["type_vocab_size"] > 1 else [0] * len(IDS)
    states = forward.hidden_states(IDS, types)
    return {
        "fingerprint": f"{model.fingerprint:016x}",
        "tensors": tensors,
        "tokens": {text: model.tokenizer.encode(text) for text in TEXTS},
        "sequence": {
            "ids": IDS,
            "types": types,
            "hidden_states": rounded(states),
            "logits": rounded(forward.logits(states)),
        },
    }


def checksum(rows):
    """The XXH3-64 of values, each an f32; a zero has no sign."""
    return f"{xxh3_64(b''.join(struct.pack(f'<{len(row)}f', *[x + 0.0 for x in row]) for row in rows)):016x}"


def rounded(rows):
    return [[round(x, 4) + 0.0 for x in row] for row in rows]


# Changes ---------------------------------------------------------------------------------------------------------------


def part(at, length, new):
    """A part of a file to be replaced: offset, length, and the new bytes, as text or in hexadecimal; a run of one byte with how many
    there are."""
    times = [len(new)] if len(new) > 8 and new == new[:1] * len(new) else []
    new = new[:1] if times else new
    text = new.decode("latin-1")
    plain = all(" " <= c <= "~" for c in text) and not text.startswith("hex:")
    return [at, length, text if plain else f"hex:{new.hex()}", *times]


def bytes_of_part(new, times=1):
    return times * (bytes.fromhex(new[4:]) if new.startswith("hex:") else new.encode())


def runs(at, old, new):
    """The parts that differ of bytes that are as long as the old ones."""
    parts, i = [], 0
    while i < len(old):
        if old[i : i + 256] == new[i : i + 256]:
            i += 256
        elif old[i] == new[i]:
            i += 1
        else:
            end = i + 1
            while old[end : end + 8] != new[end : end + 8]:
                end += 1
            parts.append(part(at + i, end - i, new[i:end]))
            i = end
    return parts


def edit(before, after):
    """The parts of a file that a change of it replaces."""
    parts, at, both = [], 0, min(len(before), len(after))
    for start, end in [section(before, number) for number in (1, 2, 3)]:
        if end > both:
            break
        parts += runs(at, before[at:start], after[at:start])
        old, new = before[start:end].rstrip(b" "), after[start:end].rstrip(b" ")
        if old != new:
            same = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
            old, new = old[same:], new[same:]
            behind = next((i for i, (a, b) in enumerate(zip(old[::-1], new[::-1])) if a != b), min(len(old), len(new)))
            parts.append(part(start + same, len(old) - behind, new[: len(new) - behind]))
            # The spaces behind the text make up for it.
            more = len(new) - len(old)
            if more:
                parts.append(part(end - max(more, 0), max(more, 0), b" " * -more))
        at = end
    parts += runs(at, before[at:both], after[at:both])
    if len(before) != len(after):
        parts.append(part(both, len(before) - both, after[both:]))
    return parts


def changed(before, parts):
    """A file with its parts replaced."""
    out, at = b"", 0
    for offset, length, *new in parts:
        out += before[at:offset] + bytes_of_part(*new)
        at = offset + length
    return out + before[at:]


class Changes:
    """What is changed, of which file, and the name by which it is refused, or None."""

    def __init__(self, all_files):
        self.files, self.list = all_files, []
        self.base = all_files["roberta.rq"]

    def add(self, refused, what, data, of="roberta.rq"):
        self.list.append((what, of, data, refused))

    def text(self, number, refused, old, new, what=None):
        """Another text in place of a text of a section."""
        start, end = section(self.base, number)
        text = self.base[start:end].rstrip(b" ")
        old, new = [one if isinstance(one, bytes) else one.encode() for one in (old, new)]
        if text.count(old) < 1:
            raise SystemExit(f"{old} isn't in the text")
        what = what or f"{reader.SECTIONS[number - 1]}: {new.decode('latin-1'):.80} in place of {old.decode():.40}"
        self.add(refused, what, with_section(self.base, number, text.replace(old, new, 1)))

    def config(self, refused, old, new, what=None):
        self.text(1, refused, old, new, what)

    def provenance(self, refused, old, new, what=None):
        self.text(2, refused, old, new, what)

    def tokenizer(self, refused, what, change):
        """Another tokenizer: a function that changes that of the file, or a new one."""
        value = bpe()
        value = change(value) or value
        text = value if isinstance(value, (str, bytes)) else dumps(value)
        name = refused and f"Tokenizer({refused})"
        self.add(name, f"Tokenizer: {what}", with_section(self.base, 3, text))


def structure(c):
    """Header, section table, tensor directory."""
    base = c.base
    data_start, data_end = section(base, 5)

    def field(refused, what, at, format, value, again=seal):
        c.add(refused, what, again(put(base, at, struct.pack(format, value))))

    c.add("TooShort", "an empty file", b"")
    c.add("TooShort", "63 bytes", base[:63])
    c.add("TooShort", "a header alone, as long as it says", put(base[:64], 16, struct.pack("<Q", 64)))
    c.add("Magic", "another magic", put(base, 0, b"\x88"))
    c.add("Magic", "CR LF made LF", base[:4] + base[5:])
    for refused, version in [("NoSuchVersion", 0), ("OlderVersion", 1), ("NewerVersion", 3), ("NewerVersion", 2**32 - 1)]:
        field(refused, f"version {version}", 8, "<I", version)
    field("OlderVersion", "version 1, and a wrong checksum", 8, "<I", 1, bytes)
    for count in (4, 6):
        field("SectionCount", f"{count} sections", 12, "<I", count)
    field("FileLength", "a longer file in the header", 16, "<Q", len(base) + 1)
    c.add("FileLength", "cut", base[:-1])
    c.add("FileLength", "a byte more", base + b"\0")
    c.add("TrailingBytes", "a byte more that the header knows", seal(put(base + b"\0", 16, struct.pack("<Q", len(base) + 1))))
    field("TableOffset", "the table elsewhere", 24, "<Q", 128)
    field("HeaderChecksum", "a wrong checksum of the header", 56, "<Q", 1, bytes)
    for at in (32, 40, 55):
        field("Reserved", f"byte {at} isn't zero", at, "<B", 1)
    for number, name in enumerate(reader.SECTIONS, 1):
        at = 32 + 32 * number
        start, end = section(base, number)
        field("SectionKind", f"another kind in the place of {name}", at, "<I", number % 5 + 1)
        field("Reserved", f"{name}: a reserved field", at + 4, "<I", 1)
        field("Misaligned", f"{name} off by one", at + 8, "<Q", start + 1)
        field("Overlap", f"{name} 64 bytes early", at + 8, "<Q", start - 64)
        field("Hole", f"{name} 64 bytes late", at + 8, "<Q", start + 64)
        field("Hole", f"{name} at the end of the numbers", at + 8, "<Q", 2**64 - 64)
        field("EmptySection", f"{name} empty", at + 16, "<Q", 0)
        if number < 5:
            field("SectionTooLong", f"{name} too long for any reader", at + 16, "<Q", reader.MAX_LENGTH[name] + 1)
            field("OutOfBounds", f"{name} longer than the file", at + 16, "<Q", 1 << 20)
            damaged = put(base, start + 2, bytes([base[start + 2] ^ 1]))
            c.add("Checksum", f"{name} damaged", damaged)
            c.add("Checksum", f"a wrong checksum of {name}", seal_header(put(base, at + 24, bytes(8))))
        else:
            for length in (end - start + 1, 2**64 - start, 2**64 - 1):
                field("OutOfBounds", f"{name} of {length} bytes", at + 16, "<Q", length)
            field("ChecksumNotZero", f"{name} with a checksum", at + 24, "<Q", 1)
    for at in (224, section(base, 1)[0] - 1):
        c.add("Padding", f"byte {at} of the padding", put(base, at, b"\1"))
    at, records = directory(base), names_of(base)
    field("DirectoryLength", "a directory that isn't whole records", 64 + 96 + 16, "<Q", 128 * len(records) - 1)

    def record(refused, what, index, offset, format, value):
        c.add(refused, f"{records[index]}: {what}", seal(put(base, at + 128 * index + offset, struct.pack(format, value))))

    for name in [b"", b"a b", b"\xc3\xa9", b"a\0b", b"a/b", b"a" * 72]:
        record("TensorName", f"the name {name}", 3, 0, "72s", name)
    record("MissingTensor", "another name, as long", 3, 0, "72s", records[3][:-1].encode() + b"x")
    record("MissingTensor", "a name in capitals", 3, 0, "72s", records[3].upper().encode())
    record("DuplicateTensor", "the name of another", 3, 0, "72s", records[2].encode())
    record("Reserved", "a reserved field", 2, 76, "<I", 1)
    record("Reserved", "the field at the end", 2, 120, "<Q", 1 << 63)
    for format in (3, 2**32 - 1):
        record("UnknownTensorFormat", f"format {format}", 0, 72, "<I", format)
    for offset in (80, 88):
        for value in (0, 2**31 + 1, 2**64 - 1):
            record("Dimensions", f"the dimension {value}", 1, offset, "<Q", value)
    large = put(base, at + 128 + 80, struct.pack("<QQ", 2**31, 2**31))
    c.add("TooLarge", "a tensor of 2^31 x 2^31", seal(large))
    for value in (0, 64, 2**64 - 64):
        record("TensorLength", f"a length of {value}", 1, 104, "<Q", value)
    record("TensorLength", "more rows than its length", 0, 80, "<Q", 17)
    record("TensorLength", "in f32, with the length of blocks", 0, 72, "<I", 0)
    record("Shape", "a row less, in as many panels", 0, 80, "<Q", 13)
    record("Shape", "a column more, in as many bytes", 0, 88, "<Q", 17)
    for index in (0, 1, len(records) - 1):
        start = struct.unpack_from("<Q", base, at + 128 * index + 96)[0]
        record("Misaligned", "off by one", index, 96, "<Q", start + 1)
        record("Overlap", "64 bytes early", index, 96, "<Q", start - 64)
        record("Hole", "64 bytes late", index, 96, "<Q", start + 64)
    record("Hole", "at the end of the numbers", 1, 96, "<Q", 2**64 - 64)
    end = put(base + bytes(64), 16, struct.pack("<Q", len(base) + 64))
    c.add("TrailingBytes", "TensorData longer than its tensors", seal(put(end, 64 + 128 + 16, struct.pack("<Q", data_end - data_start + 64))))
    short = put(base[:-64], 16, struct.pack("<Q", len(base) - 64))
    c.add("OutOfBounds", "TensorData shorter than its tensors", seal(put(short, 64 + 128 + 16, struct.pack("<Q", data_end - data_start - 64))))
    # The last one in blocks instead of f32.
    last, start = at + 128 * (len(records) - 1), struct.unpack_from("<Q", base, at + 128 * (len(records) - 1) + 96)[0]
    blocks = b"\x80" * 2048 + bytes(32)
    other = put(put(base[:start] + blocks, last + 72, struct.pack("<I", 1)), last + 104, struct.pack("<Q", len(blocks)))
    other = put(other, 16, struct.pack("<Q", len(other)))
    other = put(other, 64 + 128 + 16, struct.pack("<Q", len(other) - data_start))
    c.add("FormatNotAllowed", "a bias in blocks", seal_tensor(other, len(records) - 1))
    c.add("UnexpectedTensor", "a decoder's weight in a tied model", swap(c.files["bert-masked-lm.rq"], 1, b'"tie_word_embeddings": false', b'"tie_word_embeddings": true '), "bert-masked-lm.rq")
    c.add("MissingTensor", "a second layer in the configuration", with_text(base, 1, b'"num_hidden_layers": 1', b'"num_hidden_layers": 2'))


def swap(data, number, old, new):
    """Another text, as long as the one that it replaces."""
    start, end = section(data, number)
    text = data[start:end].replace(old, new)
    assert len(old) == len(new) and text != data[start:end]
    return seal(data[:start] + text + data[end:])


def with_text(data, number, old, new):
    start, end = section(data, number)
    text = data[start:end].rstrip(b" ")
    assert old in text
    return with_section(data, number, text.replace(old, new, 1))


def values(c):
    """What the tensors hold, which only a whole verification sees."""
    base, at, records = c.base, directory(c.base), names_of(c.base)

    def tensor(name):
        index = records.index(name)
        rows, columns, start, length = struct.unpack_from("<QQQQ", base, at + 128 * index + 80)
        return index, rows, columns, start, length

    def value(refused, what, name, offset, new):
        index, _, _, start, length = tensor(name)
        offset = offset if offset >= 0 else length + offset
        c.add(refused, f"{name}: {what}", seal_tensor(put(base, start + offset, new), index))

    index, _, _, start, _ = tensor("layers.0.ffn.up.weight")
    c.add("Checksum", "a tensor damaged", put(base, start, bytes([base[start] ^ 16])))
    norm = "embeddings.norm.weight"
    for what, bits in [("NaN", 0x7FC00000), ("a signalling NaN", 0xFF800001), ("infinity", 0x7F800000), ("-infinity", 0xFF800000)]:
        value("Value", what, norm, 4, struct.pack("<I", bits))
    value(None, "the largest f32", norm, 4, struct.pack("<I", 0x7F7FFFFF))
    value(None, "a subnormal f32", norm, 4, struct.pack("<I", 1))
    value(None, "-0.0", norm, 4, struct.pack("<I", 1 << 31))
    value("Value", "a code of 0 in q8", "embeddings.word", 100, b"\0")
    value("Value", "a code of 0 in a row of padding", "embeddings.word", 4 * 15, b"\0")
    q4 = "layers.0.attention.output.weight"
    for what, sub in [("low", b"\xf0"), ("high", b"\x0f"), ("both", b"\0")]:
        value("Value", f"a sub-scale of 0, {what}", q4, 1024 + 5, sub)
    for what, scale in [("NaN", 0x7E00), ("infinity", 0x7C00), ("-infinity", 0xFC00)]:
        value("Value", f"a scale that is {what}", q4, -2, struct.pack("<H", scale))
    value(None, "a subnormal scale", q4, -2, struct.pack("<H", 1))
    value(None, "the largest scale, negative", q4, -2, struct.pack("<H", 0xFBFF))
    value(None, "a scale of 0", q4, -2, struct.pack("<H", 0))
    value("Value", "a scale in a row of padding", "embeddings.word", -2, struct.pack("<H", 1))
    value(None, "the scale -0 in a row of padding", "embeddings.word", -2, struct.pack("<H", 0x8000))
    # Of another file, whose rows have padding: 24 columns.
    of = "bert-masked-lm.rq"
    other = c.files[of]
    index = names_of(other).index("embeddings.norm.weight")
    start = struct.unpack_from("<Q", other, directory(other) + 128 * index + 96)[0]
    for what, bits in [("1", 0x3F800000), ("-0.0", 1 << 31)]:
        c.add("Value", f"padding of f32 that is {what}", seal_tensor(put(other, start + 4 * 24, struct.pack("<I", bits)), index), of)
    # In the file whose last tensor but one ends before a multiple of 64.
    of = "distilbert-answerer.rq"
    other = c.files[of]
    for i in range(len(names_of(other)) - 1):
        start, length = struct.unpack_from("<QQ", other, directory(other) + 128 * i + 96)
        if (start + length) % 64:
            c.add("Padding", "padding between tensors", put(other, start + length, b"\1"), of)
            break


def configuration(c):
    """Config and Provenance: the JSON and what it says."""
    no, v = "Json", '"vocab_size": 14'
    for old, new in [
        ('{"architecture"', '\ufeff{"architecture"'),
        ('{"architecture"', '[{"architecture"'),
        ('"q4"}', '"q4"}]'),
        ('"q4"}', '"q4"} {}'),
        ('"q4"}', '"q4"}\0'),
        ('"q4"}', '"q4",}'),
        ('"q4"}', '"q4"'),
        ('"q4"}', "'q4'}"),
        ('"q4"}', '"q4" /* */}'),
        ('"head"', '\u00a0"head"'),
        ('"head"', '\f"head"'),
        ('"labels": []', '"labels": ' + "[" * 200 + "]" * 200),
        ('"labels": []', '"labels": null'),
        ('"labels": [], ', ""),
        ('"labels": []', '"labels": {}'),
        ('"labels": []', '"labels": [], "dropout": 0.1'),
        ('"labels": []', '"labels": [], "Labels": []'),
        ('"labels": []', '"labels": [], "truncation_side": null'),
        ('"labels": []', '"labels": [], "clean_up_spaces": null'),
        ('"labels": []', '"labels": [], "clean_up_spaces": 1'),
        ('"labels": []', '"labels": [], "labels": []'),
        ('"labels": []', '"labels": [], "l\\u0061bels": []'),
        ('"roberta"', '"RoBERTa"'),
        ('"roberta"', '{"roberta": null}'),
        ('"roberta"', "0"),
        ('"gelu"', '{"gelu": []}'),
        ('"gelu"', '"relu"'),
        ('"gelu"', "null"),
        ('"none"', "null"),
        ('"quantization": "q4"', '"quantization": 4'),
        ('"mean"', '{"mean": null}'),
        ('["mean"]', '"mean"'),
        ('"normalize"', '{"normalize": null}'),
        ('"normalize"', '"dense"'),
        ('"normalize"', "{}"),
        ('"normalize"', '{"dense": [8, true, "tanh"]}'),
        ('"normalize"', '{"dense": {"out_features": 8, "bias": true, "activation": "tanh"}, "normalize": null}'),
        ('"normalize"', '{"dense": {"out_features": 8, "bias": true}}'),
        ('"include_prompt": true', '"include_prompt": true, "normalize": true'),
        ('{"query": "a: "}', '[["query", "a: "]]'),
        ('{"query": "a: "}', '{"query": "a: ", "query": "a: "}'),
        ('{"query": "a: "}', '{"query": "a: ", "quer\\u0079": "b"}'),
        ('{"query": "a: "}', '{"query": null}'),
        ('{"query": "a: "}', '{"query": "\\ud800"}'),
        ('{"query": "a: "}', '{"query": "\\ude00\\ud83d"}'),
        ('{"query": "a: "}', '{"query": "\\ud83d\\u0041"}'),
        ('{"query": "a: "}', '{"query": "\\x41"}'),
        ('{"query": "a: "}', '{"query": "\\u12"}'),
        ('{"query": "a: "}', '{"query": "a\nb"}'),
        ('{"query": "a: "}', '{"query": "a\tb"}'),
    ]:  # fmt: skip
        c.config(no, old, new)
    for bytes_of in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"):
        c.config(no, '"a: "', b'"' + bytes_of + b'"', f"Config: the bytes {bytes_of.hex()} in a string")
    text = dumps([list(json.loads(c.base[slice(*section(c.base, 1))]).values())])[1:-1]
    c.add(no, "Config: an array of the values", with_section(c.base, 1, text))
    pooling = dumps(POOLING)
    c.config(no, pooling, '[["mean"], true, ["normalize"], {}, null]')
    for number in ["14.0", "14e0", "1.4e1", "1400e-2", "-14", "-0", "014", "+14", "0x0e", "1_4", '"14"', "true", "14.", "NaN", "null", "18446744073709551616"]:
        c.config(no, v, f'"vocab_size": {number}')
    c.config("Config(Range)", v, '"vocab_size": 18446744073709551615')
    c.config("Config(Range)", v, '"vocab_size": 9007199254740993')
    c.config(no, '"bos_token_id": 0', '"bos_token_id": 4294967296')
    c.config("Config(TokenId)", '"bos_token_id": 0', '"bos_token_id": 4294967295')
    eps = '"layer_norm_eps": 1e-05'
    for number in ["1", "1.0", "0.00001", "1E-5", "1e+0", "0.1e-4", "1.00000000000000000000000000001e-5", "1.17549435e-38"]:
        c.config(None, eps, f'"layer_norm_eps": {number}')
    for number in ["0", "-0", "-0.0", "-1e-5", "1.1", "2", "1e-39", "1e-60", "1e-400", "1e300"]:
        c.config("Config(LayerNormEps)", eps, f'"layer_norm_eps": {number}')
    for number in ["1e400", "-1e400", ".1", "1.", "1e", "01.0", "0x1p-3", "Infinity", '"1e-5"', "null"]:
        c.config(no, eps, f'"layer_norm_eps": {number}')
    for old, new in [
        ('{"architecture"', ' \t\r\n{\n"architecture"'),
        ('"unk_token_id": 3', '"unk_token_id": null, "embedding_size": null, "classifier_act": null, "score_function": null, "sparse_pooling": null'),
        ('"unk_token_id": 3, ', ""),
        ('"max_seq_length": 8', '"max_seq_length": null'),
        ('"labels": []', '"labels": [], "truncation_side": "right", "clean_up_spaces": false'),
        ('{"query": "a: "}', '{"query": "\\u0000\\n\\u001b\\u0085\\ud83e\\udd80\\/", "é": "\u2028"}'),
        ('"default_prompt": "query"', '"default_prompt": null'),
        ("[\"normalize\"]", "[]"),
    ]:  # fmt: skip
        c.config(None, old, new)

    for field, most in [
        ("vocab_size", 2**24), ("hidden_size", 2**16), ("num_hidden_layers", 2**10), ("intermediate_size", 2**20),
        ("max_position_embeddings", 2**20), ("type_vocab_size", 2**10),
    ]:  # fmt: skip
        old = f'"{field}": {BASE[field]}'
        for number in (0, most + 1):
            c.config("Config(Range)", old, f'"{field}": {number}')
        c.config("MissingTensor" if field == "num_hidden_layers" else "Shape", old, f'"{field}": {most}')
    c.config("Config(Range)", '"num_attention_heads": 1', '"num_attention_heads": 0')
    c.config("Config(Range)", '"labels": []', '"labels": [], "embedding_size": 0')
    c.config("Config(Range)", '"labels": []', '"labels": [], "embedding_size": 65537')
    c.config("Config(Heads)", '"num_attention_heads": 1', '"num_attention_heads": 3')
    for token in ("pad", "bos", "eos", "mask", "unk"):
        c.config("Config(TokenId)", f'"{token}_token_id": {BASE[token + "_token_id"]}', f'"{token}_token_id": 14')
    c.config("Config(PositionOffset)", '"position_offset": 2', '"position_offset": 0')
    c.config("Config(PositionOffset)", '"roberta"', '"bert"', "Config: the position_offset of RoBERTa in BERT")
    c.config("Config(MaxTokens)", '"max_position_embeddings": 10', '"max_position_embeddings": 3')
    for number in (0, 1, 9):
        c.config("Config(MaxSeqLength)", '"max_seq_length": 8', f'"max_seq_length": {number}')
    c.config("Config(Labels)", '"labels": []', '"labels": ["a"]')
    c.config("Config(HeadField)", '"labels": []', '"labels": [], "score_function": "none"')
    c.config("Config(HeadField)", '"labels": []', '"labels": [], "classifier_act": "tanh"')
    c.config("Config(HeadField)", '"labels": []', '"labels": [], "sparse_pooling": {"mode": "max", "activation": "relu", "prompts": {}}')
    c.config("Config(HeadField)", '"none"', '"masked_lm"', "Config: pooling in a masked_lm")
    none = '"none"'
    without = f', "pooling": {pooling}'
    tagger = c.files["electra-tagger.rq"]

    def tags(refused, old, new):
        start, end = section(tagger, 1)
        text = tagger[start:end].replace(old.encode(), new.encode())
        assert text != tagger[start:end]
        shorter = end - start - len(text)
        assert shorter >= 0
        c.add(refused, f"Config: {new} in place of {old}", seal(tagger[:start] + text + b" " * shorter + tagger[end:]), "electra-tagger.rq")

    tags("Config(Labels)", '["O", "", "x y"]', "[]")
    tags("Config(Label)", '"x y"', '"\x7f"')
    tags("Config(Label)", '"x y"', '"\x85"')
    tags("Shape", '["O", "", "x y"]', '["O", ""]')
    tags(None, '"x y"', '"O"')
    masked = without_text(c.base, without)
    masked = masked.replace(none.encode(), b'"masked_lm"').replace(b'"mask_token_id": 4', b'"mask_token_id": null')
    c.add("Config(NoMask)", "Config: a masked_lm without a mask", with_section(c.base, 1, masked))
    for refused, old, new in [
        ("Config(Pooling)", '["mean"]', "[]"),
        ("Config(Pooling)", '["mean"]', dumps(["mean"] * 7)),
        ("Config(Pooling)", '["mean"]', '["mean", "tokens"]'),
        (None, '["mean"]', dumps(["mean"] * 6)),
        (None, '["mean"]', '["tokens"]'),
        ("Config(Pooling)", '["normalize"]', dumps(["normalize"] * 17)),
        (None, '["normalize"]', dumps(["normalize"] * 16)),
        ("Config(Pooling)", '"normalize"', '{"dense": {"out_features": 0, "bias": true, "activation": "tanh"}}'),
        ("Config(Pooling)", '"normalize"', '{"dense": {"out_features": 65537, "bias": true, "activation": "tanh"}}'),
        ("MissingTensor", '"normalize"', '{"dense": {"out_features": 65536, "bias": true, "activation": "sigmoid"}}'),
        ("Config(Pooling)", '"default_prompt": "query"', '"default_prompt": "Query"'),
        ("Config(Pooling)", '{"query": "a: "}', '{"query": "a: ", "": "b"}'),
        ("Config(Pooling)", '{"query": "a: "}', '{"query": "a: ", "a\\nb": "b"}'),
        ("Config(Quantization)", '"quantization": "q4"', '"quantization": ""'),
        ("Config(Quantization)", '"quantization": "q4"', '"quantization": "Q4"'),
        ("Config(Quantization)", '"quantization": "q4"', '"quantization": "q4\\n"'),
        ("Config(Quantization)", '"quantization": "q4"', f'"quantization": "{"q" * 65}"'),
        (None, '"quantization": "q4"', f'"quantization": "{"q" * 58}0._+-9"'),
    ]:
        c.config(refused, old, new)
    bert, of = c.files["bert-masked-lm.rq"], "bert-masked-lm.rq"
    c.add("Config(SparsePooling)", "Config: max_active_dims 0", swap(bert, 1, b'"max_active_dims": 8', b'"max_active_dims": 0'), of)
    c.add("Json", "Config: an unknown mode of sparse_pooling", swap(bert, 1, b'"mode": "max"', b'"mode": "mix"'), of)
    c.add("Json", "Config: an unknown truncation_side", swap(bert, 1, b'"left"', b'"Left"'), of)

    no = "Json"
    for refused, old, new in [
        ("Provenance(NoSource)", '"rq/conformance"', '""'),
        ("Provenance(NoConverter)", '"corpus.py"', '""'),
        ("Provenance(Sha256)", "0123456789abcdef" * 4, "0123456789abcdef" * 3),
        ("Provenance(Sha256)", "0123456789abcdef" * 4, "0123456789ABCDEF" * 4),
        ("Provenance(Sha256)", "0123456789abcdef" * 4, "0123456789abcdef" * 4 + "\\n"),
        ("Provenance(Control)", "rq/conformance", "a\\u001b[2Jb"),
        ("Provenance(Control)", "rq/conformance", "a\\nb"),
        ("Provenance(Control)", "corpus.py", "\x7f"),
        ("Provenance(Control)", "0123456789abcdef0123456789abcdef01234567", "\\u0000"),
        ("Provenance(Control)", "model.safetensors", "\x85"),
        ("Provenance(Control)", '"note"', '"\\r"'),
        ("Provenance(Control)", "random numbers", "\\u009b1m"),
        (None, "rq/conformance", "\u2028\u00a0 é 🦀"),
        (None, '"revision": "0123456789abcdef0123456789abcdef01234567", ', ""),
        (None, '"0123456789abcdef0123456789abcdef01234567"', "null"),
        (None, '"0123456789abcdef0123456789abcdef01234567"', '""'),
        (None, '{"note": "random numbers"}', "{}"),
        (None, '"bytes": 4096', '"bytes": 18446744073709551615'),
        (no, '"bytes": 4096', '"bytes": 18446744073709551616'),
        (no, '"bytes": 4096', '"bytes": 4096.0'),
        (no, '"bytes": 4096', '"bytes": 4096, "mtime": 0'),
        (no, ', "bytes": 4096', ""),
        (no, '"bytes": 4096', '"bytes": 4096, "bytes": 4096'),
        (no, '{"note": "random numbers"}', '{"note": "a", "note": "a"}'),
        (no, '{"note": "random numbers"}', '[["note", "a"]]'),
        (no, '{"note": "random numbers"}', '{"note": 1}'),
        (no, '{"source"', '{"date": "", "source"'),
        (no, '"rq/conformance"', "null"),
        (no, '"rq/conformance"', '"\\ud800"'),
        (no, '"weights": [{"file": "model.safetensors", "sha256"', '"weights": [["model.safetensors"], {"file": "a", "sha256"'),
    ]:  # fmt: skip
        c.provenance(refused, old, new)
    array = dumps(["x", None, [], "x", {}])
    c.add(no, "Provenance: an array of the values", with_section(c.base, 2, array))
    array = dumps({**PROVENANCE, "weights": [["f", "0" * 64, 1]]})
    c.add(no, "Provenance: a file as an array", with_section(c.base, 2, array))


def without_text(data, text):
    start, end = section(data, 1)
    config = data[start:end].rstrip(b" ")
    assert text.encode() in config
    return config.replace(text.encode(), b"")


# Every step with all its members, and which of them may be absent.
STEPS = {
    "normalizer": [
        ({"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}, ["strip_accents"]),
        *[({"type": kind}, []) for kind in ["Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "StripAccents"]],
        ({"type": "Strip", "strip_left": True, "strip_right": False}, []),
        ({"type": "Replace", "pattern": {"String": "ab"}, "content": "abcd"}, []),
        ({"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": []}, {"type": "Nmt"}]}, []),
    ],
    "pre_tokenizer": [
        *[({"type": kind}, []) for kind in ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"]],
        ({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, ["use_regex"]),
        ({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True, "add_prefix_space": True, "str_rep": "\u2581"},
         ["prepend_scheme", "split", "add_prefix_space", "str_rep"]),
        ({"type": "Punctuation", "behavior": "Isolated"}, ["behavior"]),
        ({"type": "Digits", "individual_digits": True}, []),
        ({"type": "Split", "pattern": {"Regex": "\\s{2,}"}, "behavior": "MergedWithNext", "invert": True}, []),
        ({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]}, []),
    ],
    "post_processor": [
        ({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}, []),
        ({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True}, []),
        ({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, ["use_regex"]),
        ({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
          "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {}}, []),
        ({"type": "Sequence", "processors": []}, []),
    ],
    "decoder": [
        ({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, ["use_regex"]),
        ({"type": "WordPiece", "prefix": "##", "cleanup": True}, []),
        ({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": None, "add_prefix_space": None, "str_rep": None},
         ["prepend_scheme", "split", "add_prefix_space", "str_rep"]),
        ({"type": "BPEDecoder", "suffix": "</w>"}, []),
        *[({"type": kind}, []) for kind in ["ByteFallback", "Fuse"]],
        ({"type": "Strip", "content": " ", "start": 1, "stop": 0}, []),
        ({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}, []),
        ({"type": "Sequence", "decoders": [{"type": "Fuse"}]}, []),
    ],
}  # fmt: skip


def steps(c):
    """The steps of the tokenizer: their members, and their limits."""
    unknown, bounds = "UnknownStep", "OutOfBounds"

    def step(refused, what, part, value):
        c.tokenizer(refused, f"{part}, {what}", lambda t: t.update({part: value}))

    for part, all_of in STEPS.items():
        for value, optional in all_of:
            kind = value["type"]
            step(None, f"{kind} with all members", part, value)
            step(unknown, f"{kind} with another member", part, {**value, "invented": True})
            step(unknown, f"an array in the place of {kind}", part, list(value.values()))
            for name in value:
                if name == "type":
                    continue
                less = {key: one for key, one in value.items() if key != name}
                step(None if name in optional else unknown, f"{kind} without {name}", part, less)
                step(unknown, f"{kind}: a number as {name}", part, {**value, name: 0.5})
        for value in [{"type": "Prepend"}, {"type": "Bert"}, {"type": None}, {}, [], "Lowercase", 1, {"type": ["Strip"]}]:
            step(unknown, dumps(value), part, value)
        step(None, "null", part, None)
    text = dumps(bpe())
    split = '"pre_tokenizer": {"type": "WhitespaceSplit"}'
    for what, new in [
        ("a step's type twice", '"pre_tokenizer": {"type": "WhitespaceSplit", "type": "WhitespaceSplit"}'),
        ("a member twice", '"pre_tokenizer": {"type": "Digits", "individual_digits": true, "individual_digits": true}'),
        ("a lone surrogate in a step", '"pre_tokenizer": {"type": "Split", "pattern": {"String": "\\ud800"}, "behavior": "Removed", "invert": false}'),
    ]:
        c.tokenizer("Json", what, lambda t, new=new: text.replace(split, new))

    nmt, replace = {"type": "Nmt"}, {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}

    def sequence(*inner):
        return {"type": "Sequence", "normalizers": list(inner)}

    step(None, "16 steps", "normalizer", sequence(*[nmt] * 15, sequence(nmt)))
    step(bounds, "17 steps", "normalizer", sequence(*[nmt] * 16, sequence(nmt)))
    step(bounds, "17 steps", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}] * 17})
    step(bounds, "17 steps", "decoder", {"type": "Sequence", "decoders": [{"type": "Fuse"}] * 17})
    short = {**replace, "content": ""}
    step(None, "4 replacements", "normalizer", sequence(*[short] * 4))
    step(bounds, "5 replacements", "normalizer", sequence(*[short] * 5))
    step(bounds, "5 bytes that replace", "normalizer", {**replace, "content": "aaaaa"})
    step(bounds, "5 bytes that replace, in 2 characters", "decoder", {**replace, "content": "\u2581é"})
    step(bounds, "the empty pattern", "normalizer", {**replace, "pattern": {"String": ""}})
    step(None, "a text 64 times as long", "normalizer", sequence(*[replace] * 3))
    step(bounds, "a text 66 times as long", "normalizer", sequence({"type": "NFKC"}, replace, {**replace, "content": "aa"}))
    step(bounds, "a text 256 times as long", "decoder", {"type": "Sequence", "decoders": [replace] * 4})
    step(bounds, "a text 86 times as long", "normalizer", sequence(*[{"type": "Lowercase"}] * 11))
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    step(None, "a text 64 times as long", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [bytes_] * 3})
    step(bounds, "a text 256 times as long", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [bytes_] * 4})
    marks = {"type": "Metaspace", "replacement": "_"}
    step(bounds, "a text 125 times as long", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [marks] * 3})
    step(bounds, "a text 86 times as long", "decoder", {"type": "Sequence", "decoders": [bytes_] * 11})
    pieces = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    step(bounds, "a text 128 times as long", "decoder", {"type": "Sequence", "decoders": [pieces] * 7})
    step(bounds, "an empty suffix", "decoder", {"type": "BPEDecoder", "suffix": ""})
    for kind in ("BertProcessing", "RobertaProcessing"):
        more = {"trim_offsets": True, "add_prefix_space": False} if kind == "RobertaProcessing" else {}
        step(bounds, f"a token of 65 bytes around a text, {kind}", "post_processor", {"type": kind, "sep": ["x" * 65, 2], "cls": ["<s>", 0], **more})
    step(None, "a text 33 times as long", "normalizer", sequence({"type": "NFKD"}, {"type": "NFD"}))
    step(bounds, "a text 81 times as long", "normalizer", sequence(*[{"type": "NFC"}] * 4))
    for regex in (" {2,}", "\\s+", "\\s{2,}"):
        step(None, f"the regular expression {regex}", "normalizer", {**replace, "pattern": {"Regex": regex}, "content": " "})
    split = {"type": "Split", "behavior": "Removed", "invert": False}
    for regex in ("", " +", "(a+)+$", "\\s*", "\\s{1,}", " {2,} "):
        step(bounds, f"the regular expression {regex}", "pre_tokenizer", {**split, "pattern": {"Regex": regex}})
    for pattern in ({}, {"String": "a", "Regex": "\\s+"}, {"Glob": "*"}, ["String", "a"], "a", {"String": 1}):
        step(unknown, f"the pattern {dumps(pattern)}", "pre_tokenizer", {**split, "pattern": pattern})
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        step(None, behavior, "pre_tokenizer", {"type": "Punctuation", "behavior": behavior})
    for behavior in ("removed", "", None, {"Removed": None}):
        step(unknown, f"the behavior {dumps(behavior)}", "pre_tokenizer", {"type": "Punctuation", "behavior": behavior})
    meta = {"type": "Metaspace", "replacement": "_"}
    for scheme in ("always", "first", "never"):
        step(None, f"prepend_scheme {scheme}", "pre_tokenizer", {**meta, "prepend_scheme": scheme})
        step(None if scheme == "never" else "Json", f"prepend_scheme {scheme}, and no add_prefix_space", "pre_tokenizer",
             {**meta, "prepend_scheme": scheme, "add_prefix_space": False})  # fmt: skip
    step("Json", "no add_prefix_space, and no prepend_scheme", "pre_tokenizer", {**meta, "add_prefix_space": False})
    for character in ("", "ab", "é", "🦀", "e\u0301"):
        good = character in ("é", "🦀")
        step(None if good else unknown, f"the replacement {character}", "pre_tokenizer", {**meta, "replacement": character})
    for start, stop, refused in [(2**64 - 1, 0, None), (0, 1, bounds), (0, 2**64 - 1, bounds), (1.0, 0, unknown), (-1, 0, unknown), (2**64, 0, unknown)]:
        step(refused, f"Strip from {start} to {stop}", "decoder", {"type": "Strip", "content": " ", "start": start, "stop": stop})

    bert = {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
    for sep in (["</s>"], ["</s>", 2, 2], [2, "</s>"], {"</s>": 2}, ["</s>", 2.0], ["</s>", -2], ["</s>", 2**32], "</s>"):
        step(unknown, f"sep {dumps(sep)}", "post_processor", {**bert, "sep": sep})
    step("TokenRange", "sep beyond the vocabulary", "post_processor", {**bert, "sep": ["</s>", 14]})
    step("TokenRange", "sep far beyond the vocabulary", "post_processor", {**bert, "sep": ["</s>", 2**32 - 1]})
    step(unknown, "RoBERTa's members in BERT's", "post_processor", {**bert, "trim_offsets": True, "add_prefix_space": True})
    processors = lambda *inner: {"type": "Sequence", "processors": list(inner)}  # noqa: E731
    step(None, "16 tokens put around", "post_processor", processors(*[bert] * 4))
    step(bounds, "20 tokens put around", "post_processor", processors(*[bert] * 5))

    a, b = [{"Sequence": {"id": id, "type_id": 0}} for id in "AB"]
    s, e = [{"SpecialToken": {"id": id, "type_id": 0}} for id in ("<s>", "</s>")]
    tokens = {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2, 2], "tokens": ["x", "y"]}}

    def template(refused, what, single=(s, a, e), pair=(s, a, e, b, e), special=tokens):
        value = {"type": "TemplateProcessing", "single": list(single), "pair": list(pair), "special_tokens": special}
        step(refused, f"a template, {what}", "post_processor", value)

    template(None, "as it should be")
    template(bounds, "without the text", single=(s, e))
    template(bounds, "with the text twice", single=(s, a, a, e))
    template(bounds, "with the second text in single", single=(a, b))
    template(bounds, "with another text in single", single=(b,))
    template(bounds, "without the second text", pair=(s, a, e))
    template(bounds, "with the texts in another order", pair=(b, a))
    template(bounds, "with a token that isn't there", single=(a, s), special={})
    template(bounds, "with more ids than tokens", special={**tokens, "<s>": {"id": "<s>", "ids": [0, 0], "tokens": ["<s>"]}})
    template(None, "with more ids than tokens, of one that isn't used", special={**tokens, "x": {"id": "x", "ids": [0, 0], "tokens": []}})
    template(None, "with 32 tokens around both", single=(a, *[s] * 16), pair=(a, b, *[s] * 16))
    template(bounds, "with 33 tokens around both", single=(a, *[s] * 16), pair=(a, b, *[s] * 17))
    template("TokenRange", "with an id beyond the vocabulary", special={**tokens, "<s>": {"id": "<s>", "ids": [14], "tokens": ["<s>"]}})
    template(unknown, "with an id of 2^32", special={**tokens, "<s>": {"id": "<s>", "ids": [2**32], "tokens": ["<s>"]}})
    template(unknown, "with a special token as an array", special={**tokens, "<s>": ["<s>", [0], ["<s>"]]})
    template(unknown, "with a special token of more members", special={**tokens, "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"], "x": 1}})
    template(unknown, "as a string", single="<s> $A </s>")
    for piece in ("$A", {"Sequence": ["A", 0]}, {"Sequence": {"id": "C", "type_id": 0}}, {"Sequence": {"id": "A"}}, {"Sequence": {"id": "A", "type_id": -1}},
                  {"Sequence": {"id": "A", "type_id": 0, "x": 0}}, {"Text": {"id": "A", "type_id": 0}}, {}, {**a, **s}):  # fmt: skip
        template(unknown, f"with {dumps(piece)}", single=(piece,))
    charsmaps(c, step)


def charsmap(length=None, texts=b"x\0a\0", **changes):
    """A charsmap that makes "a" of "A"."""
    units = [0] * 512
    units[0] = 256 << 10
    units[321] = 65 | 1 << 8 | 1 << 10
    units[320] = 2 | 1 << 31
    for at, unit in changes.items():
        units[int(at[1:])] = unit
    data = struct.pack("<512I", *units)
    return struct.pack("<I", len(data) if length is None else length) + data + texts


def charsmaps(c, step):
    def check(refused, what, data):
        encoded = data if isinstance(data, str) else base64.b64encode(data).decode()
        step(refused, f"a charsmap, {what}", "normalizer", {"type": "Precompiled", "precompiled_charsmap": encoded})

    bounds = "OutOfBounds"
    check(None, "as it should be", charsmap())
    check(bounds, "no base64", "no base64")
    encoded = base64.b64encode(charsmap()).decode()
    assert encoded.endswith("AA==")
    check(bounds, "base64 with a line feed", encoded[:4] + "\n" + encoded[4:])
    check(bounds, "base64 without padding", encoded.rstrip("="))
    check(bounds, "base64 with bits that are too many", encoded[:-3] + "B==")
    check(bounds, "base64 with the alphabet of addresses", encoded[:4] + "_" + encoded[5:])
    check(bounds, "too short", b"abc")
    check(bounds, "an empty trie", struct.pack("<I", 0) + b"a\0")
    check(bounds, "a trie longer than it", charsmap(length=2060))
    check(bounds, "a trie of a length that isn't a multiple of 4", charsmap(length=2046))
    check(bounds, "a trie that ends before its first place", charsmap(length=1024))
    check(bounds, "a first place that is far away", charsmap(_0=1 << 20))
    check(bounds, "a next place that is far away", charsmap(_321=65 | 1 << 8 | 1 << 10 | 1 << 25))
    check(bounds, "a text behind the texts", charsmap(_320=5 | 1 << 31))
    check(None, "an empty text, at the end", charsmap(_320=4 | 1 << 31))
    check(bounds, "texts that aren't UTF-8", charsmap(texts=b"x\0a\0\xff"))
    check(bounds, "a text that begins within a character", charsmap(texts=b"x\xc3\xa9\0"))
    check(None, "a text of 64 bytes", charsmap(texts=b"x\0" + b"a" * 64 + b"\0"))
    check(bounds, "a text of 65 bytes", charsmap(texts=b"x\0" + b"a" * 65 + b"\0"))


def vocabularies(c):
    """The rest of the tokenizer: its members, models, added tokens."""
    bounds = "OutOfBounds"
    text = dumps(bpe())

    def raw(refused, what, old, new):
        assert old in text, old
        c.tokenizer(refused, what, lambda t: text.replace(old, new, 1))

    def model(refused, what, **fields):
        def change(t):
            t["model"].update(fields)
            t["model"] = {name: value for name, value in t["model"].items() if value != "absent"}

        c.tokenizer(refused, what, change)

    c.tokenizer("Json", "an array of the values", lambda t: list(t.values()))
    c.tokenizer("Json", "no object", lambda t: "null")
    c.tokenizer("Json", "nothing but spaces", lambda t: " ")
    raw("Json", "another member", '{"version"', '{"invented": 1, "version"')
    raw("Json", "a member twice", '{"version"', '{"version": "1.0", "version"')
    raw("Json", "another version", '"1.0"', '"1.1"')
    raw(None, "no version", '"version": "1.0", ', "")
    raw("Json", "no model", '"model"', '"truncation"')
    raw("Json", "something behind it", '["ab", "c"]]}}', '["ab", "c"]]}}}')
    raw("Json", "a byte order mark", '{"version"', '\ufeff{"version"')
    raw(None, "padding of any kind", '"normalizer": null', '"padding": [1, {"a": [null]}]')
    raw("Json", "padding with a key twice", '"normalizer": null', '"padding": {"a": 1, "a": 1}')
    raw("Json", "padding with a lone surrogate", '"normalizer": null', '"padding": "\\udc00"')
    raw(None, "padding in 126 arrays", '"normalizer": null', f'"padding": {"[" * 126}{"]" * 126}')
    raw("Json", "padding in 127 arrays", '"normalizer": null', f'"padding": {"[" * 127}{"]" * 127}')
    raw("Json", "added tokens that are null", '"normalizer": null', '"added_tokens_": null')
    c.tokenizer(None, "nothing but a model", lambda t: {"added_tokens": t["added_tokens"], "model": t["model"]})
    c.tokenizer("NoMask", "no token with the mask's id", lambda t: t["model"]["vocab"].pop("<mask>") and t.update(added_tokens=[]))

    # Models.
    model(None, "no type", type="absent")
    model(None, "a type of null", type=None)
    model("ModelType", "another type", type="WordLevel")
    model("Json", "a type that is no string", type=1)
    model("Json", "another member of the model", invented=None)
    c.tokenizer("Json", "a model that is an array", lambda t: t.update(model=list(t["model"].values())))
    model("Json", "no vocabulary", vocab="absent")
    model("Json", "a vocabulary that is null", vocab=None)
    model("Json", "pieces in a BPE", vocab=[["a", 0.0]])
    for id in (-1, 1.0, "1", 2**32, None):
        model("Json", f"the id {dumps(id)}", vocab={**bpe()["model"]["vocab"], "x": id})
    model("TokenRange", "an id that the model lacks", vocab={**bpe()["model"]["vocab"], "x": 14})
    model("TokenRange", "the largest id", vocab={**bpe()["model"]["vocab"], "x": 2**32 - 1})
    model(None, "the last id", vocab={**bpe()["model"]["vocab"], "x": 13})
    model("Json", "no merges", merges="absent")
    model("Json", "merges that are null", merges=None)
    model(None, "merges as strings", merges=["#version: 0.2", "a b", "c d", "ab cd", "ab c"])
    for merges in (["ab"], ["a b c"], [["a"]], [["a", "b", "c"]], [["a", 1]], [1], {"a": "b"}, ["a b", None]):
        model("Json", f"the merges {dumps(merges)}", merges=merges)
    for merges in ([["a", "x"]], [["x", "a"]], ["x a"]):
        model("MergeOf", f"the merges {dumps(merges)}", merges=merges)
    for merges in ([["b", "a"]], ["b a"]):
        model("MergeInto", f"the merges {dumps(merges)}", merges=merges)
    model("MergeInto", "a merge whose second token is shorter than the prefix", continuing_subword_prefix="##", merges=[["a", "b"]])
    vocab = {**bpe()["model"]["vocab"], "##b": 13}
    model(None, "a merge with a prefix", continuing_subword_prefix="##", vocab=vocab, merges=[["a", "##b"]])
    vocab = {**bpe()["model"]["vocab"], "é": 13}
    model("MergeInto", "a prefix that ends within a character", continuing_subword_prefix="#", vocab=vocab, merges=[["a", "é"]])
    for field in ("continuing_subword_prefix", "end_of_word_suffix"):
        model(None, f"{field} of 64 bytes", merges=[], **{field: "#" * 64})
        model(bounds, f"{field} of 65 bytes", merges=[], **{field: "#" * 65})
        model(bounds, f"{field} of 66 bytes in 33 characters", merges=[], **{field: "é" * 33})
        model("Json", f"{field} that is no string", **{field: 1})
    twice = dumps(bpe()).replace('"ab":', '"a":', 1)
    c.tokenizer("Json", "a token twice", lambda t: twice)
    model(bounds, "an id twice", vocab={**bpe()["model"]["vocab"], "x": 5})
    model(None, "a token of 1,024 bytes", vocab={**bpe()["model"]["vocab"], "x" * 1024: 13})
    model(bounds, "a token of 1,025 bytes", vocab={**bpe()["model"]["vocab"], "x" * 1025: 13})
    model(None, "unk_token of 64 bytes", unk_token="x" * 64, vocab={**bpe()["model"]["vocab"], "x" * 64: 13})
    model(bounds, "unk_token of 65 bytes", unk_token="x" * 65, vocab={**bpe()["model"]["vocab"], "x" * 65: 13})
    for dropout, refused in [(0.0, None), (0, None), (None, None), (1e-60, None), (0.1, bounds), (1, bounds), (-0.1, bounds), ("0", "Json"), (True, "Json")]:
        model(refused, f"dropout {dumps(dropout)}", dropout=dropout)
    for field in ("fuse_unk", "byte_fallback", "ignore_merges"):
        model(None, f"{field}", unk_token="<unk>", **{field: True})
        model("Json", f"{field} that is null", **{field: None})
        model("Json", f"{field} that is 0", **{field: 0})

    def wordpiece(refused, what, **fields):
        def change(t):
            fields_of = {"unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, **fields}
            fields_of = {name: value for name, value in fields_of.items() if value != "absent"}
            t["model"] = {"type": "WordPiece", "vocab": t["model"]["vocab"], **fields_of}

        c.tokenizer(refused, f"WordPiece, {what}", change)

    wordpiece(None, "as it should be")
    wordpiece(None, "words of 1,000 characters", max_input_chars_per_word=1000)
    wordpiece(bounds, "words of 1,001 characters", max_input_chars_per_word=1001)
    wordpiece("Json", "words of 100.0 characters", max_input_chars_per_word=100.0)
    wordpiece(bounds, "a prefix of 65 bytes", continuing_subword_prefix="#" * 65)
    wordpiece(None, "no prefix", continuing_subword_prefix="")
    for field in ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word"):
        wordpiece("Json", f"without {field}", **{field: "absent"})
        wordpiece("Json", f"{field} that is null", **{field: None})
    wordpiece("Json", "pieces", vocab=[["a", 0.0]])

    def unigram(refused, what, vocab=None, **fields):
        pieces = [[token, -1.5] for token in bpe()["model"]["vocab"]]
        change = lambda t: t.update(model={"type": "Unigram", "unk_id": 3, "vocab": vocab or pieces, **fields})  # noqa: E731
        c.tokenizer(refused, f"Unigram, {what}", change)

    pieces = [[token, 0] for token in bpe()["model"]["vocab"]]
    unigram(None, "as it should be")
    unigram(None, "with bytes", byte_fallback=True)
    unigram(None, "without unk_id", unk_id=None)
    unigram(None, "the last unk_id", unk_id=12)
    unigram(bounds, "unk_id beyond the pieces", unk_id=13)
    unigram("Json", "unk_id -1", unk_id=-1)
    unigram(None, "a piece of 128 bytes", [*pieces, ["x" * 128, -1.0]])
    unigram(bounds, "a piece of 129 bytes", [*pieces, ["x" * 129, -1.0]])
    unigram(bounds, "a piece of 130 bytes in 65 characters", [*pieces, ["é" * 65, -1.0]])
    unigram("TokenRange", "more pieces than the model has", [*pieces, ["x", -1.0], ["y", -1.0]])
    for piece in (["x"], ["x", -1.0, 0], [-1.0, "x"], {"x": -1.0}, ["x", None], ["x", "-1"], "x"):
        unigram("Json", f"the piece {dumps(piece)}", [*pieces, piece])
    unigram("Json", "an object of ids", {"a": 0})

    # Added tokens.
    mask = {"id": 4, **added("<mask>")}

    def tokens(refused, what, *more):
        c.tokenizer(refused, f"added tokens, {what}", lambda t: t.update(added_tokens=[mask, *more]))

    tokens(None, "a new one, which gets the next id", added("new"))
    tokens("TokenRange", "two new ones, of which the model has one", added("new"), added("newer"))
    tokens(None, "an id that is null", {"id": None, **added("c")})
    for field in ADDED:
        tokens("Json", f"without {field}", {name: value for name, value in added("c").items() if name != field})
        tokens("Json", f"{field} that is null", added("c", **{field: None}))
    tokens("Json", "without content", ADDED)
    tokens("Json", "another member", added("c", invented=1))
    tokens("Json", "one as an array", list(added("c").values()))
    for id in (-1, 1.0, "1", 2**32):
        tokens("Json", f"the id {dumps(id)}", {"id": id, **added("c")})
    tokens(None, "one of 1,024 bytes", added("x" * 1024))
    tokens(bounds, "one of 1,025 bytes", added("x" * 1025))
    tokens(None, "a space", added(" "))
    tokens(bounds, "a space that takes the spaces before it", added(" ", lstrip=True))
    tokens(bounds, "one that begins with a no-break space, and one that takes spaces behind it", added("\u00a0b"), added("a", rstrip=True))
    tokens(bounds, "one that ends with a space and takes those behind it", added("b ", rstrip=True))
    tokens(None, "one with a space in it, that takes spaces", added("a b", rstrip=True, lstrip=True))
    tokens(None, "one that is there twice", added("c"), {"id": 9, **added("c")})
    tokens(bounds, "one twice, with other flags", added("c"), added("c", special=False))
    tokens(None, "an empty one", added(""))

    def normalized(refused, what, normalizer, *more):
        change = lambda t: t.update(normalizer=normalizer, added_tokens=[mask, *more])  # noqa: E731
        c.tokenizer(refused, f"added tokens, {what}", change)

    lower, space = {"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": "_"}, "content": " "}
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    grown = {"type": "Replace", "pattern": {"String": "x"}, "content": "yyyy"}
    marks = {"type": "StripAccents"}
    normalized(None, "one whose form is another text", lower, added("C", normalized=True))
    normalized(bounds, "two of one form", lower, added("C", normalized=True), added("c", normalized=True))
    normalized(bounds, "the form of one as another is written", lower, added("c"), added("C", normalized=True))
    normalized(None, "one that isn't normalized", lower, added("c"), added("C"))
    normalized(bounds, "an accent of which nothing is left", marks, added("\u0301", normalized=True))
    normalized(bounds, "a space without width, which BERT removes", bert, added("\u200b", normalized=True))
    normalized(bounds, "a space of which nothing is left", {"type": "Strip", "strip_left": True, "strip_right": True}, added(" ", normalized=True))
    normalized(bounds, "one that becomes a space, and takes those before it", space, added("_", normalized=True, lstrip=True))
    normalized(bounds, "one that becomes a space, beside one that takes those behind it", space, added("_", normalized=True), added("a", rstrip=True))
    normalized(None, "one that becomes a space", space, added("_", normalized=True))
    normalized(bounds, "a form of 1,028 bytes", grown, added("x" * 257, normalized=True))
    normalized(None, "a form of 128 bytes, twice as many as it is written in and 64", grown, added("x" * 32, normalized=True))
    normalized(bounds, "a form of 132 bytes, written in 33", grown, added("x" * 33, normalized=True))

    def taken(t):
        # Thirteen tokens, one of which has the id behind them.
        t["model"] = {"type": "BPE", "vocab": {**t["model"]["vocab"], "d": 13}, "merges": []}
        t["added_tokens"] = [mask, added("new")]

    c.tokenizer(bounds, "added tokens, the next id, which another token has", taken)
    for space in "\u0085\u1680\u2028\u3000\u000b":
        tokens(bounds, f"U+{ord(space):04X} before it", added(space + "b", lstrip=True))
    for space in "\u200b\ufeff\u180e\u001c":
        tokens(None, f"U+{ord(space):04X}, which is no white space, before it", added(space + "b", lstrip=True))


def damage(c, count=120):
    """Bytes changed at random where the structure is, with checksums that hold or don't: whatever a reader says of them."""
    numbers = Numbers(2026)
    base = c.base
    places = [(8, 56), (64, 224), section(base, 1), section(base, 2), section(base, 4)]
    for i in range(count):
        start, end = places[i % len(places)]
        end = start + len(base[start:end].rstrip(b" "))
        data = base
        for _ in range(1 + numbers.below(3)):
            data = put(data, start + numbers.below(end - start), bytes([numbers.below(256)]))
        data = seal(data)
        try:
            Model(data)
            refused = None
        except Refused as error:
            refused = error.name
        c.add(refused, f"bytes changed at random, number {i}", data)


# What the table of steps in FORMAT.md calls a value.
VALUES = {
    "boolean": boolean, "boolean or null": BOOLEAN_OR_NULL, "string": string, "string or null": STRING_OR_NULL, "character": character,
    "integer": integer, "pattern": PATTERN, "behavior": BEHAVIOR, "scheme": SCHEME, "token": token, "template": TEMPLATE,
    "special tokens": SPECIAL_TOKENS, "steps": list,
}  # fmt: skip


def table(page, name):
    """The cells of a table of FORMAT.md, without its head."""
    rows = page.split(f"<!-- begin {name} -->\n")[1].split(f"<!-- end {name} -->")[0].splitlines()[2:]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]


def check_page(changes):
    """Compares FORMAT.md with the reader, and with what the corpus has."""
    page = (HERE.parent / "FORMAT.md").read_text("utf-8")
    found = {}
    for part, kinds, members in table(page, "tokenizer steps"):
        listed = re.findall(r"(\(?)`(\w+)` ([a-z ]+)\)?(?:, |$)", members)
        for kind in re.findall(r"`(\w+)`", kinds):
            found.setdefault(part.strip("`"), {})[kind] = {
                name + ("?" if optional else ""): VALUES[value] for optional, name, value in listed
            }
    if found != STEPS_OF_READER:
        sys.exit("the table of steps in FORMAT.md isn't the reader's")
    tried = {part: {value["type"] for value, _ in all_of} for part, all_of in STEPS.items()}
    lacking = {part: set(kinds) - tried[part] - {"Precompiled"} for part, kinds in found.items()}
    if any(lacking.values()):
        sys.exit(f"steps that the corpus doesn't try: {lacking}")
    names = {name for row in table(page, "names") for name in re.findall(r"`([^`]+)`", row[0])}
    refused = {name for *_, name in changes if name}
    if names != refused:
        sys.exit(f"names in FORMAT.md alone: {names - refused}; in the corpus alone: {refused - names}")
    rows = re.findall(r"^\| 0, 1, 2, \.\.\. up to (\d+).* \| `(\w+)` \|$", page, re.M)
    for last, expected in rows:
        if f"{xxh3_64(bytes(i % 256 for i in range(int(last) + 1))):016x}" != expected:
            sys.exit(f"the checksum of {last} in FORMAT.md")


def main():
    all_files = dict(files())
    changes = Changes(all_files)
    for kind in (structure, values, configuration, steps, vocabularies, damage):
        kind(changes)
    check_page(changes.list)
    manifest = {"files": {name: answers(data) for name, data in all_files.items()}, "changes": []}
    wrong, seen = 0, set()
    for what, of, data, refused in changes.list:
        try:
            fingerprint, found = f"{Model(data).fingerprint:016x}", None
        except Refused as error:
            fingerprint, found = None, error.name
        if found != refused:
            wrong += 1
            print(f"{what}: {found or 'accepted'}, not {refused or 'accepted'}", file=sys.stderr)
        if changed(all_files[of], edit(all_files[of], data)) != data:
            raise SystemExit(f"{what}: the edit isn't the change")
        if data in seen and data != all_files[of]:
            print(f"twice: {what}", file=sys.stderr)
            wrong += 1
        seen.add(data)
        answer = {"refused": refused} if refused else {"fingerprint": fingerprint}
        manifest["changes"].append({"what": what, "of": of, "edit": edit(all_files[of], data), **answer})
    if wrong:
        sys.exit(f"{wrong} of {len(changes.list)} changes aren't what they should be")
    lines = ",\n".join(json.dumps(change) for change in manifest["changes"])
    answered = ",\n".join(f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in manifest["files"].items())
    text = f'{{"files": {{\n{answered}\n}}, "changes": [\n{lines}\n]}}\n'
    out = {**all_files, "manifest.json": text.encode()}
    names = {change["refused"] for change in manifest["changes"] if "refused" in change}
    summary = f"{len(all_files)} files, {len(changes.list)} changes, {len(names)} names"
    if sys.argv[1:] == ["--check"]:
        other = [name for name, data in out.items() if not (HERE / name).is_file() or (HERE / name).read_bytes() != data]
        if other:
            sys.exit(f"not what corpus.py writes: {', '.join(other)}")
        print(f"conformance: {summary}; the reader in Python agrees")
    elif sys.argv[1:2] == ["--write"] and len(sys.argv) == 3:
        directory_of = Path(sys.argv[2])
        directory_of.mkdir(parents=True, exist_ok=True)
        for name, data in all_files.items():
            (directory_of / name).write_bytes(data)
        for i, (_, _, data, refused) in enumerate(changes.list):
            (directory_of / f"{i:04}-{refused or 'accepted'}.rq").write_bytes(data)
    elif not sys.argv[1:]:
        for name, data in out.items():
            (HERE / name).write_bytes(data)
        print(summary)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
