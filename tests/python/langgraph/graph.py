"""A graph that needs no model: it counts, in events of the kind "custom", and fails if it is asked to."""
import asyncio
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    count: int
    pause_ms: float
    fail: bool
    text: str


async def count(state: State):
    write = get_stream_writer()
    for number in range(1, state.get('count', 3) + 1):
        await asyncio.sleep(state.get('pause_ms', 3) / 1000)
        write({'n': number})
    await asyncio.sleep(state.get('pause_ms', 3) / 1000)
    if state.get('fail'):
        raise ValueError('out of luck')
    return {'text': 'done'}


builder = StateGraph(State)
builder.add_node('count', count)
builder.add_edge(START, 'count')
builder.add_edge('count', END)
graph = builder.compile()
