#!/usr/bin/env python3
"""Checks the cryptographic vectors without the crate that wrote them.

    check_crypto.py [--all]

With Python's standard library alone it checks what that is enough for. With the packages of
requirements.txt it also opens envelopes, reads transcripts with their password, and takes part in
groups: signatures, tree hashes, Welcomes, key schedules, messages. --all fails without them. Not checked
here: OPAQUE's messages (ristretto255), and TreeKEM's paths, so of an epoch that only a commit leads into
no more than its signatures and hashes; public vectors cover those primitives.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys

from primitives import (Count, Stream, hkdf, open_xchacha, public_key, same, sha256, signed, u32, u64, unhex, var,
                        verifies)

try:
    import argon2.low_level

    import groups
    import hpke
except ModuleNotFoundError as error:
    MISSING = error.name
else:
    MISSING = None

HERE = pathlib.Path(__file__).resolve().parent


def check_identity(case):
    seed, device_seed, id_ = unhex(case, "identity_seed", "device_seed", "device_id")
    key, device_key, credential = unhex(case, "identity_key", "device_key", "credential")
    same("identity key", public_key(seed), key)
    same("device key", public_key(device_seed or seed), device_key)
    digits = sha256(b"qpq identity fingerprint v1", key).hex()
    groups = [digits[at : at + 4] for at in range(0, 64, 4)]
    same("fingerprint", " ".join(groups), case["identity_fingerprint"])
    time = u64(case["created_at_ms"])
    if not id_:
        same("default credential", credential, key + time)
        return
    same("credential", credential[:-64], key + id_ + time)
    signed("certificate", key, b"qpq device v1" + id_ + device_key + time, credential[-64:])


def check_proofs(case):
    key = public_key(*unhex(case, "signer_seed"))
    same("signer", [key], unhex(case, "signer_key"))
    time = u64(case["time_ms"])
    message, proof = unhex(case, "signed", "proof")
    if case["kind"] == "register":
        upload, sealed = unhex(case, "upload", "sealed_identity")
        expected = b"qpq register v1" + var(case["domain"].encode()) + var(case["username"].encode())
        expected += sha256(upload) + sha256(sealed) + time
    elif case["kind"] == "hybrid_key":
        expected = b"qpq hybrid v1" + key + unhex(case, "hybrid_public_key")[0] + time
    elif case["kind"] == "revoke":
        expected = b"qpq revoke v1" + key + var(case["reason"].encode()) + time
    elif case["kind"] == "commit":
        channel, commit, sender = unhex(case, "channel_id", "commit", "sender_key")
        epoch = u64(case["server_epoch"])
        expected = b"qpq commit v2" + epoch + channel + u64(case["slot"]) + sha256(commit) + sender
        same("epoch of the server", proof[:8], epoch)
        proof = proof[8:]
    else:
        id_, to, channel, payload = unhex(case, "message_id", "recipient_key", "channel_id", "payload_hash")
        expected = b"qpq delivery v1" + id_ + to + var(channel) + payload + u64(case["seq"]) + time
        same("time of delivery", proof[:8], time)
        proof = proof[8:]
    same(case["kind"], message, expected)
    signed(case["kind"], key, message, proof)


def check_safety(case):
    sides = []
    for side in (case["one"], case["other"]):
        (key,) = unhex(side, "identity_key")
        hash_ = hashlib.sha512(b"qpq safety v1" + key + var(side["username"].encode())).digest()
        for _ in range(5199):
            hash_ = hashlib.sha512(hash_ + key).digest()
        sides.append(hash_[:32])
    sides.sort()
    chunks = [side[at : at + 5] for side in sides for at in range(0, 30, 5)]
    text = " ".join(f"{int.from_bytes(chunk, 'big') % 100000:05}" for chunk in chunks)
    same("safety number", text, case["text"])
    same("QR payload", [b"\1" + b"".join(sides)], unhex(case, "qr_payload"))


def padded_length(length):
    length += 1
    if length <= 4096:
        return -(-length // 256) * 256
    exponent = length.bit_length() - 1
    unit = 1 << (exponent - exponent.bit_length())
    return -(-length // unit) * unit


def pad(content):
    return (content + b"\x80").ljust(padded_length(len(content)), b"\0")


def unpad(padded):
    content, mark, rest = padded.rpartition(b"\x80")
    return content if mark and not rest.strip(b"\0") and pad(content) == padded else None


def check_padding(case):
    if case["kind"] == "length":
        same("padded length", padded_length(case["content_length"]), case["padded_length"])
    elif case["kind"] == "pad":
        same("padding", pad(*unhex(case, "content")), *unhex(case, "padded"))
    else:
        content = unpad(*unhex(case, "padded"))
        same("content", content if content is None else content.hex(), case["content"])


def hybrid_key(seed, counter):
    return hpke.PrivateKey(hpke.X_WING, hkdf(hashlib.sha256, seed, b"qpq hybrid key v1" + u64(counter), 32))


def open_envelope(key, info, aad, envelope):
    if envelope[:1] != b"\1" or len(envelope) < 1121:
        return None
    return key.open(hpke.CHACHA, info, aad, envelope[1:1121], envelope[1121:])


def open_authenticated(key, aad, envelope):
    """Sender and content, None if it does not open."""
    inside = open_envelope(key, b"qpq hybrid authenticated envelope v1", aad, envelope)
    if inside is None or len(inside) < 96:
        return None
    sender, signature, content = inside[:32], inside[32:96], inside[96:]
    message = b"qpq envelope v1" + envelope[:1121] + key.public + var(aad) + var(content)
    return (sender, content) if verifies(sender, message, signature) else None


def check_envelopes(case):
    if case["kind"] == "key":
        (seed,) = unhex(case, "identity_seed")
        key = hkdf(hashlib.sha256, seed, b"qpq access key v1" + u64(case["counter"]), 32)
        same("access key", [key, sha256(key)], unhex(case, "access_key", "access_key_hash"))
    elif case["kind"] == "seal":
        content, envelope = unhex(case, "content", "envelope")
        inner = len(content) + (96 if case["sender_seed"] else 0)
        same("envelope", (len(envelope), envelope[0]), (1 + 1120 + inner + 16, 1))
    if MISSING:
        return
    key = hybrid_key(*unhex(case, "identity_seed"), case["counter"])
    if case["kind"] == "key":
        same("hybrid key", [key.public], unhex(case, "hybrid_public_key"))
        return
    aad, envelope = unhex(case, "associated_data", "envelope")
    if case["kind"] == "open":
        authenticated, content, sender = case["authenticated"], case["content"], case["sender_key"]
    else:
        authenticated, content = bool(case["sender_seed"]), case["content"]
        sender = public_key(*unhex(case, "sender_seed")).hex() if authenticated else None
    if authenticated:
        opened = open_authenticated(key, aad, envelope)
        same("opened", opened and (opened[0].hex(), opened[1].hex()), content and (sender, content))
    else:
        opened = open_envelope(key, b"qpq hybrid envelope v1", aad, envelope)
        same("opened", (opened if opened is None else opened.hex(), None), (content, sender))


PURPOSES = {"message": b"\1", "fork_report": b"\2"}


def certified(credential, device_key):
    """Whether the identity in a credential stands behind a device key."""
    if len(credential) == 40:
        return credential[:32] == device_key
    if len(credential) != 120:
        return False
    message = b"qpq device v1" + credential[32:48] + device_key + credential[48:56]
    return verifies(credential[:32], message, credential[56:])


def open_sealed_sender(case, sealed):
    seed, purpose = unhex(case, "recipient_seed")[0], PURPOSES[case["purpose"]]
    key, recipient = hybrid_key(seed, case["counter"]), public_key(seed)
    padded = open_envelope(key, b"qpq hybrid envelope v1", b"qpq sealed to v1" + purpose + recipient, sealed)
    inside = None if padded is None else unpad(padded)
    if inside is None or len(inside) < 4:
        return None
    (length,) = struct.unpack(">I", inside[:4])
    credential, rest = inside[4 : 4 + length], inside[4 + length :]
    if len(credential) != length or len(rest) < 104:
        return None
    device_key, time, signature, content = rest[:32], rest[32:40], rest[40:104], rest[104:]
    message = b"qpq sealed v1" + purpose + recipient + key.public + var(credential) + device_key + time + var(content)
    if not certified(credential, device_key) or not verifies(device_key, message, signature):
        return None
    return {"credential": credential.hex(), "device_key": device_key.hex(),
            "sent_at_ms": str(int.from_bytes(time, "big")), "content": content.hex()}


def check_sealed_sender(case):
    if case["kind"] == "seal":
        content, sealed, credential = unhex(case, "content", "sealed", "credential")
        inner = padded_length(4 + len(credential) + 32 + 8 + 64 + len(content))
        same("sealed sender", (len(sealed), sealed[0]), (1 + 1120 + inner + 16, 1))
        if not MISSING:
            opened = open_sealed_sender(case, sealed)
            found = [opened[name] for name in ("credential", "sent_at_ms", "content")]
            same("opened", found, [case[name] for name in ("credential", "sent_at_ms", "content")])
    elif not MISSING:
        same("opened", open_sealed_sender(case, *unhex(case, "sealed")), case["opened"])


def check_opaque(case):
    if case["export_key"]:
        export_key, sealed = unhex(case, "export_key", "sealed_identity")
        key = hkdf(hashlib.sha512, export_key, b"qpq identity v1", 32)
        opened = open_xchacha(key, sealed[1:25], sealed[:1], sealed[25:]) if sealed[:1] == b"\1" else None
        same("sealed identity", opened and opened.hex(), case["identity_seed"])


def root(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1", root(hashes[:split]), root(hashes[split:]))


def inclusion(hashes, index):
    """RFC 9162 section 2.1.3.1."""
    if len(hashes) == 1:
        return []
    split = 1 << (len(hashes) - 1).bit_length() - 1
    if index < split:
        return inclusion(hashes[:split], index) + [root(hashes[split:])]
    return inclusion(hashes[split:], index - split) + [root(hashes[:split])]


def consistency(hashes, first, whole=True):
    """RFC 9162 section 2.1.4.1."""
    if first == len(hashes):
        return [] if whole else [root(hashes)]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    if first <= split:
        return consistency(hashes[:split], first, whole) + [root(hashes[split:])]
    return consistency(hashes[split:], first - split, False) + [root(hashes[:split])]


def check_log(case):
    kind = case["kind"]
    if kind in ("bind", "revoke"):
        key, leaf = unhex(case, "identity_key", "leaf")
        if kind == "bind":
            name = case["username"].encode()
            parts = b"\1" + sha256(name) + sha256(b"qpq bind v1", *unhex(case, "nonce"), var(name), key)
        else:
            parts = b"\2" + sha256(key) + sha256(case["reason"].encode())
        same("leaf", leaf, parts + u64(case["time_ms"]))
        same("leaf hash", sha256(b"\0", leaf).hex(), case["leaf_hash"])
        return
    if kind in ("tree", "inclusion", "consistency"):
        hashes = [sha256(b"\0", bytes.fromhex(leaf)) for leaf in case["leaves"]]
        if kind == "tree":
            found, expected = [root(hashes[: size + 1]) for size in range(len(hashes))], case["roots"]
        elif kind == "inclusion":
            found, expected = inclusion(hashes[: case["size"]], case["index"]), case["path"]
        else:
            found, expected = consistency(hashes[: case["size"]], case["from"]), case["path"]
        same(kind, [one.hex() for one in found], expected)
        return
    server = public_key(*unhex(case, "server_seed"))
    same("server key", [server], unhex(case, "server_key"))
    (top,) = unhex(case, "root")
    if kind == "tree_head":
        (head,) = unhex(case, "tree_head")
        same("tree head", head[:48], u64(case["size"]) + top + u64(case["time_ms"]))
        signed("tree head", server, b"qpq tree head v1" + head[:48], head[48:])
        return
    body, signature = case["checkpoint"].split("\n\n")
    origin, size, base64_root = body.split("\n")
    same("checkpoint", (size, base64.b64decode(base64_root)), (str(case["size"]), top))
    line = base64.b64decode(signature.split(" ")[2])
    key_id = sha256(origin.encode(), b"\n\1", server)[:4]
    same("key id", line[:4], key_id)
    signed("checkpoint", server, body.encode() + b"\n", line[4:])
    key = base64.b64encode(b"\1" + server).decode()
    same("verifier key", case["verifier_key"], f"{origin}+{key_id.hex()}+{key}")


ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def typed_code(text):
    """The 25 symbols of a code that someone typed, None if it is none."""
    letters = "".join(text.upper().split()).replace("-", "").replace("O", "0").replace("I", "1").replace("L", "1")
    if len(letters) != 28 or not set(letters) <= set(ALPHABET):
        return None
    symbols = bytes(ALPHABET.index(letter) for letter in letters)
    bits = int.from_bytes(sha256(b"qpq recovery checksum v1", symbols[:25])[:2], "big")
    return symbols[:25] if symbols[25:] == bytes([bits >> 11, bits >> 6 & 31, bits >> 1 & 31]) else None


def token(symbols):
    return hkdf(hashlib.sha256, symbols, b"qpq recovery token v1", 32)


def check_recovery(case):
    kind = case["kind"]
    if kind == "codes":
        for code, expected, token_hash in zip(case["codes"], case["tokens"], case["token_hashes"]):
            found = token(typed_code(code))
            same("token", [found.hex(), sha256(found).hex()], [expected, token_hash])
    elif kind == "typed":
        symbols = typed_code(case["text"])
        same("typed code", symbols and sha256(token(symbols)).hex(), case["token_hash"])
    else:
        (sealed,) = unhex(case, "sealed")
        key = hkdf(hashlib.sha256, typed_code(case["code"]), b"qpq recovery key v1", 32)
        opened = open_xchacha(key, sealed[1:25], sealed[:1], sealed[25:]) if sealed[:1] == b"\1" else None
        opened = opened and unpad(opened)
        if kind == "bundle":
            same("bundle", opened, encode_bundle(case))
        else:
            same("opened bundle", opened, case["bundle"] and encode_bundle(case["bundle"]))


def encode_bundle(content):
    encoded = unhex(content, "identity_seed")[0] + u64(content["created_at_ms"]) + var(content["username"].encode())
    encoded += u32(len(content["devices"]))
    for device in content["devices"]:
        id_, device_key = unhex(device, "device_id", "device_key")
        encoded += var(id_) + device_key + u64(device["created_at_ms"])
    encoded += u32(len(content["contacts"]))
    for contact in content["contacts"]:
        encoded += unhex(contact, "identity_key")[0] + bytes([contact["verified"]]) + var(contact["username"].encode())
    return encoded


def split_transcript(data):
    """Header, ciphertexts with the link before each, last link, signature; None if it is cut or no transcript."""
    if data[:5] != b"qpqt\1" or len(data) < 61:
        return None
    link, records, rest = sha256(b"qpq transcript v1", data[:61]), [], data[61:]
    while rest[:1] == b"\1" and len(rest) >= 5:
        (length,) = struct.unpack(">I", rest[1:5])
        ciphertext, rest = rest[5 : 5 + length], rest[5 + length :]
        if len(ciphertext) != length:
            return None
        records.append((link, ciphertext))
        link = sha256(link, u64(len(records) - 1), ciphertext)
    if len(rest) != 73 or rest[:9] != b"\0" + u64(len(records)):
        return None
    return data[:61], records, link, rest[9:]


def verified_transcript(data):
    """What anyone can tell of it, None if it does not hold."""
    parts = split_transcript(data)
    if parts is None:
        return None
    header, records, link, signature = parts
    if not verifies(header[21:53], b"qpq transcript head v1" + u64(len(records)) + link, signature):
        return None
    time = str(int.from_bytes(header[53:61], "big"))
    return {"exporter": header[21:53].hex(), "exported_at_ms": time, "records": len(records)}


def read_transcript(data, password):
    header, records, _, _ = split_transcript(data)
    stretched = argon2.low_level.hash_secret_raw(
        password.encode(), header[5:21], time_cost=3, memory_cost=65536, parallelism=4, hash_len=32,
        type=argon2.low_level.Type.ID)
    key, read = hkdf(hashlib.sha256, stretched, b"qpq transcript key v1", 32), []
    for index, (link, ciphertext) in enumerate(records):
        record = hpke.open_aead(hpke.CHACHA, key, bytes(4) + u64(index), link, ciphertext)
        if record is None:
            return None
        (length,) = struct.unpack(">I", record[40:44])
        read.append({"sent_at_ms": str(int.from_bytes(record[:8], "big")), "sender_key": record[8:40].hex(),
                     "channel_id": record[44 : 44 + length].hex(), "content": record[44 + length :].hex()})
    return read


def check_transcripts(case):
    (data,) = unhex(case, "transcript")
    verified = verified_transcript(data)
    if case["kind"] == "export":
        same("exporter", [public_key(*unhex(case, "identity_seed")).hex(), case["exported_at_ms"]],
             [verified["exporter"], verified["exported_at_ms"]])
        same("salt", Stream(*unhex(case, "seed")).draw(16), data[5:21])
        same("records", len(case["records"]), verified["records"])
    else:
        same("verified", verified, case["verified"])
    if verified and not MISSING:
        same("records", read_transcript(data, case["password"]), case["records"])


# Letter, then the fields; what ends with "*" is a range.
SERVER_KEYS = {
    "meta": "m name", "account": "a identity", "name": "n name", "device_set": "D identity",
    "device": "d identity device", "devices": "d identity *", "session": "t token_hash", "sessions": "t *",
    "device_session": "T identity device token_hash", "device_sessions": "T identity device *",
    "queue": "q identity device channel?", "queues": "q identity device *",
    "entry": "e identity device channel? number", "payload": "p payload piece",
    "payload_claim": "P payload identity device channel?", "payload_check": "g payload",
    "dedupe": "i message identity method", "expiry": "x number identity device channel?", "expired": "x *",
    "channel": "c channel", "metadata": "C channel", "group_info": "G channel piece", "member": "M channel identity",
    "members": "M channel *", "membership": "A identity channel", "memberships": "A identity *",
    "slot": "s channel number", "package_pool": "k identity device", "package": "K identity device fingerprint",
    "packages": "K identity device *", "package_seen": "U identity device fingerprint", "packages_seen": "U *",
    "hybrid_key": "h identity", "channels": "c *", "given": "y identity", "all_given": "y *", "slots": "s *",
    "former": "F channel identity", "formers": "F *", "all_queues": "q *", "allowance": "w identity",
    "allowances": "w *", "devices_changed": "j\x01 identity", "device_revoked": "j\x02 identity device",
    "jobs": "j *",
}
CLIENT_KEYS = {
    "schema": "meta/schema", "writer": "meta/writer", "account": "s/account", "server": "s/server",
    "openings": "s/openings", "clocks": "s/clocks", "moves": "s/a/ channel", "hybrid": "s/b/ identity", "conversation": "s/c/ channel",
    "draft": "s/d/ channel", "proofs": "s/e/ channel", "forks": "s/f/ channel", "merged": "s/g/ channel number", "seen": "s/h/ channel number",
    "package": "s/k/ reference", "mls": "s/m/ row", "known": "s/n/ channel number",
    "outgoing": "s/o/ channel number", "parked": "s/p/ channel number", "queue": "s/q/ channel",
    "contact": "s/u/ identity", "sent": "s/w/ channel number", "history": "h/ channel number",
}


def key_field(case, name):
    if name == "name":
        return case["name"].encode()
    if name == "number":
        return u64(case["number"])
    if name in ("piece", "method"):
        return struct.pack(">H", case[name])
    (value,) = unhex(case, name.rstrip("?"))
    if name in ("device", "channel?"):
        return b"\1" + value if value else b"\0"
    return value


def after(prefix):
    """The first byte string behind all that begin with a prefix."""
    prefix = prefix.rstrip(b"\xff")
    return prefix[:-1] + bytes([prefix[-1] + 1])


def check_key_layout(case):
    table = SERVER_KEYS if case["core"] == "server" else CLIENT_KEYS
    start, *names = table[case["key"]].split()
    if case["core"] == "client":
        names.append("piece")
    key = start.encode() + b"".join(key_field(case, name) for name in names if name != "*")
    if names[-1:] != ["*"]:
        same("key", [key], unhex(case, "bytes"))
        return
    end = after(key)
    if case["key"] == "expired":
        # Behind all of that number; the greatest number is behind all that there are.
        end = key + u64(min(int(case["number"]) + 1, 2**64 - 1))
    same("range", [key, end], unhex(case, "start", "end"))


def check_mls(case):
    if MISSING:
        return
    kem, _ = groups.SUITES[case["suite"]]
    devices = {member["name"]: member for member in case["members"]}
    packages, epochs, info, last, followed = {}, {}, None, None, None
    for step in case["steps"]:
        op, who = step["op"], step["who"]
        if op == "key_package":
            (data,) = unhex(step, "key_package")
            package = groups.KeyPackage(data)
            same("reference", package.reference.hex(), step["reference"])
            init, leaf = groups.key_package_keys(*unhex(step, "seed"), kem)
            same("keys of the package", (init.public, leaf.public), (package.init_key, package.leaf.encryption_key))
            member = devices[who]
            same("device", [package.leaf.key], [public_key(*unhex(member, "device_seed"))])
            same("credential", certified(package.leaf.credential, package.leaf.key), True)
            packages[who] = package.reference, init
        if op == "rejoin":
            followed = groups.check_external_commit(*unhex(step, "commit"), info)
        elif "commit" in step and info and info.epoch in epochs:
            followed = epochs[info.epoch].decrypt(*unhex(step, "commit"))
        if "group_info" in step:
            (data,) = unhex(step, "group_info")
            tree = step.get("ratchet_tree")
            info = groups.GroupInfo(groups.mls_message(data, groups.GROUP_INFO), tree and bytes.fromhex(tree))
            same("epoch", info.epoch, step["epoch"])
            if followed:
                same("transcript hash and tag", followed, (info.transcript, info.tag))
            followed, last = None, step
        if op == "join":
            epoch = groups.open_welcome(*unhex(last, "welcome"), *packages[who], case["suite"])
            same("group context", epoch.info.context, info.context)
            same("epoch", epoch.info.epoch, step["epoch"])
            same("agreed", [epoch.secret[b"authentication"], epoch.export(b"qpq channel key", b"", 32)],
                 unhex(step, "epoch_authenticator", "channel_key"))
            epochs[step["epoch"]] = epoch
        if op == "message" and info.epoch in epochs:
            same("message", unpad(epochs[info.epoch].decrypt(*unhex(step, "message"))), *unhex(step, "content"))


def check_refused(case):
    kind = case["kind"]
    if kind == "commit_proof":
        server, channel, commit, sender, proof = unhex(case, "signer_key", "channel_id", "commit", "sender_key", "proof")
        message = b"qpq commit v2" + proof[:8] + channel + u64(case["slot"]) + sha256(commit) + sender
        same("verdict", len(proof) == 72 and verifies(server, message, proof[8:]), case["verdict"] == "accepted")
    elif kind == "delivery_proof":
        server, id_, to, channel, payload = unhex(
            case, "signer_key", "message_id", "recipient_key", "channel_id", "payload_hash")
        (proof,) = unhex(case, "proof")
        message = b"qpq delivery v1" + id_ + to + var(channel) + payload + u64(case["seq"]) + proof[:8]
        same("verdict", len(proof) == 72 and verifies(server, message, proof[8:]), case["verdict"] == "accepted")
    elif not MISSING:
        kem, _ = groups.SUITES[case["suite"]]
        init, leaf = groups.key_package_keys(*unhex(case, "key_package_seed"), kem)
        welcome = groups.welcome_verdict(*unhex(case, "welcome", "reference"), init)
        if kind == "welcome":
            same("verdict", welcome, case["verdict"])
        else:
            # Behind commits that are taken lies an epoch that only a path leads into.
            epoch = welcome.info.epoch + len(case["before"])
            verdict = groups.commit_verdict(*unhex(case, "commit"), welcome, epoch, leaf)
            same("verdict", (epoch, verdict), (case["epoch"], case["verdict"]))


CHECKS_OF = {
    "identity": check_identity, "envelopes": check_envelopes, "sealed_sender": check_sealed_sender,
    "proofs": check_proofs, "log": check_log, "safety": check_safety, "padding": check_padding,
    "recovery": check_recovery, "transcripts": check_transcripts, "opaque": check_opaque,
    "key_layout": check_key_layout, "mls": check_mls, "refused": check_refused,
}


def main(argv):
    if argv[1:] not in ([], ["--all"]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    if MISSING:
        print(f"no package {MISSING}: transcripts' records, envelopes and groups are not opened", file=sys.stderr)
        if argv[1:]:
            return 1
    for subject, check in CHECKS_OF.items():
        before = Count.checks
        for path in sorted((HERE / subject).glob("*.json")):
            if path.name != "schema.json":
                for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
                    check(case)
        print(f"{subject:<14} {Count.checks - before:>4} checks")
        if Count.checks == before and not (MISSING and subject == "mls"):
            sys.exit(f"{subject} has no vectors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
