#!/usr/bin/env python3
"""Fills the corpora from the golden vectors and from scripts. What fuzzing found stays."""

import json
import pathlib
import re
import struct

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "tests" / "vectors"
KINDS = ["request", "response", "push"]
CARRIED = ["PushEvent", "ErrorDetail", "DeliveryPayload", "AppMessage", "ForkReport"]


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
        elif case["message"] in CARRIED:
            kind = CARRIED.index(case["message"])
            add("messages", name, bytes([kind]) + payload)


    of = {subject: named(subject) for subject in (
        "identity", "log", "envelopes", "sealed_sender", "recovery", "proofs", "transcripts", "safety", "opaque")}
    typed = of["recovery"]["as printed"]["text"]
    weak = [case for case in load("opaque")["cases"] if case["suite"].endswith("-32-1-1")]
    registration, login = weak[:2]
    add_kinds("formats", {
        "credential": (0, of["identity"]["a device with a certificate"]["credential"]),
        "default device": (0, of["identity"]["the default device"]["credential"]),
        "leaf": (1, of["log"]["a name and its key"]["leaf"]),
        "tree head": (2, of["log"]["tree head"]["tree_head"]),
        "padded": (3, next(case["padded"] for case in load("padding")["cases"] if case.get("content") == b"hi".hex())),
        "device id": (4, of["identity"]["a device with a certificate"]["device_id"]),
        "hybrid key": (5, of["envelopes"]["key 3"]["hybrid_public_key"]),
        "server setup": (6, registration["server_setup"]),
    })
    add_kinds("sealed", {
        "envelope": (0, of["envelopes"]["anonymous"]["envelope"]),
        "signed envelope": (1, of["envelopes"]["authenticated"]["envelope"]),
        "sealed sender": (2, of["sealed_sender"]["a message"]["sealed"]),
        "identity": (3, registration["sealed_identity"]),
        "bundle": (4, of["recovery"]["a bundle"]["sealed"]),
    })
    add_kinds("signed", {
        "signature": (0, of["proofs"]["revoke"]["proof"]),
        "delivery": (1, of["proofs"]["delivery"]["proof"]),
        "credential": (2, of["identity"]["a device with a certificate"]["credential"]),
        "tree head": (3, of["log"]["tree head"]["tree_head"]),
        "checkpoint": (4, of["log"]["checkpoint"]["checkpoint"].encode().hex()),
        "transcript": (5, of["transcripts"]["three records"]["transcript"]),
        "recovery code": (6, typed.encode().hex()),
        "safety number": (6, of["safety"]["alice and bob"]["qr_payload"]),
    })
    add_kinds("login", {
        "upload": (0, registration["upload"]),
        "registration request": (1, registration["registration_request"]),
        "registration response": (2, registration["registration_response"]),
        "login request": (3, login["login_request"]),
        "login response": (4, login["login_response"]),
        "finalization": (5, login["finalization"]),
    })


    add_acts()


def add_acts():
    """What the stateful targets do, as their `act` reads it."""
    alice, bob, carol = 0, 1, 2
    right, before, after, nobody = 2, 0, 1, 9

    def send(core, frm, to, ident, slot=None, text=0):
        return bytes([0, core, frm, to, ident, text] + ([0] if slot is None else [1, slot]))

    def batch(core, frm, ident):
        return bytes([8, core, frm, 0, ident, 0])

    def fetch(core, who, group):
        return bytes([10, core, who, 0, group, 1])

    def ack(core, who, group, behind):
        return bytes([14, core, who, 0, group, behind])

    def commit(core, frm, ident, off=right, add=nobody, remove=nobody):
        return bytes([18, core, frm, 0, ident, off, add, remove])

    def race(one, other, ident):
        return bytes([23, 0, one, other, ident])

    def crash(core):
        return bytes([24, core, 0, 0])

    scripts = {
        "removed on another core": [send(0, carol, alice, 0, right), commit(1, alice, 0, remove=carol),
                                    commit(0, alice, 1), commit(0, carol, 0)],
        "drained on another core": [send(0, alice, carol, n) for n in range(6)]
        + [ack(1, carol, 0, 1), batch(0, alice, 0), send(0, alice, carol, 11)],
        "acked on another core": [send(1, alice, carol, 0), send(1, alice, carol, 1), ack(0, carol, 0, 2),
                                  ack(1, carol, 0, 1)],
        "known on another core": [commit(0, alice, 0), send(1, bob, alice, 10, before),
                                  send(0, bob, alice, 10), send(1, bob, carol, 10, right),
                                  send(1, bob, alice, 10)],
        "overrun": [commit(n % 2, alice, n) for n in range(8)]
        + [fetch(0, bob, 1), ack(0, bob, 1, 0), ack(1, bob, 1, 1), fetch(1, bob, 1), commit(0, bob, 9)],
        "race and crash": [race(alice, bob, 0), crash(0), race(bob, carol, 1), crash(1),
                           fetch(0, alice, 1), fetch(1, carol, 1)],
        "asked again after a crash": [send(0, alice, bob, 3, right, 1), crash(0),
                                      send(0, alice, bob, 3, right, 1), send(1, alice, bob, 3, right, 2),
                                      batch(1, alice, 2), crash(1), batch(0, alice, 2), fetch(0, bob, 0)],
        "wrong slots": [commit(0, alice, 0, after), commit(0, alice, 1, before), send(0, alice, bob, 0, after),
                        commit(1, bob, 2, add=alice), commit(1, bob, 3, remove=carol, add=carol)],
    }
    for name, acts in scripts.items():
        add("server_services", name, b"".join(acts))

    connect, settle = bytes([0, 0]), bytes([8])

    def resume(user):
        return bytes([23, 0, 0, user]) + settle

    def template(which, *edits):
        return bytes([24, 0, 1 + which % 5, which, len(edits)]) + b"".join(edits) + settle

    def request(method, payload):
        return bytes([31, 0, 1, method, len(payload)]) + payload

    flip_last = bytes([1, 0, 40, 0])
    login_start, login_finish, revoke_device = 2, 3, 35
    for which in range(36):
        user = 2 if which == revoke_device else 0
        peer = settle + connect + (template(login_start) if which == login_finish else resume(user)) + template(which)
        add("server_peers", f"request {which}", peer)
        add("server_peers", f"request {which} changed", peer + template(which, flip_last))
    floods = b"".join(bytes([0, conn]) + b"".join(bytes([12, conn, stream, 0, 0xF0, 0]) for stream in range(4))
                      for conn in range(3))
    add("server_peers", "flood", settle + floods)
    for first in range(0, 70, 30):
        asked = b"".join(request(n, b"") + settle for n in range(first, first + 30))
        add("server_peers", f"strangers from {first}", settle + connect + asked)
    add("server_peers", "before it has started", connect + resume(0) + template(10) + bytes([9]) + template(14))
    add("server_peers", "wrong replies", settle + connect + resume(0)
        + b"".join(template(which)[:-1] + bytes([6, 14, 20 + n, 2, n]) for n, which in enumerate(range(7, 15))))
    add("server_peers", "two users", settle + connect + resume(0) + bytes([0, 1, 23, 1, 0, 1]) + settle
        + template(7) + template(12) + bytes([24, 1, 2, 10, 0]) + settle + bytes([9, 9, 9]))
    add("server_peers", "shutdown", settle + connect + resume(0) + template(12)[:-1] + bytes([20, 0]) + settle)

    def path(*edits):
        return bytes([len(edits)]) + b"".join(edits)

    one_bit, shorter = bytes([1, 0, 33, 1]), bytes([4, 0, 32])
    swapped = bytes([5, 0, 0, 32, 0, 64])
    for index, size in ((0, 0), (4, 6), (63, 63), (64, 64), (80, 99), (118, 119)):
        for name, edits in (("", ()), (" one bit", (one_bit,)), (" shorter", (shorter,)), (" swapped", (swapped,))):
            where = f"{index} {size}{name}"
            add("log_proofs", "inclusion " + where, bytes([0, size, index]) + path(*edits) + bytes([index + 1]))
            add("log_proofs", "consistency " + where, bytes([2, size, index]) + path(*edits))

    def head(which, size, time=0, *edits):
        return bytes([5, which, size, time]) + path(*edits)

    for name, steps in {
        "grows": [head(0, n, n) for n in (0, 1, 7, 64, 100, 120)],
        "forks": [head(0, 30), head(0, 60, 1), head(1, 70, 2), head(1, 60, 3), head(0, 90, 4)],
        "forks while young": [head(0, 20), head(1, 50, 1), head(0, 60, 2), head(1, 80, 3)],
        "goes back": [head(0, 90, 5), head(0, 80, 6), head(0, 80, 4), head(0, 0, 3)],
        "a smaller past": [head(0, 90, 1), head(1, 60, 5), head(0, 60, 6)],
        "same time": [head(0, 90), head(0, 80), head(1, 95), head(0, 99)],
        "bad paths": [head(0, 30), head(0, 90, 1, one_bit), head(0, 90, 1, shorter), head(0, 90, 1)],
        "checkpoints": [bytes([4, n]) + path(*((bytes([0, 0, 7 * n, 65]),) if n & 1 else ())) for n in range(16)],
        "second signature": [bytes([4, 9]) + path(bytes([5, 0, 0, 63, 0, 60]))],
    }.items():
        add("log_proofs", name, b"".join(steps))

    for n in range(0, 34, 5):
        add("backups", f"code {n}", bytes([0, 1, 0, 0, n, 48 + n]))
    add("backups", "code with spaces", bytes([0, 2, 2, 0, 4, 2]) + b"  " + bytes([2, 0, 9, 1]) + b"o")
    many = bytes(range(40)) + bytes([5]) + b"alice" + bytes([3]) + bytes(200) + bytes([2]) + bytes(160)
    add("backups", "bundle", bytes([1]) + many)
    add("backups", "bundle changed", bytes([1]) + bytes(32) + bytes(8) + bytes([0, 0, 0]) + bytes(32) + bytes([1, 1, 0, 40, 2]))
    for at in (0, 5, 30, 61, 70, 150, 255):
        add("backups", f"transcript changed at {at}", bytes([2, 1, 1, 0, at, 1]))
        add("backups", f"transcript cut at {at}", bytes([2, 1, 4, 0, at]))
    add("backups", "transcript", bytes([2, 0]))
    add("backups", "transcript with a record twice", bytes([2, 1, 5, 0, 61, 63, 0, 61]))

    def fields(who, device, channel, number):
        return (bytes([who, who]) + (bytes([1, device, device]) if device else b"\0")
                + (bytes([1, channel, channel]) if channel else b"\0") + bytes([channel, 9])
                + struct.pack(">Q", number) + b"\0" + struct.pack(">H", number & 0xFFFF) + bytes([who]) * 32)

    one = fields(1, 2, 3, 4)
    kinds = {
        "queue": b"q" + bytes(32) + b"\0" + b"\1" + bytes(16),
        "entry": b"e" + bytes(32) + b"\1" + bytes(16) + b"\0" + bytes(8),
        "expiry": b"x" + bytes(8) + bytes(32) + b"\0\0",
        "payload check": b"g" + bytes(16),
        "member": b"M" + bytes(48),
        "membership": b"A" + bytes(48),
        "device session": b"T" + bytes(32) + b"\0" + bytes(32),
        "client conversation": b"s/c/" + bytes(16),
        "client queue": b"s/q/",
        "client outgoing": b"s/o/" + bytes(24),
        "client history": b"h/" + bytes(24),
        "client mls row": b"s/m/" + bytes(range(30)) + bytes([0, 7]),
        "all ones": b"\xff" * 40,
    }
    for name, key in kinds.items():
        add("key_layout", name, one + fields(1, 0, 3, 5) + bytes([len(key)]) + key)
    for n, other in enumerate((fields(1, 2, 3, 4), fields(1, 2, 0, 4), fields(0, 2, 3, 4), fields(1, 2, 3, 12),
                               fields(1, 2, 3, 2**64 - 1), fields(255, 255, 255, 0))):
        add("key_layout", f"order {n}", one + other + b"\0")

    def flags(*words):
        # Below 16 a word that the target knows, from 16 on one that follows.
        return b"".join(bytes([w]) if isinstance(w, int) else bytes([16, len(w)]) + w.encode() for w in words)

    for name, line in {
        "server": flags(0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 12, 14, 13, 15),
        "server defaults": flags(),
        "two admins": flags(7, 8, "--admin=" + "ff" * 32),
        "an admin too short": flags(7, "ff"),
        "a bad domain": flags(5, "a b"),
        "a bad address": flags(0, "localhost"),
        "a database too large": flags(9, "4194305"),
        "help": flags("--help"),
        "nonsense": flags("--", "--", "\n"),
    }.items():
        add("config_flags", name, line)

    # Kinds of a client's acts: what its embedder and its server do.
    connected, stored, computed, timeout, drain = (bytes([n]) for n in (0, 33, 50, 51, 63))

    def answer(seed=0, status=0, which=0):
        return bytes([3, which, status]) + struct.pack(">Q", seed)

    def altered(at, byte, seed=0):
        return bytes([16, 0]) + struct.pack(">QHB", seed, at, byte)

    def say(what, which=0):
        return bytes([45, which, what])

    def push(which, *edits, other=b"\x00"):
        return bytes([27, 0, which, len(edits)]) + b"".join(edits) + other

    blank, opening, ready = bytes([0]), bytes([1]), bytes([2])
    open_up = (connected + stored * 3 + answer(11)) * 12
    clients = {
        "opens": opening + open_up,
        "registers": blank + bytes([45, 0, 0]) + (connected + stored + computed + answer(1)) * 10,
        "gets envelopes": ready + b"".join(bytes([22, n, 0]) + stored * 3 for n in range(12)),
        "gets altered envelopes": ready + b"".join(push(n, bytes([1, 0, 20 * n, n])) + stored * 3 for n in range(12)),
        "gets pushes out of order": ready + b"".join(push(n, other=bytes([1, 0, 9 - n, 1, n])) + stored * 2 for n in range(8)),
        "says everything": ready + b"".join(say(n, n) + stored * 4 + answer(n * 7) + stored * 2 for n in range(12)),
        "is answered wrong": ready + b"".join(say(n) + stored * 3 + altered(n, 200) + stored for n in range(2, 12)),
        "is refused": ready + b"".join(say(n) + stored * 3 + answer(n, 1) + timeout for n in range(2, 12)),
        "disk fails": ready + b"".join(say(11) + bytes([44, n]) + stored * 2 + answer() for n in range(4)) + timeout * 3,
        "flood": ready + b"".join(bytes([53, n]) for n in range(16)) * 6,
        "connection comes and goes": ready + (bytes([54]) + timeout + connected + answer(3) + stored) * 6,
    }
    for row in range(0, 60, 5):
        spoilt = bytes([1, 0, row, 1, 1, 0, row, row % 8])
        clients[f"row {row} spoilt"] = opening + spoilt + open_up
    clients["swollen answers"] = ready + b"".join(bytes([2, n, n]) + stored for n in range(12))
    for name, acts in clients.items():
        add("hostile_server", name, acts)

    storms = {
        "fair": b"".join(bytes([n % 4, 0, n & 1]) for n in range(12)) + bytes([0, 22, 0x0B, 0]),
        "bytes one by one": bytes([0, 15, 1]) + b"".join(bytes([n % 3, 0, 1]) for n in range(6)) + bytes([0, 18, 20]) * 4,
        "cut while sending": b"".join(bytes([n % 3, 0, 1, n % 3, 17, n, n % 3, 8]) for n in range(10)),
        "power lost": b"".join(bytes([n % 3, 10, n, n & 1, n % 3, 0, 1, 0, 18, 12]) for n in range(8)),
        "server power lost": b"".join(bytes([0, 0, 1, 0, 12, 2 * n, n & 1, 0, 18, 9]) for n in range(6)),
        "in and out": bytes([0, 6, 1, 7, 2, 6, 0, 17, 9, 1, 7, 2, 0, 1, 0, 22, 9, 9, 0, 6, 3, 0, 1]),
        "slow and full disks": bytes([1, 14, 1, 0, 0, 1, 0, 17, 25, 1, 14, 0, 2, 13, 0, 2, 0, 1, 2, 13, 3, 2, 0, 0]),
    }
    for name, acts in storms.items():
        add("core_pair", name, acts)

    # Each genuine message, whole and with one byte changed; then all of them in one life.
    whole = [bytes([0, which, 0]) for which in range(10)]
    for which, step in enumerate(whole):
        add("group_messages", f"message {which}", step)
        for at in (0, 9, 60, 200):
            changed = bytes([0, which, 1, 1, 0, at, 3])
            add("group_messages", f"message {which} changed at {at}", changed + step)
    for kind, what in ((4, "join"), (5, "rejoin"), (6, "add"), (7, "inspect")):
        for which in range(8):
            add("group_messages", f"{what} {which}", bytes([kind, which, 0]))
            changed = bytes([kind, which, 1, 1, 0, 100, 3])
            add("group_messages", f"{what} {which} changed", changed)
    # Read, and then refused: its sender is no longer there, or is somebody else now.
    add("group_messages", "from one who is gone", whole[5] + whole[2])
    add("group_messages", "from one who came back", whole[6] + whole[2])
    add("group_messages", "after a removal", whole[4] + whole[0])
    add("group_messages", "a life", b"".join(whole))
    add("group_messages", "a life backwards", b"".join(reversed(whole)))
    for row in range(0, 40, 3):
        for how in range(4):
            damaged = bytes([8, 0, row, how]) + bytes([1, 1, 0, row, 3] if how > 1 else [])
            add("group_messages", f"row {row} damaged {how}", damaged)
    for at in range(0, 300, 37):
        edit = bytes([1, 1]) + struct.pack(">H", at) + bytes([at % 8])
        add("group_messages", f"signed again {at}", bytes([9]) + edit + bytes([0]))
        add("group_messages", f"signed again, extension {at}", bytes([9, 0]) + edit)
    # The same life in the other suite.
    for name in ("message 0", "message 4", "join 5", "rejoin 3", "add 2", "add 2 changed", "a life", "a life backwards"):
        slug = re.sub(r"[^A-Za-z0-9]+", "-", name)
        add("x_wing_messages", name, (HERE / "tests/__fuzz__/group_messages/corpus" / slug).read_bytes())

    dial, second = bytes([4]), bytes([5, 3, 0xE8])

    def flood(conn, method, payload, filler, raw=0, uni=1, times=0, fin=1):
        return (bytes([12, conn, method, len(payload)]) + payload + struct.pack(">H", filler)
                + bytes([raw, uni, times, fin]))

    def again(which, *edits):
        """A datagram that was seen, from whom it came."""
        return bytes([1, which, 1, len(edits)]) + b"".join(edits)

    cut, flip = bytes([4, 0, 20]), bytes([1, 0, 30, 2])
    scripts = {
        "flood": (dial + bytes([5, 0, 200])) * 5 + b"".join(flood(n, 0, b"", 0xFFFF, times=63, fin=0) for n in range(5))
        + bytes([5, 0xFF, 0xFF]),
        "requests": dial + second + b"".join(flood(0, n, bytes(n), 0) for n in range(0, 70, 7)) + second,
        "datagrams again": dial + second + b"".join(again(n) + again(n, flip) + again(n, cut) for n in range(0, 32, 3)),
        "forged": b"".join(bytes([0, n, 7, 7]) + bytes([len(d)]) + d for n in range(4)
                           for d in (b"", b"\xc0" + bytes(40), b"\x40" + bytes(60), bytes([0xC0, 0, 0, 0, 1, 8]) + bytes(200))),
        "abandoned": dial + second + flood(0, 6, b"", 1000, times=40, fin=0) + bytes([5, 0, 50])
        + b"".join(bytes([10, n, 0, n]) for n in range(40)) + second + bytes([11, 0, 0, 3]) + second,
        "moves": dial + second + bytes([7, 1]) + flood(0, 6, b"", 3000, times=9) + second + bytes([7, 2, 9]) + second,
        "silent": dial + second + bytes([8, 1]) + flood(0, 50, b"", 0, times=63) + bytes([6, 1]) + second * 5 + bytes([9]),
        "pushes": dial + second + flood(0, 0, b"push", 5000, raw=1, uni=0, times=5) + second,
    }
    for name, acts in scripts.items():
        add("quic_glue", name, acts)


def named(subject):
    return {case["name"]: case for case in load(subject)["cases"]}


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
