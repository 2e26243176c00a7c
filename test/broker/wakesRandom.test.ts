/**
 * Receives that wait, against the one thing they must never do: wait while there is something for them. Messages come,
 * come back and are done, clients go away and times run out, several of it at the same moment and while writes hang;
 * when all has settled nobody who waits could be served. A failure says its seed:
 *
 *   GANTRY_RANDOM_SEED=<seed> npx jest test/broker/wakesRandom     that plan alone
 *   GANTRY_RANDOM_MS=600000   npx jest test/broker/wakesRandom     other plans for ten minutes
 */
import type { ReceiveAnswer } from '../../src/broker/leases';
import { seededChance, setup, stopBrokers, to, turn, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

const RUN_MS = Number(process.env.GANTRY_RANDOM_MS ?? 3000);
const SEED = process.env.GANTRY_RANDOM_SEED;
const QUEUES = 3;
const ROUNDS = 40;

afterEach(stopBrokers);

interface Waiting {
  readonly min: number;
  readonly client: AbortController;
}

class Plan {
  readonly #chance: ReturnType<typeof seededChance>;
  readonly #waiting = new Set<Waiting>();
  readonly #answers: ReceiveAnswer[] = [];
  #failure: Error | undefined;
  readonly #log: string[] = [];
  #t!: TestBroker<ManualClock>;
  #ordered = false;
  #sent = 0;

  constructor(seed: number) {
    this.#chance = seededChance(seed);
  }

  get story(): string {
    return this.#log.join('\n');
  }

  #below(bound: number): number {
    return this.#chance.below(bound);
  }

  async run(): Promise<void> {
    this.#ordered = this.#below(3) === 0;
    const t = (this.#t = await setup());
    await t.topic('orders', { readQueues: QUEUES, writeQueues: QUEUES, type: this.#ordered ? 'FIFO' : 'NORMAL' });
    await t.group('billing', { ordered: this.#ordered, maxAttempts: 3, retryDelaysMs: [500] });
    for (let round = 0; round < ROUNDS; round++) {
      const hold = this.#below(3) === 0 ? t.disk.hold('journal', 'write') : undefined;
      for (let steps = 1 + this.#below(6); steps > 0; steps--) {
        this.#step();
        if (this.#below(2) === 0) await turn();
      }
      hold?.release();
      await this.#settle();
      if (this.#below(3) === 0) await t.clock.advance(this.#below(3000));
      await this.#settle();
      await this.#judge(round);
    }
    for (const { client } of this.#waiting) client.abort();
    await this.#settle();
    await t.stop();
  }

  #step(): void {
    const t = this.#t;
    const what = this.#below(10);
    if (what < 3) this.#send(1 + this.#below(3));
    else if (what < 7) this.#receive();
    else if (what === 7) this.#leave();
    else {
      const [answer] = this.#answers.splice(this.#below(this.#answers.length), 1);
      if (!answer) return;
      const handles = answer.messages.map(({ receiptHandle }) => receiptHandle);
      const end = this.#below(4);
      this.#log.push(`${['give back', 'acknowledge', 'nack', 'keep'][end]} ${handles.length}`);
      if (end === 0) answer.giveBack();
      if (end === 1) this.#do(t.rooms.leases.acknowledge('billing', handles));
      if (end === 2)
        this.#do(
          t.rooms.leases.nack(
            'billing',
            handles.map((receiptHandle) => ({ receiptHandle, delayMs: this.#below(1000) })),
          ),
        );
    }
  }

  #do(work: Promise<unknown>): void {
    work.catch((error: Error) => (this.#failure ??= error));
  }

  #send(count: number): void {
    this.#log.push(`send ${count}`);
    for (let i = 0; i < count; i++) {
      const messageGroup = `g${this.#below(4)}`;
      const body = `m${this.#sent++}`;
      const given = this.#ordered ? { body, messageGroup } : to(this.#below(QUEUES), body);
      this.#do(this.#t.send('orders', given));
    }
  }

  #receive(): void {
    const client = new AbortController();
    const min = this.#below(3) > 0 ? 1 : 1 + this.#below(3);
    const options = {
      min,
      max: min + this.#below(2),
      waitMs: this.#below(8000),
      invisibleMs: 1000 + this.#below(3000),
    };
    const waiting: Waiting = { min, client };
    this.#log.push(`receive ${JSON.stringify(options)}`);
    this.#waiting.add(waiting);
    const answer = this.#t.receive('billing', { ...options, signal: () => client.signal });
    this.#do(
      answer.then((one) => {
        this.#waiting.delete(waiting);
        if (client.signal.aborted) one.giveBack();
        else if (one.messages.length > 0) this.#answers.push(one);
      }),
    );
  }

  #leave(): void {
    const [waiting] = [...this.#waiting].slice(this.#below(this.#waiting.size));
    if (!waiting) return;
    this.#log.push('leave');
    waiting.client.abort();
  }

  /** Everything is done that can be done without time. */
  async #settle(): Promise<void> {
    for (let i = 0; i < 4; i++) await this.#t.settled();
  }

  /** Whoever waits could not be served: there are too few messages for him. */
  async #judge(round: number): Promise<void> {
    const t = this.#t;
    if (this.#failure) throw this.#failure;
    const waiting = [...this.#waiting];
    const least = Math.min(...waiting.map(({ min }) => min));
    if (waiting.length === 0) return;
    const story = () => `round ${round}, ${waiting.length} wait\n${this.story}`;
    if (t.broker.lot.parked !== waiting.length) throw new Error(`${t.broker.lot.parked} are parked: ${story()}`);
    const answer = await t.receive('billing', { max: least });
    if (answer.messages.length >= least) throw new Error(`${answer.messages.length} were there: ${story()}`);
    answer.giveBack();
    await this.#settle();
  }
}

async function live(seed: number): Promise<void> {
  const plan = new Plan(seed);
  try {
    await plan.run();
  } catch (error) {
    throw new Error(`GANTRY_RANDOM_SEED=${seed}: ${String(error)}`, { cause: error });
  }
}

test(
  'nobody waits while there is something for him',
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
