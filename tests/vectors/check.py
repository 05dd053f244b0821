#!/usr/bin/env python3
"""Checks the schema and the golden vectors of frames and messages, and the form of all others; Python's
standard library is enough.

    check.py [DIR]        DIR: the folder of the vectors, by default the one of this file

Prints a table with counts; exits 1 on any difference. README.md says what the files mean.
"""

import json
import pathlib
import re
import sys

import protobuf
import schema

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto" / "qpq" / "v1"
MAX_PAYLOAD = 4 * 1024 * 1024
HEADERS = {
    "request": (("method_id", 2), ("request_id", 4), ("payload_len", 4)),
    "response": (("status", 1), ("request_id", 4), ("payload_len", 4)),
    "push": (("event_type", 2), ("payload_len", 4)),
}
APP_CODES = {"ok": 0, "fin_inside_frame": 1, "trailing_bytes": 1, "too_large": 2}
INTERNAL = 10
# Messages inside others whose lists decoders count too.
COUNTED_INSIDE = {
    ("AppMessage", "ReadReceipt"), ("OpaqueLoginFinishRequest", "Chain"), ("ResumeSessionRequest", "Chain"),
}


def main(argv):
    if len(argv) > 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder = pathlib.Path(argv[1]) if len(argv) == 2 else HERE
    proto = protobuf.Schema(PROTO)
    counts, failures = {}, []

    def check(section, cases, judge):
        counts[section] = len(cases)
        for case in cases:
            try:
                problem = judge(case)
            except (KeyError, TypeError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                failures.append(f"{section}: {case.get('name', '?')}: {problem}")

    check("form", [{"name": path} for path in paths(folder)], lambda case: judge_form(folder / case["name"]))
    frames = load(folder, "frames")
    check("frames", frames["cases"], judge_stream)
    messages = load(folder, "messages")
    check("messages", messages["messages"], lambda case: judge_message(proto, case))
    check("readings", messages["readings"], lambda case: judge_reading(proto, case))
    check("refusals", messages["refusals"], lambda case: judge_refusal(proto, case))
    check("schema", [{"name": name} for name in proto.messages], lambda case: judge_nesting(proto, case["name"]))
    missing = uncovered(proto, messages["messages"])
    failures += [f"messages: no vector has {name}" for name in missing]

    for section, count in counts.items():
        failed = sum(failure.startswith(section + ":") for failure in failures)
        print(f"{section:<10} {count:>5} cases  {failed:>3} failed")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures or not all(counts.values()) else 0


def paths(folder):
    """The vectors of all subjects."""
    files = (path.relative_to(folder) for path in folder.glob("*/*.json") if path.name != "schema.json")
    return sorted(map(str, files))


def judge_form(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    form = json.loads((path.parent / "schema.json").read_text(encoding="utf-8"))
    if content["subject"] != path.parent.name:
        return "it is of another subject"
    return schema.problem(form, content)


def load(folder, subject):
    with open(folder / subject / f"{subject}.json", encoding="utf-8") as file:
        content = json.load(file)
    if content["subject"] != subject or content["wire_version"] != 1:
        raise SystemExit(f"{subject}.json is of another subject or version")
    return content


# -- frames ------------------------------------------------------------------------------------


def judge_stream(case):
    stream = bytes.fromhex(case["bytes"]) + filler(case.get("filler"))
    expected = []
    for frame in case["frames"]:
        frame = dict(frame)
        payload = bytes.fromhex(frame.pop("payload", "")) + filler(frame.pop("payload_filler", None))
        expected.append((frame, payload))
    found, end = read_stream(case["stream"], stream)
    if end != case["end"]:
        return f"the stream ends with {end}, expected {case['end']}"
    if APP_CODES[end] != case["app_code"]:
        return f"application code {APP_CODES[end]}, expected {case['app_code']}"
    if [header for header, _ in found] != [header for header, _ in expected]:
        return f"headers {[header for header, _ in found]}"
    for index, ((_, got), (_, wanted)) in enumerate(zip(found, expected)):
        if got != wanted:
            return f"payload {index} {difference(got, wanted)}"
    if end == "ok" and all(header.get("status") != INTERNAL for header, _ in expected):
        written = b"".join(write_frame(case["stream"], header, payload) for header, payload in expected)
        if written != stream:
            return f"written again {difference(written, stream)}"
    return None


def filler(description):
    return bytes.fromhex(description["byte"]) * description["count"] if description else b""


def read_stream(kind, stream):
    found, at = [], 0
    while True:
        if at == len(stream) and (found or kind == "push"):
            return found, "ok"
        if found and kind != "push":
            return found, "trailing_bytes"
        header = {}
        for name, size in HEADERS[kind]:
            if at + size > len(stream):
                return found, "fin_inside_frame"
            header[name] = int.from_bytes(stream[at : at + size], "big")
            at += size
        size = header.pop("payload_len")
        if size > MAX_PAYLOAD:
            return found, "too_large"
        if at + size > len(stream):
            return found, "fin_inside_frame"
        if header.get("status", 0) > 11:
            header["status"] = INTERNAL
        found.append((header, stream[at : at + size]))
        at += size


def write_frame(kind, header, payload):
    values = {**header, "payload_len": len(payload)}
    return b"".join(values[name].to_bytes(size, "big") for name, size in HEADERS[kind]) + payload


# -- messages ----------------------------------------------------------------------------------


def judge_message(proto, case):
    payload = bytes.fromhex(case["payload"])
    written = proto.encode(case["message"], case["fields"])
    if written != payload:
        return f"written {difference(written, payload)}"
    read = proto.decode(case["message"], payload)
    return None if read == case["fields"] else f"read {first_difference(read, case['fields'])}"


def judge_reading(proto, case):
    read = proto.decode(case["message"], bytes.fromhex(case["payload"]))
    if read != case["fields"]:
        return f"read {first_difference(read, case['fields'])}"
    written, canonical = proto.encode(case["message"], read), bytes.fromhex(case["canonical"])
    return None if written == canonical else f"written again {difference(written, canonical)}"


def judge_refusal(proto, case):
    payload = bytes.fromhex(case["payload"])
    if case["error"] == "malformed":
        try:
            proto.decode(case["message"], payload)
        except protobuf.Malformed:
            return None
        return "read without an error"
    read = proto.decode(case["message"], payload)
    size = len(read.get(case["error"], "")) // 2
    allowed = lengths(case["message"], case["error"])
    return f"{case['error']} of {size} bytes is right" if size in allowed else None


def judge_nesting(proto, message, above=()):
    """Decoders count fields at the top level: so lists lie there, but for those that they know; nothing is recursive."""
    if message in above:
        return f"recursive through {above[-1]}"
    for field in proto.messages[message].values():
        if field.repeated and above and (above[-1], message) not in COUNTED_INSIDE:
            return f"{message}.{field.name} is a list inside a message"
        if field.kind in proto.messages:
            problem = judge_nesting(proto, field.kind, (*above, message))
            if problem:
                return problem
    return None


def lengths(message, field):
    """The lengths that the schema's comment allows: "32-byte ..." or "16 bytes, or empty ..."."""
    for path in PROTO.glob("*.proto"):
        text = path.read_text(encoding="utf-8")
        body = re.search(rf"^message {message} {{\n(.*?)^}}", text, re.M | re.S)
        if body is None:
            continue
        comment = re.search(rf"((?:^  //[^\n]*\n)+)^  [\w ]+ {field} = ", body[1], re.M)
        text = re.sub(r"\n\s*//", " ", comment[1]) if comment else ""
        sizes = {int(size.replace(",", "")) for size in re.findall(r"([\d,]+)[- ]bytes?\b", text)}
        if not sizes:
            raise ValueError(f"the schema does not say how long {message}.{field} is")
        return sizes | ({0} if "empty" in text else set())
    raise ValueError(f"no message {message}")


def uncovered(proto, cases):
    """Fields of the schema that no vector sets."""
    seen = set()

    def visit(message, value):
        for name, item in value.items():
            seen.add((message, name))
            field = proto.messages[message][name]
            for nested in item if field.repeated else [item]:
                if field.kind in proto.messages:
                    visit(field.kind, nested)

    for case in cases:
        visit(case["message"], case["fields"])
    every = {(message, name) for message, fields in proto.messages.items() for name in fields}
    return sorted(f"{message}.{name}" for message, name in every - seen)


# -- differences -------------------------------------------------------------------------------


def difference(got, wanted):
    at = next((at for at, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), min(len(got), len(wanted)))
    return f"differs at byte {at}: {got[at : at + 8].hex() or 'end'}, expected {wanted[at : at + 8].hex() or 'end'}"


def first_difference(got, wanted, path=""):
    if isinstance(got, dict) and isinstance(wanted, dict):
        for name in sorted(set(got) | set(wanted)):
            if got.get(name) != wanted.get(name):
                return first_difference(got.get(name), wanted.get(name), f"{path}.{name}".strip("."))
    return f"{path or 'message'} = {got!r}, expected {wanted!r}"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
