"""An agent written with FastAPI and sse-starlette. Under /plain it has no middleware, under /wrapped a BaseHTTPMiddleware.

POST /{plain,wrapped}/runs answers a body {"events", "pause_ms", "fail_after", "ping_s", "hold", "name"} by so many events;
it raises after `fail_after`, and stays open if it is to hold. GET /seen has what became of the runs, by name.
"""
import asyncio
import json

from fastapi import FastAPI, Request
from sse_starlette import EventSourceResponse
from starlette.middleware.base import BaseHTTPMiddleware

seen = {}


async def tell(body):
    name = body.get('name', '')
    seen[name] = 'running'
    try:
        for number in range(1, body.get('events', 3) + 1):
            yield {'event': 'token', 'id': str(number), 'data': json.dumps({'n': number})}
            await asyncio.sleep(body.get('pause_ms', 0) / 1000)
            if number == body.get('fail_after'):
                raise RuntimeError('out of luck')
        if body.get('hold'):
            await asyncio.Event().wait()
        yield {'event': 'done', 'data': '{}'}
        seen[name] = 'finished'
    except RuntimeError:
        seen[name] = 'raised'
        raise
    except (asyncio.CancelledError, GeneratorExit):  # the latter if the cancel comes while an event is sent
        seen[name] = 'cancelled'
        raise


def agent():
    app = FastAPI()

    @app.post('/runs')
    async def run(request: Request):
        body = await request.json()
        return EventSourceResponse(tell(body), ping=body.get('ping_s', 15))

    return app


class AddHeader(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers['X-Wrapped'] = 'yes'
        return response


app = FastAPI()


@app.get('/seen')
async def get_seen():
    return seen


wrapped = agent()
wrapped.add_middleware(AddHeader)
app.mount('/plain', agent())
app.mount('/wrapped', wrapped)
