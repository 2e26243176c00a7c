/** What the way through a gateway costs: the same sends through it and directly to the only broker, in turn. */
import { alternate } from '../alternation';
import { Cluster } from '../cluster';
import { CpuCount } from '../cpuCount';
import { Histogram } from '../histogram';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const CONNECTIONS = 32;
const BATCH = 50;

export const hop: Row = { name: 'hop', run };

async function run(session: Session): Promise<Line[]> {
  const cluster = await Cluster.start(session.workspace, 1);
  await cluster.createTopic(TOPIC, 1);
  const lines = [await compare(session, cluster, 1), await compare(session, cluster, BATCH)];
  await cluster.discard();
  return lines;
}

async function compare(session: Session, { gateway, brokers }: Cluster, count: number): Promise<Line> {
  const request = sendRequest(TOPIC, count);
  const direct = { port: brokers[0]!.port, connections: CONNECTIONS, request: () => request };
  const through = { ...direct, port: gateway.port };
  const latencies = new Histogram();
  await session.warm(direct);
  await session.warm(through);
  const cpu = new CpuCount(gateway.child);
  const { a, b, ratio } = await alternate(
    session.rounds,
    async () => count * (await session.measure(direct)),
    async () => count * (await cpu.during(through, (load) => session.measure(load, latencies))),
  );
  return {
    what: `${count === 1 ? 'single sends' : `sends of ${count}`} through a gateway, ${CONNECTIONS} connections`,
    value: b,
    unit: 'msg/s',
    baseline: { name: 'direct', value: a },
    ratio,
    p50: latencies.percentile(0.5),
    p99: latencies.percentile(0.99),
    note: `${cpu.serverMicros.toFixed(0)} µs of the gateway for each request`,
  };
}
