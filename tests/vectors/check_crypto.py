#!/usr/bin/env python3
"""Checks crypto/crypto.json without the crate that wrote it, with Python's standard library alone.

Ed25519, ChaCha20, Poly1305 and HKDF are written out below from their RFCs, to check with, not to use.
Not checked here: what needs ML-KEM, ristretto255 or Argon2id (envelopes, login, the transcript's
content); public vectors cover those primitives.
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
    seed, key, device_seed, device_key = unhex(case, "identity_seed", "identity_key", "device_seed", "device_key")
    same("identity key", public_key(seed), key)
    same("device key", public_key(device_seed), device_key)
    digits = sha256(b"qpq identity fingerprint v1", key).hex()
    groups = [digits[at : at + 4] for at in range(0, 64, 4)]
    same("fingerprint", " ".join(groups), case["identity_fingerprint"])
    credential, default, id_ = unhex(case, "credential", "default_device_credential", "device_id")
    time = u64(case["created_at_ms"])
    same("default credential", default, key + time)
    same("credential", credential[:-64], key + id_ + time)
    signed("certificate", key, b"qpq device v1" + id_ + device_key + time, credential[-64:])
    return key


def check_proofs(case, key):
    server = public_key(*unhex(case, "server_seed"))
    same("server key", [server], unhex(case, "server_key"))
    time = u64(case["time_ms"])
    one = case["register"]
    upload, sealed, message, signature = unhex(one, "upload", "sealed_identity", "signed", "signature")
    expected = b"qpq register v1" + var(one["domain"].encode()) + var(one["username"].encode())
    same("register", message, expected + sha256(upload) + sha256(sealed) + time)
    signed("register", key, message, signature)
    one = case["hybrid_key"]
    hybrid, message, signature = unhex(one, "hybrid_public_key", "signed", "signature")
    same("hybrid key", message, b"qpq hybrid v1" + key + hybrid + time)
    signed("hybrid key", key, message, signature)
    one = case["revoke"]
    message, signature = unhex(one, "signed", "signature")
    same("revoke", message, b"qpq revoke v1" + key + var(one["reason"].encode()) + time)
    signed("revoke", key, message, signature)
    one = case["commit"]
    channel, commit, proof = unhex(one, "channel_id", "commit", "commit_proof")
    signed("commit", server, b"qpq commit v1" + channel + u64(one["slot"]) + sha256(commit), proof)
    one = case["delivery"]
    id_, to, channel, payload = unhex(one, "message_id", "recipient_key", "channel_id", "payload_hash")
    for name, channel in (("delivery_proof", channel), ("delivery_proof_default_channel", b"")):
        (proof,) = unhex(one, name)
        message = b"qpq delivery v1" + id_ + to + var(channel) + payload + u64(one["seq"]) + time
        same(name, proof[:8], time)
        signed(name, server, message, proof[8:])


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


def check_padding(case):
    for length, padded in case["lengths"]:
        same("padded length", padded_length(length), padded)
    content, padded = unhex(case, "content", "padded")
    same("padding", pad(content), padded)


def check_envelopes(case):
    (seed,) = unhex(case, "identity_seed")
    key = hkdf(hashlib.sha256, seed, b"qpq access key v1" + u64(case["counter"]), 32)
    same("access key", [key, sha256(key)], unhex(case, "access_key", "access_key_hash"))
    content = len(unhex(case, "content")[0])
    for name, inner in (("anonymous", content), ("authenticated", content + 96)):
        (envelope,) = unhex(case[name], "envelope")
        same(name, (len(envelope), envelope[0]), (1 + 1120 + inner + 16, 1))
    (sealed,) = unhex(case["sealed_sender"], "sealed")
    inner = padded_length(4 + 120 + 32 + 8 + 64 + content)
    same("sealed sender", (len(sealed), sealed[0]), (1 + 1120 + inner + 16, 1))


def check_opaque(case):
    export_key, seed = unhex(case, "export_key", "identity_seed")
    (sealed,) = unhex(case["sealed_identity"], "bytes")
    key = hkdf(hashlib.sha512, export_key, b"qpq identity v1", 32)
    same("sealed identity", open_xchacha(key, sealed[1:25], sealed[:1], sealed[25:]), seed)


def root(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1", root(hashes[:split]), root(hashes[split:]))


def check_transparency(case):
    server = public_key(*unhex(case, "server_seed"))
    leaves = [bytes.fromhex(leaf) for leaf in case["leaves"]]
    for number, leaf in enumerate(leaves):
        if number == 4:
            kind, tag, commitment = b"\2", sha256(bytes([0xB0] * 32)), sha256(b"superseded")
        else:
            name, key = f"user{number}".encode(), bytes([number] * 32)
            kind, tag = b"\1", sha256(name)
            commitment = sha256(b"qpq bind v1", key, var(name), key)
        same("leaf", leaf[:-8], kind + tag + commitment)
    hashes = [sha256(b"\0", leaf) for leaf in leaves]
    roots = [root(hashes[: size + 1]) for size in range(len(hashes))]
    same("roots", [one.hex() for one in roots], case["roots"])
    same("inclusion", [one.hex() for one in (hashes[5], roots[3])], case["inclusion"]["path"])
    between = (hashes[2], hashes[3], roots[1], root(hashes[4:]))
    same("consistency", [one.hex() for one in between], case["consistency"]["path"])
    (head,) = unhex(case, "tree_head")
    same("tree head", head[:40], u64(len(leaves)) + roots[-1])
    signed("tree head", server, b"qpq tree head v1" + head[:48], head[48:])
    body, signature = case["checkpoint"].split("\n\n")
    origin, size, base64_root = body.split("\n")
    same("checkpoint", (size, base64.b64decode(base64_root)), (str(len(leaves)), roots[-1]))
    line = base64.b64decode(signature.split(" ")[2])
    key_id = sha256(origin.encode(), b"\n\1", server)[:4]
    same("key id", line[:4], key_id)
    signed("checkpoint", server, body.encode() + b"\n", line[4:])
    key = base64.b64encode(b"\1" + server).decode()
    same("checkpoint key", case["checkpoint_key"], f"{origin}+{key_id.hex()}+{key}")


def check_recovery(case, key):
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    for code, token, token_hash in zip(case["codes"], case["tokens"], case["token_hashes"]):
        symbols = bytes(alphabet.index(letter) for letter in code.replace("-", ""))
        bits = int.from_bytes(sha256(b"qpq recovery checksum v1", symbols[:25])[:2], "big")
        same("checksum", symbols[25:], bytes([bits >> 11, bits >> 6 & 31, bits >> 1 & 31]))
        secret = hkdf(hashlib.sha256, symbols[:25], b"qpq recovery token v1", 32)
        same("token", [secret.hex(), sha256(secret).hex()], [token, token_hash])
    first = bytes(alphabet.index(letter) for letter in case["codes"][0].replace("-", ""))[:25]
    (sealed,) = unhex(case["bundle"], "sealed")
    bundle_key = hkdf(hashlib.sha256, first, b"qpq recovery key v1", 32)
    bundle = open_xchacha(bundle_key, sealed[1:25], sealed[:1], sealed[25:])
    same("bundle", public_key(bundle[:32]), key)
    same("bundle's padding", len(bundle), 256)


def check_transcript(case, key):
    (data,) = unhex(case, "transcript")
    header, rest = data[:61], data[61:]
    same("header", header[:5] + header[21:], b"qpqt\1" + key + u64(case["exported_at_ms"]))
    link, count = sha256(b"qpq transcript v1", header), 0
    while rest[0] == 1:
        (length,) = struct.unpack(">I", rest[1:5])
        link, count = sha256(link, u64(count), rest[5 : 5 + length]), count + 1
        rest = rest[5 + length :]
    same("records", (rest[0], rest[1:9], count), (0, u64(count), len(case["contents"])))
    signed("transcript", key, b"qpq transcript head v1" + u64(count) + link, rest[9:])


def main():
    vectors = json.loads((HERE / "crypto" / "crypto.json").read_text())
    key = check_identity(vectors["identity"])
    check_proofs(vectors["proofs"], key)
    check_safety(vectors["safety"])
    check_padding(vectors["padding"])
    check_envelopes(vectors["envelopes"])
    for case in vectors["opaque"]:
        check_opaque(case)
    check_transparency(vectors["transparency"])
    check_recovery(vectors["recovery"], key)
    check_transcript(vectors["transcript"], key)
    print(f"crypto: {CHECKS} checks")


if __name__ == "__main__":
    main()
