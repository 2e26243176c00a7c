/**
 * The lease style against a model: many workers at once receive, acknowledge, send back, extend, lose answers, let leases
 * run out, while messages come, reads and writes hang and the broker restarts or loses its power. Time moves only when the
 * plan says so, so what a lease still guarantees is known exactly. A failure says its seed:
 *
 *   GANTRY_RANDOM_SEED=<seed> npx jest test/broker/leasesRandom     that plan alone
 *   GANTRY_RANDOM_MS=600000   npx jest test/broker/leasesRandom     other plans for ten minutes
 */
import { GantryError } from '../../src/base/errors';
import { decodeMessage } from '../../src/broker/message';
import type { ReceiveAnswer } from '../../src/broker/leases';
import type { Hold } from '../support/broker';
import { seededChance, setup, stopBrokers, turn, type Given, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

const RUN_MS = Number(process.env.GANTRY_RANDOM_MS ?? 5000);
const SEED = process.env.GANTRY_RANDOM_SEED;

/** The same messages by either kind: one looks at the index first, the other has to see each record. */
const FILTERS = [
  { type: 'TAG', expression: 'Aa' },
  { type: 'SQL92', expression: "TAGS = 'Aa'" },
] as const;

afterEach(stopBrokers);

/** What a worker was given, and how long it is his. */
interface Holder {
  readonly handle: string;
  readonly attempt: number;
  /** Milliseconds of its lease, the least that they may be: a restart gives so many again. */
  /** Wall clock: until then nobody else may get the message, and the handle counts. */
  until: number;
  /** He gave it back, or failed: it may come again before that. */
  released: boolean;
  /** Of his answer it was said that nobody got it: whatever he asks afterwards may be too late. */
  givenBack: boolean;
  /** How many calls had been made by then. */
  givenBackAt: number;
  /** An acknowledgement or a failure is under way. */
  busy: boolean;
  /** An acknowledgement is under way: it may be done, though nobody has been told. */
  acking: boolean;
}

interface Known {
  readonly body: string;
  readonly group: string | undefined;
  readonly wanted: boolean;
  readonly queueId: number;
  readonly offset: number;
  /** The last one who was given it. */
  holder: Holder | undefined;
  /** Holders before him. */
  readonly stale: string[];
  attempt: number;
  /** Deliveries that were not given back. */
  counted: number;
  /** LATE: acknowledged when its lease was over. MAYBE: nobody knows. */
  acked: 'NO' | 'MAYBE' | 'LATE' | 'YES';
  dead: 'NO' | 'MAYBE' | 'YES';
}

interface Attempt {
  readonly name: string;
  last: ReceiveAnswer;
  superseded: ReceiveAnswer[];
}

/** One call under way; `lost` says what is not known when the power goes. */
interface Call {
  readonly done: Promise<void>;
  readonly lost: () => void;
}

class Plan {
  readonly #chance: ReturnType<typeof seededChance>;
  readonly #seed: number;
  readonly #messages = new Map<string, Known>();
  readonly #calls = new Set<Call>();
  readonly #attempts: Attempt[] = [];
  readonly #log: string[] = [];
  #t!: TestBroker<ManualClock>;
  #ordered = false;
  #filtered = false;
  #maxAttempts = 0;
  #sent = 0;
  #names = 0;
  /** Sends of which nobody knows whether they are stored. */
  readonly #maybeSent = new Map<string, { group: string | undefined; wanted: boolean }>();
  /** Receives whose answer nobody got: each may have taken a message once, without anybody's knowledge. */
  #lostReceives = 0;
  #life = 0;
  #called = 0;
  #failure: Error | undefined;

  constructor(seed: number) {
    this.#seed = seed;
    this.#chance = seededChance(seed);
  }

  get story(): string {
    return this.#log.slice(SEED === undefined ? -80 : 0).join('\n');
  }

  #below(bound: number): number {
    return this.#chance.below(bound);
  }

  #one<T>(items: readonly T[]): T | undefined {
    return items[this.#below(items.length)];
  }

  #note(what: string): void {
    this.#log.push(`${this.#t.clock.monotonic()} ${what}`);
  }

  #check(condition: boolean, what: string): void {
    if (condition) return;
    this.#note(`FAILED: ${what}`);
    throw new Error(what);
  }

  get #now(): number {
    return this.#t.clock.now();
  }

  async run(): Promise<void> {
    this.#ordered = this.#below(2) === 0;
    const filter = FILTERS[this.#below(6)];
    this.#filtered = filter !== undefined;
    this.#maxAttempts = this.#below(4);
    const tailBytes = this.#below(2) === 0 ? 1 << 20 : 1000;
    const queues = 1 + this.#below(3);
    this.#t = await setup({ seed: this.#seed, options: { tailBytes } });
    await this.#t.topic('orders', { type: 'MIXED', readQueues: queues, writeQueues: queues });
    await this.#t.group('billing', {
      ordered: this.#ordered,
      maxAttempts: this.#maxAttempts,
      retryDelaysMs: [500, 2000],
      ...(filter ? { filter } : {}),
    });
    this.#note(
      `ordered ${this.#ordered} filter ${filter?.type} maxAttempts ${this.#maxAttempts} queues ${queues} tail ${tailBytes}`,
    );
    for (let step = 0; step < 200; step++) {
      await this.#step();
      if (this.#failure) throw this.#failure;
    }
    await this.#drain();
    if (this.#failure) throw this.#failure;
    await this.#judge();
    await this.#t.stop();
  }

  async #step(): Promise<void> {
    const kind = this.#below(100);
    if (kind < 14) this.#send();
    else if (kind < 40) this.#receive();
    else if (kind < 56) this.#acknowledge();
    else if (kind < 64) this.#nack();
    else if (kind < 71) this.#extend();
    else if (kind < 75) this.#lose();
    else if (kind < 85) await this.#t.clock.advance(1 + this.#below(this.#below(4) === 0 ? 6000 : 700));
    else if (kind < 91) this.#hang();
    else if (kind < 93) await this.#crash();
    else if (kind < 94) await this.#restart();
    else for (let turns = this.#below(6); turns >= 0; turns--) await turn();
  }

  /** Runs a call; what comes after the power went does not count. */
  #call(work: () => Promise<void>, lost: () => void): void {
    this.#called++;
    const life = this.#life;
    const done = work().then(
      () => void this.#calls.delete(call),
      (error: unknown) => {
        this.#calls.delete(call);
        if (life !== this.#life) return;
        // A broker that stops refuses; whoever is refused knows as little as after a crash, at most.
        if (error instanceof GantryError && error.code === 'SERVICE_NOT_AVAILABLE') return lost();
        this.#failure ??= error as Error;
      },
    );
    const call = { done, lost };
    this.#calls.add(call);
  }

  #send(): void {
    const given = Array.from({ length: 1 + this.#below(4) }, () => {
      const group = this.#below(4) === 0 ? undefined : `g${this.#below(3)}`;
      const wanted = !this.#filtered || this.#below(3) > 0;
      // "Aa" and "BB" have one hash.
      const tag = this.#filtered ? (wanted ? 'Aa' : this.#one(['BB', 'other'])!) : undefined;
      return { body: `m${this.#sent++}`, wanted, ...(group ? { messageGroup: group } : {}), ...(tag ? { tag } : {}) };
    });
    this.#note(
      `send ${given.map(({ body, messageGroup, tag }) => `${body}:${messageGroup ?? ''}:${tag ?? ''}`).join(' ')}`,
    );
    const life = this.#life;
    const unknown = () => {
      for (const { body, messageGroup, wanted } of given) this.#maybeSent.set(body, { group: messageGroup, wanted });
    };
    this.#call(async () => {
      // Whatever is handed out before the send is answered is one of these.
      unknown();
      const messages = given.map(({ wanted: _, ...message }): Given => message);
      const results = await this.#t.send('orders', ...messages);
      if (life !== this.#life) return;
      results.forEach(({ queueId, queueOffset }, i) => {
        const { body, messageGroup, wanted } = given[i]!;
        this.#maybeSent.delete(body);
        if (!this.#messages.has(body)) this.#learn(body, messageGroup, wanted, queueId, queueOffset);
      });
    }, unknown);
  }

  #learn(body: string, group: string | undefined, wanted: boolean, queueId: number, offset: number): Known {
    const known: Known = {
      ...{ body, group, wanted, queueId, offset, holder: undefined, stale: [] },
      ...{ attempt: 0, counted: 0, acked: 'NO', dead: 'NO' },
    };
    this.#messages.set(body, known);
    return known;
  }

  #receive(): void {
    const again = this.#below(3) === 0 ? this.#one(this.#attempts) : undefined;
    const attemptId = again?.name ?? (this.#below(3) === 0 ? `try-${this.#names++}` : undefined);
    const max = 1 + this.#below(6);
    const min = this.#below(4) === 0 ? 1 + this.#below(max) : 1;
    const waitMs = this.#below(2) === 0 ? 0 : this.#below(4000);
    const invisibleMs = 1000 + this.#below(7000);
    const maxBytes = this.#below(5) === 0 ? 1 + this.#below(600) : 1 << 20;
    this.#note(`receive max ${max} min ${min} wait ${waitMs} invisible ${invisibleMs} ${attemptId ?? ''}`);
    const life = this.#life;
    const asked = this.#called;
    this.#call(
      async () => {
        const answer = await this.#t.receive('billing', {
          ...{ max, min, waitMs, invisibleMs, maxBytes },
          ...(attemptId === undefined ? {} : { attemptId }),
        });
        if (life !== this.#life) return;
        this.#got(answer, { asked, repeats: attemptId !== undefined });
        this.#check(answer.messages.length <= max || again !== undefined || attemptId !== undefined, 'more than max');
        this.#check((answer.reason === undefined) === answer.messages.length > 0, 'a reason with messages, or neither');
        if (attemptId !== undefined) this.#tell(attemptId, answer);
        else if (this.#below(6) === 0) this.#giveBack(answer);
      },
      () => this.#lostReceives++,
    );
  }

  #tell(name: string, answer: ReceiveAnswer): void {
    const known = this.#attempts.find((attempt) => attempt.name === name);
    if (!known) this.#attempts.push({ name, last: answer, superseded: [] });
    else {
      known.superseded.push(known.last);
      known.last = answer;
    }
  }

  /** The answers of attempts are lost later, when they may have been told again. */
  #lose(): void {
    const attempt = this.#one(this.#attempts);
    if (!attempt) return;
    const old = this.#below(2) === 0 ? attempt.superseded.shift() : undefined;
    if (!old) return this.#giveBack(attempt.last);
    this.#note(`lose an answer to ${attempt.name} that was told again`);
    // Of messages that the later answer did not tell of, it is the last one: they come back.
    const told = new Set(attempt.last.messages.map(({ receiptHandle }) => receiptHandle));
    const same = old.messages.some(({ receiptHandle }) => told.has(receiptHandle));
    if (same) old.giveBack();
    else this.#giveBack(old);
  }

  #giveBack(answer: ReceiveAnswer): void {
    this.#note(`give back ${answer.messages.map(({ record }) => decodeMessage(record).body.toString()).join(' ')}`);
    for (const { record, receiptHandle } of answer.messages) {
      const { holder, ...known } = this.#messages.get(decodeMessage(record).body.toString())!;
      if (holder?.handle !== receiptHandle || holder.givenBack) continue;
      holder.released = holder.givenBack = true;
      holder.givenBackAt = this.#called;
      this.#messages.get(known.body)!.counted--; // at most: what was decided about it before counts
    }
    answer.giveBack();
  }

  #got(answer: ReceiveAnswer, { asked, repeats }: { asked: number; repeats: boolean }): void {
    const seen = new Set<string>();
    for (const { record, receiptHandle, attempt, invisibleUntil, queue, queueOffset } of answer.messages) {
      const { body: bytes, messageGroup } = decodeMessage(record);
      const body = bytes.toString();
      this.#note(`  got ${body} attempt ${attempt} until ${invisibleUntil - this.#now}`);
      this.#check(!seen.has(body), `${body} twice in one answer`);
      seen.add(body);
      const known = this.#messages.get(body) ?? this.#learnMaybe(body, messageGroup, queue.queueId, queueOffset);
      this.#check(known.wanted, `${body} is not wanted`);
      if (known.holder?.handle === receiptHandle) {
        this.#check(repeats, `${body} again under the same handle`);
        // Asked before it was given back: then it was told again already, and giving the first answer back did nothing.
        const untold = known.holder.givenBack && asked >= known.holder.givenBackAt;
        this.#check(!untold, `${body} is told again, though it was given back`);
        if (known.holder.givenBack) {
          known.holder.released = known.holder.givenBack = false;
          known.counted++;
        }
        this.#check(
          known.acked !== 'YES' && known.acked !== 'LATE',
          `${body} is told again, though it is acknowledged`,
        );
        continue;
      }
      this.#handedOut(known, {
        handle: receiptHandle,
        attempt,
        until: invisibleUntil,
        released: false,
        givenBack: false,
        givenBackAt: 0,
        busy: false,
        acking: false,
      });
    }
  }

  #learnMaybe(body: string, group: string | undefined, queueId: number, offset: number): Known {
    const { wanted } = this.#maybeSent.get(body) ?? { wanted: false };
    return this.#learn(body, group, wanted, queueId, offset);
  }

  #handedOut(known: Known, holder: Holder): void {
    const { body } = known;
    const before = known.holder;
    this.#check(known.acked === 'NO' || known.acked === 'MAYBE', `${body} is handed out, though it is acknowledged`);
    this.#check(known.dead !== 'YES', `${body} is handed out, though it is dead`);
    if (before && !before.released)
      this.#check(
        this.#now >= before.until,
        `${body} is handed out, though another one has it for ${before.until - this.#now} ms more`,
      );
    this.#check(holder.attempt <= 1 + this.#maxAttempts, `${body} is delivered for the ${holder.attempt}. time`);
    this.#check(
      holder.attempt >= 1 + known.counted,
      `${body} is attempt ${holder.attempt} after ${known.counted} deliveries`,
    );
    if (this.#ordered && known.group !== undefined) this.#checkOrder(known);
    if (before) known.stale.push(before.handle);
    known.holder = holder;
    known.attempt = holder.attempt;
    known.counted++;
    known.acked = known.dead = 'NO'; // it was not, then
  }

  #checkOrder(known: Known): void {
    for (const other of this.#messages.values()) {
      if (other.group !== known.group || other.queueId !== known.queueId || other.offset >= known.offset) continue;
      if (!other.wanted || other.acked !== 'NO' || other.dead !== 'NO' || this.#mayBeDead(other)) continue;
      if (other.holder?.acking) continue;
      this.#check(false, `${known.body} is handed out before ${other.body}, which is not done`);
    }
  }

  /** It may have been given up when its last lease ended, without anybody's being told. */
  #mayBeDead({ attempt, holder }: Known): boolean {
    const over = !holder || holder.released || this.#now >= holder.until;
    return over && attempt + this.#lostReceives >= 1 + this.#maxAttempts;
  }

  #held(): Known[] {
    return [...this.#messages.values()].filter(({ holder }) => holder && !holder.released && !holder.busy);
  }

  #acknowledge(): void {
    const chosen = new Map<Known, Holder>();
    for (let i = this.#below(4); i >= 0; i--) {
      const known = this.#one(this.#held());
      if (known) chosen.set(known, known.holder!);
    }
    const all = [...chosen];
    const stale = this.#one(
      [...this.#messages.values()].flatMap((known) => known.stale.map((handle) => ({ known, handle }))),
    );
    const useStale = stale !== undefined && this.#below(4) === 0;
    if (all.length === 0 && !useStale) return;
    this.#note(`ack ${all.map(([{ body }]) => body).join(' ')}${useStale ? ` and stale ${stale.known.body}` : ''}`);
    const asked = this.#now;
    const life = this.#life;
    for (const [, holder] of all) holder.busy = holder.acking = true;
    this.#call(
      async () => {
        const handles = [...all.map(([, { handle }]) => handle), ...(useStale ? [stale.handle] : [])];
        const results = await this.#t.rooms.leases.acknowledge('billing', handles);
        if (life !== this.#life) return;
        all.forEach(([known, holder], i) => {
          holder.busy = holder.acking = false;
          if (results[i]!.error) this.#late(known, holder, results[i]!.error);
          else {
            this.#check(known.holder === holder, `${known.body} is acknowledged by one who has it no more`);
            known.acked = asked <= holder.until ? 'YES' : 'LATE';
            holder.released = true;
          }
        });
      },
      () => {
        for (const [known, holder] of all) {
          holder.busy = holder.acking = false;
          if (known.acked === 'NO') known.acked = 'MAYBE';
        }
      },
    );
  }

  /** A handle is refused only when its time is over, or it may have been acknowledged by a call whose answer was lost. */
  #late(known: Known, holder: Holder, error: GantryError): void {
    this.#note(`  ${known.body} is ${error.code}`);
    this.#check(error.code === 'LATE_ACK', `${known.body}: ${error.message}`);
    this.#check(
      holder.givenBack || this.#now >= holder.until || known.acked === 'MAYBE',
      `${known.body} is refused ${holder.until - this.#now} ms before its time is over`,
    );
  }

  #nack(): void {
    const known = this.#one(this.#held());
    if (!known) return;
    const holder = known.holder!;
    const delayMs = this.#below(2) === 0 ? undefined : this.#below(3000);
    this.#note(`nack ${known.body} ${delayMs ?? ''}`);
    const life = this.#life;
    const last = holder.attempt > this.#maxAttempts;
    holder.busy = true;
    // From now on it may come again when its delay is over, or never.
    const until = this.#ordered && !last ? Math.min(holder.until, this.#now + (delayMs ?? 500)) : holder.until;
    holder.until = until;
    const wasReleased = !this.#ordered || last;
    this.#call(
      async () => {
        const [result] = await this.#t.rooms.leases.nack('billing', [{ receiptHandle: holder.handle, delayMs }]);
        if (life !== this.#life) return;
        holder.busy = false;
        if (result!.error) {
          return this.#late(known, holder, result!.error);
        }
        const outcome = last ? 'DEAD_LETTER' : this.#ordered ? 'WAITING' : 'RETRY';
        this.#check(
          result!.outcome === outcome,
          `${known.body} of attempt ${holder.attempt} is ${result!.outcome}, not ${outcome}`,
        );
        if (last) known.dead = 'YES';
        else
          this.#check(result!.attempt === holder.attempt + 1, `${known.body}: attempt ${result!.attempt} comes next`);
        if (wasReleased) holder.released = true;
        else {
          holder.until = result!.dueTimestamp!;
        }
      },
      () => {
        holder.busy = false;
        if (wasReleased) holder.released = true;
        if (last) known.dead = 'MAYBE';
      },
    );
    if (wasReleased && !last) holder.released = true; // its retry may be quicker than the answer
  }

  #extend(): void {
    const known = this.#one(this.#held());
    if (!known) return;
    const holder = known.holder!;
    const ms = 1000 + this.#below(6000);
    this.#note(`extend ${known.body} by ${ms}`);
    const before = holder.until;
    const life = this.#life;
    holder.busy = true;
    holder.until = Math.min(before, this.#now + ms);
    this.#call(
      async () => {
        const [result] = await this.#t.rooms.leases.extend('billing', [
          { receiptHandle: holder.handle, invisibleMs: ms, countAttempt: true },
        ]);
        if (life !== this.#life) return;
        holder.busy = false;
        if (result!.error) return this.#late(known, holder, result!.error);
        this.#check(known.holder === holder, `${known.body} is extended for one who has it no more`);
        this.#check(result!.invisibleUntil! >= this.#now, 'extended into the past');
        holder.until = Math.min(result!.invisibleUntil!, this.#now + ms);
      },
      () => {
        holder.busy = false;
      },
    );
  }

  /** A disk hangs for some turns of the event loop. */
  #hang(): void {
    const hold: Hold = this.#t.disk.hold(
      this.#below(2) === 0 ? 'journal' : 'tables',
      this.#below(2) === 0 ? 'read' : 'write',
    );
    const turns = this.#below(12);
    void (async () => {
      for (let i = 0; i < turns; i++) await turn();
      hold.release();
    })();
  }

  async #crash(): Promise<void> {
    this.#note('crash');
    this.#life++;
    const calls = [...this.#calls];
    this.#calls.clear();
    for (const { lost } of calls) lost();
    await this.#t.crash();
    this.#attempts.length = 0;
  }

  async #restart(): Promise<void> {
    this.#note('restart');
    const calls = [...this.#calls];
    this.#t.disk.release();
    await this.#t.broker.stop();
    await Promise.all(calls.map(({ done }) => done));
    await this.#t.stop();
    await this.#t.open();
    await this.#t.broker.start();
    this.#attempts.length = 0;
  }

  async #settled(): Promise<void> {
    while (this.#calls.size > 0) {
      const parked = [...this.#calls];
      await Promise.race([Promise.all(parked.map(({ done }) => done)), this.#t.clock.advance(5000)]);
      if (this.#failure) throw this.#failure;
    }
  }

  /** Everybody does his work, until nothing is left. */
  async #drain(): Promise<void> {
    this.#note('drain');
    this.#t.disk.release();
    await this.#settled();
    const group = () => this.#t.state.groupsByName.get('billing')!;
    for (let round = 0; round < 300; round++) {
      const answer = await this.#t.receive('billing', { max: 1 + this.#below(50), waitMs: 0, invisibleMs: 60_000 });
      this.#got(answer, { asked: this.#called, repeats: false });
      const all = answer.messages.map((message) => this.#messages.get(decodeMessage(message.record).body.toString())!);
      const results = await this.#t.rooms.leases.acknowledge(
        'billing',
        answer.messages.map(({ receiptHandle }) => receiptHandle),
      );
      results.forEach(({ error }, i) => {
        this.#check(error === undefined, `${all[i]!.body}: ${error?.message}`);
        all[i]!.acked = 'YES';
        all[i]!.holder!.released = true;
      });
      if (all.length > 0) continue;
      const out = [...group().leases.values()].reduce((sum, { entries }) => sum + entries.size, 0);
      if (out === 0 && group().counts.waiting === 0 && ['CAUGHT_UP', 'FILTERED'].includes(answer.reason!)) return;
      await this.#t.clock.advance(4000);
    }
    this.#check(false, 'there is no end of it');
  }

  async #judge(): Promise<void> {
    const { deadLetters } = await this.#t.rooms.deadLetters.list('billing', -1, 10_000);
    const dead = deadLetters.map(({ delivery }) => decodeMessage(delivery.record).body.toString());
    this.#check(new Set(dead).size === dead.length, `dead twice: ${dead.join(' ')}`);
    for (const known of this.#messages.values()) {
      const { body, acked, wanted, attempt } = known;
      const isDead = dead.includes(body);
      if (!wanted) this.#check(!isDead && acked === 'NO', `${body} was not wanted`);
      else if (known.dead === 'YES') this.#check(isDead, `${body} was given up, and is no dead letter`);
      else if (isDead) {
        this.#check(acked !== 'YES' && acked !== 'LATE', `${body} is acknowledged, and dead as well`);
        this.#check(attempt + this.#lostReceives >= 1 + this.#maxAttempts, `${body} is dead after attempt ${attempt}`);
      } else this.#check(acked !== 'NO', `${body} is lost`);
    }
    if (this.#filtered) return;
    for (const { queue, committed } of this.#t.rooms.positions.offsets('billing').queues)
      this.#check(committed === queue.max, `${committed} of ${queue.max} are committed`);
  }
}

async function live(seed: number): Promise<void> {
  const plan = new Plan(seed);
  try {
    await plan.run();
  } catch (error) {
    throw new Error(`GANTRY_RANDOM_SEED=${seed}: ${String(error)}\n${plan.story}`, { cause: error });
  }
}

test(
  'whatever workers do, and whatever happens to the broker: no message is with two, none is lost, none comes too often',
  async () => {
    const seed = SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(SEED);
    if (SEED !== undefined) return live(seed);
    const end = performance.now() + RUN_MS;
    let plans = 0;
    for (; performance.now() < end; plans++) await live(seed + plans);
    console.info(`${plans} plans, from GANTRY_RANDOM_SEED=${seed}`);
    expect(plans).toBeGreaterThan(0);
  },
  RUN_MS + 60_000,
);
