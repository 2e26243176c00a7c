import type { DataVersion, Registration, TopicRegistration } from '../../src/nameserver/route';

/** A version made in `epoch`, after `counter` changes. */
export function version(epoch = 1, counter = 0, timestamp = 1_000): DataVersion {
  return { stateVersion: epoch, timestamp, counter };
}

/** A topic with two queues on each of `brokers`. */
export function topic(
  name: string,
  brokers: readonly string[] = ['a'],
  but: Partial<TopicRegistration> = {},
): TopicRegistration {
  const partitions = brokers.flatMap((broker) => [0, 1].map((queueId) => ({ broker, queueId })));
  return {
    name,
    id: `${name}#1`,
    version: 1,
    type: 'NORMAL',
    readQueues: 2,
    writeQueues: 2,
    permission: 'RW',
    partitions,
    ...but,
  };
}

/** A full registration of a master in epoch 1 with the given topics. */
export function full(topics: readonly TopicRegistration[], but: Partial<Registration> = {}): Registration {
  const epoch = but.epoch ?? 1;
  const attributes = { address: 'a:8080', role: 'MASTER', messageIdTag: '127.0.0.1:8080', permission: 'RW' } as const;
  return { mode: 'FULL', ...attributes, epoch, dataVersion: version(epoch), topics, ...but };
}

/** The registration with no list of topics at all. */
export function withoutTopics(registration: Registration): Registration {
  const copy: { topics?: unknown } & Registration = { ...registration };
  delete copy.topics;
  return copy;
}

/** What the same member says when nothing changed since `registration`. */
export function heartbeat(registration: Registration): Registration {
  return { ...withoutTopics(registration), mode: 'HEARTBEAT' };
}

/** What the same member says of changes since `registration`. */
export function changes(registration: Registration, but: Partial<Registration>): Registration {
  const baseVersion = registration.dataVersion;
  const dataVersion = { ...baseVersion, counter: baseVersion.counter + 1 };
  return { ...withoutTopics(registration), mode: 'CHANGES', baseVersion, dataVersion, ...but };
}

/** The code of the GantryError that `call` throws, or 'none'. */
export function codeOf(call: () => unknown): string {
  try {
    call();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}
