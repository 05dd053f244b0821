"""Reads MLS (RFC 9420) for the checkers, as far as it goes without TreeKEM's paths: signatures, tree hashes,
Welcomes, the key schedule from a joiner secret, messages of the epochs that somebody joined in.

Needs the packages of requirements.txt.
"""

import hashlib
import hmac
import struct

import hpke
from primitives import Stream, sha256, signed, u32, u64, same

# KEM and AEAD of each suite; all have SHA-256 and Ed25519.
SUITES = {0x004F: (hpke.X_WING, hpke.AES_128), 0x0001: (hpke.X25519, hpke.AES_128)}
PUBLIC, PRIVATE, WELCOME, GROUP_INFO = 1, 2, 3, 4
APPLICATION, PROPOSAL, COMMIT = 1, 2, 3
RATCHET_TREE = 2


# -- encodings (RFC 9420 section 2) ------------------------------------------------------------


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("it ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def vector(self):
        size = 1 << (self.data[self.at] >> 6)
        return self.take(self.number(size) & ((1 << (8 * size - 2)) - 1))

    def rest(self):
        return self.take(len(self.data) - self.at)

    def span(self, read):
        """What `read` took, as bytes, and what it made of it."""
        start = self.at
        made = read(self)
        return self.data[start : self.at], made

    def done(self):
        same("bytes after the end", self.at, len(self.data))


def vector(content):
    size = len(content)
    if size < 0x40:
        return bytes([size]) + content
    if size < 0x4000:
        return struct.pack(">H", size | 0x4000) + content
    return struct.pack(">I", size | 0x80000000) + content


def label(text, content):
    return vector(b"MLS 1.0 " + text) + vector(content)


def check_signature(what, text, key, content, signature):
    signed(what, key, label(text, content), signature)


class Leaf:
    """A LeafNode: its keys, and what of it is signed."""

    def __init__(self, reader):
        start = reader.at
        self.encryption_key, self.key = reader.vector(), reader.vector()
        same("a basic credential", reader.number(2), 1)
        self.credential = reader.vector()
        for _ in range(5):
            reader.vector()
        self.source = reader.number(1)
        if self.source == 1:
            reader.take(16)
        if self.source == 3:
            reader.vector()
        reader.vector()
        self.tbs = reader.data[start : reader.at]
        self.signature = reader.vector()
        self.bytes = reader.data[start : reader.at]

    def check(self, group_id, index):
        place = b"" if self.source == 1 else vector(group_id) + u32(index)
        check_signature("leaf", b"LeafNodeTBS", self.key, self.tbs + place, self.signature)


class Parent:
    def __init__(self, reader):
        start = reader.at
        reader.vector(), reader.vector(), reader.vector()
        self.bytes = reader.data[start : reader.at]


class Tree:
    """A ratchet tree as it is sent: nodes from left to right, blanks at the end left out."""

    def __init__(self, data):
        reader, self.nodes = Reader(data), []
        while reader.at < len(data):
            if not reader.number(1):
                self.nodes.append(None)
            else:
                self.nodes.append({1: Leaf, 2: Parent}[reader.number(1)](reader))
        self.leaves = 1
        while 2 * self.leaves - 1 < len(self.nodes):
            self.leaves *= 2

    def node(self, at):
        return self.nodes[at] if at < len(self.nodes) else None

    def leaf(self, index):
        return self.node(2 * index)

    def members(self):
        return [(at // 2, node) for at, node in enumerate(self.nodes) if isinstance(node, Leaf)]

    def hash(self, first=0, leaves=None):
        """The tree hash (section 7.8) of the subtree of so many leaves."""
        leaves = leaves or self.leaves
        if leaves == 1:
            node = self.leaf(first)
            return sha256(b"\1", u32(first), b"\1" + node.bytes if node else b"\0")
        node = self.node(2 * first + leaves - 1)
        halves = [self.hash(first, leaves // 2), self.hash(first + leaves // 2, leaves // 2)]
        return sha256(b"\2", b"\1" + node.bytes if node else b"\0", *map(vector, halves))


def mls_message(data, wire_format):
    reader = Reader(data)
    same("wire format", (reader.number(2), reader.number(2)), (1, wire_format))
    return reader


class KeyPackage:
    def __init__(self, data):
        reader = Reader(data)
        same("version", reader.number(2), 1)
        self.suite = reader.number(2)
        self.init_key, self.leaf = reader.vector(), Leaf(reader)
        reader.vector()
        tbs = data[: reader.at]
        check_signature("key package", b"KeyPackageTBS", self.leaf.key, tbs, reader.vector())
        reader.done()
        self.leaf.check(b"", 0)
        self.reference = sha256(label(b"KeyPackage Reference", data))


class GroupInfo:
    def __init__(self, reader, tree=None):
        start = reader.at
        self.context, (self.group_id, self.epoch, self.tree_hash, self.transcript) = reader.span(read_context)
        extensions = Reader(reader.vector())
        while extensions.at < len(extensions.data):
            kind, content = extensions.number(2), extensions.vector()
            if kind == RATCHET_TREE:
                tree = Reader(content).vector()
        self.tag, self.signer = reader.vector(), reader.number(4)
        tbs = reader.data[start : reader.at]
        signature = reader.vector()
        reader.done()
        self.tree = Tree(tree)
        same("tree hash", self.tree.hash(), self.tree_hash)
        check_signature("group info", b"GroupInfoTBS", self.tree.leaf(self.signer).key, tbs, signature)
        for index, leaf in self.tree.members():
            leaf.check(self.group_id, index)


def read_context(reader):
    reader.take(4)
    group_id, epoch = reader.vector(), reader.number(8)
    tree_hash, transcript = reader.vector(), reader.vector()
    reader.vector()
    return group_id, epoch, tree_hash, transcript


# -- the key schedule (section 8) --------------------------------------------------------------


def expand(secret, text, context, length):
    return hpke.expand(secret, struct.pack(">H", length) + label(text, context), length)


def derive(secret, text):
    return expand(secret, text, b"", 32)


class Epoch:
    """What follows from a joiner secret and a group context, without pre-shared keys."""

    def __init__(self, joiner_secret, aead):
        self.aead = aead
        self.member = hpke.extract(joiner_secret, bytes(32))

    def welcome(self, ciphertext):
        secret = derive(self.member, b"welcome")
        key, nonce = self.key_and_nonce(secret)
        return hpke.open_aead(self.aead, key, nonce, b"", ciphertext)

    def start(self, info):
        self.info = info
        secret = expand(self.member, b"epoch", info.context, 32)
        self.secret = {name: derive(secret, name) for name in (
            b"sender data", b"encryption", b"exporter", b"authentication", b"confirm")}
        tag = hmac.new(self.secret[b"confirm"], info.transcript, hashlib.sha256).digest()
        same("confirmation tag", tag, info.tag)

    def key_and_nonce(self, secret, context=b""):
        return (expand(secret, b"key", context, hpke.KEY_LENGTH[self.aead]), expand(secret, b"nonce", context, 12))

    def export(self, name, context, length):
        return expand(derive(self.secret[b"exporter"], name), b"exported", sha256(context), length)

    def leaf_secret(self, index):
        secret, first, leaves = self.secret[b"encryption"], 0, self.info.tree.leaves
        while leaves > 1:
            leaves //= 2
            side = b"right" if index >= first + leaves else b"left"
            first += leaves * (side == b"right")
            secret = expand(secret, b"tree", side, 32)
        return secret

    def unseal(self, group_id, epoch, kind, authenticated, sender_data, ciphertext):
        """Whose leaf it comes from, and what is inside: either None where that does not decrypt."""
        place = vector(group_id) + u64(epoch) + bytes([kind])
        key, nonce = self.key_and_nonce(self.secret[b"sender data"], ciphertext[:32])
        sender_data = hpke.open_aead(self.aead, key, nonce, place, sender_data)
        if sender_data is None:
            return None, None
        sender_data = Reader(sender_data)
        index, generation, guard = sender_data.number(4), sender_data.number(4), sender_data.take(4)
        ratchet = expand(self.leaf_secret(index), b"application" if kind == APPLICATION else b"handshake", b"", 32)
        for number in range(generation):
            ratchet = expand(ratchet, b"secret", u32(number), 32)
        key, nonce = self.key_and_nonce(ratchet, u32(generation))
        nonce = bytes(a ^ b for a, b in zip(nonce, guard)) + nonce[4:]
        return index, hpke.open_aead(self.aead, key, nonce, place + vector(authenticated), ciphertext)

    def decrypt(self, data):
        """A PrivateMessage of this epoch, decrypted and its signature checked."""
        message = group_id, epoch, kind, authenticated, *_ = read_private(data)
        same("message's group and epoch", (group_id, epoch), (self.info.group_id, self.info.epoch))
        index, inside = self.unseal(*message)
        inside = Reader(inside)
        content, what = inside.span({APPLICATION: Reader.vector, COMMIT: read_commit}[kind])
        framed = vector(group_id) + u64(epoch) + b"\1" + u32(index) + vector(authenticated) + bytes([kind]) + content
        tbs = b"\0\1\0\2" + framed + self.info.context
        signature = inside.vector()
        check_signature("message", b"FramedContentTBS", self.info.tree.leaf(index).key, tbs, signature)
        if kind == COMMIT:
            tag = inside.vector()
            interim = sha256(self.info.transcript, vector(self.info.tag))
            what = sha256(interim, b"\0\2", framed, vector(signature)), tag
        same("zeros after the content", inside.rest().strip(b"\0"), b"")
        return what


def read_private(data):
    """Group, epoch, kind, authenticated data, sender data, ciphertext."""
    reader = Reader(data)
    if (reader.number(2), reader.number(2)) != (1, PRIVATE):
        raise ValueError("it is no PrivateMessage")
    parts = (reader.vector(), reader.number(8), reader.number(1), reader.vector(), reader.vector(), reader.vector())
    if reader.at < len(data):
        raise ValueError("it does not end")
    return parts


def read_commit(reader):
    """Proposals, all of them by value or by reference, and the path."""
    reader.vector()
    if reader.number(1):
        Leaf(reader)
        reader.vector()


def check_external_commit(data, info):
    """A PublicMessage by someone who lets himself in: its signature, and the next transcript hash."""
    reader = mls_message(data, PUBLIC)

    def content(reader):
        reader.vector(), reader.take(8)
        same("sender: new_member_commit", reader.number(1), 4)
        reader.vector()
        same("a commit", reader.number(1), COMMIT)
        reader.vector()
        same("a path", reader.number(1), 1)
        leaf = Leaf(reader)
        reader.vector()
        return leaf

    framed, leaf = reader.span(content)
    signature, tag = reader.vector(), reader.vector()
    reader.done()
    check_signature("external commit", b"FramedContentTBS", leaf.key, b"\0\1\0\1" + framed + info.context, signature)
    return sha256(sha256(info.transcript, vector(info.tag)), b"\0\1", framed, vector(signature)), tag


# -- private keys from seeds -------------------------------------------------------------------


def key_package_keys(seed, kem):
    """Init key and the leaf's encryption key: an operation's draws come from a stream of their own."""
    name = b"qpq mls rand v1"
    stream = Stream(hmac.new(seed, u64(len(name)) + name, hashlib.sha256).digest())
    init, leaf = (hpke.PrivateKey(kem, stream.draw(32)) for _ in range(2))
    return init, leaf


def read_welcome(data):
    """Suite, the secrets by reference, the encrypted group info."""
    reader = Reader(data)
    if (reader.number(2), reader.number(2)) != (1, WELCOME):
        raise ValueError("it is no Welcome")
    suite, secrets, group_info = reader.number(2), Reader(reader.vector()), reader.vector()
    if reader.at < len(data):
        raise ValueError("it does not end")
    sealed = {}
    while secrets.at < len(secrets.data):
        whom = secrets.vector()
        sealed[whom] = secrets.vector(), secrets.vector()
    return suite, sealed, group_info


def open_welcome(data, reference, init, suite):
    """The epoch that a Welcome leads into, None if it does not open."""
    _, aead = SUITES[suite]
    _, sealed, group_info = read_welcome(data)
    opened = init.open(aead, label(b"Welcome", group_info), b"", *sealed[reference])
    if opened is None:
        return None
    opened = Reader(opened)
    epoch = Epoch(opened.vector(), aead)
    if opened.number(1):
        opened.vector()
    same("pre-shared keys", opened.vector(), b"")
    opened.done()
    group_info = epoch.welcome(group_info)
    if group_info is None:
        return None
    epoch.start(GroupInfo(Reader(group_info)))
    return epoch


# -- what is refused ---------------------------------------------------------------------------


def welcome_verdict(data, reference, init):
    """The epoch that it leads into, or the word for what is wrong with it."""
    try:
        suite, sealed, _ = read_welcome(data)
    except (ValueError, IndexError):
        return "malformed"
    if suite not in SUITES:
        return "malformed"
    if reference not in sealed:
        return "not_for_us"
    return open_welcome(data, reference, init, suite) or "invalid"


def commit_verdict(data, joined, epoch, leaf):
    """The word for what is wrong with a commit, for one who has joined and is in `epoch` since; None if
    nothing was found."""
    try:
        message = group_id, named, *_ = read_private(data)
    except (ValueError, IndexError):
        return "void"
    if group_id != joined.info.group_id:
        return "void"
    if named != epoch:
        return "future_epoch" if named > epoch else "past_epoch"
    index, inside = joined.unseal(*message)
    if index is not None and joined.info.tree.leaf(index).encryption_key == leaf.public:
        return "own_message"
    return "void" if inside is None else None
