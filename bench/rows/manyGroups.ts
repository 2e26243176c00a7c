/**
 * One topic that 1,000 groups follow, each with one consumer whose poll waits on a connection of its own: a batch is
 * sent, and when every group has all of it the next one. Nothing is committed, each poll goes on from its cursor.
 */
import type { Broker } from '../broker';
import { runTimes } from '../closedLoop';
import { Consumer, type Page } from '../consumer';
import { Histogram } from '../histogram';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';
import { within } from '../within';

const TOPIC = 'bench';
const GROUPS = 1000;
const BATCH = 50;
const WARM_ROUNDS = 1;
const MAX_ROUNDS = 10;
/** No round begins after this. */
const MEASURED_MS = 2500;
/** Longest round: a group that is not woken would have its batch only when its wait is over. */
const ROUND_LIMIT_MS = 10_000;
const WAIT_MS = 30_000;
/** Groups that are made at once. */
const JOINING = 32;
/** From one round to the next, until all polls wait again. */
const SETTLE_MS = 50;

export const manyGroups: Row = { name: 'many-groups', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('many-groups');
  await broker.createTopic(TOPIC);
  const audience = await Audience.gather(broker);
  for (let round = 0; round < WARM_ROUNDS; round++) await audience.round();
  const latencies = new Histogram();
  let rounds = 0;
  let ms = 0;
  for (; rounds < MAX_ROUNDS && ms < MEASURED_MS; rounds++) ms += await audience.round(latencies);
  audience.leave();
  await session.discard(broker);
  return [
    {
      what: `${GROUPS.toLocaleString('en')} groups follow a topic, sends of ${BATCH}`,
      value: (rounds * BATCH * GROUPS * 1000) / ms,
      unit: 'msg/s',
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      note: 'delivered; send to answer',
      details: { rounds, roundMs: ms / rounds },
    },
  ];
}

/** All consumers, and how far they are. */
class Audience {
  readonly #port: number;
  readonly #consumers: readonly Consumer[];
  readonly #request = sendRequest(TOPIC, BATCH);
  #latencies: Histogram | undefined;
  /** Messages sent so far, when the last ones were, and how many groups have not got them all. */
  #sent = 0;
  #sentAt = 0;
  #behind = 0;
  #caughtUp: () => void = () => undefined;
  #failed: (error: Error) => void = () => undefined;

  private constructor(port: number) {
    this.#port = port;
    this.#consumers = Array.from(
      { length: GROUPS },
      (_, i) => new Consumer({ port, topic: TOPIC, group: `group-${i}`, id: 'reader', max: 256, waitMs: WAIT_MS }),
    );
  }

  /** Resolves when all have joined and poll. */
  static async gather(broker: Broker): Promise<Audience> {
    const audience = new Audience(broker.port);
    const left = [...audience.#consumers];
    const joinSome = async () => {
      for (let consumer = left.pop(); consumer; consumer = left.pop()) await consumer.join();
    };
    await Promise.all(Array.from({ length: JOINING }, joinSome));
    for (const consumer of audience.#consumers)
      audience.#listen(consumer).catch((error: Error) => audience.#failed(error));
    return audience;
  }

  /** Sends one batch; answers the milliseconds until the last group has it. */
  async round(latencies?: Histogram): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    this.#latencies = latencies;
    const caughtUp = new Promise<void>((resolve, reject) => {
      this.#caughtUp = resolve;
      this.#failed = reject;
    });
    this.#behind = GROUPS;
    this.#sent += BATCH;
    this.#sentAt = performance.now();
    const sending = runTimes({ port: this.#port, connections: 1, request: () => this.#request }, 1);
    await within(ROUND_LIMIT_MS, `a batch for ${GROUPS} groups`, Promise.all([sending, caughtUp]));
    return performance.now() - this.#sentAt;
  }

  async #listen(consumer: Consumer): Promise<never> {
    for (let has = 0; ;) {
      const page: Page = await consumer.poll();
      has += page.messages;
      if (has > this.#sent) throw new Error(`a group was given ${has} messages of ${this.#sent}`);
      if (page.messages > 0 && has === this.#sent) this.#gotAll();
    }
  }

  #gotAll(): void {
    this.#latencies?.record(performance.now() - this.#sentAt);
    if (--this.#behind === 0) this.#caughtUp();
  }

  leave(): void {
    for (const consumer of this.#consumers) consumer.close();
  }
}
