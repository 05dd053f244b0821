#!/usr/bin/env python3
"""A client that shares no code with qpq: QUIC from aioquic, frames and protobuf by hand.

    python3 foreign_client.py path/to/qpq-server

Starts the server in a temporary directory, asks it what protocol.md promises to anyone, sends it
what no client should, and checks that it goes on. Needs aioquic from PyPI. Prints one line a check;
the exit code is 0 only if all hold.
"""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import tempfile

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset

OK, BAD_REQUEST, UNAUTHORIZED, RATE_LIMITED, UNKNOWN_METHOD = 0, 1, 2, 5, 11
FRAME, TOO_LARGE, SHUTDOWN = 1, 2, 4
OPAQUE_REGISTER_START, HEALTH, SERVER_INFO, FETCH, UPLOAD_PACKAGE = 100, 802, 803, 201, 300
MAX_PAYLOAD = 4 * 1024 * 1024


# protobuf: varints, and fields of wire types 0 (varint) and 2 (bytes)


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def parse(message):
    """Field numbers to lists of values."""
    fields, at = {}, 0

    def read_varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = read_varint()
        if tag & 7 == 0:
            value = read_varint()
        elif tag & 7 == 2:
            length = read_varint()
            value, at = message[at : at + length], at + length
            assert len(value) == length, "a field longer than its message"
        else:
            raise AssertionError(f"wire type {tag & 7}, which no qpq message has")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


# frames (protocol.md 2), big-endian


def request(method, request_id, payload=b"", length=None):
    length = len(payload) if length is None else length
    return method.to_bytes(2, "big") + request_id.to_bytes(4, "big") + length.to_bytes(4, "big") + payload


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.answers = {}  # stream: (bytes so far, future)
        self.closed_with = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id in self.answers:
            received, done = self.answers[event.stream_id]
            received += event.data
            if event.end_stream and not done.done():
                done.set_result(bytes(received))
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            done = self.answers[event.stream_id][1]
            if not done.done():
                done.set_result(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            if not self.closed_with.done():
                self.closed_with.set_result(event.error_code)
            for _, done in self.answers.values():
                if not done.done():
                    done.set_exception(ConnectionError(event.reason_phrase))

    def start(self, *pieces, fin=True):
        """Sends the pieces, one datagram each; the future is the answer's bytes or a reset's code."""
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.answers[stream] = (bytearray(), done)
        for at, piece in enumerate(pieces):
            last = at == len(pieces) - 1
            self._quic.send_stream_data(stream, piece, end_stream=fin and last)
            self.transmit()
        return done

    async def raw(self, *pieces, fin=True):
        return await asyncio.wait_for(self.start(*pieces, fin=fin), 20)

    async def call(self, method, payload=b"", request_id=7):
        return response(await self.raw(request(method, request_id, payload)), request_id)


def response(answer, request_id):
    """Status and fields of a whole response frame."""
    assert isinstance(answer, bytes), f"reset with {answer} instead of an answer"
    assert len(answer) >= 9, f"an answer of {len(answer)} bytes"
    assert int.from_bytes(answer[1:5], "big") == request_id, "the request id is not echoed"
    assert int.from_bytes(answer[5:9], "big") == len(answer) - 9, "a wrong length"
    return answer[0], parse(answer[9:])


def configuration(alpn):
    return QuicConfiguration(
        is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE, idle_timeout=30
    )


def reset_with(code):
    def check(answer):
        assert answer == code, f"{answer!r:.100} instead of a reset with {code}"

    return check


async def healthy(client):
    status, fields = await client.call(HEALTH)
    assert status == OK, status
    assert fields[1] == [b"ok"], fields


async def well_formed(client):
    await healthy(client)
    print("Health: ok")

    status, fields = await client.call(SERVER_INFO, request_id=0xFFFFFFFF)
    assert status == OK, status
    assert fields[1] == [b"foreign.test"], "domain"
    assert len(fields[2][0]) == 32, "signing key"
    assert fields[4] == [MAX_PAYLOAD], "max_payload"
    assert fields[5] == [1], "wire_version"
    print("GetServerInfo: domain, signing key, max_payload, wire version")

    whole = request(HEALTH, 9)
    answer = await client.raw(*(whole[at : at + 1] for at in range(len(whole))), b"")
    assert response(answer, 9)[0] == OK
    print("one byte a datagram, FIN alone: answered")

    # A field that Health does not know, as a newer client may send.
    status, _ = await client.call(HEALTH, field(99, b"from the future"))
    assert status == OK, status
    print("an unknown field: ignored")


async def refused(client):
    status, fields = await client.call(4242)
    assert status == UNKNOWN_METHOD, status
    assert len(fields[1]) == 1, "no message in ErrorDetail"
    print("unknown method: status 11")

    status, _ = await client.call(OPAQUE_REGISTER_START, b"\xff\xff\xff\xff")
    assert status == BAD_REQUEST, status
    print("a body that is no protobuf: status 1")

    status, _ = await client.call(FETCH, field(1, b"\0" * 32))
    assert status == UNAUTHORIZED, status
    print("Fetch without a session: status 2")

    status, _ = await client.call(UPLOAD_PACKAGE, field(1, b"\0" * 31) + field(2, b"x"))
    assert status in (BAD_REQUEST, UNAUTHORIZED), status
    print("a key of 31 bytes: refused")


async def rubbish(client):
    rubbish = os.urandom(4096)
    # A length that is allowed, so that it is the rubbish behind that offends.
    reset_with(FRAME)(await client.raw(request(HEALTH, 1) + rubbish))
    print("rubbish after a request: reset with 1")
    for cut in (1, 5, 9):
        reset_with(FRAME)(await client.raw(request(HEALTH, 1)[:cut]))
    reset_with(FRAME)(await client.raw(request(HEALTH, 1, b"abc", 4)))
    print("FIN inside a header or a payload: reset with 1")
    reset_with(FRAME)(await client.raw(request(HEALTH, 1) + request(HEALTH, 2)))
    print("two requests on a stream: reset with 1")
    for length in (MAX_PAYLOAD + 1, 0xFFFFFFFF):
        # No FIN: the header alone must be enough to refuse it.
        reset_with(TOO_LARGE)(await client.raw(request(HEALTH, 1, b"", length), fin=False))
    print("4 MiB + 1 and 2^32 - 1 announced: reset with 2")
    await healthy(client)
    print("after all that, Health on the same connection: ok")


async def many(client):
    # Fifty a second may be made, and whoever waits as long as told gets the next that is free.
    waiting, rounds, end = set(range(1, 101)), 0, asyncio.get_running_loop().time() + 10
    while waiting:
        rounds += 1
        assert asyncio.get_running_loop().time() < end, f"{len(waiting)} calls still refused"
        ids = sorted(waiting)
        calls = {n: client.start(request(HEALTH, n)) for n in ids}
        pause = 0
        for n, call in calls.items():
            status, fields = response(await asyncio.wait_for(call, 20), n)
            if status == OK:
                waiting.remove(n)
            else:
                assert status == RATE_LIMITED, status
                assert fields[2][0] > 0, "no retry_after_ms"
                pause = max(pause, fields[2][0])
        await asyncio.sleep(pause / 1000)
    print(f"100 calls at once: all answered, none silently, {rounds} rounds within the rate")


async def checks(host, port, stop):
    async with connect(
        host, port, configuration=configuration("qpq"), create_protocol=Client
    ) as client:
        await well_formed(client)
        await refused(client)
        await rubbish(client)
        await many(client)

    for alpn in ("h3", "qpq2"):
        try:
            async with connect(host, port, configuration=configuration(alpn)):
                raise AssertionError(f"a connection with ALPN {alpn}")
        except ConnectionError:
            pass
    print("wrong ALPN: the handshake fails")

    async with connect(
        host, port, configuration=configuration("qpq"), create_protocol=Client
    ) as client:
        await healthy(client)
        stop()
        code = await asyncio.wait_for(client.closed_with, 40)
        assert code == SHUTDOWN, f"closed with {code}"
    print("a server that is stopped closes with 4")


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.argv[1], "--listen", "127.0.0.1:0", "--data-dir", directory]
        server = subprocess.Popen(
            [*command, "--domain", "foreign.test"], stdout=subprocess.PIPE, text=True
        )
        try:
            address = None
            for line in server.stdout:
                if line.startswith("listening on "):
                    address = line.removeprefix("listening on ").strip()
                    break
            assert address, "the server did not start"
            host, port = address.rsplit(":", 1)
            asyncio.run(checks(host, int(port), lambda: server.send_signal(signal.SIGTERM)))
            assert server.wait(40) == 0, "the server did not stop cleanly"
        finally:
            server.kill()
            server.wait()
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
