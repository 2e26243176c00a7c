/** Single sends while 4 consumers of a group read a backlog that has to come from the disk, against sends alone. */
import { alternate } from '../alternation';
import type { Broker } from '../broker';
import { Consumer } from '../consumer';
import { dropPageCache } from '../machine';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';
import { restartCold } from './consumption';

const TOPIC = 'bench';
const BACKLOG = 250_000;
const CONNECTIONS = 256;
const READERS = 4;
const ROUNDS = 2;

export const coldReaders: Row = { name: 'cold-readers', run };

async function run(session: Session): Promise<Line[]> {
  const written = await session.startBroker('cold-readers');
  for (const topic of [TOPIC, 'sends', 'warm']) await written.createTopic(topic);
  await session.writeBacklog(written, TOPIC, BACKLOG);
  const { broker, cold } = await restartCold(session, written);
  const request = sendRequest('sends');
  const load = { port: broker.port, connections: CONNECTIONS, request: () => request };
  await session.warm(load);
  const read: number[] = [];
  const { a, b, ratio } = await alternate(
    ROUNDS,
    () => session.measure(load),
    async () => {
      dropPageCache();
      const readers = await Readers.start(broker, `group-${read.length}`);
      const pace = await session.measure(load);
      read.push(await readers.stop());
      return pace;
    },
  );
  await session.discard(broker);
  const readPerSecond = read.reduce((sum, figure) => sum + figure, 0) / read.length;
  return [
    {
      what: `single sends beside ${READERS} readers, ${CONNECTIONS} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'without readers', value: a },
      ratio,
      note: `${Math.round(readPerSecond).toLocaleString('en')} msg/s read, ${cold ? 'cold' : 'page cache warm'}`,
    },
  ];
}

/** The consumers of one group, each polling as fast as it is answered. */
class Readers {
  readonly #consumers: readonly Consumer[];
  readonly #began = performance.now();
  readonly #running: Promise<void>;
  #messages = 0;
  #endedAt = Infinity;
  #stopping = false;

  private constructor(consumers: readonly Consumer[]) {
    this.#consumers = consumers;
    this.#running = Promise.all(consumers.map((consumer) => this.#read(consumer))).then(() => undefined);
    this.#running.catch(() => undefined);
  }

  static async start(broker: Broker, group: string): Promise<Readers> {
    const consumers = Array.from(
      { length: READERS },
      (_, i) => new Consumer({ port: broker.port, topic: TOPIC, group, id: `reader-${i}`, max: 256 }),
    );
    for (const consumer of consumers) await consumer.join();
    return new Readers(consumers);
  }

  async #read(consumer: Consumer): Promise<void> {
    while (!this.#stopping) {
      const page = await consumer.poll();
      this.#messages += page.messages;
      if (page.lag > 0) continue;
      this.#endedAt = performance.now();
      return;
    }
  }

  /** Messages per second they read. Throws when one of them ran out: the figure would be one without readers. */
  async stop(): Promise<number> {
    const ranOut = this.#endedAt !== Infinity;
    this.#stopping = true;
    await this.#running;
    for (const consumer of this.#consumers) consumer.close();
    if (ranOut) throw new Error('the readers reached the end of the backlog before the sends were measured');
    return (this.#messages / (performance.now() - this.#began)) * 1000;
  }
}
