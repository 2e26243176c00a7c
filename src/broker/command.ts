/**
 * Everything that changes durably, as data. A command is encoded once; its bytes are what the journal stores, what
 * slaves receive, and what a restart replays through the same `apply`. It holds every value the decision needs: no
 * clock, no chance and no configuration is asked when it is applied, defaults were filled in before.
 *
 * The numbers are on disk: they are never given a new meaning, only new ones are added.
 */
import { ORDINALS } from '../../storage/keys';
import { RECORD_HEADER_BYTES } from '../../storage/record';
import { LIMITS } from '../base/limits';
import type { Definition } from './definition';
import type { Group } from './group';
import type { ProducerGroup } from './producerGroup';
import type { Permission, Topic, TopicPatch } from './topic';

export const KIND = {
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
  install: 27,
  putNote: 30,
  clock: 37,
  deleteProducerGroup: 42,
  leaveTopic: 45,
  leaveCluster: 46,
} as const;

export type Kind = keyof typeof KIND;

/** Who this broker group is, chosen at its first start and never changed. */
export interface Identity {
  /** Name of the broker (group): the queues of its topics are addressed by it. */
  readonly name: string;
  /** IPv4 and port that are written into offsetMessageIds; a label that is never dialled. */
  readonly messageIdTag: string;
  /** Base64 of 32 bytes; signs cursors. */
  readonly secret: string;
}

export interface QueueOffset {
  readonly topic: number;
  readonly queueId: number;
  readonly nextOffset: number;
}

/** Who reads a queue for a group from now on, and for how long he may be silent. */
export interface NewOwner {
  readonly topic: number;
  readonly queueId: number;
  readonly consumer: string;
  readonly leaseMs: number;
}

/** By whom a position is moved; judged against the recorded owner when it is applied. */
export interface Committer {
  readonly consumer: string;
  /** The queue's owner epoch must be no higher. */
  readonly generation?: number;
}

/** A position, and the owner epoch that it was read under. */
export interface ReadOffset extends QueueOffset {
  readonly epoch?: number;
}

/** Messages of one queue that a receive takes; what was not chosen any more when it is applied is left out. */
export interface LeaseTake {
  readonly topic: number;
  readonly queueId: number;
  /** The first offset that was not looked at when this was chosen; if that is another by now, positions were moved and nothing new is taken. */
  readonly from: number;
  /** The first one that is not looked at now: what lies between, and is neither fresh nor held, is left out by the filter. */
  readonly next: number;
  /** Never leased before: [offset, messageGroup's hash]. */
  readonly fresh: readonly (readonly [number, number])[];
  /** Leased before, or held: [offset, the lease it had]. */
  readonly again: readonly (readonly [number, number])[];
  /** Looked at and passed over, because earlier messages of their messageGroup are not done. */
  readonly held: readonly (readonly [number, number])[];
  /** The same, but unwanted or gone: done without being handed out. */
  readonly dropped: readonly (readonly [number, number])[];
}

export type SettleAction = 'ACK' | 'EXTEND' | 'RETURN';

/** What becomes of one leased message. */
export interface Settlement {
  readonly topic: number;
  readonly queueId: number;
  readonly offset: number;
  /** The lease it was handed out under; it counts while the message was not handed out again. */
  readonly lease: number;
  readonly action: SettleAction;
  /** With EXTEND: milliseconds that it stays invisible from now on. */
  readonly ms?: number;
  /** With EXTEND: it failed, and waits for its next delivery. */
  readonly failed?: true;
  /** With EXTEND: the present delivery does not count. */
  readonly putOff?: true;
}

/** One failed message, and what becomes of it; its copy is the record at the same place. */
export interface FailedMessage {
  readonly topic: number;
  readonly queueId: number;
  readonly offset: number;
  /** The lease that it was handed out under; without it the group's queues have owners. */
  readonly lease?: number;
  /** Milliseconds until it is delivered again; without it the copy is a dead letter. */
  readonly delayMs?: number;
  /** Which delivery the next one is. */
  readonly attempt: number;
  /** Base64 of a hash: repeating it finds the first answer. */
  readonly key?: string;
}

/** A message that is sent again: its id, and the topic and queue it goes to. */
export interface RedrivenItem {
  readonly messageId: string;
  readonly topic: string;
  readonly queueId: number;
}

/** What must hold of a resource's version for a change to happen (RFC 9110, 13.1). */
export interface Precondition {
  /** If-Match: the version the caller saw; '*' = any, but it must exist. */
  readonly ifMatch?: number | '*';
  /** If-None-Match: *: it must not exist. */
  readonly ifAbsent?: boolean;
}

export type Command =
  /** A master's first command: from here on its epoch counts. `applyVersion` is the lowest that its members speak. */
  | { readonly kind: 'epochStart'; readonly applyVersion: number; readonly identity?: Identity }
  | { readonly kind: 'send'; readonly topic: number; readonly records: Buffer[] }
  | ({
      readonly kind: 'createTopic';
      readonly topic: Omit<Topic, 'no' | 'version' | 'createdAt' | 'updatedAt'>;
    } & Precondition)
  | ({
      readonly kind: 'updateTopic';
      readonly no: number;
      readonly patch: TopicPatch;
      readonly broker: string;
    } & Precondition)
  | ({ readonly kind: 'deleteTopic'; readonly no: number; readonly force: boolean } & Precondition)
  | ({
      readonly kind: 'putTag';
      readonly topic: number;
      readonly tag: string;
      readonly description?: string;
    } & Precondition)
  | ({ readonly kind: 'deleteTag'; readonly topic: number; readonly tag: string } & Precondition)
  | ({
      readonly kind: 'putGroup';
      readonly group: Omit<Group, 'no' | 'version' | 'createdAt' | 'updatedAt' | 'startedAt'>;
      /** Start positions worked out before submit; without them EARLIEST or LATEST is decided when applied. */
      readonly start?: readonly QueueOffset[];
    } & Precondition)
  | ({ readonly kind: 'deleteGroup'; readonly no: number } & Precondition)
  | {
      readonly kind: 'commitOffsets';
      readonly group: number;
      readonly offsets: readonly ReadOffset[];
      /** Without one it is an operator's. */
      readonly by?: Committer;
      /** Positions may go back: a forced commit. */
      readonly backwards: boolean;
    }
  /** Positions move, whoever reads, and what was read before does not count any more. */
  | {
      readonly kind: 'resetOffsets';
      readonly group: number;
      readonly offsets: readonly QueueOffset[];
      /** The group's retries, those that wait and those that are not done in its own queue, do not come any more. */
      readonly dropRetries?: boolean;
    }
  | { readonly kind: 'assignQueues'; readonly group: number; readonly owners: readonly NewOwner[] }
  | {
      readonly kind: 'lease';
      readonly group: number;
      readonly invisibleMs: number;
      readonly takes: readonly LeaseTake[];
      /** Base64 of the hash of an attemptId. */
      readonly attempt?: string;
    }
  | { readonly kind: 'settle'; readonly group: number; readonly items: readonly Settlement[] }
  | {
      readonly kind: 'retry';
      readonly group: number;
      readonly items: readonly FailedMessage[];
      /** Positions that are committed with it, if none of its items is refused. */
      readonly offsets: readonly ReadOffset[];
      readonly by?: Committer;
      /** What is remembered for an Idempotency-Key: base64 of its hash, the content's hash, and the place of each item in the request. */
      readonly answer?: { readonly key: string; readonly content: string; readonly places: readonly number[] };
      /** The copies, one for each item. */
      readonly records: Buffer[];
    }
  /** Waiting messages become visible; `timers` are their due times and the positions they were written at. */
  | { readonly kind: 'fireTimers'; readonly timers: readonly (readonly [number, number])[]; readonly records: Buffer[] }
  /** Scheduled messages are taken back: [due time, position, id in hex]. */
  | {
      readonly kind: 'recall';
      readonly topic: number;
      readonly messages: readonly (readonly [number, number, string])[];
    }
  /** Dead letters are sent again; `offsets` are theirs in %DLQ%group. */
  | {
      readonly kind: 'redrive';
      readonly group: number;
      readonly offsets: readonly number[];
      readonly records: Buffer[];
      /** What is remembered for an Idempotency-Key: base64 of its hash, the content's hash, and the answer but for queue offsets. */
      readonly answer?: { readonly key: string; readonly content: string; readonly items: readonly RedrivenItem[] };
    }
  | { readonly kind: 'dropDeadLetters'; readonly group: number; readonly offsets: readonly number[] }
  /** Consumers of a broadcasting group: with positions when they are new, seen again, or forgotten. */
  | {
      readonly kind: 'listeners';
      readonly group: number;
      readonly joined?: { readonly consumer: string; readonly offsets?: readonly QueueOffset[] };
      readonly seen?: readonly string[];
      readonly gone?: readonly string[];
    }
  /** A half message: stored, and seen by nobody until somebody decides. */
  | {
      readonly kind: 'prepare';
      readonly topic: number;
      readonly producerGroup: string;
      /** Milliseconds until it is asked about first. */
      readonly checkAfterMs: number;
      /** What is remembered for an Idempotency-Key: base64 of its hash, and the content's hash. */
      readonly answer?: { readonly key: string; readonly content: string };
      /** The one message. */
      readonly records: Buffer[];
    }
  /** A decision about the half message at this position: with its record as it becomes visible, or without, which forgets it. */
  | { readonly kind: 'resolve'; readonly half: number; readonly records: Buffer[] }
  /** Producers are asked about these; others were asked about often enough. */
  | {
      readonly kind: 'checkHalves';
      readonly asked: readonly number[];
      readonly intervalMs: number;
      readonly parked: readonly number[];
    }
  | ({
      readonly kind: 'putProducerGroup';
      readonly group: Omit<ProducerGroup, 'version' | 'createdAt' | 'updatedAt'>;
    } & Precondition)
  | ({ readonly kind: 'deleteProducerGroup'; readonly name: string } & Precondition)
  /** What the whole broker may be used for. */
  | ({ readonly kind: 'setPermission'; readonly permission: Permission } & Precondition)
  /** Moves low marks; every member deletes what is below them in its own time (janitor.ts). */
  | {
      readonly kind: 'trim';
      /** First journal index kept. */
      readonly head: number;
      /** First offset kept, for the queues that change. */
      readonly minima: readonly QueueOffset[];
      /** First hour (of the epoch) whose message ids are kept. */
      readonly idHour: number;
      /** First bucket of idempotency answers that is kept. */
      readonly answerBucket: number;
      /** First hour (of the epoch) whose decisions about transactions are kept. */
      readonly decisionHour?: number;
      /** Topics whose tombstones are over 30 days old. */
      readonly tombstones: readonly string[];
      /** Groups, likewise. */
      readonly groupTombstones?: readonly string[];
      /** Producer groups, likewise. */
      readonly producerGroupTombstones?: readonly string[];
    }
  /** How far the wall clock is ahead of the time that is believed, milliseconds (clockWatch.ts). */
  | { readonly kind: 'clock'; readonly aheadMs: number }
  /** What another broker has decided about something that brokers share. */
  | {
      readonly kind: 'install';
      readonly definition: Definition;
      /** The broker that learns it. */
      readonly broker: string;
      /** Of a group: start positions worked out before submit; where there is none, a queue is read from its beginning. */
      readonly start?: readonly QueueOffset[];
    }
  /** A topic's queues on this broker go: other brokers have the topic. Without `force` it must hold nothing of it. */
  | { readonly kind: 'leaveTopic'; readonly no: number; readonly force: boolean }
  /** This broker goes, by its name; `id` names the removal. Without `force` it must hold nothing. */
  | { readonly kind: 'leaveCluster'; readonly name: string; readonly id: string; readonly force: boolean }
  /** A front's note to other fronts; `old`: those that may go, if their time is over. */
  | {
      readonly kind: 'putNote';
      readonly name: string;
      readonly value: string;
      readonly version: number;
      readonly ttlMs: number;
      readonly old: readonly string[];
    };

/**
 * The records of a command, with free space for their headers. A send is its messages and nothing else; of the other
 * commands the first record is JSON, behind which those that bring messages have them.
 */
export function encodeCommand(command: Command): Buffer[] {
  if (command.kind === 'send') return command.records;
  const { kind: _, records, ...content } = command as Command & { readonly records?: Buffer[] };
  const text = JSON.stringify(content);
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + Buffer.byteLength(text));
  record.write(text, RECORD_HEADER_BYTES, 'utf8');
  return records === undefined ? [record] : [record, ...records];
}

/** Messages that a command may bring beside its first record. */
export const COPIES_PER_COMMAND = ORDINALS - 1;

/** In parts that one command may bring, in order: by their number and their bytes. Items come as they are needed. */
export async function* inCommands<T extends { readonly record: Buffer }>(
  items: Iterable<T> | AsyncIterable<T>,
): AsyncIterable<readonly T[]> {
  let part: T[] = [];
  let bytes = 0;
  for await (const item of items) {
    if (part.length === COPIES_PER_COMMAND || (part.length > 0 && bytes + item.record.length > LIMITS.batchBytes)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(item);
    bytes += item.record.length;
  }
  if (part.length > 0) yield part;
}

/** Stands in the memory tail for a command's first record that is no message. */
export const NO_MESSAGE = Buffer.alloc(0);

/** Whether the record of this kind and ordinal is a message. */
export function isMessage(kind: number, ordinal: number): boolean {
  if (kind === KIND.send) return true;
  return ordinal > 0 && WITH_MESSAGES.has(kind);
}

const WITH_MESSAGES: ReadonlySet<number> = new Set([
  KIND.retry,
  KIND.fireTimers,
  KIND.redrive,
  KIND.prepare,
  KIND.resolve,
]);

const KIND_OF_NUMBER = new Map<number, Kind>(Object.entries(KIND).map(([name, number]) => [number, name as Kind]));

/** The command that `records` hold; throws on a kind that a newer version wrote. */
export function decodeCommand(number: number, records: Buffer[], topicOf: (record: Buffer) => number): Command {
  const kind = KIND_OF_NUMBER.get(number);
  if (kind === undefined) {
    throw new Error(
      `the journal holds a command of kind ${number}, which this version does not know: start a newer version`,
    );
  }
  if (kind === 'send') return { kind, topic: topicOf(records[0]!), records };
  const content = JSON.parse(records[0]!.toString('utf8', RECORD_HEADER_BYTES)) as Omit<Command, 'kind'>;
  const messages = isMessage(number, 1) ? { records: records.slice(1) } : {};
  return { kind, ...content, ...messages } as Command;
}

/** Bytes a command takes in the journal, roughly: for the bounds on what waits. */
export function weigh(records: readonly Buffer[]): number {
  let bytes = 0;
  for (const record of records) bytes += record.length + 16;
  return bytes;
}
