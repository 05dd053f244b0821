"""Protobuf without protobuf: reads qpq's .proto files, encodes and decodes their messages.

Only what the schema uses: proto3 messages, enums, oneof, optional, repeated, and the types bool,
bytes, string, uint32 and uint64. Values are JSON: bytes as lower-case hexadecimal, uint64 as decimal
text, enums by name, lists as lists, messages as objects without the fields that have their default.
"""

import pathlib
import re

SCALARS = {"bool", "bytes", "string", "uint32", "uint64"}
NUMBERS = {"bool", "uint32", "uint64"}


class Malformed(ValueError):
    """The bytes are not an encoding of the message."""


class Field:
    def __init__(self, message, label, kind, name, number, oneof):
        self.message, self.kind, self.name, self.number, self.oneof = message, kind, name, number, oneof
        self.repeated = label == "repeated"
        # Whether the default value is told apart from absence.
        self.presence = label == "optional" or oneof is not None


class Schema:
    def __init__(self, folder):
        self.messages, self.enums = {}, {}
        for path in sorted(pathlib.Path(folder).glob("*.proto")):
            self._read(path.read_text(encoding="utf-8"))

    def _read(self, text):
        text = re.sub(r"//[^\n]*", "", text)
        tokens = re.findall(r'"[^"]*"|[A-Za-z_][\w./]*|\d+|[{}=;]', text)
        at, message, enum, oneof = 0, None, None, None
        while at < len(tokens):
            token = tokens[at]
            if token in ("syntax", "package", "import"):
                at = tokens.index(";", at) + 1
            elif token == "}":
                if oneof is not None:
                    oneof = None
                else:
                    message = enum = None
                at += 1
            elif token == "message" and message is None:
                message = tokens[at + 1]
                assert message not in self.messages, f"two messages {message}"
                self.messages[message] = {}
                at += 3
            elif token == "enum" and message is None:
                enum = tokens[at + 1]
                self.enums[enum] = {}
                at += 3
            elif token == "oneof" and message is not None:
                oneof = tokens[at + 1]
                at += 3
            elif enum is not None:
                name, equals, number, end = tokens[at : at + 4]
                assert (equals, end) == ("=", ";"), f"in enum {enum}"
                self.enums[enum][name] = int(number)
                at += 4
            else:
                assert message is not None, f"unexpected {token}"
                label = token if token in ("optional", "repeated") else None
                at += label is not None
                kind, name, equals, number, end = tokens[at : at + 5]
                assert (equals, end) == ("=", ";"), f"in message {message}"
                fields = self.messages[message]
                assert all(int(number) != field.number for field in fields.values()), f"{message}.{name}"
                fields[name] = Field(message, label, kind, name, int(number), oneof)
                at += 5

    # -- encoding ------------------------------------------------------------------------------

    def encode(self, message, value):
        """The canonical encoding: fields by number, defaults left out, numbers in lists packed."""
        fields = self.messages[message]
        unknown = set(value) - set(fields)
        if unknown:
            raise ValueError(f"{message} has no {', '.join(sorted(unknown))}")
        out = b""
        for field in sorted(fields.values(), key=lambda field: field.number):
            if field.name in value:
                out += self._encode_field(field, value[field.name])
        return out

    def _encode_field(self, field, value):
        if field.repeated and self._is_number(field.kind):
            packed = b"".join(self._encode_one(field.kind, item) for item in value)
            return key(field.number, 2) + varint(len(packed)) + packed if value else b""
        wire_type = 0 if self._is_number(field.kind) else 2
        out = b""
        for item in value if field.repeated else [value]:
            encoded = self._encode_one(field.kind, item)
            is_message = field.kind in self.messages
            default = b"\0" if wire_type == 0 else b""
            if encoded == default and not (field.repeated or field.presence or is_message):
                continue
            out += key(field.number, wire_type)
            out += varint(len(encoded)) + encoded if wire_type == 2 else encoded
        return out

    def _encode_one(self, kind, value):
        if kind == "bytes":
            return bytes.fromhex(value)
        if kind == "string":
            return value.encode("utf-8")
        if kind == "bool":
            return varint(int(value is True))
        if kind in ("uint32", "uint64"):
            number, bits = int(value), int(kind[4:])
            if not 0 <= number < 1 << bits:
                raise ValueError(f"{value} is no {kind}")
            return varint(number)
        if kind in self.enums:
            return varint(self.enums[kind][value])
        return self.encode(kind, value)

    # -- decoding ------------------------------------------------------------------------------

    def decode(self, message, data):
        """The value of an encoding; unknown fields are ignored, the last of several wins."""
        by_number = {field.number: field for field in self.messages[message].values()}
        value, at = {}, 0
        while at < len(data):
            number, at = read_varint(data, at)
            if number >= 1 << 32 or number >> 3 == 0:
                raise Malformed("key")
            wire_type, field = number & 7, by_number.get(number >> 3)
            if wire_type == 0:
                content, at = read_varint(data, at)
            elif wire_type in (1, 2, 5):
                size, at = read_varint(data, at) if wire_type == 2 else ({1: 8, 5: 4}[wire_type], at)
                if at + size > len(data):
                    raise Malformed("end inside a field")
                content, at = data[at : at + size], at + size
            else:
                raise Malformed("wire type")
            if field is not None:
                self._decode_field(field, wire_type, content, value)
        return value

    def _decode_field(self, field, wire_type, content, value):
        is_number = self._is_number(field.kind)
        if wire_type == 2 and is_number and field.repeated:
            at, items = 0, value.setdefault(field.name, [])
            while at < len(content):
                number, at = read_varint(content, at)
                items.append(self._decode_one(field.kind, number))
            return
        if wire_type != (0 if is_number else 2):
            raise Malformed("wire type of a known field")
        item = self._decode_one(field.kind, content)
        if field.repeated:
            value.setdefault(field.name, []).append(item)
            return
        if field.oneof is not None:
            for other in self.messages[field.message].values():
                if other.oneof == field.oneof and other.name != field.name:
                    value.pop(other.name, None)
        if field.kind in self.messages and field.name in value:
            value[field.name] = {**value[field.name], **item}
        elif field.presence or field.kind in self.messages or content not in (0, b""):
            value[field.name] = item
        else:
            value.pop(field.name, None)

    def _decode_one(self, kind, content):
        if kind == "bytes":
            return content.hex()
        if kind == "string":
            try:
                return content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise Malformed("text that is not UTF-8") from error
        if kind == "bool":
            return content != 0
        if kind == "uint32":
            return content & 0xFFFF_FFFF
        if kind == "uint64":
            return str(content)
        if kind in self.enums:
            return next((name for name, number in self.enums[kind].items() if number == content), content)
        return self.decode(kind, content)

    def _is_number(self, kind):
        return kind in NUMBERS or kind in self.enums


def key(number, wire_type):
    return varint(number << 3 | wire_type)


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data, at):
    number = 0
    for index in range(10):
        if at + index >= len(data):
            raise Malformed("end inside a number")
        byte = data[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if number >= 1 << 64:
                raise Malformed("number of more than 64 bits")
            return number, at + index + 1
    raise Malformed("number of more than ten bytes")
