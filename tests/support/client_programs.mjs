// Clients that are programs: they get the URL of a stream, print each event as a line of JSON, {type, data, id}, and end with
// status 0 when they have stopped by themselves.
import assert from 'node:assert/strict';
import {run} from './program.mjs';

/** What follows a stream with this program: `first` and `then` are its arguments before and after the URL. */
export const followByProgram = (command, first = [], then = [], options = {}) => async ({url, see}) => {
  const {code, stdout, stderr} = await run(command, [...first, url, ...then], {ms: 30000, ...options});
  assert.equal(code, 0, stderr);
  for (const line of stdout.split('\n').filter(Boolean)) see(JSON.parse(line));
};
