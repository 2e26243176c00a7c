/** Single sends of 1 KiB against a plain node:http server that parses the same JSON and stores nothing. */
import { alternate } from '../alternation';
import { PlainServer } from '../baselines';
import { CpuCount } from '../cpuCount';
import type { Broker } from '../broker';
import { Histogram } from '../histogram';
import { messageText, sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';

export const singleSends32: Row = { name: 'sends-32', run: (session) => compare(session, 32) };
export const singleSends256: Row = { name: 'sends-256', run: (session) => compare(session, 256) };

async function compare(session: Session, connections: number): Promise<Line[]> {
  const broker = await session.startBroker('sends');
  await broker.createTopic(TOPIC);
  const plain = await PlainServer.start(await oneAnswer(broker));
  const request = sendRequest(TOPIC);
  const ours = { port: broker.port, connections, request: () => request };
  const theirs = { ...ours, port: plain.port };
  const latencies = new Histogram();
  await session.warm(theirs);
  await session.warm(ours);
  const [theirCpu, ourCpu] = [new CpuCount(plain.child), new CpuCount(broker.child)];
  const { a, b, ratio } = await alternate(
    session.rounds,
    () => theirCpu.during(theirs, (load) => session.measure(load)),
    () => ourCpu.during(ours, (load) => session.measure(load, latencies)),
  );
  await plain.stop();
  await session.discard(broker);
  return [
    {
      what: `single sends, ${connections} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'plain node:http', value: a },
      ratio,
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      target: { of: 'ratio', atLeast: 0.55 },
      details: {
        cpuMicrosPerSend: ourCpu.serverMicros,
        cpuMicrosPerSendOfBaseline: theirCpu.serverMicros,
        cpuMicrosPerSendOfGenerator: ourCpu.generatorMicros,
      },
    },
  ];
}

const oneAnswer = (broker: Broker): Promise<string> =>
  broker.tell('POST', `/v1/topics/${TOPIC}/messages`, { messages: [{ body: messageText() }] });
