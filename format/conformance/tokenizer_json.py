"""What FORMAT.md says of the tokenizer, and, for some tokenizers, the tokens of a text."""

import base64
import binascii
import re
import struct
import unicodedata
from collections import deque

from strict_json import (
    BadJson, any_value, boolean, character, integer, list_of, map_of, names, null_or, number, object_of, parse, string,
)

ID = integer.below(1 << 32)
TYPE_ID = integer.below(1 << 32)
PATTERNS = {" {2,}": 2, "\\s+": 1, "\\s{2,}": 2}
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


class Wrong(Exception):
    """What is wrong with a tokenizer, by name."""

    def __init__(self, name, where):
        super().__init__(f"{name}: {where}")
        self.name, self.where = name, where


def one_member(kinds):
    def check(value):
        if not isinstance(value, dict) or len(value) != 1:
            raise BadJson("not an object with one member")
        ((kind, content),) = value.items()
        if kind not in kinds:
            raise BadJson(f"a member {kind!r}")
        return kind, kinds[kind](content)

    return check


def token(value):
    if not isinstance(value, list) or len(value) != 2:
        raise BadJson("not a string and an id")
    return string(value[0]), ID(value[1])


def piece_and_score(value):
    if not isinstance(value, list) or len(value) != 2:
        raise BadJson("not a piece and its score")
    return string(value[0]), number(value[1])


PATTERN = one_member({"String": string, "Regex": string})
BEHAVIOR = names("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
TEMPLATE = list_of(one_member({
    "Sequence": object_of({"id": names("A", "B"), "type_id": TYPE_ID}),
    "SpecialToken": object_of({"id": string, "type_id": TYPE_ID}),
}))
SCHEME = names("always", "first", "never")
BOOLEAN_OR_NULL, STRING_OR_NULL = null_or(boolean), null_or(string)
SPECIAL_TOKENS = map_of(object_of({"id": string, "ids": list_of(ID), "tokens": list_of(string)}))
BYTE_LEVEL = {"add_prefix_space": boolean, "trim_offsets": boolean, "use_regex?": boolean}
METASPACE = {
    "replacement": character,
    "prepend_scheme?": SCHEME,
    "split?": BOOLEAN_OR_NULL,
    "add_prefix_space?": BOOLEAN_OR_NULL,
    "str_rep?": STRING_OR_NULL,
}
REPLACE = {"pattern": PATTERN, "content": string}
# The members of each step; `list` marks those of a sequence.
STEPS = {
    "normalizer": {
        "BertNormalizer": {
            "clean_text": boolean,
            "handle_chinese_chars": boolean,
            "strip_accents?": BOOLEAN_OR_NULL,
            "lowercase": boolean,
        },
        **{kind: {} for kind in ["Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "StripAccents"]},
        "Strip": {"strip_left": boolean, "strip_right": boolean},
        "Replace": REPLACE,
        "Precompiled": {"precompiled_charsmap": string},
        "Sequence": {"normalizers": list},
    },
    "pre_tokenizer": {
        **{kind: {} for kind in ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"]},
        "ByteLevel": BYTE_LEVEL,
        "Metaspace": METASPACE,
        "Punctuation": {"behavior?": BEHAVIOR},
        "Digits": {"individual_digits": boolean},
        "Split": {"pattern": PATTERN, "behavior": BEHAVIOR, "invert": boolean},
        "Sequence": {"pretokenizers": list},
    },
    "post_processor": {
        "BertProcessing": {"sep": token, "cls": token},
        "RobertaProcessing": {"sep": token, "cls": token, "trim_offsets": boolean, "add_prefix_space": boolean},
        "ByteLevel": BYTE_LEVEL,
        "TemplateProcessing": {
            "single": TEMPLATE,
            "pair": TEMPLATE,
            "special_tokens": SPECIAL_TOKENS,
        },
        "Sequence": {"processors": list},
    },
    "decoder": {
        "ByteLevel": BYTE_LEVEL,
        "WordPiece": {"prefix": string, "cleanup": boolean},
        "Metaspace": METASPACE,
        "BPEDecoder": {"suffix": string},
        **{kind: {} for kind in ["ByteFallback", "Fuse"]},
        "Strip": {"content": character, "start": integer, "stop": integer},
        "Replace": REPLACE,
        "Sequence": {"decoders": list},
    },
}
MODEL = object_of({
    "type?": null_or(string),
    "vocab": lambda value: (map_of(ID) if isinstance(value, dict) else list_of(piece_and_score))(value),
    "merges?": null_or(list_of(any_value)),
    "continuing_subword_prefix?": null_or(string),
    "end_of_word_suffix?": null_or(string),
    "unk_token?": null_or(string),
    "fuse_unk?": boolean,
    "ignore_merges?": boolean,
    "byte_fallback?": boolean,
    "dropout?": null_or(number),
    "max_input_chars_per_word?": null_or(integer),
    "unk_id?": null_or(integer),
})
TOKENIZER = object_of({
    "version?": names("1.0"),
    "truncation?": any_value,
    "padding?": any_value,
    "added_tokens?": list_of(object_of({
        "id?": null_or(ID),
        "content": string,
        **{flag: boolean for flag in ["single_word", "lstrip", "rstrip", "normalized", "special"]},
    })),
    **{f"{part}?": any_value for part in STEPS},
    "model": MODEL,
})


def size(text):
    return len(text.encode())


def out_of_bounds(holds, where):
    if not holds:
        raise Wrong("OutOfBounds", where)


def flat(part, step):
    """The steps of a part, without sequences, checked for their members."""
    kind = step.get("type") if isinstance(step, dict) else None
    if not isinstance(kind, str) or kind not in STEPS[part]:
        raise Wrong("UnknownStep", f"{part} {kind}")
    members = STEPS[part][kind]
    nested = next((name for name, schema in members.items() if schema is list), None)
    try:
        schema = {name: list_of(any_value) if name == nested else check for name, check in members.items()}
        checked = object_of({"type": string, **schema})(step)
    except BadJson as bad:
        raise Wrong("UnknownStep", f"{part} {kind}: {bad}") from None
    if nested:
        return [one for inner in checked[nested] for one in flat(part, inner)]
    return [checked]


def check_steps(part, step, length):
    out_of_bounds(length <= 1 << 20, f"{part} of {length} bytes")
    steps = flat(part, step)
    out_of_bounds(len(steps) <= 16, f"{len(steps)} steps of {part}")
    growth, replacements, around = 1.0, 0, 0
    for one in steps:
        kind = one["type"]
        if "pattern" in one:
            how, text = one["pattern"]
            out_of_bounds(text in PATTERNS if how == "Regex" else text, f"{part} {kind}, pattern {text!r}")
        if kind == "Replace":
            replacements += 1
            out_of_bounds(replacements <= 4 and size(one["content"]) <= 4, f"{part}, replacements")
            growth *= max(1, size(one["content"]) / (PATTERNS[text] if how == "Regex" else size(text)))
        elif kind in ("BertNormalizer", "NFC", "NFD"):
            growth *= 3
        elif kind in ("NFKC", "NFKD"):
            growth *= 11
        elif kind == "Lowercase":
            growth *= 1.5
        elif kind == "ByteLevel":
            growth *= {"pre_tokenizer": 4, "decoder": 1.5}.get(part, 1)
        elif kind == "WordPiece":
            growth *= 2
        elif kind == "BPEDecoder":
            out_of_bounds(one["suffix"], "the suffix of a BPEDecoder")
        elif kind == "Precompiled":
            growth *= charsmap_growth(one["precompiled_charsmap"])
        elif kind == "Metaspace":
            growth *= 5 if part == "pre_tokenizer" else 1
            if one.get("add_prefix_space") is False and one.get("prepend_scheme") != "never":
                raise Wrong("Json", f"{part} Metaspace")
        elif kind in ("BertProcessing", "RobertaProcessing"):
            around += 4
            out_of_bounds(around <= 16, "tokens put around")
            out_of_bounds(all(size(name) <= 64 for name, _ in (one["sep"], one["cls"])), "a token put around")
        elif kind == "TemplateProcessing":
            around += check_template(one)
            out_of_bounds(around <= 32, "tokens put around")
        elif part == "decoder" and kind == "Strip":
            out_of_bounds(one["stop"] == 0, "stop")
        out_of_bounds(growth <= 64, f"growth by {part}")
    return steps


def check_template(step):
    count = 0
    for template, texts in [("single", ["A"]), ("pair", ["A", "B"])]:
        out_of_bounds([content["id"] for kind, content in step[template] if kind == "Sequence"] == texts, f"texts of {template}")
        for kind, content in step[template]:
            if kind == "SpecialToken":
                special = step["special_tokens"].get(content["id"])
                out_of_bounds(special and len(special["ids"]) == len(special["tokens"]), f"special token {content['id']!r}")
                out_of_bounds(all(size(name) <= 64 for name in special["tokens"]), "a token put around")
                count += len(special["ids"])
    return count


def charsmap_growth(encoded):
    try:
        data = base64.b64decode(encoded, validate=True)
        # Python leaves out bits that are too many.
        out_of_bounds(base64.b64encode(data).decode() == encoded, "charsmap: base64")
    except (binascii.Error, ValueError):
        raise Wrong("OutOfBounds", "charsmap: base64") from None
    out_of_bounds(len(data) >= 4, "charsmap: too short")
    length = struct.unpack_from("<I", data)[0]
    out_of_bounds(length and length % 4 == 0 and length <= len(data) - 4, "charsmap: length")
    units = struct.unpack_from(f"<{length // 4}I", data, 4)
    texts = data[4 + length :]
    try:
        texts.decode("utf-8")
    except UnicodeDecodeError:
        raise Wrong("OutOfBounds", "charsmap: texts") from None

    def offset(unit):
        return unit >> 10 << ((unit & 0x200) >> 6)

    growth, seen, places = 1.0, set(), deque([(offset(units[0]), 1)])
    while places:
        place, steps = places.popleft()
        out_of_bounds(place | 0xFF < len(units), "charsmap: a place")
        if place in seen:
            continue
        seen.add(place)
        for byte in range(1, 256):
            unit = units[place ^ byte]
            if unit & 0x800000FF != byte:
                continue
            following = place ^ byte ^ offset(unit)
            out_of_bounds(following < len(units), "charsmap: a place")
            if unit & 0x100:
                value = units[following] & 0x7FFFFFFF
                out_of_bounds(value <= len(texts) and (texts[value : value + 1] or b"\0")[0] & 0xC0 != 0x80, "charsmap: a text")
                growth = max(growth, len(texts[value:].split(b"\0")[0]) / steps)
                out_of_bounds(growth <= 64, "charsmap: growth")
            places.append((following, steps + 1))
    return growth


def without_marks(text):
    return "".join(c for c in text if unicodedata.category(c) != "Mn")


def lower(text):
    return "".join(c.lower() for c in text)


def bert(one, text):
    if one["clean_text"]:
        text = "".join(c for c in text if c in "\t\n\r" or (c not in "\0\ufffd" and unicodedata.category(c)[0] != "C"))
        text = "".join(" " if c in WHITE_SPACE else c for c in text)
    if one["handle_chinese_chars"]:
        blocks = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
        text = "".join(f" {c} " if any(a <= ord(c) <= b for a, b in blocks) else c for c in text)
    if one.get("strip_accents") or (one.get("strip_accents") is None and one["lowercase"]):
        text = without_marks(unicodedata.normalize("NFD", text))
    return lower(text) if one["lowercase"] else text


def normal_form(steps, text):
    """What normalizers make of a text; of those that the corpus has."""
    for one in steps:
        kind = one["type"]
        if kind == "Lowercase":
            text = lower(text)
        elif kind == "BertNormalizer":
            text = bert(one, text)
        elif kind == "StripAccents":
            text = without_marks(text)
        elif kind == "Strip":
            text = text.lstrip(WHITE_SPACE) if one["strip_left"] else text
            text = text.rstrip(WHITE_SPACE) if one["strip_right"] else text
        elif kind == "Replace":
            how, pattern = one["pattern"]
            pattern = pattern.replace("\\s", f"[{WHITE_SPACE}]") if how == "Regex" else re.escape(pattern)
            text = re.sub(pattern, lambda _, new=one["content"]: new, text)
        elif kind in ("NFC", "NFD", "NFKC", "NFKD"):
            text = unicodedata.normalize(kind, text)
        else:
            raise NotImplementedError(f"the normal form of {kind}")
    return text


def check_added(tokens, normalizer):
    total, once = 0, {}
    for one in tokens:
        content = one["content"]
        total += size(content)
        out_of_bounds(size(content) <= 1024 and total <= 1 << 20, "added tokens")
        flags = {name: value for name, value in one.items() if name != "id"}
        out_of_bounds(once.setdefault(content, flags) == flags, f"{content!r} twice")
    total, behind, spaced, forms = 0, False, False, set()
    for content, one in once.items():
        if not content:
            continue
        form = normal_form(normalizer, content) if one["normalized"] else content
        total += size(form)
        out_of_bounds(form and size(form) <= min(1024, 2 * size(content) + 64) and total <= 1 << 20, f"the form of {content!r}")
        out_of_bounds(form not in forms and (form == content or form not in once), f"{content!r} and another one")
        forms.add(form)
        space = form[0] in WHITE_SPACE or form[-1] in WHITE_SPACE
        behind, spaced = behind or one["rstrip"], spaced or space
        out_of_bounds(not (space and one["lstrip"]) and not (behind and spaced), f"spaces of {content!r}")


def read_merges(merges):
    pairs = []
    for merge in merges:
        if isinstance(merge, str):
            if merge.startswith("#version"):
                continue
            merge = merge.split(" ")
        if not isinstance(merge, list) or len(merge) != 2 or not all(isinstance(part, str) for part in merge):
            raise Wrong("Json", f"merge {len(pairs)}")
        pairs.append(merge)
    return pairs


def check_model(model):
    """The ids by the tokens."""
    kind = "BPE" if model.get("type") is None else model["type"]
    if kind not in ("BPE", "WordPiece", "Unigram"):
        raise Wrong("ModelType", kind)
    vocab = model["vocab"]
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    merges = None if model.get("merges") is None else read_merges(model["merges"])

    def required(*needed):
        for name in needed:
            if model.get(name) is None:
                raise Wrong("Json", f"no {name}")

    if isinstance(vocab, dict) == (kind == "Unigram"):
        raise Wrong("Json", "vocab")
    if kind == "Unigram":
        sizes = [size(piece) for piece, _ in vocab]
        out_of_bounds(all(one <= 128 for one in sizes) and sum(sizes) <= 8 << 20, "pieces")
        out_of_bounds(model.get("unk_id") is None or model["unk_id"] < len(vocab), "unk_id")
        return {piece: id for id, (piece, _) in enumerate(vocab)}
    out_of_bounds(all(size(token) <= 1024 for token in vocab), "a token")
    out_of_bounds(len(set(vocab.values())) == len(vocab), "an id twice")
    out_of_bounds(size(model.get("unk_token") or "") <= 64, "unk_token")
    if kind == "WordPiece":
        required("max_input_chars_per_word", "continuing_subword_prefix", "unk_token")
        out_of_bounds(model["max_input_chars_per_word"] <= 1000, "max_input_chars_per_word")
        out_of_bounds(size(prefix) <= 64, "continuing_subword_prefix")
        return vocab
    required("merges")
    for left, right in merges:
        if left not in vocab or right not in vocab:
            raise Wrong("MergeOf", f"{left} {right}")
        skip = (prefix or "").encode()
        try:
            whole = left + right.encode()[len(skip) :].decode("utf-8")
        except UnicodeDecodeError:
            whole = None
        if size(right) < len(skip) or whole not in vocab:
            raise Wrong("MergeInto", f"{left} {right}")
    dropout = model.get("dropout")
    out_of_bounds(dropout is None or abs(dropout) <= 2.0**-150, "dropout")
    out_of_bounds(size(prefix or "") <= 64, "continuing_subword_prefix")
    out_of_bounds(size(suffix or "") <= 64, "end_of_word_suffix")
    return vocab


class Tokenizer:
    def __init__(self, data, config):
        try:
            value, spans = parse(data)
            self.json = TOKENIZER(value)
        except BadJson as bad:
            raise Wrong("Json", str(bad)) from None
        added = self.json.get("added_tokens", [])
        self.steps = {
            part: check_steps(part, self.json[part], spans[part])
            for part in ["post_processor", "normalizer", "pre_tokenizer", "decoder"]
            if self.json.get(part) is not None
        }
        check_added(added, self.steps.get("normalizer", []))
        self.ids = dict(check_model(self.json["model"]))
        following = len(self.json["model"]["vocab"])
        largest = max(self.ids.values(), default=-1)
        for one in added:
            if one["content"] and one["content"] not in self.ids:
                out_of_bounds(following not in self.ids.values(), f"the id of {one['content']!r}")
                self.ids[one["content"]] = following
                following += 1
        self.added = {one["content"]: self.ids[one["content"]] for one in added if one["content"]}
        mask = config.get("mask_token_id")
        if mask is not None and mask not in self.ids.values():
            raise Wrong("NoMask", mask)
        around = [id for pair in (False, True) for id in self.around([], [] if pair else None)]
        for id in [largest, *self.added.values(), *around]:
            if id >= config["vocab_size"]:
                raise Wrong("TokenRange", id)

    def around(self, first, second):
        """Puts the special tokens around the ids of a text or a pair."""
        ids = first + (second or [])
        for step in self.steps.get("post_processor", []):
            if step["type"] == "ByteLevel":
                continue
            if step["type"] == "TemplateProcessing":
                ids = []
                for kind, content in step["single" if second is None else "pair"]:
                    if kind == "Sequence":
                        ids += first if content["id"] == "A" else second
                    else:
                        ids += step["special_tokens"][content["id"]]["ids"]
                continue
            cls, sep = step["cls"][1], step["sep"][1]
            ids = [cls, *first, sep]
            if second is not None:
                ids += ([sep] if step["type"] == "RobertaProcessing" else []) + [*second, sep]
        return ids

    def encode(self, text):
        """The ids of an ASCII text, with the special tokens around it: of tokenizers whose only steps are Lowercase,
        WhitespaceSplit and one post-processor, and whose model is WordPiece or BPE without settings."""
        words = re.split("[\t\n\v\f\r ]+", text)
        if any(step["type"] == "Lowercase" for step in self.steps.get("normalizer", [])):
            words = [word.lower() for word in words]
        ids = [id for word in words if word for id in self.word(word)]
        return self.around(ids, None)

    def word(self, word):
        model = self.json["model"]
        if model.get("type") == "WordPiece":
            if len(word) > model["max_input_chars_per_word"]:
                return [self.ids[model["unk_token"]]]
            ids, at = [], 0
            while at < len(word):
                prefix = model["continuing_subword_prefix"] if at else ""
                end = next((end for end in range(len(word), at, -1) if prefix + word[at:end] in self.ids), None)
                if end is None:
                    return [self.ids[model["unk_token"]]]
                ids.append(self.ids[prefix + word[at:end]])
                at = end
            return ids
        parts = [c for c in word if c in self.ids]
        ranks = {tuple(merge): rank for rank, merge in enumerate(read_merges(model["merges"]))}
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(best)]
        return [self.ids[part] for part in parts]


def check_tokenizer(data, config, refused):
    try:
        return Tokenizer(data, config)
    except Wrong as wrong:
        raise refused(wrong.name, wrong.where) from None
