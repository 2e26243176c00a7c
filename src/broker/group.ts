/** A consumer group: what it reads and where it began. Who its members are is soft state (consumers.ts). */
import type { FilterSpec } from './filter';

export type GroupMode = 'CLUSTERING';
export type ConsumeFrom = 'EARLIEST' | 'LATEST' | 'TIMESTAMP';
export type Allocation = 'AVG';

export interface Group {
  /** Journal index of the command that created it here. */
  readonly no: number;
  readonly name: string;
  readonly id: string;
  readonly version: number;
  /** The topic's number and name; a group reads one topic. */
  readonly topic: number;
  readonly topicName: string;
  readonly filter: FilterSpec;
  readonly mode: GroupMode;
  /** Evaluated once, when the group is created. */
  readonly consumeFrom: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly allocation: Allocation;
  readonly description?: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** A queue made after this moment is read from its beginning. */
  readonly startedAt: number;
}
