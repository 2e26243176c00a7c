/**
 * Decides. `apply` turns a confirmed command into changes of the tables and a reply, in journal order, synchronously:
 * the same code on a master, on a slave and in a replay. It is a function of tables and command alone; whatever it
 * would have to ask (clock, chance, configuration, disk) was put into the command before.
 */
import type { GantryError } from '../base/errors';
import { applyClock } from './clockWatch';
import { setPermission, type BrokerPermission } from './brokerPermission';
import type { Queue } from './queue';
import type { Command, Kind } from './command';
import {
  applyFireTimers,
  applyRedrive,
  applyRetry,
  dropDeadLetters,
  type RedriveOutcome,
  type RetryOutcome,
} from './failureChanges';
import type { Decision } from './halves';
import { leaveCluster, leaveTopic } from './departures';
import { install, type InstallOutcome } from './definitionChanges';
import { deleteGroup, putGroup, type GroupChange } from './groupChanges';
import { applyLease, applySettle, type LeaseOutcome } from './leaseChanges';
import { putNote } from './notes';
import type { ReceiptRefusal } from './receiptRules';
import { assignQueues, changeListeners, commitOffsets, resetOffsets, type OffsetResult } from './positionChanges';
import { applyRecall, applySend, type SendOutcome } from './sends';
import { hourOf } from './idRuns';
import type { BrokerState } from './state';
import type { Tombstone } from './tombstone';
import {
  createTopic,
  deleteTag,
  deleteTopic,
  putTag,
  updateTopic,
  type TagChange,
  type TopicChange,
} from './topicChanges';
import { deleteProducerGroup, putProducerGroup, type ProducerGroupChange } from './producerGroupChanges';
import { applyChecks, applyPrepare, applyResolve, type Preparation } from './transactionChanges';
import { applyTrim } from './trims';

export interface Applied<C extends Command = Command> {
  readonly index: number;
  /** Milliseconds since 1970; never less than the command's before it. */
  readonly time: number;
  readonly epoch: number;
  readonly command: C;
}

/** What each kind of command answers when it is not refused. */
export interface Results {
  epochStart: undefined;
  send: SendOutcome;
  createTopic: TopicChange;
  updateTopic: TopicChange;
  deleteTopic: TopicChange;
  putTag: TagChange;
  deleteTag: TagChange;
  putGroup: GroupChange;
  deleteGroup: GroupChange;
  commitOffsets: readonly OffsetResult[];
  trim: undefined;
  clock: undefined;
  assignQueues: undefined;
  resetOffsets: undefined;
  lease: LeaseOutcome;
  settle: readonly ReceiptRefusal[];
  retry: RetryOutcome;
  fireTimers: undefined;
  redrive: RedriveOutcome;
  dropDeadLetters: undefined;
  listeners: undefined;
  recall: undefined;
  prepare: Preparation;
  resolve: Decision | undefined;
  checkHalves: undefined;
  putProducerGroup: ProducerGroupChange;
  deleteProducerGroup: ProducerGroupChange;
  setPermission: BrokerPermission;
  install: InstallOutcome;
  putNote: undefined;
  leaveTopic: TopicChange;
  leaveCluster: Tombstone;
}

export type Outcome<K extends Kind = Kind> = { readonly ok: Results[K] } | { readonly refused: GantryError };

/** The version of these rules, written into every epoch's first command. */
export const APPLY_VERSION = 1;

export type CommandOf<K extends Kind> = Extract<Command, { kind: K }>;

const RULES: { [K in Kind]: (state: BrokerState, applied: Applied<CommandOf<K>>, touched: Set<Queue>) => Outcome<K> } =
  {
    epochStart: startEpoch,
    send: applySend,
    createTopic,
    updateTopic,
    deleteTopic,
    putTag,
    deleteTag,
    putGroup,
    deleteGroup,
    commitOffsets,
    trim: applyTrim,
    assignQueues,
    resetOffsets,
    lease: applyLease,
    settle: applySettle,
    retry: applyRetry,
    fireTimers: applyFireTimers,
    redrive: applyRedrive,
    dropDeadLetters,
    listeners: changeListeners,
    recall: applyRecall,
    prepare: applyPrepare,
    resolve: applyResolve,
    checkHalves: applyChecks,
    putProducerGroup,
    deleteProducerGroup,
    setPermission,
    install,
    putNote,
    clock: applyClock,
    leaveTopic,
    leaveCluster,
  };

/** Adds the queues that got messages to `touched`: polls on them are to be woken. */
export function apply(state: BrokerState, applied: Applied, touched: Set<Queue>): Outcome {
  const rule = RULES[applied.command.kind] as (state: BrokerState, applied: Applied, touched: Set<Queue>) => Outcome;
  const outcome = rule(state, applied, touched);
  state.applied = applied.index;
  state.marks.time = applied.time;
  state.marks.epoch = applied.epoch;
  return outcome;
}

function startEpoch(state: BrokerState, { command, time }: Applied<CommandOf<'epochStart'>>): Outcome<'epochStart'> {
  // No id is older than the first command: a lookup need not ask every hour since 1970.
  if (state.marks.idHour === 0) state.marks.idHour = hourOf(time);
  if (command.identity) state.putIdentity(command.identity);
  return { ok: undefined };
}
