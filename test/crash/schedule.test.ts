/**
 * Messages that wait for their time, under SIGKILL at any moment and around the moment they are due. None comes before
 * its time by the broker's clock, none is lost and none comes twice; what was taken back never comes; what was due while
 * nothing ran comes at the start.
 *
 *   CRASH_SEED=123 npx jest test/crash/schedule     the same dice (a process takes its own time, though)
 *   CRASH_ROUNDS=100 npx jest test/crash/schedule   more kills
 */
import { Children, KilledProcessDisk, type Answer, type GantryProcess } from '../support/child';
import { Mortal, outlives, POINTS } from './killPoints';
import { Dice, SEED } from './workload';
import { patience } from '../support/patience';

const ROUNDS = Number(process.env['CRASH_ROUNDS'] ?? 5);
const TOPIC = '/v1/topics/reminders';
const QUEUES = 2;
const PAGE = 1000;
/** What is due and has not come by then is lost. */
const PATIENCE_MS = patience(60_000);

interface Waiting {
  readonly body: string;
  readonly messageId: string;
  readonly deliverTimestamp: number;
}

interface Visible extends Waiting {
  readonly queueId: number;
  readonly queueOffset: number;
  readonly storeTimestamp: number;
}

const children = new Children();
const mortals: Mortal[] = [];
const disk = new KilledProcessDisk();
afterAll(async () => {
  await children.killAll();
  await Promise.all([disk.remove(), ...mortals.map((mortal) => mortal.remove())]);
});

const setUp = (child: GantryProcess) =>
  child.ask('POST', '/v1/topics', { name: 'reminders', type: 'DELAY', writeQueues: QUEUES });

function send(child: GantryProcess, messages: readonly object[], key?: string): Promise<Answer> {
  const headers = key === undefined ? {} : { 'idempotency-key': key };
  return child.call('POST', `${TOPIC}/messages`, { json: { messages }, headers });
}

const recall = (child: GantryProcess, id: string): Promise<Answer> => child.call('DELETE', `${TOPIC}/scheduled/${id}`);

const readFrom = (child: GantryProcess, queueId: number, offset: number, waitMs: number): Promise<Answer> =>
  child.call('GET', `${TOPIC}/queues/broker-a/${queueId}/messages?offset=${offset}&max=${PAGE}&waitMs=${waitMs}`);

/** All that a consumer could see, from the first offset on. */
async function readAll(child: GantryProcess): Promise<Visible[]> {
  const all: Visible[] = [];
  for (let queueId = 0; queueId < QUEUES; queueId++) {
    for (let offset = 0; ;) {
      const page = (await readFrom(child, queueId, offset, 0)).body as { messages: Visible[]; nextOffset: number };
      all.push(...page.messages);
      if (page.nextOffset === offset) break;
      offset = page.nextOffset;
    }
  }
  return all;
}

async function listWaiting(child: GantryProcess): Promise<Waiting[]> {
  const all: Waiting[] = [];
  for (let cursor = ''; ;) {
    const page = await child.ask('GET', `${TOPIC}/scheduled?limit=${PAGE}&cursor=${cursor}`);
    all.push(...(page.scheduled as Waiting[]));
    if (page.cursor === undefined) return all;
    cursor = page.cursor as string;
  }
}

const bodiesOf = (messages: readonly { body: string }[]): string[] => messages.map(({ body }) => body);

/** Reads until a message is there. */
async function untilVisible(child: GantryProcess, body: string): Promise<Visible> {
  const deadline = performance.now() + PATIENCE_MS;
  while (performance.now() < deadline) {
    const found = (await readAll(child)).find((message) => message.body === body);
    if (found) return found;
  }
  throw new Error(`${body} never came`);
}

describe('a broker that is killed', () => {
  /** Everything that ever happens to a message that waits, and a kill in each step. */
  test.concurrent.each(POINTS)(
    '%s has the step done, or not begun',
    async (point) => {
      const done = outlives(point);
      const mortal = new Mortal(children, point);
      mortals.push(mortal);
      const { child } = await mortal.open();
      await setUp(child);

      // Taken in.
      const hour = [{ body: 'in-an-hour', delayMs: 3_600_000 }];
      const first = await mortal.die('in-an-hour', () => send(mortal.child, hour, 'key'));
      await mortal.start();
      expect(bodiesOf(await listWaiting(mortal.child))).toEqual(done ? ['in-an-hour'] : []);
      const again = await send(mortal.child, hour, 'key');
      expect([again.status, again.headers['idempotency-replayed']]).toEqual([200, done ? 'true' : undefined]);
      if (first) expect(again.body).toEqual(first.body);
      const [{ messageId }] = (await listWaiting(mortal.child)) as [Waiting];

      // Due.
      let due = 0;
      await mortal.die('"timers":', async () => {
        const { body } = await send(mortal.child, [{ body: 'soon', delayMs: 300 }]);
        due = (body.results as Waiting[])[0]!.deliverTimestamp;
      });
      await mortal.start();
      if (done) expect(bodiesOf(await readAll(mortal.child))).toEqual(['soon']);
      const { storeTimestamp, deliverTimestamp } = await untilVisible(mortal.child, 'soon');
      expect([deliverTimestamp, storeTimestamp >= due]).toEqual([due, true]);

      // Taken back.
      await mortal.die('"messages":[[', () => recall(mortal.child, messageId));
      await mortal.start();
      expect(bodiesOf(await listWaiting(mortal.child))).toEqual(done ? [] : ['in-an-hour']);
      expect((await recall(mortal.child, messageId)).status).toBe(done ? 404 : 204);
      expect([bodiesOf(await listWaiting(mortal.child)), bodiesOf(await readAll(mortal.child))]).toEqual([
        [],
        ['soon'],
      ]);
      await mortal.child.stop();
    },
    180_000,
  );
});

/** What the clients know of one message. */
interface Reminder {
  readonly body: string;
  /** The sender's wish by his own clock, which is the broker's: no earlier. */
  readonly notBefore: number;
  messageId: string | undefined;
  due: number | undefined;
  /** MAYBE: the answer was lost. */
  recalled: 'NO' | 'MAYBE' | 'YES';
  recalls: number;
  /** It was said that its time has come. */
  came: boolean;
  place: string | undefined;
}

interface Unanswered {
  readonly key: string;
  readonly messages: readonly object[];
  readonly reminders: readonly Reminder[];
}

/** Clients of a broker that comes and goes: they send for later, take back, list and read. */
class Office {
  readonly #dice = new Dice(SEED);
  readonly reminders = new Map<string, Reminder>();
  readonly problems: string[] = [];
  readonly #unanswered = new Map<string, Unanswered>();
  readonly #read = Array.from({ length: QUEUES }, () => 0);
  readonly counts = { taken: 0, refused: 0, unsure: 0, dueWhileDown: 0 };

  check(condition: boolean, problem: string): void {
    if (!condition) this.problems.push(problem);
  }

  /** All at once, until the broker is gone; much of what is sent is due when that is to be. */
  async work(child: GantryProcess, end: number): Promise<void> {
    await Promise.all([
      this.#sendAll(child, 's1', end),
      this.#sendAll(child, 's2', end),
      this.#recallAll(child),
      this.#recallAll(child),
      this.#listAll(child),
      ...this.#read.map((_, queueId) => this.#watch(child, queueId)),
    ]);
  }

  // --- sending ---------------------------------------------------------------------------------------------------

  async #sendAll(child: GantryProcess, lane: string, end: number): Promise<void> {
    for (;;) {
      const send = this.#unanswered.get(lane) ?? this.#newSend(lane, end);
      if (send.key !== '') this.#unanswered.set(lane, send);
      if (!(await this.#send(child, send))) return;
      this.#unanswered.delete(lane);
    }
  }

  #newSend(lane: string, end: number): Unanswered {
    const reminders: Reminder[] = [];
    const messages = Array.from({ length: 1 + this.#dice.below(5) }, () => {
      const now = Date.now();
      const body = `${lane}-${this.reminders.size}`;
      const around = this.#dice.below(2) === 0;
      const delayMs = around ? end - now + this.#dice.below(60) - 30 : this.#dice.below(2500);
      const wish = this.#dice.below(2) === 0 ? { deliverAt: now + delayMs } : { delayMs: Math.max(0, delayMs) };
      const reminder: Reminder = {
        ...{ body, notBefore: now + delayMs, messageId: undefined, due: undefined, recalled: 'NO', recalls: 0 },
        ...{ came: false, place: undefined },
      };
      this.reminders.set(body, reminder);
      reminders.push(reminder);
      return { body, ...wish };
    });
    const key = this.#dice.below(2) === 0 ? `key-${reminders[0]!.body}` : '';
    return { key, messages, reminders };
  }

  async #send(child: GantryProcess, { key, messages, reminders }: Unanswered): Promise<boolean> {
    const answer = await send(child, messages, key === '' ? undefined : key).catch(() => undefined);
    if (!answer) return false;
    this.check(answer.status === 200, `sending was ${answer.status} ${answer.body.code}`);
    type Result = { messageId: string; deliverTimestamp?: number; storeTimestamp: number };
    (answer.body.results as Result[]).forEach(({ messageId, deliverTimestamp, storeTimestamp }, i) => {
      const reminder = reminders[i]!;
      this.#named(reminder, messageId);
      reminder.due = deliverTimestamp ?? storeTimestamp;
      reminder.came ||= deliverTimestamp === undefined;
    });
    return true;
  }

  #named(reminder: Reminder, messageId: string): void {
    const before = reminder.messageId ?? messageId;
    this.check(before === messageId, `${reminder.body} is two messages: ${before} and ${messageId}`);
    reminder.messageId = messageId;
  }

  // --- taking back -----------------------------------------------------------------------------------------------

  async #recallAll(child: GantryProcess): Promise<void> {
    for (;;) {
      const some = [...this.reminders.values()].filter((one) => one.messageId !== undefined && !one.came);
      // The next ones are the interesting ones; and now and then one that was taken back, or one that came.
      const next = some.filter(({ recalled }) => recalled === 'NO').sort((a, b) => a.due! - b.due!);
      const pool = this.#dice.below(4) === 0 ? some : next.slice(0, 4);
      const reminder = pool[this.#dice.below(pool.length)];
      if (reminder && !(await this.#recall(child, reminder))) return;
      if (!reminder && !(await child.call('GET', '/livez').catch(() => undefined))) return;
      await new Promise((turn) => setTimeout(turn, this.#dice.below(30)));
    }
  }

  /** False when the broker is gone. */
  async #recall(child: GantryProcess, reminder: Reminder): Promise<boolean> {
    const { body, recalled } = reminder;
    if (recalled === 'NO') reminder.recalled = 'MAYBE';
    reminder.recalls++;
    const answer = await recall(child, reminder.messageId!).catch(() => undefined);
    if (!answer) this.counts.unsure++;
    if (!answer) return false;
    if (answer.status === 204) {
      this.check(recalled !== 'YES', `${body} is taken back twice`);
      reminder.recalled = 'YES';
      this.counts.taken++;
    } else if (answer.body.code === 'ALREADY_DELIVERED') {
      this.check(reminder.recalled !== 'YES', `${body} was taken back, and then its time has come`);
      this.check(Date.now() >= reminder.due!, `${body} is said to have come before its time`);
      reminder.came = true;
      reminder.recalled = 'NO';
      this.counts.refused++;
    } else {
      // By somebody else, whose answer was lost or is still on its way.
      this.check(answer.status === 404 && reminder.recalls > 1, `${body}: recalling was ${answer.status}`);
      reminder.recalled = 'YES';
    }
    return true;
  }

  // --- looking ---------------------------------------------------------------------------------------------------

  async #listAll(child: GantryProcess): Promise<void> {
    for (;;) {
      const gone = new Set([...this.reminders.values()].filter(({ recalled, place }) => recalled === 'YES' || place));
      const page = await child.call('GET', `${TOPIC}/scheduled?limit=100`).catch(() => undefined);
      if (page?.status !== 200) return this.check(page === undefined, `listing was ${page?.status} ${page?.body.code}`);
      for (const { body } of page.body.scheduled as Waiting[])
        this.check(!gone.has(this.reminders.get(body)!), `${body} waits, though it came or was taken back`);
      await new Promise((turn) => setTimeout(turn, 20));
    }
  }

  async #watch(child: GantryProcess, queueId: number): Promise<void> {
    for (;;) {
      const page = await readFrom(child, queueId, this.#read[queueId]!, 100).catch(() => undefined);
      if (page?.status !== 200) return this.check(page === undefined, `reading was ${page?.status} ${page?.body.code}`);
      for (const message of page.body.messages as Visible[]) this.#seen(message);
      this.#read[queueId] = page.body.nextOffset as number;
    }
  }

  #seen(message: Visible): void {
    const { body, messageId, queueId, queueOffset, storeTimestamp, deliverTimestamp: due = storeTimestamp } = message;
    const reminder = this.reminders.get(body)!;
    this.#named(reminder, messageId);
    this.check((reminder.due ?? due) === due, `${body} was due at ${reminder.due}, and now at ${due}`);
    this.check(due >= reminder.notBefore, `${body} is due ${reminder.notBefore - due} ms before its sender wants it`);
    this.check(storeTimestamp >= due, `${body} came ${due - storeTimestamp} ms early by the broker's clock`);
    this.check(Date.now() >= due, `${body} came ${due - Date.now()} ms early by everybody's clock`);
    this.check(reminder.recalled !== 'YES', `${body} came, though it was taken back`);
    const place = `${queueId}/${queueOffset}`;
    this.check((reminder.place ?? place) === place, `${body} is at ${reminder.place} and at ${place}`);
    reminder.place = place;
    reminder.came = true;
  }

  /** Looks at everything while nobody else is at work. `down` and `up`: since when nothing ran, and until when. */
  async judge(child: GantryProcess, down: number, up: number): Promise<void> {
    const stillThere = await this.#expectWaiting(child);
    const due = [...this.reminders.values()].filter(
      (one) => one.due !== undefined && one.due <= up && one.recalled === 'NO' && !stillThere.has(one.body),
    );
    this.counts.dueWhileDown += due.filter((one) => one.due! > down).length;
    const deadline = performance.now() + PATIENCE_MS;
    let visible = await readAll(child);
    const missing = () => {
      const there = new Set(bodiesOf(visible));
      return due.filter(({ body }) => !there.has(body));
    };
    while (missing().length > 0 && performance.now() < deadline) visible = await readAll(child);
    for (const { body } of missing()) this.problems.push(`${body} was due, and is lost`);
    for (const message of visible) this.#seen(message);
    this.check(new Set(bodiesOf(visible)).size === visible.length, 'some are visible twice');
    // It is too late for those.
    if (visible.length > 0) await this.#recall(child, this.reminders.get(this.#dice.of(visible).body)!);
  }

  /** Whoever is to come later is listed. Answers those whose time had not come when they were listed. */
  async #expectWaiting(child: GantryProcess): Promise<ReadonlySet<string>> {
    const listed = await listWaiting(child);
    const now = Date.now();
    const bodies = new Set(bodiesOf(listed));
    this.check(bodies.size === listed.length, 'some wait twice');
    for (const { body, messageId, deliverTimestamp } of listed) {
      const reminder = this.reminders.get(body)!;
      this.#named(reminder, messageId);
      reminder.due ??= deliverTimestamp;
      this.check(
        reminder.due === deliverTimestamp,
        `${body} was due at ${reminder.due}, and now at ${deliverTimestamp}`,
      );
      this.check(reminder.recalled !== 'YES', `${body} waits, though it was taken back`);
      reminder.recalled = 'NO';
    }
    for (const { body, due, recalled } of this.reminders.values())
      this.check(bodies.has(body) || recalled !== 'NO' || !(due! > now), `${body} waits no more, before its time`);
    return new Set(listed.filter(({ deliverTimestamp }) => deliverTimestamp > now).map(({ body }) => body));
  }

  async finish(child: GantryProcess): Promise<void> {
    for (const send of this.#unanswered.values()) await this.#send(child, send);
  }
}

test(
  `whatever is sent for later and taken back meanwhile, ${ROUNDS} kills long (CRASH_SEED=${SEED})`,
  async () => {
    const dice = new Dice(SEED + 1);
    const office = new Office();
    const data = await disk.prepare();
    let child = await children.start({ data });
    await setUp(child);
    for (let round = 0; round < ROUNDS; round++) {
      const end = Date.now() + 300 + dice.below(900);
      const work = office.work(child, end);
      await new Promise((next) => setTimeout(next, end - Date.now() + dice.below(40) - 20));
      await disk.cut(child);
      const down = Date.now();
      await work;
      await disk.repair();
      child = await children.start({ data });
      await office.judge(child, down, Date.now());
      expect(office.problems.slice(0, 10)).toEqual([]);
    }
    await office.finish(child);
    await disk.cut(child);
    const last = Math.max(...[...office.reminders.values()].map(({ due }) => due ?? 0));
    child = await children.start({ data });
    await new Promise((next) => setTimeout(next, Math.max(0, last - Date.now())));
    await office.judge(child, Infinity, Date.now());
    expect(office.problems.slice(0, 10)).toEqual([]);
    while ((await listWaiting(child)).length > 0) await new Promise((next) => setTimeout(next, 20));
    await child.stop();
    // All this proves nothing unless there was something to lose, and something in doubt.
    const all = [...office.reminders.values()];
    expect(all.filter(({ place }) => place !== undefined).length).toBeGreaterThan(100);
    expect(Math.min(...Object.values(office.counts))).toBeGreaterThan(0);
  },
  120_000 + ROUNDS * 10_000,
);
