"""FastAPI with uvicorn for fan-out: a StreamingResponse and an asyncio.Queue for each client.

    uvicorn --app-dir tests/bench/peers fastapi_app:app --loop uvloop --http httptools --no-access-log ...

Follows https://fastapi.tiangolo.com/advanced/custom-response/#streamingresponse (an async generator of bytes),
https://docs.python.org/3/library/asyncio-queue.html and https://www.uvicorn.org/settings/ (--loop, --http, --no-access-log,
--backlog, --log-level). SOURCE_PORT in the environment names the source.
"""

import asyncio
import os

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

RETRY_S = 0.02
READ_BYTES = 1 << 16
EVENT_END = b"\n\n"

app = FastAPI()
clients: set[asyncio.Queue[bytes]] = set()
tasks: list[asyncio.Task[None]] = []


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Tries until the source is there."""
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(RETRY_S)


async def read_source(port: int) -> None:
    """Gives each client what one read brought, cut behind the last whole event."""
    reader, writer = await connect(port)
    writer.write(b"GET /source HTTP/1.0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    rest = b""
    while data := await reader.read(READ_BYTES):
        whole, end, rest = (rest + data).rpartition(EVENT_END)
        if end:
            for queue in clients:
                queue.put_nowait(whole + end)


@app.on_event("startup")
async def start() -> None:
    tasks.append(asyncio.create_task(read_source(int(os.environ["SOURCE_PORT"]))))


async def follow():
    """What waits in the queue leaves in one piece."""
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    clients.add(queue)
    try:
        yield b": connected\n\n"
        while True:
            events = await queue.get()
            while not queue.empty():
                events += queue.get_nowait()
            yield events
    finally:
        clients.discard(queue)


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(follow(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
