/**
 * The lease style: 16 workers receive a backlog of 1 KiB messages in 8 queues out of the memory tail, 32 at a time, and
 * acknowledge each batch before they receive the next one.
 */
import type { Broker } from '../broker';
import { Histogram } from '../histogram';
import { LeaseWorker } from '../leaseWorker';
import { MESSAGE_BYTES } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const WORKERS = 16;
const MAX = 32;
const BACKLOG = 80_000;
const WARM_BACKLOG = 20_000;
/** Room for the whole backlog in memory. */
const TAIL_OPTIONS = ['--tail-bytes', '512MiB'];
/** Longest run, so that a slow broker does not use up the bench's three minutes. */
const LIMIT_MS = 4000;

export const leases: Row = { name: 'leases', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('leases', TAIL_OPTIONS);
  await work(session, broker, 'warm', WARM_BACKLOG);
  const latencies = new Histogram();
  const { messages, perSecond } = await work(session, broker, 'bench', BACKLOG, latencies);
  await session.discard(broker);
  return [
    {
      what: `received and acknowledged, ${MAX} each, ${WORKERS} workers`,
      value: perSecond,
      unit: 'msg/s',
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      target: { of: 'value', atLeast: 30_000 },
      note: 'receive to acknowledged',
      details: { messages },
    },
  ];
}

/** Fills a topic and works it off; the group is named like the topic. */
async function work(session: Session, broker: Broker, topic: string, backlog: number, latencies?: Histogram) {
  await broker.createTopic(topic);
  await session.writeBacklog(broker, topic, backlog);
  await broker.tell('PUT', `/v1/groups/${topic}`, { topic });
  const began = performance.now();
  let messages = 0;
  const onDone = (count: number, ms: number) => {
    messages += count;
    if (count > 0) latencies?.record(ms);
    return messages < backlog && performance.now() - began < LIMIT_MS;
  };
  const options = { port: broker.port, group: topic, max: MAX, bodyBytes: MESSAGE_BYTES, onDone };
  const workers = Array.from({ length: WORKERS }, () => new LeaseWorker(options));
  await Promise.all(workers.map((worker) => worker.run()));
  const ms = performance.now() - began;
  for (const worker of workers) worker.close();
  return { messages, perSecond: (messages / ms) * 1000 };
}
