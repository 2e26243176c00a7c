/** Fills the state from the tables store, then replays the journal from there: at the end it is as if nothing had stopped. */
import { readNumber, tableKeys } from '../../storage/keys';
import type { Journal } from '../../storage/journal';
import { recordEpoch, recordTime, recordKind } from '../../storage/record';
import type { Tables } from '../../storage/tables';
import { apply } from './apply';
import type { BrokerPermission } from './brokerPermission';
import { decodeCommand, type Identity } from './command';
import type { Group } from './group';
import type { Half } from './halves';
import { LeaseQueue } from './leaseQueue';
import { readLease } from './leaseRow';
import { readNumbers } from './numbersRow';
import { messageTopic } from './message';
import type { Note } from './notes';
import type { ProducerGroup } from './producerGroup';
import { Queue } from './queue';
import { Segment } from './segment';
import {
  parseJson,
  queueNumber,
  type Attempt,
  type BrokerState,
  type Family,
  type GroupState,
  type Listener,
  type Marks,
  type Owner,
  type StoredRemovals,
} from './state';
import type { DeclaredTag } from './tags';
import { queuesOf } from './partitions';
import type { Tombstone } from './tombstone';
import type { Topic } from './topic';

/** Lookups of queue ends under way at once while loading: nothing else reads then. */
const LOADS_AT_ONCE = 16;
/** Records replayed per read. */
const REPLAY_RECORDS = 4096;
const REPLAY_BYTES = 8 * 1024 * 1024;

const utf8From = (key: Buffer, start: number): string => key.toString('utf8', start);

export async function loadTables(state: BrokerState, tables: Tables, brokerName: string): Promise<void> {
  state.applied = tables.applied;
  const marks = await tables.get(tableKeys.fact('marks'));
  if (marks) Object.assign(state.marks, parseJson<Marks>(marks));
  const identity = await tables.get(tableKeys.fact('identity'));
  if (identity) state.identity = parseJson<Identity>(identity);
  const permission = await tables.get(tableKeys.fact('permission'));
  if (permission) state.permission = parseJson<BrokerPermission>(permission);
  const removals = await tables.get(tableKeys.fact('removals'));
  if (removals) restoreRemovals(state, parseJson<StoredRemovals>(removals));
  const minima = await loadMinima(state, tables);
  await loadTopics(state, tables, brokerName, minima);
  await loadGroups(state, tables);
}

function restoreRemovals(state: BrokerState, { brokers, leftBy }: StoredRemovals): void {
  for (const removal of brokers) state.removedBrokers.set(removal.name, removal);
  state.leftBy = leftBy;
}

async function rowsOf(state: BrokerState, tables: Tables, family: Family) {
  const rows = await tables.loadFamily(family);
  state.counts[family] = rows.length;
  return rows;
}

async function loadMinima(state: BrokerState, tables: Tables): Promise<Map<number, number>> {
  const minima = new Map<number, number>();
  for (const { key, value } of await rowsOf(state, tables, 'Q')) {
    const topic = key.readUIntBE(1, 6);
    const queueId = key.readUInt16BE(7);
    minima.set(queueNumber(topic, queueId), readNumber(value, 0));
    state.restoreQueueMin(topic, queueId);
  }
  return minima;
}

async function loadTopics(
  state: BrokerState,
  tables: Tables,
  brokerName: string,
  minima: Map<number, number>,
): Promise<void> {
  const ends: Queue[] = [];
  for (const { value } of await rowsOf(state, tables, 't')) {
    const record = parseJson<Topic>(value);
    const topic = state.newTopicState(record);
    const count = queuesOf(record.partitions, brokerName);
    for (let queueId = 0; queueId < count; queueId++) {
      const min = minima.get(queueNumber(record.no, queueId)) ?? 0;
      const queue = new Queue(record.no, queueId, min, min);
      topic.queues.push(queue);
      ends.push(queue);
    }
    state.queueCount += count;
    state.topics.set(record.no, topic);
    state.topicsByName.set(record.name, topic);
  }
  await findEnds(ends, tables);
  for (const { key, value } of await rowsOf(state, tables, 'D')) {
    const tag = parseJson<DeclaredTag>(value);
    state.topics.get(key.readUIntBE(1, 6))?.declared.set(tag.tag, tag);
  }
  for (const { key, value } of await rowsOf(state, tables, 'S')) {
    const tag = { tag: utf8From(key, 7), count: readNumber(value, 0), lastTime: readNumber(value, 8) };
    state.topics.get(key.readUIntBE(1, 6))?.seen.restore(tag);
  }
  for (const { key, value } of await rowsOf(state, tables, 'w')) {
    const topic = state.topics.get(key.readUIntBE(1, 6));
    if (topic) topic.scheduled = readNumber(value, 0);
  }
  await loadTombstones(state, tables);
  for (const { value } of await rowsOf(state, tables, 'e')) {
    const note = parseJson<Note>(value);
    state.notes.set(note.name, note);
  }
}

async function loadTombstones(state: BrokerState, tables: Tables): Promise<void> {
  for (const [kind, letter] of [
    ['TOPIC', 'x'],
    ['GROUP', 'G'],
    ['PRODUCER_GROUP', 'u'],
  ] as const) {
    for (const { value } of await rowsOf(state, tables, letter)) {
      const tombstone = parseJson<Tombstone>(value);
      state.tombstones[kind].set(tombstone.name, tombstone);
    }
  }
}

/** A queue ends behind the last entry of its last stored segment. */
async function findEnds(queues: Queue[], tables: Tables): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < queues.length) {
      const queue = queues[next++]!;
      const [row] = await tables.scan({
        gte: tableKeys.segmentsOf(queue.topic, queue.queueId),
        lte: tableKeys.segment(queue.topic, queue.queueId, Number.MAX_SAFE_INTEGER),
        limit: 1,
        reverse: true,
      });
      if (row === undefined) continue;
      const segment = Segment.read(readNumber(row.key, 9), row.value);
      queue.max = segment.end;
      queue.lastStoreTime = segment.storeTime(segment.end - 1);
    }
  };
  await Promise.all(Array.from({ length: LOADS_AT_ONCE }, worker));
}

async function loadGroups(state: BrokerState, tables: Tables): Promise<void> {
  for (const { value } of await rowsOf(state, tables, 'g')) {
    const record = parseJson<Group>(value);
    const group = state.newGroupState(record);
    state.groups.set(record.no, group);
    state.groupsByName.set(record.name, group);
  }
  for (const { key, value } of await rowsOf(state, tables, 'o')) {
    const group = groupOf(state, key);
    const [offset, reset] = readNumbers(value);
    group?.offsets.set(queueNumberOf(key), offset);
    if (reset !== undefined) group?.resets.set(queueNumberOf(key), reset);
  }
  await loadOwners(state, tables);
  await loadHalves(state, tables);
  await loadLeases(state, tables);
  await loadListeners(state, tables);
}

const groupOf = (state: BrokerState, key: Buffer): GroupState | undefined => state.groups.get(key.readUIntBE(1, 6));
const queueNumberOf = (key: Buffer): number => queueNumber(key.readUIntBE(7, 6), key.readUInt16BE(13));

async function loadOwners(state: BrokerState, tables: Tables): Promise<void> {
  for (const { key, value } of await rowsOf(state, tables, 'O'))
    groupOf(state, key)?.owners.set(queueNumberOf(key), parseJson<Owner>(value));
  for (const { key, value } of await rowsOf(state, tables, 'c')) {
    const group = groupOf(state, key);
    if (group) group.counts = parseJson<GroupState['counts']>(value);
  }
}

async function loadHalves(state: BrokerState, tables: Tables): Promise<void> {
  const { open, producerGroups } = state.halves;
  for (const { key, value } of await rowsOf(state, tables, 'h')) open.set(readNumber(key, 1), parseJson<Half>(value));
  for (const { value } of await rowsOf(state, tables, 'p')) {
    const group = parseJson<ProducerGroup>(value);
    producerGroups.set(group.name, group);
  }
}

async function loadLeases(state: BrokerState, tables: Tables): Promise<void> {
  for (const { key, value } of await rowsOf(state, tables, 'N')) {
    const [next, said] = readNumbers(value);
    const queue = new LeaseQueue(key.readUIntBE(7, 6), key.readUInt16BE(13), next);
    queue.said = said;
    groupOf(state, key)?.leases.set(queueNumberOf(key), queue);
  }
  for (const { key, value } of await rowsOf(state, tables, 'L'))
    groupOf(state, key)?.leases.get(queueNumberOf(key))?.entries.set(readNumber(key, 15), readLease(value));
  const attempts = (await rowsOf(state, tables, 'A')).map(({ key, value }) => ({
    key,
    attempt: parseJson<Attempt>(value),
  }));
  for (const { key, attempt } of attempts.sort((a, b) => a.attempt.lease - b.attempt.lease))
    groupOf(state, key)?.attempts.set(key.toString('base64', 7), attempt);
}

async function loadListeners(state: BrokerState, tables: Tables): Promise<void> {
  for (const { key, value } of await rowsOf(state, tables, 'b')) {
    const listener = { ...parseJson<Pick<Listener, 'epoch' | 'seenAt'>>(value), offsets: new Map<number, number>() };
    groupOf(state, key)?.listeners.set(utf8From(key, 7), listener);
  }
  for (const { key, value } of await rowsOf(state, tables, 'P'))
    groupOf(state, key)?.listeners.get(utf8From(key, 15))?.offsets.set(queueNumberOf(key), readNumber(value, 0));
}

/** Applies what the journal holds beyond the tables. `onBatch` runs between batches (a flush may go on meanwhile) and says whether to go on. */
export async function replay(state: BrokerState, journal: Journal, onBatch: () => boolean): Promise<number> {
  let replayed = 0;
  const touched = new Set<Queue>();
  while (state.applied < journal.end) {
    const commands = await journal.scanCommands(state.applied + 1, {
      maxRecords: REPLAY_RECORDS,
      maxBytes: REPLAY_BYTES,
    });
    if (commands.length === 0) break;
    for (const { index, records } of commands) {
      const first = records[0]!;
      const command = decodeCommand(recordKind(first), records, messageTopic);
      apply(state, { index, time: recordTime(first), epoch: recordEpoch(first), command }, touched);
      replayed++;
    }
    touched.clear();
    state.newTimers = [];
    state.halves.changed = [];
    state.goneTopics = [];
    if (!onBatch()) break;
  }
  return replayed;
}
