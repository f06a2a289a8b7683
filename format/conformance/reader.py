#!/usr/bin/env python3
"""A second reader of the rq model file, written from FORMAT.md alone: it verifies a file, or says by name what is wrong.

    reader.py FILE...

It needs Python 3.9 or later and nothing else, and is slow: it is here to be compared with the reference implementation.
"""

import math
import re
import struct
import sys
from array import array

from tokenizer_json import check_tokenizer
from strict_json import BadJson, boolean, integer, list_of, map_of, names, null_or, number, object_of, parse, string
from xxh3 import xxh3_64

SECTIONS = ["Config", "Provenance", "Tokenizer", "TensorDirectory", "TensorData"]
MAX_LENGTH = {"Config": 1 << 20, "Provenance": 1 << 20, "Tokenizer": 1 << 26, "TensorDirectory": 65536 * 128}
MAGIC = bytes.fromhex("8952514d0d0a1a0a")


class Refused(Exception):
    """A file that is refused: the name of what is wrong, and where."""

    def __init__(self, name, where=""):
        super().__init__(f"{name}: {where}" if where else name)
        self.name = name


def up(n, to=64):
    return -(-n // to) * to


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


# The configuration -----------------------------------------------------------------------------------------------------

ACTS = names("gelu", "gelu_tanh")
PROMPTS = {"prompts": map_of(string), "default_prompt?": null_or(string)}


def embedding_layer(value):
    """`"normalize"`, or an object with the member `dense`."""
    if isinstance(value, str):
        return names("normalize")(value)
    return object_of({
        "dense": object_of({
            "out_features": integer,
            "bias": boolean,
            "activation": names("identity", "tanh", "relu", "gelu", "sigmoid"),
        })
    })(value)


ID = integer.below(1 << 32)
CONFIG = object_of({
    "architecture": names("roberta", "bert", "distilbert", "electra", "mpnet"),
    "head": names("none", "masked_lm", "sequence_classification", "token_classification", "question_answering"),
    "vocab_size": integer,
    "hidden_size": integer,
    "num_hidden_layers": integer,
    "num_attention_heads": integer,
    "intermediate_size": integer,
    "max_position_embeddings": integer,
    "type_vocab_size": integer,
    "embedding_size?": null_or(integer),
    "layer_norm_eps": number,
    "hidden_act": ACTS,
    "pad_token_id": ID,
    "bos_token_id": ID,
    "eos_token_id": ID,
    "mask_token_id?": null_or(ID),
    "unk_token_id?": null_or(ID),
    "position_offset": integer,
    "tie_word_embeddings": boolean,
    "labels": list_of(string),
    "classifier_act?": null_or(names("tanh", "relu", "gelu", "gelu_tanh")),
    "score_function?": null_or(names("softmax", "sigmoid", "none")),
    "pooling?": null_or(object_of({
        "modes": list_of(names("cls", "last_token", "mean", "mean_sqrt_len", "weighted_mean", "max", "tokens")),
        "include_prompt": boolean,
        "layers": list_of(embedding_layer),
        **PROMPTS,
    })),
    "sparse_pooling?": null_or(object_of({
        "mode": names("max", "sum"),
        "activation": names("relu", "log1p_relu"),
        "max_active_dims?": null_or(integer),
        **PROMPTS,
    })),
    "max_seq_length?": null_or(integer),
    "truncation_side?": names("right", "left"),
    "clean_up_spaces?": boolean,
    "quantization": string,
})
PROVENANCE = object_of({
    "source": string,
    "revision?": null_or(string),
    "weights": list_of(object_of({"file": string, "sha256": string, "bytes": integer})),
    "converter": string,
    "quantization": map_of(string),
})


def has_control(text):
    return any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in text)


def size(text):
    return len(text.encode())


def check_config(c):
    def refuse(name, where):
        raise Refused(f"Config({name})", where)

    embedding = c.get("embedding_size")
    untyped = c["architecture"] in ("distilbert", "mpnet")
    for field, least, most in [
        ("vocab_size", 1, 1 << 24),
        ("hidden_size", 1, 1 << 16),
        ("num_hidden_layers", 1, 1 << 10),
        ("num_attention_heads", 1, 1 << 16),
        ("intermediate_size", 1, 1 << 20),
        ("max_position_embeddings", 1, 1 << 20),
        ("type_vocab_size", 0 if untyped else 1, 0 if untyped else 1 << 10),
    ] + ([("embedding_size", 1, 1 << 16)] if embedding is not None else []):
        if not least <= c[field] <= most:
            refuse("Range", field)
    if c["hidden_size"] % c["num_attention_heads"]:
        refuse("Heads", "num_attention_heads")
    eps = c["layer_norm_eps"]
    if not (0 < eps <= 1 and to_f32(eps) >= 2.0**-126):
        refuse("LayerNormEps", eps)
    for token in ["pad", "bos", "eos", "mask", "unk"]:
        found = c.get(f"{token}_token_id")
        if found is not None and found >= c["vocab_size"]:
            refuse("TokenId", token)
    offset = c["pad_token_id"] + 1 if c["architecture"] in ("roberta", "mpnet") else 0
    if c["position_offset"] != offset:
        refuse("PositionOffset", c["position_offset"])
    most = c["max_position_embeddings"] - offset
    if most < 2:
        refuse("MaxTokens", most)
    if c.get("max_seq_length") is not None and not 2 <= c["max_seq_length"] <= most:
        refuse("MaxSeqLength", c["max_seq_length"])
    head = c["head"]
    labelled = head in ("sequence_classification", "token_classification")
    if not (1 <= len(c["labels"]) <= 1 << 16 if labelled else not c["labels"]):
        refuse("Labels", len(c["labels"]))
    if any(size(label) > 1024 or has_control(label) for label in c["labels"]):
        refuse("Label", "")
    if head == "masked_lm" and c.get("mask_token_id") is None:
        refuse("NoMask", "")
    for field, may, must in [
        ("score_function", head == "sequence_classification", head == "sequence_classification"),
        ("classifier_act", labelled, head == "sequence_classification"),
        ("pooling", head == "none", False),
        ("sparse_pooling", head == "masked_lm", False),
    ]:
        there = c.get(field) is not None
        if there and not may or must and not there:
            refuse("HeadField", field)
    pooling = c.get("pooling")
    if pooling is not None:
        modes, layers = pooling["modes"], pooling["layers"]
        if not 1 <= len(modes) <= 6 or "tokens" in modes and len(modes) > 1 or len(layers) > 16:
            refuse("Pooling", "modes or layers")
        if any(layer != "normalize" and not 1 <= layer["dense"]["out_features"] <= 1 << 16 for layer in layers):
            refuse("Pooling", "out_features")
        if not prompts_are_sound(pooling):
            refuse("Pooling", "prompts")
    sparse = c.get("sparse_pooling")
    if sparse is not None:
        dims = sparse.get("max_active_dims")
        if dims is not None and not 1 <= dims <= 1 << 24:
            refuse("SparsePooling", "max_active_dims")
        if not prompts_are_sound(sparse):
            refuse("SparsePooling", "prompts")
    if not re.fullmatch(r"[a-z0-9._+-]{1,64}", c["quantization"]):
        refuse("Quantization", c["quantization"])


def prompts_are_sound(pooling):
    prompts, default = pooling["prompts"], pooling.get("default_prompt")
    return (
        len(prompts) <= 1024
        and all(1 <= size(name) <= 1024 and not has_control(name) for name in prompts)
        and all(size(prompt) <= 65536 for prompt in prompts.values())
        and (default is None or default in prompts)
    )


def check_provenance(p):
    if not p["source"]:
        raise Refused("Provenance(NoSource)")
    if not p["converter"]:
        raise Refused("Provenance(NoConverter)")
    shown = [p["source"], p["converter"], p.get("revision") or ""]
    shown += [weights["file"] for weights in p["weights"]]
    shown += [text for note in p["quantization"].items() for text in note]
    if any(has_control(text) for text in shown):
        raise Refused("Provenance(Control)")
    if not all(re.fullmatch("[0-9a-f]{64}", weights["sha256"]) for weights in p["weights"]):
        raise Refused("Provenance(Sha256)")


def expected_tensors(c):
    """Name, rows, columns and whether it is in blocks of each tensor, in FORMAT.md's order."""
    V, H, I = c["vocab_size"], c["hidden_size"], c["intermediate_size"]
    P, T, A = c["max_position_embeddings"], c["type_vocab_size"], c["num_attention_heads"]
    E, D = c.get("embedding_size") or H, up(H // A, 16)
    yield "embeddings.word", V, E, True
    yield "embeddings.position", P, E, False
    if T:
        yield "embeddings.token_type", T, E, False
    yield "embeddings.norm.weight", 1, E, False
    yield "embeddings.norm.bias", 1, E, False
    if c.get("embedding_size") is not None:
        yield "embeddings.projection.weight", H, E, True
        yield "embeddings.projection.bias", 1, H, False
    if c["architecture"] == "mpnet":
        yield "attention.relative_bias", A, 255, False
    for n in range(c["num_hidden_layers"]):
        layer = f"layers.{n}."
        for product, rows, columns in [
            ("attention.qkv", 3 * A * D, H),
            ("attention.output", H, A * D),
            ("attention.norm", None, H),
            ("ffn.up", I, H),
            ("ffn.down", H, I),
            ("ffn.norm", None, H),
        ]:
            if rows is None:
                yield f"{layer}{product}.weight", 1, columns, False
                yield f"{layer}{product}.bias", 1, columns, False
            else:
                yield f"{layer}{product}.weight", rows, columns, True
                yield f"{layer}{product}.bias", 1, rows, False
    head = c["head"]
    if head == "masked_lm":
        yield "lm_head.dense.weight", E, H, True
        yield "lm_head.dense.bias", 1, E, False
        yield "lm_head.norm.weight", 1, E, False
        yield "lm_head.norm.bias", 1, E, False
        if not c["tie_word_embeddings"]:
            yield "lm_head.decoder.weight", V, E, True
        yield "lm_head.decoder.bias", 1, V, False
    elif head != "none":
        L = 2 if head == "question_answering" else len(c["labels"])
        if c.get("classifier_act") is not None:
            yield "classifier.dense.weight", H, H, True
            yield "classifier.dense.bias", 1, H, False
        yield "classifier.out.weight", L, H, True
        yield "classifier.out.bias", 1, L, False
    if c.get("pooling") is not None:
        width, n = len(c["pooling"]["modes"]) * H, 0
        for layer in c["pooling"]["layers"]:
            if layer != "normalize":
                out = layer["dense"]["out_features"]
                yield f"dense.{n}.weight", out, width, False
                if layer["dense"]["bias"]:
                    yield f"dense.{n}.bias", 1, out, False
                width, n = out, n + 1


# Tensors ---------------------------------------------------------------------------------------------------------------

F32, Q8, Q4 = 0, 1, 2
CODES = {Q8: 2048, Q4: 1088}


def to_f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def tensor_length(format, rows, columns):
    if format == F32:
        return rows * up(columns, 16) * 4
    return up(rows, 16) // 16 * (up(columns, 128) // 128) * (CODES[format] + 32)


class Tensor:
    """A tensor of a file."""

    def __init__(self, name, format, rows, columns, data):
        self.name, self.format, self.rows, self.columns, self.data = name, format, rows, columns, data
        self.blocks = up(columns, 128) // 128

    def check(self):
        """Checks that the bytes are weights."""
        data = self.data
        if self.format == F32:
            width = up(self.columns, 16)
            for r in range(self.rows):
                row = data[4 * width * r : 4 * width * (r + 1)]
                if not all(math.isfinite(x) for x in struct.unpack(f"<{width}f", row)):
                    raise Refused("Value", f"{self.name}, row {r}")
                if any(row[4 * self.columns :]):
                    raise Refused("Value", f"{self.name}, padding of row {r}")
            return
        count = up(self.rows, 16) // 16 * self.blocks
        codes, scales = data[: count * CODES[self.format]], data[count * CODES[self.format] :]
        if self.format == Q8 and 0 in codes:
            raise Refused("Value", f"{self.name}, a code")
        if self.format == Q4:
            for block in range(count):
                subs = codes[1088 * block + 1024 : 1088 * (block + 1)]
                if any(sub & 15 == 0 or sub >> 4 == 0 for sub in subs):
                    raise Refused("Value", f"{self.name}, a sub-scale")
        for i, scale in enumerate(struct.unpack(f"<{16 * count}e", scales)):
            if not math.isfinite(scale):
                raise Refused("Value", f"{self.name}, a scale")
            row = i // 16 // self.blocks * 16 + i % 16
            if row >= self.rows and scale != 0:
                raise Refused("Value", f"{self.name}, a scale of padding")

    def stored(self, row, block):
        """The 128 values of a block, as they are stored: rotated."""
        of = CODES[self.format]
        count = len(self.data) // (of + 32)
        panel, r = row // 16 * self.blocks + block, row % 16
        codes = self.data[of * panel : of * (panel + 1)]
        scale = struct.unpack_from("<e", self.data, of * count + 32 * panel + 2 * r)[0]
        if self.format == Q8:
            return [scale * (codes[64 * (k // 4) + 4 * r + k % 4] - 128) for k in range(128)]

        def nibble(at, high):
            return codes[at] >> (4 if high else 0) & 15

        return [
            scale * (nibble(64 * (k // 8) + 4 * r + k % 4, k % 8 >= 4) - 8) * nibble(1024 + 16 * (k // 32) + r, k % 32 >= 16)
            for k in range(128)
        ]

    def row(self, row):
        """The weights of a row, each an f32."""
        if self.format == F32:
            return list(struct.unpack_from(f"<{self.columns}f", self.data, up(self.columns, 16) * 4 * row))
        weights = []
        for block in range(self.blocks):
            values = array("f", self.stored(row, block))
            for d in (64, 32, 16, 8, 4, 2, 1):
                # An array rounds each sum to an f32.
                values = array("f", (values[k & ~d] + (-1 if k & d else 1) * values[k | d] for k in range(128)))
            weights += [sign(k & (k >> 1) & 0x15) * x / 128 for k, x in enumerate(values)]
        return weights[: self.columns]

    def rows_of(self):
        return [self.row(r) for r in range(self.rows)]


def sign(bits):
    return -1 if bin(bits).count("1") % 2 else 1


# The file --------------------------------------------------------------------------------------------------------------


class Model:
    """A file that was verified."""

    def __init__(self, data):
        check_header(data)
        self.fingerprint = u64(data, 56)
        records = [struct.unpack_from("<IIQQQ", data, 64 + 32 * i) for i in range(5)]
        places = check_sections(data, records)
        config, provenance, tokenizer, directory = [data[start:end] for start, end in places[:4]]
        for section, bytes_of, record in zip(SECTIONS, [config, provenance, tokenizer, directory], records):
            if section != "Tokenizer" and xxh3_64(bytes_of) != record[4]:
                raise Refused("Checksum", section)
        self.config = self.json(CONFIG, config)
        check_config(self.config)
        self.provenance = self.json(PROVENANCE, provenance)
        check_provenance(self.provenance)
        self.tensors, padding = read_directory(data, places[3], places[4])
        self.check_expected()
        if xxh3_64(tokenizer) != records[2][4]:
            raise Refused("Checksum", "Tokenizer")
        for start, end in padding:
            if any(data[start:end]):
                raise Refused("Padding", start)
        for tensor, checksum in self.tensors.values():
            if xxh3_64(tensor.data) != checksum:
                raise Refused("Checksum", tensor.name)
            tensor.check()
        self.tensors = {name: tensor for name, (tensor, _) in self.tensors.items()}
        self.tokenizer = check_tokenizer(tokenizer, self.config, lambda name, where: Refused(f"Tokenizer({name})", where))

    @staticmethod
    def json(schema, bytes_of):
        try:
            return schema(parse(bytes_of)[0])
        except BadJson as bad:
            raise Refused("Json", str(bad)) from None

    def check_expected(self):
        expected = {name: rest for name, *rest in expected_tensors(self.config)}
        for name, (rows, columns, blocks) in expected.items():
            if name not in self.tensors:
                raise Refused("MissingTensor", name)
            tensor = self.tensors[name][0]
            if (tensor.rows, tensor.columns) != (rows, columns):
                raise Refused("Shape", name)
            if (tensor.format != F32) != blocks:
                raise Refused("FormatNotAllowed", name)
        for name in self.tensors:
            if name not in expected:
                raise Refused("UnexpectedTensor", name)


def check_header(data):
    if not MAGIC.startswith(data[:8]):
        raise Refused("Magic", data[:8].hex())
    if len(data) < 64:
        raise Refused("TooShort", len(data))
    version = u32(data, 8)
    if version != 2:
        raise Refused("NoSuchVersion" if version == 0 else "OlderVersion" if version < 2 else "NewerVersion", version)
    if u32(data, 12) != 5:
        raise Refused("SectionCount", u32(data, 12))
    if u64(data, 16) != len(data):
        raise Refused("FileLength", u64(data, 16))
    if u64(data, 24) != 64:
        raise Refused("TableOffset", u64(data, 24))
    if len(data) < 224:
        raise Refused("TooShort", len(data))
    if xxh3_64(data[:56] + data[64:224]) != u64(data, 56):
        raise Refused("HeaderChecksum")
    if any(data[32:56]):
        raise Refused("Reserved", 32)


def place_behind(where, end, offset, length, container):
    """Checks that something follows `end` without a hole and is within its container; returns where it ends."""
    if offset % 64:
        raise Refused("Misaligned", where)
    if offset != up(end):
        raise Refused("Overlap" if offset < up(end) else "Hole", where)
    if offset + length > container:
        raise Refused("OutOfBounds", where)
    return offset + length


def check_sections(data, records):
    places, end = [], 224
    for section, (kind, reserved, offset, length, checksum) in zip(SECTIONS, records):
        if kind != SECTIONS.index(section) + 1:
            raise Refused("SectionKind", section)
        if reserved:
            raise Refused("Reserved", section)
        if length == 0:
            raise Refused("EmptySection", section)
        if length > MAX_LENGTH.get(section, length):
            raise Refused("SectionTooLong", section)
        end = place_behind(section, end, offset, length, len(data))
        places.append((offset, end))
        if section == "TensorData" and checksum:
            raise Refused("ChecksumNotZero", section)
    if end != len(data):
        raise Refused("TrailingBytes", end)
    for start, (stop, _) in zip([224] + [end for _, end in places], places):
        if any(data[start:stop]):
            raise Refused("Padding", start)
    return places


def read_directory(data, place, data_place):
    """The tensors by their names, each with its checksum, and the padding between them."""
    (start, stop), (data_start, data_stop) = place, data_place
    if (stop - start) % 128:
        raise Refused("DirectoryLength", stop - start)
    tensors, padding, end, twice = {}, [], data_start, None
    for at in range(start, stop, 128):
        field = data[at : at + 72]
        name = re.fullmatch(rb"([A-Za-z0-9._-]{1,71})\0+", field)
        if not name:
            raise Refused("TensorName", field)
        name = name[1].decode()
        format, reserved, rows, columns, offset, length, checksum, rest = struct.unpack_from("<IIQQQQQQ", data, at + 72)
        if reserved or rest:
            raise Refused("Reserved", name)
        if format > 2:
            raise Refused("UnknownTensorFormat", name)
        if not (1 <= rows <= 1 << 31 and 1 <= columns <= 1 << 31):
            raise Refused("Dimensions", name)
        expected = tensor_length(format, rows, columns)
        if expected >= 1 << 64:
            raise Refused("TooLarge", name)
        if length != expected:
            raise Refused("TensorLength", name)
        before, end = end, place_behind(name, end, offset, length, data_stop)
        padding.append((before, offset))
        if name in tensors:
            twice = name
        tensors[name] = Tensor(name, format, rows, columns, data[offset:end]), checksum
    if end != data_stop:
        raise Refused("TrailingBytes", end)
    if twice:
        raise Refused("DuplicateTensor", twice)
    return tensors, padding


def main():
    status = 0
    for path in sys.argv[1:]:
        try:
            with open(path, "rb") as file:
                model = Model(file.read())
            print(f"{path}: sound, {len(model.tensors)} tensors, fingerprint {model.fingerprint:016x}")
        except Refused as refused:
            print(f"{path}: {refused}")
            status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
