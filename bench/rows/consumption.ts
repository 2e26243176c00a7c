/**
 * One consumer reads a backlog of 1 KiB messages in 8 queues as fast as it can: out of the memory tail of the broker
 * that took them in, or from the disk after a restart, with the page cache dropped.
 */
import { Broker } from '../broker';
import { Consumer, drain } from '../consumer';
import { dropPageCache } from '../machine';
import type { Line, Row, Target } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const BACKLOG = 200_000;
/** Room for the whole backlog in memory. */
const TAIL_OPTIONS = ['--tail-bytes', '512MiB'];
/** Longest reading of one line, so that a slow broker does not use up the bench's three minutes. */
const LIMIT_MS = 5000;
const WARM_BACKLOG = 20_000;

export const tail: Row = { name: 'tail', run: readTail };
export const disk: Row = { name: 'disk', run: readDisk };

async function readTail(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('tail', TAIL_OPTIONS);
  await broker.createTopic(TOPIC);
  await session.writeBacklog(broker, TOPIC, BACKLOG);
  await consume(broker, TOPIC, 256);
  const lines = [
    line('from the memory tail', 256, await consume(broker, TOPIC, 256), { of: 'value', atLeast: 100_000 }),
    line('from the memory tail', 32, await consume(broker, TOPIC, 32)),
  ];
  await session.discard(broker);
  return lines;
}

async function readDisk(session: Session): Promise<Line[]> {
  let broker = await session.startBroker('disk');
  await broker.createTopic(TOPIC);
  await broker.createTopic('warm');
  await session.writeBacklog(broker, TOPIC, BACKLOG);
  const read = async (max: number, target?: Target) => {
    const { broker: restarted, cold } = await restartCold(session, broker);
    broker = restarted;
    return line('from disk', max, await consume(broker, TOPIC, max), target, cold ? 'cold' : 'page cache warm');
  };
  const lines = [await read(256, { of: 'value', atLeast: 40_000 }), await read(32)];
  await session.discard(broker);
  return lines;
}

/**
 * The same folder in a new process: nothing is in its memory. What the new process runs is warmed up with a few
 * messages of another topic, which do come from memory.
 */
export async function restartCold(session: Session, broker: Broker): Promise<{ broker: Broker; cold: boolean }> {
  await broker.stop();
  const { broker: restarted } = await Broker.start(broker.folder);
  await session.writeBacklog(restarted, 'warm', WARM_BACKLOG);
  for (const max of [256, 32]) await consume(restarted, 'warm', max);
  return { broker: restarted, cold: dropPageCache() };
}

let groups = 0;

/** A group of its own reads the topic from its beginning; answers messages per second. */
async function consume(broker: Broker, topic: string, max: number): Promise<number> {
  const consumer = new Consumer({ port: broker.port, topic, group: `readers-${++groups}`, id: 'reader', max });
  await consumer.join();
  const { perSecond } = await drain(consumer, LIMIT_MS);
  consumer.close();
  return perSecond;
}

function line(where: string, max: number, value: number, target?: Target, note?: string): Line {
  return {
    what: `backlog ${where}, max ${max}`,
    value,
    unit: 'msg/s',
    ...(target && { target }),
    ...(note !== undefined && { note }),
  };
}
