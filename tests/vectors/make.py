#!/usr/bin/env python3
"""Writes frames/frames.json and messages/messages.json from the schema and the tables below.

Values are derived from names, so a new field changes no other vector. Vectors of a release are never
changed: a new wire version gets files of its own.
"""

import hashlib
import json
import pathlib
import re
import struct

import protobuf

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto" / "qpq" / "v1"
MAX_PAYLOAD = 4 * 1024 * 1024

# Lengths of bytes fields: of one message's field, or of every field of that name.
LENGTHS = {
    "FetchHybridKeysResponse.keys": 1216,
    "GroupWelcome.tree_key": 32,
    "RegisterPushTokenRequest.token": 100,
    "Envelope.data": 300,
    "hybrid_public_key": 1216,
    "report_key": 1216,
    "inclusion_path": 96,
    "path": 96,
    "delivery_proof": 72,
    "delivery_proofs": 72,
    "leaf": 73,
    "session_token": 32,
    "access_token": 32,
    "token": 32,
    "ticket": 32,
    "known": 16,
    "next": 16,
    "last": 16,
    "root": 32,
    "nonce": 32,
    "blob_id": 32,
    "tree_blob": 32,
    "signature": 64,
    "signatures": 64,
    "commit_proof": 72,
    "certificate": 64,
    "tag_proof": 80,
    "after": 16,
    "ListBannedRequest.after": 32,
    "epoch_authenticator": 32,
    "fingerprint": 32,
}
# Endings of names and the length of such fields.
ENDINGS = [("_hash", 32), ("_id", 16), ("_ids", 16), ("_key", 32), ("_keys", 32), ("_members", 32)]
# Content that is opaque to the wire.
OPAQUE = 48

TEXTS = {
    "username": "alice",
    "reason": "compromised",
    "suite": "ristretto255-SHA512, Argon2id 64 MiB 3 4",
    "message": "try again later",
    "name": "Alice's phone",
    "platform": "fcm",
    "status": "ok",
    "version": "0.1.0",
    "domain": "example.org",
    "origin": "example.net",
    "features": ["sealed-sender", "blobs"],
    "text": "Grüße, 世界 🌍",
    "emoji": "👍🏽",
    "media_type": "image/png",
    "caption": "the view",
    "display_name": "Alice",
    "File.name": "view.png",
    "GroupName.name": "Climbing, Thursdays",
}

# Further messages, each for a reason: (reason, message, fields).
EDGES = [
    ("a number with a default is told apart from none", "EnqueueRequest", {
        "recipient_key": "11" * 32, "payload": "00", "message_id": "22" * 16, "channel_slot": "0",
    }),
    ("the greatest numbers", "ErrorDetail", {
        "retry_after_ms": 0xFFFF_FFFF, "slot": str((1 << 64) - 1), "commit_hash": "ff" * 32,
    }),
    ("a tombstone", "FetchResponse", {
        "payloads": [{"seq": "7", "expired": True}], "first_seq": "7", "next_seq": "8",
    }),
    ("a commit in slot 0", "FetchResponse", {
        "payloads": [{
            "seq": "1", "data": "aa", "slot": "0", "sender_key": "33" * 32, "commit_proof": "44" * 72,
        }],
        "first_seq": "1", "next_seq": "2",
    }),
    ("a recipient without room among others", "BatchEnqueueResponse", {
        "seqs": ["128", "0", "300"], "delivery_proofs": ["55" * 72, "", "66" * 72], "statuses": [0, 7, 0],
    }),
    ("a welcome that repeats the one before", "SubmitCommitRequest", {
        "channel_id": "77" * 16, "commit": "88", "message_id": "99" * 16, "slot": "1",
        "welcomes": [
            {"recipient_key": "aa" * 32, "device_id": "bb" * 16, "payload": "cc"},
            {"recipient_key": "dd" * 32},
        ],
    }),
    ("an identity without a hybrid key among others", "FetchHybridKeysResponse", {
        "keys": ["", "ee" * 1216], "signatures": ["", "ff" * 64], "created_at_ms": ["0", "1"],
    }),
    ("nothing set", "MembershipPush", {}),
    ("an event without content", "PushEvent", {"typing": {}}),
    ("no event", "PushEvent", {}),
    ("an empty arm", "DeliveryPayload", {"sealed": ""}),
]

# Payloads that are not what a writer of this version makes, and how they read.
READINGS = [
    ("unknown fields are ignored", "LogoutRequest", "a0069601" + "a9060102030405060708" + "b20602ffff" + "bd0601020304", {}),
    ("the last of several wins", "RevokeKeyResponse", "10011002", {"leaf_index": "2"}),
    ("fields in any order", "RevokeKeyResponse", "10010801", {"success": True, "leaf_index": "1"}),
    ("numbers of a list one by one", "BatchEnqueueResponse", "080508ac02", {"seqs": ["5", "300"]}),
    ("a list in two packed pieces", "BatchEnqueueResponse", "0a01050a02ac02", {"seqs": ["5", "300"]}),
    ("a longer varint than needed", "RevokeKeyResponse", "10818000", {"leaf_index": "1"}),
    ("a default that is written", "RevokeKeyResponse", "0800", {}),
    ("an arm of a later version", "PushEvent", "fa0100", {}),
    ("of two arms the last", "PushEvent", "0a00" + "1200", {"typing": {}}),
]

# Payloads that no reader takes, and requests that a server refuses: (reason, message, payload,
# error). "malformed" fails to decode; a field's name is the field of a wrong length.
REFUSALS = [
    ("ends inside a key", "OpaqueRegisterStartRequest", "80", "malformed"),
    ("ends inside a length", "OpaqueRegisterStartRequest", "0a80", "malformed"),
    ("a length beyond the end", "OpaqueRegisterStartRequest", "0affffffff0f", "malformed"),
    ("ends inside a number", "AckRequest", "18ff", "malformed"),
    ("a number of 65 bits", "AckRequest", "18ffffffffffffffffff02", "malformed"),
    ("a number of eleven bytes", "AckRequest", "18" + "80" * 10 + "00", "malformed"),
    ("field number 0", "LogoutRequest", "0200", "malformed"),
    ("wire type 6", "LogoutRequest", "0e", "malformed"),
    ("a group", "LogoutRequest", "0b0c", "malformed"),
    ("text that is not UTF-8", "OpaqueRegisterStartRequest", "0a02ffff", "malformed"),
    ("a number where bytes belong", "OpaqueRegisterStartRequest", "0801", "malformed"),
    ("bytes where a number belongs", "AckRequest", "1a00", "malformed"),
    ("a nested message that is broken", "ResumeSessionRequest", "0a020a05", "malformed"),
]


def main():
    proto = protobuf.Schema(PROTO)
    write("messages", messages(proto))
    write("frames", frames())


def write(subject, content):
    folder = HERE / subject
    folder.mkdir(exist_ok=True)
    text = json.dumps({"subject": subject, "wire_version": 1, **content}, ensure_ascii=False, indent=1)
    (folder / f"{subject}.json").write_text(text + "\n", encoding="utf-8")


# -- messages ----------------------------------------------------------------------------------


def methods():
    """(id, name) of every method, from the comments of the schema: `// 200: ...`."""
    found = []
    for path in PROTO.glob("*.proto"):
        text = path.read_text(encoding="utf-8")
        for number, name in re.findall(r"^// (\d+): (?:[^\n]*\n(?://[^\n]*\n)*)message (\w+)Request\b", text, re.M):
            found.append((int(number), name))
    return sorted(found)


def messages(proto):
    cases = []
    roots = {}
    for number, name in methods():
        for kind in ("Request", "Response"):
            message = name + kind
            roots[message] = number
            cases.append(case(proto, "all fields", message, fill(proto, message), number))
    for root in ("ErrorDetail", "PushEvent", "DeliveryPayload", "AppMessage", "ForkReport"):
        arms = [field.name for field in proto.messages[root].values() if field.oneof]
        for arm in arms or [None]:
            reason = f"all fields, {arm}" if arm else "all fields"
            cases.append(case(proto, reason, root, fill(proto, root, arm)))
    for reason, message, fields in EDGES:
        cases.append(case(proto, reason, message, fields, roots.get(message)))

    readings = []
    for reason, message, payload, fields in READINGS:
        readings.append({
            "name": f"{message}: {reason}", "message": message, **of(roots.get(message)),
            "payload": payload, "fields": fields, "canonical": proto.encode(message, fields).hex(),
        })

    refusals = []
    for reason, message, payload, error in REFUSALS:
        refusals.append({
            "name": f"{message}: {reason}", "message": message, **of(roots.get(message)),
            "payload": payload, "error": error,
        })
    for number, name in methods():
        message = name + "Request"
        for field in proto.messages[message].values():
            if field.kind != "bytes" or field.repeated or not fixed_length(field):
                continue
            fields = fill(proto, message)
            fields[field.name] += "00"
            refusals.append({
                "name": f"{message}: {field.name} one byte longer", "message": message, "method": number,
                "payload": proto.encode(message, fields).hex(), "error": field.name,
            })
    return {"messages": cases, "readings": readings, "refusals": refusals}


def of(method):
    return {} if method is None else {"method": method}


def case(proto, reason, message, fields, method=None):
    return {
        "name": f"{message}: {reason}", "message": message, **of(method),
        "fields": fields, "payload": proto.encode(message, fields).hex(),
    }


def fill(proto, message, arm=None, seed=""):
    """Every field of a message, of a oneof only `arm` (the first if not said)."""
    value = {}
    chosen = set()
    for field in proto.messages[message].values():
        if field.oneof is not None:
            if arm is not None and field.name != arm or field.oneof in chosen:
                continue
            chosen.add(field.oneof)
        count = 2 if field.repeated else 1
        path = f"{seed}{message}.{field.name}"
        items = [sample(proto, field, f"{path}.{index}", index) for index in range(count)]
        value[field.name] = items if field.repeated else items[0]
    return value


def length(field):
    for name in (f"{field.message}.{field.name}", field.name):
        if name in LENGTHS:
            return LENGTHS[name]
    return next((size for ending, size in ENDINGS if field.name.endswith(ending)), OPAQUE)


def fixed_length(field):
    return length(field) != OPAQUE and f"{field.message}.{field.name}" not in LENGTHS


def sample(proto, field, path, index):
    digest = hashlib.sha256(path.encode()).digest()
    if field.kind == "bytes":
        size = length(field)
        content = bytearray((digest * (size // 32 + 1))[:size])
        if field.name in ("message_id", "message_ids", "channel_id"):
            # UUID version 7 (RFC 9562 section 5.7).
            content[6] = content[6] & 0x0F | 0x70
            content[8] = content[8] & 0x3F | 0x80
        return content.hex()
    if field.kind == "string":
        text = TEXTS.get(f"{field.message}.{field.name}") or TEXTS[field.name]
        return text[index] if isinstance(text, list) else text
    if field.kind == "bool":
        return True
    number = int.from_bytes(digest[:4], "big")
    if field.kind == "uint32":
        return number >> 8
    if field.kind == "uint64":
        return str(1_700_000_000_000 + number if field.name.endswith("_ms") else number)
    if field.kind in proto.enums:
        names = [name for name, code in proto.enums[field.kind].items() if code]
        return names[number % len(names)]
    return fill(proto, field.kind, seed=path + "/")


# -- frames ------------------------------------------------------------------------------------


def request(method_id, request_id, payload, payload_len=None):
    return struct.pack(">HII", method_id, request_id, len(payload) if payload_len is None else payload_len) + payload


def response(status, request_id, payload, payload_len=None):
    return struct.pack(">BII", status, request_id, len(payload) if payload_len is None else payload_len) + payload


def push(event_type, payload, payload_len=None):
    return struct.pack(">HI", event_type, len(payload) if payload_len is None else payload_len) + payload


def frames():
    body = bytes.fromhex("0a026f6b")
    sent = {"method_id": 200, "request_id": 7, "payload": body.hex()}
    answered = {"status": 0, "request_id": 7, "payload": body.hex()}
    pushed = {"event_type": 1000, "payload": body.hex()}
    empty = lambda **header: {**header, "payload": ""}
    whole = {
        "request": (request(200, 7, body), sent),
        "response": (response(0, 7, body), answered),
        "push": (push(1000, body), pushed),
    }
    cases = []

    def add(name, kind, stream, found, end, **more):
        code = {"ok": 0, "too_large": 2}.get(end, 1)
        cases.append({
            "name": f"{kind}: {name}", "stream": kind, "bytes": stream.hex(), **more,
            "frames": found, "end": end, "app_code": code,
        })

    for kind, (stream, found) in whole.items():
        add("one frame", kind, stream, [found], "ok")
        for cut in range(1, len(stream)):
            add(f"FIN after {cut} of {len(stream)} bytes", kind, stream[:cut], [], "fin_inside_frame")
        if kind == "push":
            add("a FIN and nothing else", kind, b"", [], "ok")
            add("two frames", kind, stream * 2, [found] * 2, "ok")
            add("FIN inside the second frame", kind, stream * 2 + stream[:1], [found] * 2, "fin_inside_frame")
        else:
            add("a FIN and nothing else", kind, b"", [], "fin_inside_frame")
            add("a byte after the frame", kind, stream + b"\0", [found], "trailing_bytes")
            add("two frames", kind, stream * 2, [found], "trailing_bytes")

    add("no payload", "request", request(802, 1, b""), [empty(method_id=802, request_id=1)], "ok")
    add("no payload", "response", response(0, 1, b""), [empty(status=0, request_id=1)], "ok")
    add("no payload", "push", push(1001, b""), [empty(event_type=1001)], "ok")
    add("the greatest ids", "request", request(0xFFFF, 0xFFFF_FFFF, b""),
        [empty(method_id=0xFFFF, request_id=0xFFFF_FFFF)], "ok")
    add("the greatest id", "push", push(0xFFFF, b""), [empty(event_type=0xFFFF)], "ok")
    for status in range(12):
        add(f"status {status}", "response", response(status, 1, b""), [empty(status=status, request_id=1)], "ok")
    for status in (12, 0xFF):
        add(f"status {status}, which nobody knows, reads as Internal", "response", response(status, 1, b""),
            [empty(status=10, request_id=1)], "ok")

    for kind, header in (
        ("request", lambda size: request(200, 1, b"", size)),
        ("response", lambda size: response(0, 1, b"", size)),
        ("push", lambda size: push(1000, b"", size)),
    ):
        for size in (MAX_PAYLOAD + 1, 0x7FFF_FFFF, 0xFFFF_FFFF):
            add(f"payload_len {size} and no payload yet", kind, header(size), [], "too_large")
        add("the longest payload announced, then FIN", kind, header(MAX_PAYLOAD), [], "fin_inside_frame")
    add("the longest payload", "request", request(200, 1, b"", MAX_PAYLOAD),
        [{"method_id": 200, "request_id": 1, "payload_filler": {"byte": "5a", "count": MAX_PAYLOAD}}], "ok",
        filler={"byte": "5a", "count": MAX_PAYLOAD})
    add("one byte more than the longest payload", "request", request(200, 1, b"", MAX_PAYLOAD),
        [{"method_id": 200, "request_id": 1, "payload_filler": {"byte": "5a", "count": MAX_PAYLOAD}}],
        "trailing_bytes", filler={"byte": "5a", "count": MAX_PAYLOAD + 1})
    return {"cases": cases}


if __name__ == "__main__":
    main()
