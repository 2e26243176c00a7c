/** What a second broker brings, as far as the machine's cores tell: a topic on two brokers and one on one, in turn. */
import { alternate } from '../alternation';
import { Cluster } from '../cluster';
import { Histogram } from '../histogram';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const BATCH = 50;
const CONNECTIONS = 32;

export const twoBrokers: Row = { name: 'two-brokers', run };

async function run(session: Session): Promise<Line[]> {
  const cluster = await Cluster.start(session.workspace, 2);
  const load = async (topic: string, brokers: number) => {
    await cluster.createTopic(topic, brokers);
    const request = sendRequest(topic, BATCH);
    return { port: cluster.gateway.port, connections: CONNECTIONS, request: () => request };
  };
  const [one, both] = [await load('one', 1), await load('both', 2)];
  const latencies = new Histogram();
  await session.warm(one);
  await session.warm(both);
  const { a, b, ratio } = await alternate(
    session.rounds,
    async () => BATCH * (await session.measure(one)),
    async () => BATCH * (await session.measure(both, latencies)),
  );
  await cluster.discard();
  return [
    {
      what: `sends of ${BATCH} through a gateway to two brokers, ${CONNECTIONS} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'to one', value: a },
      ratio,
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      note: 'all processes share the cores',
    },
  ];
}
