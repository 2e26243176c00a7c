/**
 * The broker is killed while workers receive, acknowledge and give back, over and over, on one folder. What was
 * acknowledged never comes again; what was not is handed out again, or becomes a dead letter when it was tried often
 * enough; nothing is lost.
 */
import { Children, KilledProcessDisk, type GantryProcess } from '../support/child';
import { Dice, SEED } from './workload';

const ROUNDS = 8;
const WORKERS = 6;
const MAX_ATTEMPTS = 3;
const GROUP = '/v1/groups/workers';

interface Leased {
  readonly body: string;
  readonly attempt: number;
  readonly receiptHandle: string;
}

/** What the clients know of all messages. */
class Ledger {
  /** Stored for certain. */
  readonly stored = new Set<string>();
  /** When the acknowledgement was confirmed. */
  readonly acked = new Map<string, number>();
  /** The acknowledgement, or the send, had no answer. */
  readonly uncertain = new Set<string>();
  readonly problems: string[] = [];

  received({ body, attempt }: Leased, askedAt: number): void {
    const at = this.acked.get(body);
    if (at !== undefined && at < askedAt) this.problems.push(`${body} came again after it was acknowledged`);
    if (attempt > 1 + MAX_ATTEMPTS) this.problems.push(`${body} was delivered ${attempt} times`);
  }
}

const children = new Children();
const disk = new KilledProcessDisk();
afterAll(async () => {
  await children.killAll();
  await disk.remove();
});

test(`acknowledged is acknowledged, ${ROUNDS} kills long (seed ${SEED})`, async () => {
  const dice = new Dice(SEED);
  const ledger = new Ledger();
  const data = await disk.prepare();
  let child = await children.start({ data });
  await child.ask('POST', '/v1/topics', { name: 'work', writeQueues: 4 });
  await child.ask('PUT', GROUP, { topic: 'work', maxAttempts: MAX_ATTEMPTS, retryDelaysMs: [0, 50, 100] });
  for (let round = 0; round < ROUNDS; round++) {
    const lanes = [send(child, ledger, round), ...Array.from({ length: WORKERS }, () => work(child, ledger, dice))];
    await new Promise((resolve) => setTimeout(resolve, 300 + dice.below(700)));
    await disk.cut(child);
    await Promise.all(lanes);
    await disk.repair();
    child = await children.start({ data });
  }
  await drain(child, ledger);
  expect(ledger.problems).toEqual([]);
  expect(ledger.stored.size).toBeGreaterThan(ROUNDS);
  expect(ledger.acked.size).toBeGreaterThan(0);
  const { deadLetters } = (await child.ask('GET', `${GROUP}/dead-letters?limit=1000`)) as { deadLetters: Leased[] };
  const dead = new Set(deadLetters.map(({ body }) => body));
  const lost = [...ledger.stored].filter(
    (body) => !ledger.acked.has(body) && !dead.has(body) && !ledger.uncertain.has(body),
  );
  expect(lost).toEqual([]);
  // Who was acknowledged for certain is no dead letter.
  expect([...dead].filter((body) => ledger.acked.has(body))).toEqual([]);
  await child.stop();
});

/** Sends until the broker is gone. */
async function send(child: GantryProcess, ledger: Ledger, round: number): Promise<void> {
  for (let i = 0; ; i++) {
    const bodies = Array.from({ length: 5 }, (_, j) => `m-${round}-${i}-${j}`);
    const messages = bodies.map((body) => ({ body }));
    const answer = await child.call('POST', '/v1/topics/work/messages', { json: { messages } }).catch(() => undefined);
    for (const body of bodies) if (answer?.status === 200) ledger.stored.add(body);
    if (!answer) return;
  }
}

/** Receives and decides for each message by chance, until the broker is gone. */
async function work(child: GantryProcess, ledger: Ledger, dice: Dice): Promise<void> {
  for (;;) {
    const askedAt = performance.now();
    const json = { max: 1 + dice.below(8), waitMs: 200, invisibleMs: 1000 };
    const page = await child.call('POST', `${GROUP}/receipts`, { json }).catch(() => undefined);
    if (page?.status !== 200) return;
    for (const message of page.body.messages as Leased[]) {
      ledger.received(message, askedAt);
      const choice = dice.below(10);
      if (choice < 6) {
        if (!(await acknowledge(child, ledger, message))) return;
      } else if (choice < 8) {
        const receipts = [{ receiptHandle: message.receiptHandle, ...(choice === 6 ? { delayMs: 0 } : {}) }];
        if (!(await child.call('POST', `${GROUP}/nacks`, { json: { receipts } }).catch(() => undefined))) return;
      }
    }
  }
}

/** False when the broker is gone. */
async function acknowledge(child: GantryProcess, ledger: Ledger, { body, receiptHandle }: Leased): Promise<boolean> {
  const json = { receiptHandles: [receiptHandle] };
  const answer = await child.call('POST', `${GROUP}/acks`, { json }).catch(() => undefined);
  if (answer?.status === 200) ledger.acked.set(body, performance.now());
  else if (!answer) ledger.uncertain.add(body);
  return answer !== undefined;
}

/** Everything that is left is received and acknowledged. */
async function drain(child: GantryProcess, ledger: Ledger): Promise<void> {
  for (let quiet = 0; quiet < 3;) {
    const askedAt = performance.now();
    const page = await child.ask('POST', `${GROUP}/receipts`, { max: 100, waitMs: 1500 });
    for (const message of page.messages as Leased[]) {
      ledger.received(message, askedAt);
      await acknowledge(child, ledger, message);
    }
    const { ready, inFlight } = page.lag;
    quiet = page.messages.length === 0 && ready + inFlight === 0 ? quiet + 1 : 0;
  }
}
