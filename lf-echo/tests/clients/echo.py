"""Echoes through many concurrent streams and checks every byte.

Usage: echo.py HOST PORT STREAMS ROUNDS
"""

import asyncio
import random
import sys


async def stream(host, port, number, rounds):
    reader, writer = await asyncio.open_connection(host, port)
    chance = random.Random(number)
    for turn in range(rounds):
        lines = [
            b"%d %d %d " % (number, turn, i) + bytes(chance.choices(b"abcdefgh\r\t \xff\x00", k=chance.randrange(3000))) + b"\n"
            for i in range(chance.randrange(1, 20))
        ]
        sent = b"".join(lines)
        # In pieces that end anywhere.
        at = 0
        while at < len(sent):
            size = chance.randrange(1, 5000)
            writer.write(sent[at : at + size])
            at += size
            if chance.random() < 0.3:
                await writer.drain()
        got = await reader.readexactly(len(sent))
        assert got == sent, f"stream {number}, round {turn}: other bytes came back"
    writer.write_eof()
    rest = await reader.read()
    assert rest == b"", f"stream {number}: more came back than was sent"
    writer.close()
    await writer.wait_closed()
    return rounds


async def main():
    host, port, streams, rounds = sys.argv[1], *map(int, sys.argv[2:5])
    done = await asyncio.wait_for(
        asyncio.gather(*(stream(host, port, number, rounds) for number in range(streams))), 60
    )
    print(f"{len(done)} streams, {sum(done)} rounds")


asyncio.run(main())
