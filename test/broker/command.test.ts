/** Commands as bytes: what is replayed after a restart is what was decided before it. */
import { RECORD_HEADER_BYTES } from '../../storage/record';
import { ORDINALS } from '../../storage/keys';
import {
  COPIES_PER_COMMAND,
  decodeCommand,
  encodeCommand,
  isMessage,
  KIND,
  weigh,
  type Command,
  type Kind,
} from '../../src/broker/command';
import { GROUP_DEFAULTS } from '../../src/broker/group';
import { CHECK_DEFAULTS } from '../../src/broker/producerGroup';
import { encodeMessage, messageTopic } from '../../src/broker/message';
import { message } from '../support/broker';

const topic = {
  name: 'orders',
  id: 'a1b2',
  type: 'NORMAL',
  readQueues: 4,
  writeQueues: 4,
  permission: 'RW',
  tagPolicy: 'OPEN',
  partitions: [{ broker: 'broker-a', queueId: 0 }],
} as const;
const group = {
  name: 'billing',
  id: 'c3d4',
  topic: 2,
  topicName: 'orders',
  filter: { type: 'TAG', expression: 'größe || b' },
  subscriptions: [{ topic: 2, topicName: 'orders', filter: { type: 'TAG', expression: 'größe || b' } }],
  consumeFrom: 'EARLIEST',
  ...GROUP_DEFAULTS,
} as const;
const record = () =>
  encodeMessage(message('x'), { topic: 2, queueId: 1, messageId: Buffer.alloc(16), bornTimestamp: 1 });

const ONE_OF_EACH: { [K in Kind]: Extract<Command, { kind: K }> } = {
  epochStart: {
    kind: 'epochStart',
    applyVersion: 1,
    identity: { name: 'broker-a', messageIdTag: '1.2.3.4:5', secret: 's' },
  },
  send: { kind: 'send', topic: 2, records: [record(), record()] },
  createTopic: { kind: 'createTopic', topic, ifAbsent: true },
  updateTopic: {
    kind: 'updateTopic',
    no: 2,
    patch: { description: null, allowReorder: true },
    broker: 'broker-a',
    ifMatch: 3,
  },
  deleteTopic: { kind: 'deleteTopic', no: 2, force: true, ifMatch: '*' },
  putTag: { kind: 'putTag', topic: 2, tag: 'a', description: 'ä' },
  deleteTag: { kind: 'deleteTag', topic: 2, tag: 'a' },
  putGroup: { kind: 'putGroup', group, start: [{ topic: 2, queueId: 0, nextOffset: 17 }] },
  deleteGroup: { kind: 'deleteGroup', no: 5 },
  commitOffsets: {
    kind: 'commitOffsets',
    group: 5,
    offsets: [
      { topic: 2, queueId: 0, nextOffset: 2 ** 53 - 1 },
      { topic: 2, queueId: 1, nextOffset: 3, epoch: 17 },
    ],
    by: { consumer: 'c1', generation: 17 },
    backwards: true,
  },
  assignQueues: {
    kind: 'assignQueues',
    group: 5,
    owners: [{ topic: 2, queueId: 0, consumer: 'c-ü', leaseMs: 30_000 }],
  },
  resetOffsets: {
    kind: 'resetOffsets',
    group: 5,
    offsets: [{ topic: 2, queueId: 0, nextOffset: 0 }],
    dropRetries: true,
  },
  lease: {
    kind: 'lease',
    group: 5,
    invisibleMs: 60_000,
    takes: [
      {
        topic: 2,
        queueId: 0,
        from: 3,
        next: 7,
        fresh: [[3, 0]],
        again: [[1, 12]],
        held: [[4, 99]],
        dropped: [[2, 12]],
      },
    ],
    attempt: 'AAAA',
  },
  settle: {
    kind: 'settle',
    group: 5,
    items: [
      { topic: 2, queueId: 0, offset: 3, lease: 20, action: 'ACK' },
      { topic: 2, queueId: 0, offset: 1, lease: 20, action: 'EXTEND', ms: 5, failed: true },
      { topic: 2, queueId: 0, offset: 2, lease: 20, action: 'EXTEND', ms: 5, putOff: true },
    ],
  },
  retry: {
    kind: 'retry',
    group: 5,
    items: [{ topic: 2, queueId: 0, offset: 3, lease: 20, delayMs: 10, attempt: 2, key: 'AAAA' }],
    offsets: [{ topic: 2, queueId: 0, nextOffset: 4, epoch: 17 }],
    by: { consumer: 'c1' },
    answer: { key: 'BBBB', content: 'CCCC', places: [3] },
    records: [record()],
  },
  fireTimers: { kind: 'fireTimers', timers: [[1_700_000_000_000, 2 ** 50]], records: [record()] },
  redrive: {
    kind: 'redrive',
    group: 5,
    offsets: [0, 1],
    records: [record(), record()],
    answer: { key: 'AAAA', content: 'BBBB', items: [{ messageId: 'AB', topic: 'orders', queueId: 1 }] },
  },
  dropDeadLetters: { kind: 'dropDeadLetters', group: 5, offsets: [0, 1] },
  listeners: {
    kind: 'listeners',
    group: 5,
    joined: { consumer: 'c1', offsets: [{ topic: 2, queueId: 0, nextOffset: 4 }] },
    seen: ['c2'],
    gone: ['c3'],
  },
  recall: { kind: 'recall', topic: 2, messages: [[1_700_000_000_000, 2 ** 50, 'AB'.repeat(16)]] },
  prepare: {
    kind: 'prepare',
    ...{ topic: 2, producerGroup: 'p', checkAfterMs: 6000, answer: { key: 'AAAA', content: 'BBBB' } },
    records: [record()],
  },
  resolve: { kind: 'resolve', half: 2 ** 50, records: [record()] },
  checkHalves: { kind: 'checkHalves', asked: [2 ** 50], intervalMs: 30_000, parked: [5] },
  putProducerGroup: {
    kind: 'putProducerGroup',
    group: { name: 'p', ...CHECK_DEFAULTS, webhook: { url: 'https://example.com/', secret: 'whsec_AAAA' } },
    ifMatch: 3,
  },
  deleteProducerGroup: { kind: 'deleteProducerGroup', name: 'p', ifMatch: 3 },
  setPermission: { kind: 'setPermission', permission: 'R', ifMatch: 2 },
  clock: { kind: 'clock', aheadMs: 360_000_000 },
  install: {
    kind: 'install',
    definition: { kind: 'TOPIC', name: 'größe', id: 'a1b2', version: 3, deletedAt: 17, formerIds: ['c3'] },
    broker: 'broker-a',
    start: [{ topic: 2, queueId: 0, nextOffset: 4 }],
  },
  leaveTopic: { kind: 'leaveTopic', no: 7, force: false },
  leaveCluster: { kind: 'leaveCluster', name: 'broker-a', id: '8c1f0e5a9b3d7c42', force: true },
  putNote: { kind: 'putNote', name: 'g+i', value: '{}', version: 17, ttlMs: 360_000, old: ['g+j'] },
  trim: {
    kind: 'trim',
    head: 9,
    minima: [{ topic: 2, queueId: 0, nextOffset: 4 }],
    idHour: 490_000,
    answerBucket: 3,
    tombstones: ['x'],
  },
};

test.each(Object.entries(ONE_OF_EACH))('%s comes back from its bytes', (kind, command) => {
  const records = encodeCommand(command);
  expect(decodeCommand(KIND[kind as Kind], records, messageTopic)).toEqual(command);
});

test('the numbers of the kinds are on disk and stay what they are', () => {
  expect(KIND).toEqual({
    epochStart: 1,
    send: 2,
    createTopic: 3,
    updateTopic: 4,
    deleteTopic: 5,
    putTag: 6,
    deleteTag: 7,
    putGroup: 8,
    deleteGroup: 9,
    commitOffsets: 10,
    trim: 11,
    assignQueues: 12,
    resetOffsets: 13,
    lease: 14,
    settle: 15,
    retry: 16,
    fireTimers: 17,
    redrive: 18,
    dropDeadLetters: 19,
    listeners: 20,
    recall: 21,
    prepare: 22,
    resolve: 23,
    checkHalves: 24,
    putProducerGroup: 25,
    setPermission: 26,
    clock: 37,
    install: 27,
    putNote: 30,
    deleteProducerGroup: 42,
    leaveTopic: 45,
    leaveCluster: 46,
  });
});

test('which records of a command are messages follows from its kind and their place', () => {
  for (const [kind, command] of Object.entries(ONE_OF_EACH)) {
    encodeCommand(command).forEach((bytes, ordinal) => {
      const brought = 'records' in command && command.records.includes(bytes);
      expect([kind, ordinal, isMessage(KIND[kind as Kind], ordinal)]).toEqual([kind, ordinal, brought]);
    });
  }
});

test('a command brings at most so many messages as have a place behind its first record', () => {
  const records = Array.from({ length: COPIES_PER_COMMAND }, record);
  const timers = records.map((_, i) => [1, i] as const);
  expect(encodeCommand({ kind: 'fireTimers', timers, records })).toHaveLength(ORDINALS);
});

test('every record leaves its header free', () => {
  for (const command of Object.values(ONE_OF_EACH)) {
    for (const bytes of encodeCommand(command)) expect(bytes.length).toBeGreaterThan(RECORD_HEADER_BYTES);
  }
});

test('a command of a newer version is not guessed at', () => {
  expect(() => decodeCommand(200, [Buffer.alloc(40)], messageTopic)).toThrow('start a newer version');
});

test('a command weighs at least what it stores', () => {
  const records = [Buffer.alloc(100), Buffer.alloc(50)];
  expect(weigh(records)).toBeGreaterThanOrEqual(150);
});
