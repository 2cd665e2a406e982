"""Listens with the websockets package, and says what happens, a JSON line each.

Usage: listen.py URL [PING_SECONDS]     (pings the server so often, and leaves if it does not answer)
"""

import asyncio
import base64
import json
import sys

from websockets.asyncio.client import connect


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    every = float(sys.argv[2]) if len(sys.argv) > 2 else None
    async with connect(sys.argv[1], proxy=None, ping_interval=every, ping_timeout=10) as socket:
        say(open=True)
        async for message in socket:
            if isinstance(message, str):
                say(text=message)
            else:
                say(binary=base64.b64encode(message).decode())
    say(closed=socket.close_code, reason=socket.close_reason, latency=socket.latency)


try:
    asyncio.run(main())
except Exception as error:
    say(error=f"{type(error).__name__}: {error}")
