/** Sends of 50 messages of 1 KiB against the bare storage engine in synced batches of 256. */
import { alternate } from '../alternation';
import { RocksdbWriter } from '../baselines';
import { Histogram } from '../histogram';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const BATCH = 50;
const CONNECTIONS = 32;

export const batches: Row = { name: 'batches', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('batches');
  await broker.createTopic(TOPIC);
  const rocksdb = await RocksdbWriter.start(session.workspace);
  const request = sendRequest(TOPIC, BATCH);
  const load = { port: broker.port, connections: CONNECTIONS, request: () => request };
  const latencies = new Histogram();
  await rocksdb.pace(1000);
  await session.warm(load);
  const { a, b, ratio } = await alternate(
    session.rounds,
    () => rocksdb.pace(session.runMs),
    async () => BATCH * (await session.measure(load, latencies)),
  );
  await rocksdb.stop();
  await session.discard(broker);
  return [
    {
      what: `sends of ${BATCH}, ${CONNECTIONS} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'rocksdb, synced 256s', value: a },
      ratio,
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      target: { of: 'ratio', atLeast: 0.5 },
    },
  ];
}
