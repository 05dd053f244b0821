#!/usr/bin/env python3
"""Fills the corpora from the golden vectors. What fuzzing found stays."""

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


    crypto = load("crypto")
    add_kinds("formats", {
        "credential": (0, crypto["identity"]["credential"]),
        "default device": (0, crypto["identity"]["default_device_credential"]),
        "leaf": (1, crypto["transparency"]["leaves"][0]),
        "tree head": (2, crypto["transparency"]["tree_head"]),
        "padded": (3, crypto["padding"]["padded"]),
        "device id": (4, crypto["identity"]["device_id"]),
        "hybrid key": (5, crypto["envelopes"]["hybrid_public_key"]),
        "server setup": (6, crypto["opaque"][1]["server_setup"]),
    })
    add_kinds("sealed", {
        "envelope": (0, crypto["envelopes"]["anonymous"]["envelope"]),
        "signed envelope": (1, crypto["envelopes"]["authenticated"]["envelope"]),
        "sealed sender": (2, crypto["envelopes"]["sealed_sender"]["sealed"]),
        "identity": (3, crypto["opaque"][1]["sealed_identity"]["bytes"]),
        "bundle": (4, crypto["recovery"]["bundle"]["sealed"]),
    })
    add_kinds("signed", {
        "signature": (0, crypto["proofs"]["revoke"]["signature"]),
        "delivery": (1, crypto["proofs"]["delivery"]["delivery_proof"]),
        "credential": (2, crypto["identity"]["credential"]),
        "tree head": (3, crypto["transparency"]["tree_head"]),
        "checkpoint": (4, crypto["transparency"]["checkpoint"].encode().hex()),
        "transcript": (5, crypto["transcript"]["transcript"]),
        "recovery code": (6, crypto["recovery"]["codes"][0].encode().hex()),
        "safety number": (6, crypto["safety"]["qr_payload"]),
    })
    steps = crypto["opaque"][1]
    add_kinds("login", {
        "upload": (0, steps["upload"]["bytes"]),
        "registration request": (1, steps["registration_request"]["bytes"]),
        "registration response": (2, steps["registration_response"]),
        "login request": (3, steps["login_request"]["bytes"]),
        "login response": (4, steps["login_response"]["bytes"]),
        "finalization": (5, steps["finalization"]["bytes"]),
    })


def add_kinds(target, cases):
    for name, (kind, digits) in cases.items():
        add(target, name, bytes([kind]) + bytes.fromhex(digits))


def load(subject):
    return json.loads((VECTORS / subject / f"{subject}.json").read_text(encoding="utf-8"))


def add(target, name, content):
    folder = HERE / "tests" / "__fuzz__" / target / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    (folder / slug).write_bytes(content)


if __name__ == "__main__":
    main()
