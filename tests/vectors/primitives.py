"""What the checkers compute with, from the RFCs, on Python's standard library: Ed25519, XChaCha20-Poly1305,
HKDF, encodings. To check with, not to use: nothing here takes the same time for all secrets.
"""

import hashlib
import hmac
import struct
import sys

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
ORDER = 2**252 + 27742317777372353535851937790883648493


class Count:
    """How many comparisons were made."""

    checks = 0


def same(what, a, b):
    Count.checks += 1
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
    if (x * x - x2) % P or y >= P:
        raise ValueError("not a point")
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


def verifies(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little")
    try:
        other = add(decompress(r), multiply(k % ORDER, decompress(key)))
    except ValueError:
        return False
    return s < ORDER and compress(multiply(s, BASE)) == compress(other)


def signed(what, key, message, signature):
    same(what, verifies(key, message, signature), True)


# ChaCha20, XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha).
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


def block(key, counter, nonce):
    """64 bytes of key stream; the nonce takes what the counter leaves of 16 bytes."""
    state = CONSTANTS + struct.unpack("<12I", key + counter.to_bytes(16 - len(nonce), "little") + nonce)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(rounds(state), state)))


class Stream:
    """The random bytes of one operation: each draw starts at a whole 4-byte word."""

    def __init__(self, seed):
        self.seed, self.at = seed, 0

    def draw(self, count):
        first, last = self.at // 64, (self.at + count - 1) // 64
        stream = b"".join(block(self.seed, number, bytes(8)) for number in range(first, last + 1))
        drawn = stream[self.at - 64 * first :][:count]
        self.at += -(-count // 4) * 4
        return drawn


def open_chacha(key, nonce, aad, sealed):
    """What is inside, None if the tag is wrong."""
    if len(sealed) < 16:
        return None
    ciphertext, tag = sealed[:-16], sealed[-16:]
    one_time = block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(one_time[16:32], "little")
    data = aad + bytes(-len(aad) % 16) + ciphertext + bytes(-len(ciphertext) % 16)
    data += struct.pack("<2Q", len(aad), len(ciphertext))
    sum_ = 0
    for start in range(0, len(data), 16):
        sum_ = (sum_ + int.from_bytes(data[start : start + 16] + b"\1", "little")) * r % (2**130 - 5)
    if ((sum_ + s) % 2**128).to_bytes(16, "little") != tag:
        return None
    stream = b"".join(block(key, 1 + number, nonce) for number in range(len(ciphertext) // 64 + 1))
    return bytes(a ^ b for a, b in zip(ciphertext, stream))


def open_xchacha(key, nonce, aad, sealed):
    out = rounds(CONSTANTS + struct.unpack("<12I", key + nonce[:16]))
    subkey = struct.pack("<8I", *out[:4], *out[12:])
    return open_chacha(subkey, bytes(4) + nonce[16:], aad, sealed)


def u32(number):
    return struct.pack(">I", number)


def u64(number):
    return struct.pack(">Q", int(number))


def var(part):
    return u32(len(part)) + part


def unhex(case, *names):
    return [bytes.fromhex(case[name]) for name in names]
