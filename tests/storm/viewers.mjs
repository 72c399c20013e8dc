// Viewers of a storm: they read at their own pace, are cut, and come back for the rest.
import {pause} from '../support/limits.mjs';
import {SseClient} from '../support/sse_client.mjs';

/** A stream that may be asked for again: of a session, or of a run. */
function connect(world, viewer, random) {
  const query = new URLSearchParams();
  const headers = {};
  if (viewer.from) query.set('from', viewer.from);
  if (viewer.until) query.set('until', 'run');
  if (viewer.after && random.chance(50)) query.set('last_event_id', viewer.after);
  else if (viewer.after) headers['Last-Event-ID'] = viewer.after;
  const path = viewer.kind === 'session' ? `${viewer.session}/run` : `/tasks/${viewer.taskId}/events`;
  const text = query.toString();
  return new SseClient(world.sluice.url, text ? `${path}?${text}` : path, {headers});
}

/** Lets what arrives wait for a while. */
async function dawdle(client, random) {
  client.socket.pause();
  await pause(random.from(20, 200));
  client.socket.resume();
}

/** Reads until it has seen some more, or for a while. */
async function readSome(client, random) {
  const wanted = client.events.length + random.from(1, 40);
  const until = Date.now() + random.from(10, 400);
  while (!client.closed && client.events.length < wanted && Date.now() < until) {
    if (random.chance(5)) await dawdle(client, random);
    else await pause(5);
  }
}

/** Follows `viewer` through up to four connections. Each of them is in the ledger. */
export async function follow(world, viewer, random) {
  const {ledger} = world;
  let now = viewer;
  for (let connection = 0; connection < 4; connection++) {
    now.client ??= connect(world, now, random);
    ledger.viewers.push(now);
    const {client} = now;
    try {
      await client.opened();
    } catch (error) {
      if (!world.isEnding()) ledger.note(`${client.what}: ${error.message}`);
      return;
    }
    if (client.status !== 200) {
      await client.until(() => client.end, 'the whole refusal').catch((error) => ledger.note(error.message));
      client.leave();
      return;
    }
    await readSome(client, random);
    const isLast = world.isOver() || random.chance(40);
    if (isLast && random.chance(60)) await client.until(() => client.closed || world.isQuiet(), 'its end', 60000).catch(() => {});
    client.leave(random.chance(50));
    if (isLast || now.kind === 'agent') return;
    if (random.chance(50)) await pause(random.below(100));
    now = {...viewer, kind: viewer.kind, after: client.lastId ?? now.after, client: undefined};
  }
}

/** A viewer that sees all of its session, whatever becomes of it. It comes back when the session was deleted. */
export async function witness(world, session) {
  while (!world.isEnding()) {
    const client = new SseClient(world.sluice.url, `${session}/run?from=start`);
    const viewer = {session, kind: 'session', from: 'start', after: null, isWitness: true, client};
    world.ledger.viewers.push(viewer);
    world.witnesses.set(session, client);
    await new Promise((resolve) => {
      client.on('change', () => client.closed && resolve());
      if (client.closed) resolve();
    });
    if (world.isQuiet() || client.failure || client.types.at(-1) !== 'session.end') return;
  }
}
