#!/usr/bin/env python3
"""Checks the cryptographic vectors without the crate that wrote them, with Python's standard library alone.

Ed25519, ChaCha20, Poly1305 and HKDF are written out below from their RFCs, to check with, not to use.
Not checked here: what needs ML-KEM, ristretto255, Argon2id or MLS (envelopes, login, the transcript's
content, groups); public vectors cover those primitives.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
CHECKS = 0


def same(what, a, b):
    global CHECKS
    CHECKS += 1
    if a != b:
        sys.exit(f"{what}: {a!r} != {b!r}")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf(hash_, key, info, length):
    prk = hmac.new(bytes(hash_().digest_size), key, hash_).digest()
    out, block = b"", b""
    for number in range(1, 256):
        block = hmac.new(prk, block + info + bytes([number]), hash_).digest()
        out += block
    return out[:length]


# Ed25519 (RFC 8032 section 5.1), points in extended coordinates.
def add(a, b):
    s, t = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    u, v = 2 * a[3] * b[3] * D, 2 * a[2] * b[2]
    e, f, g, h = t - s, v - u, v + u, t + s
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P)
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def compress(point):
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def public_key(seed):
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return compress(multiply(scalar & (2**254 - 8) | 2**254, BASE))


def signed(what, key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little")
    same(what, compress(multiply(s, BASE)), compress(add(decompress(r), multiply(k, decompress(key)))))


# XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha).
def rounds(state):
    x = list(state)

    def quarter(a, b, c, d):
        for one, two, three, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[one] = (x[one] + x[two]) & 0xFFFFFFFF
            mixed = x[three] ^ x[one]
            x[three] = (mixed << shift | mixed >> (32 - shift)) & 0xFFFFFFFF

    for _ in range(10):
        for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(*column)
        for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(*diagonal)
    return x


CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


def open_xchacha(key, nonce, aad, sealed):
    state = CONSTANTS + struct.unpack("<12I", key + nonce[:16])
    out = rounds(state)
    subkey = struct.pack("<8I", *out[:4], *out[12:])

    def block(counter):
        state = CONSTANTS + struct.unpack("<8I", subkey) + (counter, 0) + struct.unpack("<2I", nonce[16:])
        return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(rounds(state), state)))

    ciphertext, tag = sealed[:-16], sealed[-16:]
    r = int.from_bytes(block(0)[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(block(0)[16:32], "little")
    data = aad + bytes(-len(aad) % 16) + ciphertext + bytes(-len(ciphertext) % 16)
    data += struct.pack("<2Q", len(aad), len(ciphertext))
    sum_ = 0
    for start in range(0, len(data), 16):
        sum_ = (sum_ + int.from_bytes(data[start : start + 16] + b"\1", "little")) * r % (2**130 - 5)
    same("tag", ((sum_ + s) % 2**128).to_bytes(16, "little"), tag)
    stream = b"".join(block(1 + number) for number in range(len(ciphertext) // 64 + 1))
    return bytes(a ^ b for a, b in zip(ciphertext, stream))


def u32(number):
    return struct.pack(">I", number)


def u64(number):
    return struct.pack(">Q", int(number))


def var(part):
    return u32(len(part)) + part


def unhex(case, *names):
    return [bytes.fromhex(case[name]) for name in names]


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


def check_envelopes(case):
    if case["kind"] == "key":
        (seed,) = unhex(case, "identity_seed")
        key = hkdf(hashlib.sha256, seed, b"qpq access key v1" + u64(case["counter"]), 32)
        same("access key", [key, sha256(key)], unhex(case, "access_key", "access_key_hash"))
    elif case["kind"] == "seal":
        content, envelope = unhex(case, "content", "envelope")
        inner = len(content) + (96 if case["sender_seed"] else 0)
        same("envelope", (len(envelope), envelope[0]), (1 + 1120 + inner + 16, 1))


def check_sealed_sender(case):
    if case["kind"] == "seal":
        content, sealed, credential = unhex(case, "content", "sealed", "credential")
        inner = padded_length(4 + len(credential) + 32 + 8 + 64 + len(content))
        same("sealed sender", (len(sealed), sealed[0]), (1 + 1120 + inner + 16, 1))


def check_opaque(case):
    if case["kind"] == "registration" or case["identity_seed"]:
        export_key, seed, sealed = unhex(case, "export_key", "identity_seed", "sealed_identity")
        key = hkdf(hashlib.sha512, export_key, b"qpq identity v1", 32)
        same("sealed identity", open_xchacha(key, sealed[1:25], sealed[:1], sealed[25:]), seed)


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
    elif kind == "bundle" or case["bundle"]:
        content = case if kind == "bundle" else case["bundle"]
        (sealed,) = unhex(case, "sealed")
        key = hkdf(hashlib.sha256, typed_code(case["code"]), b"qpq recovery key v1", 32)
        expected = unhex(content, "identity_seed")[0] + u64(content["created_at_ms"]) + var(content["username"].encode())
        expected += u32(len(content["devices"]))
        for device in content["devices"]:
            id_, device_key = unhex(device, "device_id", "device_key")
            expected += var(id_) + device_key + u64(device["created_at_ms"])
        expected += u32(len(content["contacts"]))
        for contact in content["contacts"]:
            expected += unhex(contact, "identity_key")[0] + bytes([contact["verified"]]) + var(contact["username"].encode())
        same("bundle", unpad(open_xchacha(key, sealed[1:25], sealed[:1], sealed[25:])), expected)


def check_transcripts(case):
    if case["kind"] == "open" and case["verified"] is None:
        return
    (data,) = unhex(case, "transcript")
    key = data[21:53]
    link, count, rest = sha256(b"qpq transcript v1", data[:61]), 0, data[61:]
    while rest[0] == 1:
        (length,) = struct.unpack(">I", rest[1:5])
        link, count = sha256(link, u64(count), rest[5 : 5 + length]), count + 1
        rest = rest[5 + length :]
    same("end", rest[:9], b"\0" + u64(count))
    signed("transcript", key, b"qpq transcript head v1" + u64(count) + link, rest[9:])
    if case["kind"] == "export":
        same("exporter", public_key(*unhex(case, "identity_seed")), key)
        same("header", data[:5] + data[53:61], b"qpqt\1" + u64(case["exported_at_ms"]))
        same("records", len(case["records"]), count)
    else:
        same("summary", [key.hex(), str(int.from_bytes(data[53:61], "big")), count],
             [case["verified"][name] for name in ("exporter", "exported_at_ms", "records")])


CHECKS_OF = {
    "identity": check_identity, "envelopes": check_envelopes, "sealed_sender": check_sealed_sender,
    "proofs": check_proofs, "log": check_log, "safety": check_safety, "padding": check_padding,
    "recovery": check_recovery, "transcripts": check_transcripts, "opaque": check_opaque,
}


def main():
    for subject, check in CHECKS_OF.items():
        before = CHECKS
        for path in sorted((HERE / subject).glob("*.json")):
            if path.name != "schema.json":
                for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
                    check(case)
        print(f"{subject:<14} {CHECKS - before:>4} checks")
        if CHECKS == before:
            sys.exit(f"{subject} has no vectors")


if __name__ == "__main__":
    main()
