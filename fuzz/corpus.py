#!/usr/bin/env python3
"""Fills the corpora of the wire targets from the golden vectors. What fuzzing found stays."""

import json
import pathlib
import re
import struct

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "tests" / "vectors"
KINDS = ["request", "response", "push"]


def main():
    frames = load("frames")["cases"]
    messages = load("messages")
    for case in frames:
        # Every cut of a stream is what the decoder's own tests do.
        if "filler" in case or "FIN after" in case["name"] or " status " in case["name"]:
            continue
        kind, stream = bytes([KINDS.index(case["stream"])]), bytes.fromhex(case["bytes"])
        add("frames", case["name"], kind + stream)
        add("split_streams", case["name"], kind + bytes([0, 3, 1, 4, 6]) + stream)
        add("split_streams", case["name"] + " skipped", kind + bytes([0xAA, 3, 1, 4, 6]) + stream)
    for case in messages["messages"] + messages["refusals"]:
        payload, name = bytes.fromhex(case["payload"]), case["name"]
        # One field too long is enough of its kind.
        if "one byte longer" in name and case["message"] != "SubmitCommitRequest":
            continue
        if "method" in case:
            target = "requests" if case["message"].endswith("Request") else "responses"
            add(target, name, struct.pack(">H", case["method"]) + payload)
        elif case["message"] in ("PushEvent", "ErrorDetail", "DeliveryPayload", "AppMessage"):
            kind = ("PushEvent", "ErrorDetail", "DeliveryPayload", "AppMessage").index(case["message"])
            add("messages", name, bytes([kind]) + payload)


def load(subject):
    return json.loads((VECTORS / subject / f"{subject}.json").read_text(encoding="utf-8"))


def add(target, name, content):
    folder = HERE / "tests" / "__fuzz__" / target / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    (folder / slug).write_bytes(content)


if __name__ == "__main__":
    main()
