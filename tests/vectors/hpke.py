"""HPKE (RFC 9180, base mode) with X25519 and with X-Wing, for the checkers: opening, never sealing.

Needs the packages of requirements.txt.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from kyber_py.ml_kem import ML_KEM_768

X25519, X_WING = 0x0020, 0x647A
AES_128, CHACHA = 1, 3
KEY_LENGTH = {AES_128: 16, CHACHA: 32}


def extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def expand(prk, info, length):
    out, last = b"", b""
    for number in range(1, 256):
        last = hmac.new(prk, last + info + bytes([number]), hashlib.sha256).digest()
        out += last
    return out[:length]


def labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def of_kem(kem):
    return b"KEM" + kem.to_bytes(2, "big")


class PrivateKey:
    """A key pair of either KEM, from the key material that DeriveKeyPair is given."""

    def __init__(self, kem, ikm):
        self.kem = kem
        if kem == X25519:
            prk = labeled_extract(of_kem(kem), b"", b"dkp_prk", ikm)
            self.x25519 = X25519PrivateKey.from_private_bytes(labeled_expand(of_kem(kem), prk, b"sk", b"", 32))
            self.public = public_of(self.x25519)
            return
        # SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", 32) of draft-ietf-hpke-pq.
        derive = ikm + b"HPKE-v1" + of_kem(kem) + b"\0\x0dDeriveKeyPair" + (32).to_bytes(2, "big")
        expanded = hashlib.shake_256(hashlib.shake_256(derive).digest(32)).digest(96)
        encapsulation_key, self.ml_kem = ML_KEM_768.key_derive(expanded[:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.public = encapsulation_key + public_of(self.x25519)

    def shared_secret(self, enc):
        """None: it is no encapsulated key of this KEM."""
        theirs = enc if self.kem == X25519 else enc[1088:]
        if len(theirs) != 32:
            return None
        agreed = self.x25519.exchange(X25519PublicKey.from_public_bytes(theirs))
        own = public_of(self.x25519)
        if self.kem == X_WING:
            shared = ML_KEM_768.decaps(self.ml_kem, enc[:1088])
            return hashlib.sha3_256(shared + agreed + theirs + own + b"\\.//^\\").digest()
        prk = labeled_extract(of_kem(X25519), b"", b"eae_prk", agreed)
        return labeled_expand(of_kem(X25519), prk, b"shared_secret", theirs + own, 32)

    def open(self, aead, info, aad, enc, ciphertext):
        """What is inside, None if it does not open."""
        secret = self.shared_secret(enc)
        if secret is None:
            return None
        suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (self.kem, 1, aead))
        context = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"")
        context += labeled_extract(suite, b"", b"info_hash", info)
        secret = labeled_extract(suite, secret, b"secret", b"")
        key = labeled_expand(suite, secret, b"key", context, KEY_LENGTH[aead])
        return open_aead(aead, key, labeled_expand(suite, secret, b"base_nonce", context, 12), aad, ciphertext)


def public_of(x25519):
    return x25519.public_key().public_bytes_raw()


def open_aead(aead, key, nonce, aad, ciphertext):
    cipher = AESGCM(key) if aead == AES_128 else ChaCha20Poly1305(key)
    try:
        return cipher.decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        return None
