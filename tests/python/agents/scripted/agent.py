"""An agent of ADK for Python that needs no model: "slow" in the message makes it stream for six seconds."""
import asyncio

from google.adk.agents import BaseAgent
from google.adk.events import Event
from google.genai import types


class Scripted(BaseAgent):
    async def _run_async_impl(self, ctx):
        def say(text, **more):
            content = types.Content(role='model', parts=[types.Part(text=text)])
            return Event(author=self.name, invocation_id=ctx.invocation_id, content=content, **more)

        yield say('Hel', partial=True)
        if 'slow' in ctx.user_content.parts[0].text:
            for number in range(20):
                await asyncio.sleep(0.3)
                yield say(f' {number}', partial=True)
        yield say('Hello')


root_agent = Scripted(name='scripted')
