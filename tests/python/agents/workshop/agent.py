"""An agent of ADK for Python with a tool, an artifact and a state; its model is a script, and nothing leaves the machine.

"note" in the message makes the model call the tool, which saves an artifact and writes the state. "slow" makes it stream until
somebody stops it. What becomes of a slow answer is appended to the file that WORKSHOP_DIARY names.
"""
import asyncio
import os

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.tools import ToolContext
from google.genai import types


def write_diary(line):
    with open(os.environ['WORKSHOP_DIARY'], 'a', encoding='utf-8') as diary:
        diary.write(line + '\n')


async def keep_note(text: str, tool_context: ToolContext) -> dict:
    """Keeps a note: as an artifact, and their number in the state."""
    number = tool_context.state.get('notes_kept', 0) + 1
    tool_context.state['notes_kept'] = number
    version = await tool_context.save_artifact('note.txt', types.Part.from_bytes(data=text.encode(), mime_type='text/plain'))
    return {'kept': text, 'version': version}


def said(*parts, **more):
    return LlmResponse(content=types.Content(role='model', parts=list(parts)), **more)


class Script(BaseLlm):
    async def generate_content_async(self, llm_request, stream=False):
        newest = llm_request.contents[-1].parts[-1]
        if newest.function_response:
            yield said(types.Part(text=f"Kept: {newest.function_response.response['kept']}"))
        elif 'note' in newest.text:
            yield said(types.Part.from_function_call(name='keep_note', args={'text': newest.text}))
        elif 'slow' in newest.text:
            async for piece in self.count():
                yield piece
        else:
            yield said(types.Part(text='You said '), partial=True)
            yield said(types.Part(text=f'You said {newest.text}'))

    async def count(self):
        number = 0
        try:
            write_diary('started')
            while True:
                number += 1
                yield said(types.Part(text=f'Piece {number}. '), partial=True)
                await asyncio.sleep(0.05)
        except (asyncio.CancelledError, GeneratorExit) as error:
            write_diary(f'stopped by {type(error).__name__}')
            raise


root_agent = LlmAgent(name='workshop', model=Script(model='script'), instruction='Keep notes.', tools=[keep_note])
