/**
 * The broker is killed while keyed messages are sent and failed ones put aside, over and over, on one folder. Afterwards
 * every message that was answered is found by its key, once and in order, and its trace says what it said before.
 */
import { Children, KilledProcessDisk, type GantryProcess } from '../support/child';
import { Dice, SEED } from './workload';

const ROUNDS = 5;
const TOPIC = '/v1/topics/work/messages';
const GROUP = '/v1/groups/workers';

interface Found {
  readonly body: string;
  readonly messageId: string;
  readonly offsetMessageId: string;
}

interface GroupTrace {
  readonly status: string;
  readonly dueTimestamp?: number;
}

/** What the clients know for certain. */
class Ledger {
  readonly sent = new Set<string>();
  /** By messageId: status, and when it comes again. */
  readonly failed = new Map<string, GroupTrace>();
}

const children = new Children();
const disk = new KilledProcessDisk();
afterAll(async () => {
  await children.killAll();
  await disk.remove();
});

test(`what was answered is found and traced, ${ROUNDS} kills long (seed ${SEED})`, async () => {
  const dice = new Dice(SEED);
  const ledger = new Ledger();
  const data = await disk.prepare();
  let child = await children.start({ data });
  await child.ask('POST', '/v1/topics', { name: 'work', writeQueues: 4 });
  await child.ask('PUT', GROUP, { topic: 'work', maxAttempts: 1 });
  for (let round = 0; round < ROUNDS; round++) {
    const lanes = [0, 1, 2].map((lane) => send(child, ledger, `${round}-${lane}`));
    lanes.push(fail(child, ledger, dice));
    await new Promise((resolve) => setTimeout(resolve, 300 + dice.below(500)));
    await disk.cut(child);
    await Promise.all(lanes);
    await disk.repair();
    child = await children.start({ data });
    await expectAllFound(child, ledger);
    await expectTraced(child, ledger);
  }
  expect(ledger.sent.size).toBeGreaterThan(30);
  expect(new Set([...ledger.failed.values()].map(({ status }) => status))).toEqual(new Set(['WAITING_RETRY', 'DEAD']));
  await child.stop();
});

/** Sends until the broker is gone. */
async function send(child: GantryProcess, ledger: Ledger, lane: string): Promise<void> {
  for (let i = 0; ; i++) {
    const bodies = Array.from({ length: 3 }, (_, j) => `m-${lane}-${i}-${j}`);
    const messages = bodies.map((body) => ({ body, keys: ['all', body] }));
    const answer = await child.call('POST', TOPIC, { json: { messages } }).catch(() => undefined);
    if (answer?.status !== 200) return;
    for (const body of bodies) ledger.sent.add(body);
  }
}

/** Receives and fails until the broker is gone: once for an hour, or at once and again, which makes dead letters. */
async function fail(child: GantryProcess, ledger: Ledger, dice: Dice): Promise<void> {
  const call = (path: string, json: object) => child.call('POST', GROUP + path, { json }).catch(() => undefined);
  for (;;) {
    const page = await call('/receipts', { max: 4, waitMs: 100 });
    if (page?.status !== 200) return;
    const messages = page.body.messages as { messageId: string; receiptHandle: string }[];
    if (messages.length === 0) continue;
    const delayMs = dice.below(2) === 0 ? 3_600_000 : 0;
    const answer = await call('/nacks', {
      receipts: messages.map(({ receiptHandle }) => ({ receiptHandle, delayMs })),
    });
    for (const { messageId } of messages) ledger.failed.delete(messageId);
    if (answer?.status !== 200) return;
    const results = answer.body.results as { outcome: string; dueTimestamp?: number }[];
    results.forEach(({ outcome, dueTimestamp }, i) => {
      const { messageId } = messages[i]!;
      if (outcome === 'DEAD_LETTER') ledger.failed.set(messageId, { status: 'DEAD' });
      else if (delayMs > 0) ledger.failed.set(messageId, { status: 'WAITING_RETRY', dueTimestamp: dueTimestamp! });
    });
  }
}

async function find(child: GantryProcess, key: string): Promise<Found[]> {
  const all: Found[] = [];
  for (let cursor = ''; ;) {
    const page = await child.ask('GET', `${TOPIC}?key=${key}&limit=500&cursor=${cursor}`);
    all.push(...(page.messages as Found[]));
    if (page.cursor === undefined) return all;
    cursor = page.cursor as string;
  }
}

async function expectAllFound(child: GantryProcess, { sent }: Ledger): Promise<void> {
  const all = await find(child, 'all');
  const places = all.map(({ offsetMessageId }) => offsetMessageId);
  expect(places).toEqual([...new Set(places)].sort());
  const bodies = new Set(all.map(({ body }) => body));
  expect([...sent].filter((body) => !bodies.has(body))).toEqual([]);
  for (const body of [...sent].slice(-20)) expect((await find(child, body)).map((found) => found.body)).toEqual([body]);
}

async function expectTraced(child: GantryProcess, { failed }: Ledger): Promise<void> {
  for (const [messageId, expected] of [...failed].slice(-50)) {
    const { groups } = (await child.ask('GET', `${TOPIC}/${messageId}/trace`)) as { groups: GroupTrace[] };
    expect([messageId, groups]).toEqual([messageId, [expect.objectContaining(expected)]]);
  }
}
