/**
 * Half messages, the questions about them and the decisions, under SIGKILL at any moment. What was answered as committed
 * is visible once, under the place that was answered; what was rolled back, or what nobody has decided, never. A decision
 * whose answer was lost counts or does not, and saying it again answers accordingly. Questions are counted once, and what
 * is parked stays so.
 *
 *   CRASH_SEED=123 npx jest test/crash/transactions     the same dice (a process takes its own time, though)
 *   CRASH_ROUNDS=100 npx jest test/crash/transactions   more kills
 */
import { Children, KilledProcessDisk, type Answer, type GantryProcess } from '../support/child';
import { Mortal, outlives, POINTS } from './killPoints';
import { Dice, SEED } from './workload';

const ROUNDS = Number(process.env['CRASH_ROUNDS'] ?? 5);
const TOPIC = '/v1/topics/transfers';
const PRODUCERS = '/v1/producer-groups/banks';
const QUEUES = 2;
const MAX_CHECKS = 2;
const PAGE = 1000;

type Resolution = 'COMMIT' | 'ROLLBACK';
type State = 'PREPARED' | 'PARKED' | 'COMMITTED' | 'ROLLED_BACK';

interface Place {
  readonly queueId: number;
  readonly queueOffset: number;
}

interface View extends Partial<Place> {
  readonly transactionId: string;
  readonly state: State;
  readonly checks: number;
}

interface Visible extends Place {
  readonly body: string;
}

const children = new Children();
const mortals: Mortal[] = [];
const disk = new KilledProcessDisk();
afterAll(async () => {
  await children.killAll();
  await Promise.all([disk.remove(), ...mortals.map((mortal) => mortal.remove())]);
});

async function setUp(child: GantryProcess, maxChecks: number): Promise<void> {
  await child.ask('POST', '/v1/topics', { name: 'transfers', type: 'TRANSACTION', writeQueues: QUEUES });
  await setChecks(child, maxChecks);
}

const setChecks = (child: GantryProcess, maxChecks: number) =>
  child.ask('PUT', PRODUCERS, { checkAfterMs: 1000, checkIntervalMs: 1000, maxChecks });

function prepare(child: GantryProcess, body: string, key?: string): Promise<Answer> {
  const headers = key === undefined ? {} : { 'idempotency-key': key };
  const json = { producerGroup: 'banks', message: { body } };
  return child.call('POST', `${TOPIC}/transactions`, { json, headers });
}

const end = (child: GantryProcess, id: string, resolution: Resolution | 'UNKNOWN'): Promise<Answer> =>
  child.call('POST', `/v1/transactions/${id}/resolution`, { json: { resolution, producerGroup: 'banks' } });

const other = (resolution: Resolution): Resolution => (resolution === 'COMMIT' ? 'ROLLBACK' : 'COMMIT');
const resolutionOf = (state: State): Resolution => (state === 'COMMITTED' ? 'COMMIT' : 'ROLLBACK');
const placeOf = ({ queueId, queueOffset }: Partial<Place>): string => `${queueId}/${queueOffset}`;

/** All that a consumer could see, from the first offset on. */
async function readAll(child: GantryProcess): Promise<Visible[]> {
  const all: Visible[] = [];
  for (let queueId = 0; queueId < QUEUES; queueId++) {
    for (let offset = 0; ;) {
      const path = `${TOPIC}/queues/broker-a/${queueId}/messages?offset=${offset}&max=${PAGE}`;
      const page = (await child.ask('GET', path)) as { messages: Visible[]; nextOffset: number };
      all.push(...page.messages);
      if (page.nextOffset === offset) break;
      offset = page.nextOffset;
    }
  }
  return all;
}

async function listOpen(child: GantryProcess): Promise<View[]> {
  const all: View[] = [];
  for (let cursor = ''; ;) {
    const page = await child.ask('GET', `/v1/transactions?limit=${PAGE}&cursor=${cursor}`);
    all.push(...(page.transactions as View[]));
    if (page.cursor === undefined) return all;
    cursor = page.cursor as string;
  }
}

describe('a broker that is killed', () => {
  /** Everything that ever happens to a transaction, and a kill in each step. */
  test.concurrent.each(POINTS)(
    '%s has the step done, or not begun',
    async (point) => {
      const mortal = new Mortal(children, point);
      mortals.push(mortal);
      const { child } = await mortal.open();
      await setUp(child, 1);
      await new Journey(mortal, outlives(point)).go();
      await mortal.child.stop();
    },
    180_000,
  );
});

/** One that is committed when it is parked, and one that is rolled back at once. */
class Journey {
  readonly #mortal: Mortal;
  /** A step in which the broker was killed was done. */
  readonly #done: boolean;

  constructor(mortal: Mortal, done: boolean) {
    this.#mortal = mortal;
    this.#done = done;
  }

  get #child(): GantryProcess {
    return this.#mortal.child;
  }

  async go(): Promise<void> {
    const id = await this.#prepare('100-to-B');
    await this.#askAndPark(id);
    await this.#decide(id, 'COMMIT', ['100-to-B']);
    const another = (await prepare(this.#child, '200-to-C')).body.transactionId as string;
    await this.#decide(another, 'ROLLBACK', ['100-to-B']);
    await this.#expectDecided(id, 'COMMIT', ['100-to-B']);
  }

  async #prepare(body: string): Promise<string> {
    const first = await this.#mortal.die(body, () => prepare(this.#child, body, body));
    await this.#mortal.start();
    const open = await listOpen(this.#child);
    expect(open.map(({ state }) => state)).toEqual(this.#done ? ['PREPARED'] : []);
    const again = await prepare(this.#child, body, body);
    expect([again.status, again.headers['idempotency-replayed']]).toEqual([201, this.#done ? 'true' : undefined]);
    if (first) expect(again.body).toEqual(first.body);
    const id = again.body.transactionId as string;
    expect((await listOpen(this.#child)).map(({ transactionId }) => transactionId)).toEqual([id]);
    expect(await this.#bodies()).toEqual([]);
    return id;
  }

  /** Once, which was the last time: then it is parked. */
  async #askAndPark(id: string): Promise<void> {
    const poll = (waitMs: number) => this.#child.call('GET', `${PRODUCERS}/transaction-checks?waitMs=${waitMs}`);
    let told = await this.#mortal.die('"intervalMs":1000', () => poll(5000));
    if (this.#done) await this.#mortal.die('"asked":[]', () => this.#mortal.start());
    else {
      await this.#mortal.start();
      expect(await this.#view(id)).toMatchObject({ state: 'PREPARED', checks: 0 });
      told = await this.#mortal.die('"asked":[]', () => poll(5000));
    }
    if (told) expect((told.body.checks as View[]).map(({ checks }) => checks)).toEqual([1]);
    await this.#mortal.start();
    for (let state: State | undefined; state !== 'PARKED';) {
      const view = await this.#view(id);
      ({ state } = view);
      expect([view.checks, this.#done && state === 'PREPARED']).toEqual([1, false]);
    }
    // More questions may be asked from now on; not about this one.
    await setChecks(this.#child, 9);
    expect((await poll(0)).body.checks).toEqual([]);
    expect(await this.#bodies()).toEqual([]);
  }

  async #decide(id: string, resolution: Resolution, visible: string[]): Promise<void> {
    const [before, seen] = [await this.#view(id), await this.#bodies()];
    const first = await this.#mortal.die('{"half":', () => end(this.#child, id, resolution));
    await this.#mortal.start();
    if (!this.#done) expect([await this.#view(id), await this.#bodies()]).toEqual([before, seen]);
    else await this.#expectDecided(id, resolution, visible);
    const again = await end(this.#child, id, resolution);
    expect(again.status).toBe(200);
    if (first) expect(again.body).toEqual(first.body);
    await this.#expectDecided(id, resolution, visible);
  }

  async #expectDecided(id: string, resolution: Resolution, visible: string[]): Promise<void> {
    expect(resolutionOf((await this.#view(id)).state)).toBe(resolution);
    expect(await this.#bodies()).toEqual(visible);
    const opposite = await end(this.#child, id, other(resolution));
    expect(opposite).toMatchObject({ status: 409, body: { code: 'ALREADY_RESOLVED', resolution } });
    expect((await end(this.#child, id, 'UNKNOWN')).status).toBe(409);
    expect(await listOpen(this.#child)).toEqual([]);
  }

  async #view(id: string): Promise<View> {
    const { message: _, ...view } = await this.#child.ask('GET', `/v1/transactions/${id}`);
    return view as View;
  }

  async #bodies(): Promise<string[]> {
    return (await readAll(this.#child)).map(({ body }) => body);
  }
}

/** What the clients know of one transaction. */
interface Transfer {
  readonly body: string;
  readonly key: string | undefined;
  /** Nobody decides about it before the end. */
  readonly stuck: boolean;
  id: string | undefined;
  /** Decisions that may have reached the broker. */
  readonly tried: Set<Resolution>;
  decided: { readonly resolution: Resolution; readonly at: number } | undefined;
  place: string | undefined;
  /** Numbers of the questions that somebody heard. */
  readonly asked: Set<number>;
  /** The most that it was ever said to have been asked about. */
  checks: number;
  parkedAt: number | undefined;
}

/** Clients of a broker that comes and goes: they prepare, decide, are asked, and look. */
class Bank {
  readonly #dice = new Dice(SEED);
  readonly transfers = new Map<string, Transfer>();
  readonly problems: string[] = [];
  /** Keyed preparations whose answer was lost, by lane. */
  readonly #unanswered = new Map<string, Transfer>();
  /** Polls of which nobody knows what they took: each may count for any transaction. */
  #lostPolls = 0;
  readonly #read = Array.from({ length: QUEUES }, () => 0);
  readonly counts = { lostDecisions: 0, repeated: 0, refused: 0, asked: 0 };

  check(condition: boolean, problem: string): void {
    if (!condition) this.problems.push(problem);
  }

  /** All at once, until the broker is gone. */
  async work(child: GantryProcess): Promise<void> {
    await Promise.all([
      this.#prepareAll(child, 'p1'),
      this.#prepareAll(child, 'p2'),
      this.#decideAll(child),
      this.#decideAll(child),
      this.#decideAll(child),
      this.#answerAll(child),
      this.#answerAll(child),
      ...this.#read.map((_, queueId) => this.#watch(child, queueId)),
    ]);
  }

  // --- preparing -------------------------------------------------------------------------------------------------

  #newTransfer(lane: string): Transfer {
    const body = `${lane}-${this.transfers.size}`;
    const transfer: Transfer = {
      ...{ body, key: this.#dice.below(3) > 0 ? body : undefined, stuck: this.#dice.below(8) === 0, id: undefined },
      ...{ tried: new Set(), decided: undefined, place: undefined },
      ...{ asked: new Set(), checks: 0, parkedAt: undefined },
    };
    this.transfers.set(body, transfer);
    return transfer;
  }

  async #prepareAll(child: GantryProcess, lane: string): Promise<void> {
    for (;;) {
      const lost = this.#unanswered.get(lane);
      const repeated = lost ?? (this.#dice.below(10) === 0 ? this.#one((one) => one.key !== undefined) : undefined);
      const transfer = repeated ?? this.#newTransfer(lane);
      if (transfer.key !== undefined && transfer.id === undefined) this.#unanswered.set(lane, transfer);
      if (!(await this.#prepare(child, transfer))) return;
      this.#unanswered.delete(lane);
    }
  }

  async #prepare(child: GantryProcess, transfer: Transfer): Promise<boolean> {
    const { body, key, id } = transfer;
    const answer = await prepare(child, body, key).catch(() => undefined);
    if (!answer) return false;
    this.check(answer.status === 201, `${body}: preparing was ${answer.status} ${answer.body.code}`);
    if (answer.status !== 201) return true;
    if (id !== undefined) this.check(answer.headers['idempotency-replayed'] === 'true', `${body} was prepared twice`);
    this.#named(transfer, answer.body.transactionId as string);
    return true;
  }

  #named(transfer: Transfer, id: string): void {
    this.check((transfer.id ?? id) === id, `${transfer.body} is two transactions: ${transfer.id} and ${id}`);
    transfer.id = id;
  }

  /** One of the last so many that fit. */
  #one(fits: (transfer: Transfer) => boolean, last = Infinity): Transfer | undefined {
    const all = [...this.transfers.values()].filter((one) => one.id !== undefined && fits(one)).slice(-last);
    return all[this.#dice.below(all.length)];
  }

  // --- deciding --------------------------------------------------------------------------------------------------

  async #decideAll(child: GantryProcess): Promise<void> {
    for (;;) {
      const open = this.#dice.below(6) > 0;
      // Few at a time, so that two decide about the same one.
      const last = open ? 8 : Infinity;
      const transfer = this.#one(({ stuck, decided }) => !stuck && (decided === undefined) === open, last);
      if (!transfer) {
        if (!(await this.#isThere(child))) return;
      } else if (!(await this.decide(child, transfer, this.#dice.of(['COMMIT', 'ROLLBACK', 'UNKNOWN'])))) return;
    }
  }

  async #isThere(child: GantryProcess): Promise<boolean> {
    return (await child.call('GET', '/livez').catch(() => undefined)) !== undefined;
  }

  /** False when the broker is gone. */
  async decide(child: GantryProcess, transfer: Transfer, resolution: Resolution | 'UNKNOWN'): Promise<boolean> {
    const { body, decided } = transfer;
    if (resolution !== 'UNKNOWN') transfer.tried.add(resolution);
    const answer = await end(child, transfer.id!, resolution).catch(() => undefined);
    if (!answer) {
      if (!decided) this.counts.lostDecisions++;
      return false;
    }
    const { status } = answer;
    if (status === 409) {
      const said = answer.body.resolution as Resolution;
      this.check(said !== resolution, `${body}: ${resolution} is refused, because it was decided as ${said}`);
      this.#learn(transfer, said);
      this.counts.refused++;
    } else if (status !== 200) {
      this.problems.push(`${body}: ${resolution} was ${status} ${answer.body.code}`);
    } else if (resolution === 'UNKNOWN') {
      this.check(decided === undefined, `${body} was decided, and then nobody knows`);
    } else {
      const view = answer.body as View;
      this.check(resolutionOf(view.state) === resolution, `${body}: ${resolution} made it ${view.state}`);
      this.#learn(transfer, resolution, resolution === 'COMMIT' ? placeOf(view) : undefined);
      if (decided) this.counts.repeated++;
    }
    return true;
  }

  #learn(transfer: Transfer, resolution: Resolution, place?: string): void {
    const { body, decided, tried } = transfer;
    this.check(
      (decided?.resolution ?? resolution) === resolution,
      `${body} is ${decided?.resolution} and ${resolution}`,
    );
    this.check(tried.has(resolution), `${body} is ${resolution}, which nobody said`);
    transfer.decided ??= { resolution, at: performance.now() };
    if (place !== undefined) this.#placed(transfer, place);
  }

  #placed(transfer: Transfer, place: string): void {
    this.check((transfer.place ?? place) === place, `${transfer.body} is at ${transfer.place} and at ${place}`);
    transfer.place = place;
  }

  // --- being asked -----------------------------------------------------------------------------------------------

  async #answerAll(child: GantryProcess): Promise<void> {
    for (;;) {
      const at = performance.now();
      const path = `${PRODUCERS}/transaction-checks?waitMs=200&max=${1 + this.#dice.below(20)}`;
      const answer = await child.call('GET', path).catch(() => undefined);
      if (answer?.status !== 200) {
        this.#lostPolls++;
        return this.check(answer === undefined, `the poll for checks was ${answer?.status}`);
      }
      type Check = { transactionId: string; checks: number; message: { body: string } };
      for (const { transactionId, checks, message } of answer.body.checks as Check[]) {
        const transfer = this.transfers.get(message.body)!;
        this.#named(transfer, transactionId);
        this.#askedAbout(transfer, checks, at);
        const said = this.#dice.of(['COMMIT', 'ROLLBACK', 'UNKNOWN', 'UNKNOWN'] as const);
        if (!(await this.decide(child, transfer, transfer.stuck ? 'UNKNOWN' : said))) return;
      }
    }
  }

  #askedAbout(transfer: Transfer, checks: number, at: number): void {
    const { body, decided, parkedAt, asked } = transfer;
    this.check(!decided || decided.at > at, `${body} is asked about, though it was decided`);
    this.check(parkedAt === undefined || parkedAt > at, `${body} is asked about, though it is parked`);
    this.check(!asked.has(checks), `${body} is asked about for the ${checks}. time, twice`);
    this.check(checks > 0 && checks <= MAX_CHECKS, `${body} is asked about for the ${checks}. time`);
    asked.add(checks);
    transfer.checks = Math.max(transfer.checks, checks);
    this.counts.asked++;
  }

  // --- looking ---------------------------------------------------------------------------------------------------

  /** Consumers that have everything the moment it is there. */
  async #watch(child: GantryProcess, queueId: number): Promise<void> {
    for (;;) {
      const path = `${TOPIC}/queues/broker-a/${queueId}/messages?offset=${this.#read[queueId]}&max=100&waitMs=100`;
      const page = await child.call('GET', path).catch(() => undefined);
      if (page?.status !== 200) return this.check(page === undefined, `reading was ${page?.status} ${page?.body.code}`);
      for (const message of page.body.messages as Visible[]) this.#seen(message);
      this.#read[queueId] = page.body.nextOffset as number;
    }
  }

  #seen(message: Visible): void {
    const transfer = this.transfers.get(message.body);
    if (!transfer) return this.check(false, `${message.body} was never prepared`);
    const { body, tried, decided } = transfer;
    this.check(tried.has('COMMIT'), `${body} is visible, and nobody committed it`);
    this.check(decided?.resolution !== 'ROLLBACK', `${body} is visible, though it was rolled back`);
    this.#placed(transfer, placeOf(message));
  }

  /** Looks at everything while nobody else is at work. */
  async judge(child: GantryProcess): Promise<void> {
    const visible = await readAll(child);
    for (const message of visible) this.#seen(message);
    const bodies = new Set(visible.map(({ body }) => body));
    this.check(bodies.size === visible.length, `${visible.length - bodies.size} are visible twice`);
    const open = new Map((await listOpen(child)).map((view) => [view.transactionId, view]));
    await this.#nameLost(child, open);
    for (const transfer of this.transfers.values()) {
      const { id, body } = transfer;
      const view = id === undefined ? undefined : open.get(id);
      if (view) this.#stillOpen(transfer, view, bodies.has(body));
      else if (id !== undefined) await this.#isDecided(child, transfer, bodies.has(body));
      else this.check(!bodies.has(body), `${body} is visible, and was not prepared`);
    }
  }

  /** Preparations whose answer was lost may be among those that are open. */
  async #nameLost(child: GantryProcess, open: ReadonlyMap<string, View>): Promise<void> {
    const known = new Set([...this.transfers.values()].map(({ id }) => id));
    for (const id of open.keys()) {
      if (known.has(id)) continue;
      const { message } = await child.ask('GET', `/v1/transactions/${id}`);
      this.#named(this.transfers.get(message.body as string)!, id);
    }
  }

  #stillOpen(transfer: Transfer, { state, checks }: View, visible: boolean): void {
    const { body, decided, parkedAt, asked } = transfer;
    this.check(!decided, `${body} was decided as ${decided?.resolution}, and is ${state}`);
    this.check(!visible, `${body} is visible, and ${state}`);
    this.check(parkedAt === undefined || state === 'PARKED', `${body} was parked, and is ${state}`);
    this.check(checks >= transfer.checks, `${body} was asked about ${transfer.checks} times, and now ${checks}`);
    const most = asked.size + this.#lostPolls;
    this.check(checks <= most, `${body} was asked about ${checks} times, but at most ${most} polls took it`);
    transfer.checks = checks;
    if (state === 'PARKED') transfer.parkedAt ??= performance.now();
    // Whatever was said before did not count: nothing of it is on its way any more.
    transfer.tried.clear();
  }

  async #isDecided(child: GantryProcess, transfer: Transfer, visible: boolean): Promise<void> {
    const { body, id, tried, decided } = transfer;
    if (!decided && tried.size === 0) return this.check(false, `${body} is lost`);
    if (!decided)
      this.#learn(transfer, resolutionOf((await child.ask('GET', `/v1/transactions/${id}`)).state as State));
    const { resolution } = transfer.decided!;
    this.check(visible === (resolution === 'COMMIT'), `${body} is ${resolution}, and visible: ${visible}`);
    // Answers that were lost are asked for again, both ways; and some of the others.
    if (decided && this.#dice.below(20) > 0) return;
    await this.decide(child, transfer, resolution);
    await this.decide(child, transfer, other(resolution));
  }

  /** What was left open is settled. */
  async finish(child: GantryProcess): Promise<void> {
    for (const transfer of this.#unanswered.values()) await this.#prepare(child, transfer);
    for (const transfer of this.transfers.values()) {
      if (transfer.id !== undefined && !transfer.decided) await this.decide(child, transfer, 'COMMIT');
    }
  }
}

test(
  `whatever is prepared, decided and asked about meanwhile, ${ROUNDS} kills long (CRASH_SEED=${SEED})`,
  async () => {
    const dice = new Dice(SEED + 1);
    const bank = new Bank();
    const data = await disk.prepare();
    let child = await children.start({ data });
    await setUp(child, MAX_CHECKS);
    for (let round = 0; round < ROUNDS; round++) {
      const work = bank.work(child);
      await new Promise((next) => setTimeout(next, 200 + dice.below(1000)));
      await disk.cut(child);
      await work;
      await disk.repair();
      child = await children.start({ data });
      await bank.judge(child);
      expect(bank.problems.slice(0, 10)).toEqual([]);
    }
    await bank.finish(child);
    await disk.cut(child);
    child = await children.start({ data });
    await bank.judge(child);
    expect(bank.problems.slice(0, 10)).toEqual([]);
    expect(await listOpen(child)).toEqual([]);
    await child.stop();
    // All this proves nothing unless there was something to lose, and something in doubt.
    const all = [...bank.transfers.values()];
    expect(all.filter(({ decided }) => decided?.resolution === 'COMMIT').length).toBeGreaterThan(20);
    expect(all.filter(({ decided }) => decided?.resolution === 'ROLLBACK').length).toBeGreaterThan(20);
    expect(all.filter(({ parkedAt }) => parkedAt !== undefined).length).toBeGreaterThan(0);
    expect(Math.min(...Object.values(bank.counts))).toBeGreaterThan(0);
  },
  120_000 + ROUNDS * 10_000,
);
