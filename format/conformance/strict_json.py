"""JSON as FORMAT.md has it, and schemas of what it must be."""

import math
import re

MAX_DEPTH = 127
SPACE = re.compile(r"[ \t\n\r]*")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
ESCAPES = dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t'))
WORDS = {"true": True, "false": False, "null": None}


class BadJson(Exception):
    """What isn't JSON, or not the JSON that it should be."""


class Parser:
    def __init__(self, text):
        self.text, self.at = text, 0
        # Where the value of each member of the outermost object is.
        self.spans = {}

    def space(self):
        self.at = SPACE.match(self.text, self.at).end()

    def take(self, what):
        found = self.text.startswith(what, self.at)
        self.at += len(what) if found else 0
        return found

    def need(self, what):
        if not self.take(what):
            raise BadJson(f"no {what!r} at character {self.at}")

    def value(self, depth):
        self.space()
        c = self.text[self.at : self.at + 1]
        if c and c in "{[":
            if depth == MAX_DEPTH:
                raise BadJson(f"nested deeper than {MAX_DEPTH}")
            value = self.object(depth) if c == "{" else self.array(depth)
        elif c == '"':
            value = self.string()
        elif c and c in "-0123456789":
            value = self.number()
        else:
            word = next((word for word in WORDS if self.take(word)), None)
            if word is None:
                raise BadJson(f"no value at character {self.at}")
            value = WORDS[word]
        end = self.at
        self.space()
        return value, end

    def object(self, depth):
        self.need("{")
        members = {}
        self.space()
        if self.take("}"):
            return members
        while True:
            self.space()
            key = self.string()
            if key in members:
                raise BadJson(f"the key {key!r} twice")
            self.space()
            self.need(":")
            self.space()
            start = self.at
            members[key], end = self.value(depth + 1)
            if depth == 0:
                self.spans[key] = len(self.text[start:end].encode())
            if not self.take(","):
                break
        self.need("}")
        return members

    def array(self, depth):
        self.need("[")
        values = []
        self.space()
        if self.take("]"):
            return values
        while True:
            values.append(self.value(depth + 1)[0])
            if not self.take(","):
                break
        self.need("]")
        return values

    def string(self):
        self.need('"')
        parts = []
        while True:
            plain = PLAIN.match(self.text, self.at)
            parts.append(plain[0])
            self.at = plain.end()
            if self.take('"'):
                return "".join(parts)
            self.need("\\")
            if self.take("u"):
                parts.append(self.escaped())
            else:
                c = self.text[self.at : self.at + 1]
                if c not in ESCAPES:
                    raise BadJson(f"no escape at character {self.at}")
                parts.append(ESCAPES[c])
                self.at += 1

    def hexadecimal(self):
        digits = re.compile("[0-9a-fA-F]{4}").match(self.text, self.at)
        if not digits:
            raise BadJson(f"no escape at character {self.at}")
        self.at = digits.end()
        return int(digits[0], 16)

    def escaped(self):
        unit = self.hexadecimal()
        if 0xD800 <= unit < 0xDC00:
            self.need("\\u")
            low = self.hexadecimal()
            if not 0xDC00 <= low < 0xE000:
                raise BadJson("a high surrogate alone")
            return chr(0x10000 + (unit - 0xD800 << 10) + low - 0xDC00)
        if 0xDC00 <= unit < 0xE000:
            raise BadJson("a low surrogate alone")
        return chr(unit)

    def number(self):
        found = NUMBER.match(self.text, self.at)
        if not found:
            raise BadJson(f"no number at character {self.at}")
        self.at = found.end()
        value = float(found[0])
        if not math.isfinite(value):
            raise BadJson(f"the number {found[0]} is too large")
        # Digits alone stay an int, which Python keeps exactly.
        return int(found[0]) if found[0].isdigit() else value


def parse(data):
    """The value of a JSON text, and how many bytes each member of the outermost object has."""
    try:
        parser = Parser(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadJson(str(error)) from None
    value, _ = parser.value(0)
    if parser.at != len(parser.text):
        raise BadJson(f"something at character {parser.at}, behind the value")
    return value, parser.spans


# A schema is a function of a value, which returns it, or raises BadJson.


def need(holds, value, what):
    if not holds:
        raise BadJson(f"{value!r:.60} isn't {what}")
    return value


def string(value):
    return need(isinstance(value, str), value, "a string")


def character(value):
    return need(isinstance(value, str) and len(value) == 1, value, "a string of one character")


def boolean(value):
    return need(isinstance(value, bool), value, "a boolean")


def number(value):
    return need(isinstance(value, (int, float)) and not isinstance(value, bool), value, "a number")


def any_value(value):
    return value


def integer(value, limit=1 << 64):
    return need(isinstance(value, int) and not isinstance(value, bool) and value < limit, value, "an integer in range")


integer.below = lambda limit: lambda value: integer(value, limit)


def names(*all_of):
    return lambda value: need(isinstance(value, str) and value in all_of, value, f"one of {all_of}")


def null_or(schema):
    return lambda value: None if value is None else schema(value)


def list_of(schema):
    return lambda value: [schema(item) for item in need(isinstance(value, list), value, "an array")]


def map_of(schema):
    return lambda value: {key: schema(item) for key, item in need(isinstance(value, dict), value, "an object").items()}


def object_of(members):
    """An object with these members; those whose name ends with `?` may be absent."""

    def check(value):
        need(isinstance(value, dict), value, "an object")
        known = {name.rstrip("?"): schema for name, schema in members.items()}
        for key in value:
            need(key in known, key, "the name of a member")
        for name in members:
            need(name.endswith("?") or name in value, name, "a member that is there")
        return {key: known[key](item) for key, item in value.items()}

    return check
