"""A server of a reference herd on asyncio protocols. A callback gets the bytes of one
read, replies to each line, and sends news to the neighbours.

    python3 asyncio_protocols.py NAME NAME=HOST:PORT... -- NEIGHBOUR...

With BATCHED in the environment, the replies to all lines of one read leave in one
write, and their news goes to each neighbour in one write.
"""

import asyncio
import os
import re
import sys
import time

LOCATION = re.compile(rb"[+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?")
TIME = re.compile(rb"\d{1,18}(?:\.\d+)?")
BATCHED = "BATCHED" in os.environ
NO_PLACES = b'{\n   "html_attributions" : [],\n   "results" : [],\n   "status" : "OK"\n}\n\n'


def nanoseconds(text):
    whole, _, fraction = text.partition(b".")
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))


def difference(ns):
    seconds, rest = divmod(abs(ns), 1_000_000_000)
    return b"%c%d.%09d" % (b"-" if ns < 0 else b"+", seconds, rest)


class Server:
    def __init__(self, name):
        self.name = name.encode()
        self.records = {}  # client: (time, AT line)
        self.peers = {}  # neighbour: transport

    def learn(self, client, at, record):
        """Stores a report and tells whether it was news."""
        known = self.records.get(client)
        if known is not None and known[0] >= at:
            return False
        self.records[client] = (at, record)
        return True

    def flood(self, lines, source=None):
        for name, transport in self.peers.items():
            if name != source:
                transport.write(lines)

    def answer(self, line):
        """The reply to a client's line, and what was news: a line, or nothing."""
        fields = line.split()
        if len(fields) == 4:
            verb, client, second, third = fields
            if verb == b"IAMAT" and LOCATION.fullmatch(second) and TIME.fullmatch(third):
                at = nanoseconds(third)
                record = b"AT %s %s %s %s %s\n" % (self.name, difference(time.time_ns() - at), client, second, third)
                return record, record if self.learn(client, at, record) else b""
            if verb == b"WHATSAT" and client in self.records:
                return self.records[client][1] + NO_PLACES, b""
        return b"? " + line + b"\n", b""

    def hear(self, line):
        """What was news of a neighbour's line: that line, or nothing."""
        _, _, _, client, _, time_text = line.split()
        record = line + b"\n"
        return record if self.learn(client, nanoseconds(time_text), record) else b""


class Connection(asyncio.Protocol):
    """A client's connection, or, once it has said so, a neighbour's."""

    def __init__(self, server):
        self.server = server
        self.peer = None
        self.rest = b""

    def connection_made(self, transport):
        self.transport = transport

    # A client that does not take its replies is read no further meanwhile.
    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        if lines and lines[0].startswith(b"PEER "):
            self.peer = lines.pop(0).split()[1].decode()
        if self.peer is not None:
            pairs = ((b"", self.server.hear(line)) for line in lines)
        else:
            pairs = (self.server.answer(line) for line in lines)
        if BATCHED:
            replies, news = zip(*pairs) if lines else ((), ())
            pairs = [(b"".join(replies), b"".join(news))]
        for reply, news in pairs:
            if news:
                self.server.flood(news, source=self.peer)
            if reply:
                self.transport.write(reply)


async def dial(loop, host, port):
    while True:  # the neighbour may not listen yet
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
            return transport
        except ConnectionError:
            await asyncio.sleep(0.02)


async def main(name, where, neighbours):
    server = Server(name)
    loop = asyncio.get_running_loop()
    host, port = where[name]
    listener = await loop.create_server(lambda: Connection(server), host, port, backlog=1024)
    for neighbour in neighbours:
        transport = await dial(loop, *where[neighbour])
        transport.write(b"PEER %s\n" % name.encode())
        server.peers[neighbour] = transport
    print("ready", flush=True)
    async with listener:
        await listener.serve_forever()


if __name__ == "__main__":
    split = sys.argv.index("--")
    places = {}
    for pair in sys.argv[2:split]:
        who, _, address = pair.partition("=")
        places[who] = tuple(address.rsplit(":", 1))
    asyncio.run(main(sys.argv[1], places, sys.argv[split + 1 :]))
