/**
 * Everything that changes durably, as data. A command is encoded once; its bytes are what the journal stores, what
 * slaves receive, and what a restart replays through the same `apply`. It holds every value the decision needs: no
 * clock, no chance and no configuration is asked when it is applied, defaults were filled in before.
 *
 * The numbers are on disk: they are never given a new meaning, only new ones are added.
 */
import { RECORD_HEADER_BYTES } from '../../storage/record';
import type { Group } from './group';
import type { Topic, TopicPatch } from './topic';

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
      readonly offsets: readonly QueueOffset[];
      /** Positions may go back: a forced commit, or a reset. */
      readonly backwards: boolean;
    }
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
      /** Names whose tombstones are over 30 days old. */
      readonly tombstones: readonly string[];
    };

/** The records of a command, with free space for their headers. Sends bring theirs along. */
export function encodeCommand(command: Command): Buffer[] {
  if (command.kind === 'send') return command.records;
  const { kind: _, ...content } = command;
  const text = JSON.stringify(content);
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + Buffer.byteLength(text));
  record.write(text, RECORD_HEADER_BYTES, 'utf8');
  return [record];
}

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
  return { kind, ...content } as Command;
}

/** Bytes a command takes in the journal, roughly: for the bounds on what waits. */
export function weigh(records: readonly Buffer[]): number {
  let bytes = 0;
  for (const record of records) bytes += record.length + 16;
  return bytes;
}
