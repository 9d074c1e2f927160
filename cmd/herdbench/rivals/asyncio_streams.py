"""A server of a reference herd on asyncio streams. Each connection has a coroutine, which
reads a line, replies to it, and sends news to the neighbours.

    python3 asyncio_streams.py NAME NAME=HOST:PORT... -- NEIGHBOUR...
"""

import asyncio
import re
import sys
import time

LOCATION = re.compile(rb"[+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?")
TIME = re.compile(rb"\d{1,18}(?:\.\d+)?")
NO_PLACES = b'\n{\n   "html_attributions" : [],\n   "results" : [],\n   "status" : "OK"\n}\n\n'


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
        self.peers = {}  # neighbour: writer

    def learn(self, client, at, record):
        """Stores a report and tells whether it was news."""
        known = self.records.get(client)
        if known is not None and known[0] >= at:
            return False
        self.records[client] = (at, record)
        return True

    def answer(self, line):
        """The reply to a client's line, and the record that was news, if any."""
        fields = line.split()
        if len(fields) == 4:
            verb, client, second, third = fields
            if verb == b"IAMAT" and LOCATION.fullmatch(second) and TIME.fullmatch(third):
                at = nanoseconds(third)
                record = b"AT %s %s %s %s %s" % (self.name, difference(time.time_ns() - at), client, second, third)
                return record + b"\n", record if self.learn(client, at, record) else None
            if verb == b"WHATSAT" and client in self.records:
                return self.records[client][1] + NO_PLACES, None
        return b"? " + line, None

    async def flood(self, record, source=None):
        for name, writer in self.peers.items():
            if name != source:
                writer.write(record + b"\n")
        for name, writer in self.peers.items():
            if name != source:
                await writer.drain()

    async def serve(self, reader, writer):
        try:
            line = await reader.readline()
            if line.startswith(b"PEER "):
                await self.serve_peer(reader, line.split()[1].decode())
                return
            while line:
                reply, news = self.answer(line)
                if news is not None:
                    await self.flood(news)
                writer.write(reply)
                await writer.drain()
                line = await reader.readline()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve_peer(self, reader, peer):
        while line := await reader.readline():
            record = line.rstrip(b"\n")
            fields = record.split()
            if self.learn(fields[3], nanoseconds(fields[5]), record):
                await self.flood(record, source=peer)


async def dial(host, port):
    while True:  # the neighbour may not listen yet
        try:
            return await asyncio.open_connection(host, port)
        except ConnectionError:
            await asyncio.sleep(0.02)


async def main(name, where, neighbours):
    server = Server(name)
    host, port = where[name]
    listener = await asyncio.start_server(server.serve, host, port, backlog=1024)
    for neighbour in neighbours:
        _, writer = await dial(*where[neighbour])
        writer.write(b"PEER %s\n" % name.encode())
        server.peers[neighbour] = writer
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
