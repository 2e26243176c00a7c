/**
 * The broker core: opens its stores, replays what the tables have not seen, starts a new epoch, and then serves. Built
 * by hand here, started in order, stopped in reverse. It knows no HTTP; api/ calls its rooms.
 */
import { FolderFormatError } from '../../storage/failures';
import type { Journal } from '../../storage/journal';
import type { Tables } from '../../storage/tables';
import type { Chance } from '../base/chance';
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { Chore, type Service } from '../base/life';
import { LIMITS } from '../base/limits';
import type { Log } from '../base/log';
import { MessageIds } from '../base/messageId';
import type { FolderSeen } from '../nameserver/route';
import { Answers } from './answers';
import { apply, APPLY_VERSION, type Applied, type Outcome } from './apply';
import type { Command, Identity } from './command';
import { RunningTime } from '../base/runningTime';
import { TrustedTime } from '../base/trustedTime';
import { Checkbacks, type CheckCaller } from './checkbacks';
import { Consumers } from './consumers';
import { unwrap, type Core } from './core';
import { CursorCodec } from './cursor';
import { DeadLetters } from './deadLetters';
import type { Definition } from './definition';
import type { InstallOutcome } from './definitionChanges';
import { Definitions } from './definitions';
import { FilterTests } from './filterTests';
import { Flusher } from './flusher';
import { folderIdOf } from './folderId';
import { Groups } from './groups';
import { Janitor } from './janitor';
import { LeaseDesks } from './leaseDesks';
import { Leases } from './leases';
import { loadTables, replay } from './load';
import { Lookup } from './lookup';
import { idTagBytes } from './offsetMessageId';
import { Notes } from './notes';
import { ParkingLot } from './parking';
import { Poller } from './poller';
import { Seeker } from './seeker';
import { Positions } from './positions';
import { Purge } from './purge';
import type { Queue } from './queue';
import { QueueIndex } from './queueIndex';
import { Rates, type Traffic } from './rates';
import { Reader } from './reader';
import { ReadGate } from './readGate';
import { leaveOutLostLife, type RestoredBackup } from './restoredBackup';
import { Retention, type DiskSpace, type RetentionOptions } from './retention';
import { Retries } from './retries';
import { Schedule } from './schedule';
import { Search } from './search';
import { Sender } from './sender';
import { BrokerState, type GroupState } from './state';
import { Tail } from './tail';
import { Timers } from './timers';
import type { TopicChange } from './topicChanges';
import type { Tombstone } from './tombstone';
import { Topics } from './topics';
import { Transactions } from './transactions';
import { Traces } from './trace';
import { Writer } from './writer';

export interface BrokerOptions {
  readonly name: string;
  readonly cluster: string;
  /** `ip:port` written into offsetMessageIds, taken at the folder's first start only. */
  readonly messageIdTag: string;
  /** IPv4 address and process id that go into messageIds. */
  readonly address: string;
  readonly pid: number;
  /** False: answers come before the sync, and a power cut loses what was not synced yet. */
  readonly syncEveryTurn: boolean;
  /** With `syncEveryTurn` false: milliseconds between syncs. */
  readonly syncEveryMs: number;
  readonly retention: RetentionOptions;
  readonly retentionCheckMs: number;
  /** The wall clock is right at this start: what it is ahead of the newest command was a downtime. */
  readonly trustClock: boolean;
  readonly tailBytes: number;
  readonly maxParkedPolls: number;
}

export interface BrokerParts {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  readonly journal: Journal;
  readonly tables: Tables;
  readonly disk: DiskSpace;
  /** Calls the webhooks of producer groups. */
  readonly checkCaller: CheckCaller;
  /** Asks NameServers how far they saw the data folder with this identity; called once, before any client is served. */
  readonly folderSeen?: (folderId: string) => Promise<Omit<FolderSeen, 'folderId'> | undefined>;
  /** The process must end: a write failed or an invariant broke. */
  readonly onFatal: (error: unknown) => void;
  readonly options: BrokerOptions;
}

/** The scrub: so often, so many journal records and so many bytes of table files; slow, because it reads what is cold. */
const SCRUB_MS = 5000;
const SCRUB_RECORDS = 2000;
const SCRUB_BYTES = 1024 * 1024;
/** Milliseconds between looks of the janitor; it goes on at once while it finds work. */
const JANITOR_MS = 1000;

export class Broker implements Service {
  readonly #parts: BrokerParts;
  readonly state: BrokerState;
  readonly lot: ParkingLot;
  readonly rates: Rates;
  readonly startedAt: number;
  #flusher: Flusher | undefined;
  #rooms: Rooms | undefined;
  #failed = false;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  /** Set when the data folder turned out to be an older backup. */
  restored: RestoredBackup | undefined;
  /** host:port under which others reach this broker; told by the front once it listens. */
  address = '';
  /** Called with the names of topics whose record changed, so that they are registered at once; with none when the broker's permission did. */
  onTopicsChanged: (names: ReadonlySet<string>) => void = () => undefined;

  constructor(parts: BrokerParts) {
    this.#parts = { ...parts, onFatal: (error) => this.#fail(error, parts.onFatal) };
    this.state = new BrokerState(new Tail(parts.options.tailBytes));
    this.lot = new ParkingLot(parts.clock, {
      total: parts.options.maxParkedPolls,
      perGroup: LIMITS.parkedPollsPerGroup,
    });
    this.rates = new Rates(parts.clock, () => this.traffic());
    this.startedAt = parts.clock.now();
  }

  get name(): string {
    return this.#parts.options.name;
  }

  get cluster(): string {
    return this.#parts.options.cluster;
  }

  get journal(): Journal {
    return this.#parts.journal;
  }

  /** Messages and bytes since the process started, over all topics and groups. */
  traffic(): Traffic {
    const total = { messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0 };
    for (const { traffic } of this.state.topics.values()) {
      total.messagesIn += traffic.messagesIn;
      total.bytesIn += traffic.bytesIn;
    }
    for (const { traffic } of this.state.groups.values()) {
      total.messagesOut += traffic.messagesOut;
      total.bytesOut += traffic.bytesOut;
    }
    return total;
  }

  get ready(): boolean {
    return this.#rooms !== undefined && this.#stopped === undefined;
  }

  /** The rooms, once the broker has started; before that every call is refused. */
  get rooms(): Rooms {
    if (!this.#rooms)
      throw new GantryError('STARTING', 'the broker is still reading its data: try again in a moment', {
        retryAfterMs: 1000,
      });
    return this.#rooms;
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    const { clock, journal, tables, log, options } = this.#parts;
    if (this.#stopped) return;
    const began = clock.monotonic();
    await loadTables(this.state, tables, options.name);
    this.#checkName();
    const loaded = this.state.applied;
    const flusher = (this.#flusher = this.#newFlusher());
    const replayed = await replay(this.state, journal, () => {
      flusher.notice();
      return this.#stopped === undefined;
    });
    if (this.#stopped) return flusher.flush();
    this.#checkName();
    this.#checkMembership();
    for (const topic of this.state.topics.values())
      Object.assign(topic.traffic, { messagesIn: 0, bytesIn: 0, committed: 0, rolledBack: 0 });
    const { identity } = this.state;
    const seen = identity && (await this.#parts.folderSeen?.(folderIdOf(identity)));
    this.restored = await leaveOutLostLife(journal, seen, log);
    const parts = { ...this.#parts, seenEpoch: seen?.epoch ?? 0 };
    const rooms = new Rooms(parts, this.state, this.lot, flusher, (names) => this.onTopicsChanged(names));
    await rooms.startEpoch();
    this.#rooms = rooms;
    await rooms.startChores();
    log.info(
      {
        head: journal.head,
        end: journal.end,
        loaded,
        replayed,
        epoch: rooms.epoch,
        topics: this.state.topics.size,
        ms: Math.round(clock.monotonic() - began),
      },
      'broker started',
    );
  }

  /** A broker's queues are addressed by its name: under another one they would be there and belong to nobody. */
  #checkName(): void {
    const { name } = this.#parts.options;
    const known = this.state.identity?.name;
    if (known === undefined || known === name) return;
    throw new FolderFormatError(
      `the data folder belongs to broker ${known}, not to ${name}: start it with --name ${known}, or give ${name} a folder of its own`,
    );
  }

  /** A broker that was removed does not come back with what its folder knows. */
  #checkMembership(): void {
    const { name } = this.#parts.options;
    const { leftBy, removedBrokers } = this.state;
    const removal = removedBrokers.get(name);
    if (leftBy !== undefined && removal) throw wasRemoved(removal);
  }

  #newFlusher(): Flusher {
    const { clock, tables, onFatal } = this.#parts;
    return new Flusher({ clock, state: this.state, tables, onFatal });
  }

  /** After the first failed write or broken invariant nothing more is written; whoever waits is told, then the owner, once. */
  #fail(error: unknown, onFatal: BrokerParts['onFatal']): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#flusher?.halt();
    this.#rooms?.halt(error);
    onFatal(error);
  }

  /** Answers parked polls, finishes what is being written, flushes. The stores stay open: their owner closes them. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.lot.close();
    await this.#started?.catch(() => undefined);
    await this.#rooms?.stop();
  }
}

/** Why a broker does not start, or ends. */
export const wasRemoved = ({ name, deletedAt }: Tombstone): FolderFormatError =>
  new FolderFormatError(
    `broker ${name} was removed from its cluster at ${new Date(deletedAt).toISOString()}: the data folder is left as it is and is not used any more. ` +
      `Start ${name} with an empty folder to add it anew, or delete this folder`,
  );

/** What serves once the data is there. */
/** `seenEpoch`: the highest epoch that others have seen. */
type RoomParts = BrokerParts & { readonly seenEpoch: number };

export class Rooms {
  readonly #parts: RoomParts;
  readonly #state: BrokerState;
  readonly #flusher: Flusher;
  readonly #writer: Writer;
  readonly #chores: Chore[];
  readonly #onTopicsChanged: (names: ReadonlySet<string>) => void;
  readonly #touched = new Set<Queue>();
  readonly #changedTopics = new Set<string>();
  /** What the NameServers know of the broker itself changed. */
  #attributesChanged = false;
  /** Times the scrub met damage since the start. */
  damageFound = 0;
  readonly epoch: number;
  readonly identity: Identity;
  readonly core: Core;
  readonly consumers: Consumers;
  readonly retention: Retention;
  readonly sender: Sender;
  readonly poller: Poller;
  readonly topics: Topics;
  readonly groups: Groups;
  readonly lookup: Lookup;
  readonly purge: Purge;
  readonly positions: Positions;
  readonly seeker: Seeker;
  readonly retries: Retries;
  readonly leases: Leases;
  readonly deadLetters: DeadLetters;
  readonly schedule: Schedule;
  readonly transactions: Transactions;
  readonly checkbacks: Checkbacks;
  readonly definitions: Definitions;
  readonly filterTests: FilterTests;
  readonly notes: Notes;
  readonly search: Search;
  readonly traces: Traces;
  readonly #time: RunningTime;
  readonly #desks: LeaseDesks;
  readonly #timers: Timers;

  constructor(
    parts: RoomParts,
    state: BrokerState,
    lot: ParkingLot,
    flusher: Flusher,
    onTopicsChanged: (names: ReadonlySet<string>) => void,
  ) {
    const { clock, chance, journal, tables, options, log } = parts;
    this.#parts = parts;
    this.#state = state;
    this.#flusher = flusher;
    this.#onTopicsChanged = onTopicsChanged;
    this.epoch = Math.max(state.marks.epoch, journal.lastEpoch, parts.seenEpoch) + 1;
    this.identity = state.identity ?? {
      name: options.name,
      messageIdTag: options.messageIdTag,
      secret: chance.bytes(32).toString('base64'),
    };
    this.#writer = this.#newWriter();
    const time = this.#newTime();
    const gate = new ReadGate({ atOnce: LIMITS.diskReads, waiting: LIMITS.diskReadsWaiting });
    const index = new QueueIndex(tables, gate);
    const secret = Buffer.from(this.identity.secret, 'base64');
    this.#time = new RunningTime(clock);
    this.consumers = new Consumers({
      ...{ clock, time: this.#time, state, brokerName: options.name },
      submit: (command) => this.core.submit(command),
    });
    this.#desks = new LeaseDesks({ clock, time: this.#time, state });
    this.core = {
      clock,
      chance,
      state,
      index,
      reader: new Reader({ index, journal, tail: state.tail, gate }),
      lot,
      consumers: this.consumers,
      cursors: new CursorCodec(secret),
      brokerName: options.name,
      idTag: idTagBytes(this.identity.messageIdTag),
      submit: async <C extends Command>(command: C) => unwrap<C['kind']>(await this.#writer.submit(command)),
      trustedNow: () => time.now(),
      checkRoom: () => this.#checkRoom(),
    };
    this.retention = new Retention({
      core: this.core,
      journal,
      disk: parts.disk,
      time,
      options: options.retention,
      log,
    });
    const answers = new Answers(this.core, tables);
    const ids = new MessageIds({ clock, chance, address: options.address, pid: options.pid });
    this.sender = new Sender(this.core, answers, ids);
    this.poller = new Poller(this.core);
    this.topics = new Topics(this.core);
    this.lookup = new Lookup(this.core, { journal, tables, gate });
    this.purge = new Purge(this.core, { lookup: this.lookup });
    this.groups = new Groups(this.core, this.lookup, this.#desks);
    this.positions = new Positions(this.core, this.lookup, this.#desks);
    this.seeker = new Seeker(this.core, this.positions);
    this.retries = new Retries(this.core, { answers, topics: this.topics, positions: this.positions });
    this.leases = new Leases(this.core, { desks: this.#desks, retries: this.retries, tables, secret });
    this.deadLetters = new DeadLetters(this.core, {
      ...{ tables, answers },
      ...{ retries: this.retries, sender: this.sender, lookup: this.lookup },
    });
    this.#timers = new Timers(this.core, { tables, release: (record) => this.schedule.release(record) });
    this.schedule = new Schedule(this.core, {
      tables,
      timers: this.#timers,
      sender: this.sender,
      lookup: this.lookup,
    });
    this.transactions = new Transactions(this.core, { tables, answers, ids, sender: this.sender });
    const { transactions } = this;
    this.checkbacks = new Checkbacks(this.core, { transactions, caller: parts.checkCaller, log });
    this.definitions = new Definitions(this.core, { lookup: this.lookup, checkbacks: this.checkbacks });
    this.filterTests = new FilterTests(this.core);
    this.notes = new Notes(this.core);
    this.search = new Search(this.core, { tables, gate });
    this.traces = new Traces(this.core, { tables, gate, lookup: this.lookup, desks: this.#desks });
    this.#chores = this.#newChores(gate);
  }

  /** Known to be right is the time of the newest command, less what it was ahead of what was believed then. */
  #newTime(): TrustedTime {
    const { clock, journal, options } = this.#parts;
    const { time, clockAheadMs = 0 } = this.#state.marks;
    const last = Math.max(time, journal.lastTime);
    return new TrustedTime(clock, last === 0 || options.trustClock ? undefined : last - clockAheadMs);
  }

  #newWriter(): Writer {
    const { clock, journal, options, onFatal } = this.#parts;
    return new Writer({
      clock,
      journal,
      epoch: this.epoch,
      sync: options.syncEveryTurn,
      lastTime: Math.max(this.#state.marks.time, journal.lastTime),
      apply: (applied) => this.#apply(applied),
      onTurn: () => this.#afterTurn(),
      onFatal,
    });
  }

  #newChores(gate: ReadGate): Chore[] {
    const { clock, journal, tables, options, log, onFatal } = this.#parts;
    const janitor = new Janitor({ state: this.#state, journal, tables });
    const clean = async (signal: AbortSignal) => {
      while (!signal.aborted && (await janitor.runOnce()) > 0);
    };
    const chores = [
      new Chore({
        clock,
        everyMs: options.retentionCheckMs,
        runOnce: () => this.retention.runOnce(),
        onError: (error) => log.error({ err: error }, 'retention failed'),
        immediately: true,
      }),
      new Chore({
        clock,
        everyMs: options.retentionCheckMs,
        runOnce: () => this.#forgetOld(),
        onError: (error) => log.error({ err: error }, 'forgetting old dead letters failed'),
      }),
      new Chore({ clock, everyMs: JANITOR_MS, runOnce: clean, onError: onFatal }),
      new Chore({
        clock,
        everyMs: SCRUB_MS,
        runOnce: () => this.#scrub(gate),
        onError: (error) => this.#noteDamage(error),
      }),
    ];
    if (!options.syncEveryTurn)
      chores.push(
        new Chore({ clock, everyMs: options.syncEveryMs, runOnce: () => journal.syncNow(), onError: onFatal }),
      );
    return chores;
  }

  async #forgetOld(): Promise<void> {
    await this.deadLetters.expire();
    await this.groups.forgetListeners();
  }

  async #scrub(gate: ReadGate): Promise<void> {
    const { journal, tables } = this.#parts;
    await gate.run(() => journal.scrub(SCRUB_RECORDS));
    await gate.run(() => tables.scrub(SCRUB_BYTES));
  }

  /** What is damaged is refused when it is read; everything else goes on, and an operator is told. */
  #noteDamage(error: unknown): void {
    this.damageFound++;
    this.#parts.log.error({ err: error }, 'stored data is damaged: restore the data folder from a backup');
  }

  /** The first command of a new master's epoch; with it a new folder gets its identity. */
  async startEpoch(): Promise<void> {
    const identity = this.#state.identity ? {} : { identity: this.identity };
    await this.core.submit({ kind: 'epochStart', applyVersion: APPLY_VERSION, ...identity });
    // Whatever the flush mode: an epoch that a power cut takes back would be given again, and with it its owner epochs.
    await this.#parts.journal.syncNow();
    await this.retention.firstLook();
  }

  async startChores(): Promise<void> {
    this.#time.start();
    this.consumers.start();
    this.#desks.start();
    this.#timers.start();
    this.checkbacks.start();
    for (const chore of this.#chores) await chore.start();
  }

  /** Something broke: no chore begins any more, and the writer refuses. */
  halt(error: unknown): void {
    for (const chore of this.#chores) void chore.stop();
    this.#writer.fail(error);
  }

  async stop(): Promise<void> {
    for (const chore of this.#chores) await chore.stop();
    await this.#timers.stop();
    await this.checkbacks.stop();
    await this.leases.stop();
    this.consumers.stop();
    this.#desks.stop();
    this.#time.stop();
    await this.#writer.stop();
    await this.#flusher.flush();
  }

  get pendingBytes(): number {
    return this.#writer.pendingBytes;
  }

  get turns(): { turns: number; commands: number } {
    return { turns: this.#writer.turns, commands: this.#writer.commands };
  }

  #checkRoom(): void {
    if (this.retention.full) {
      throw new GantryError(
        'DISK_FULL',
        `the disk is ${Math.round(this.retention.usedRatio * 100)} % full: nothing was stored. Free space, or shorten --retention-ms`,
        {
          retryAfterMs: 10_000,
        },
      );
    }
  }

  #apply(applied: Applied): Outcome {
    const { command } = applied;
    const outcome = apply(this.#state, applied, this.#touched);
    if ('ok' in outcome && command.kind !== 'send') this.#follow(command, outcome.ok);
    return outcome;
  }

  /** Soft state follows what was decided: memberships, leases, and what the NameServers know. */
  #follow(command: Command, result: unknown): void {
    const group =
      'group' in command && typeof command.group === 'number' ? this.#state.groups.get(command.group) : undefined;
    switch (command.kind) {
      case 'createTopic':
        return this.#topicChanged((result as TopicChange).topic);
      case 'updateTopic':
      case 'deleteTopic':
      case 'leaveTopic':
        this.#topicChanged((result as TopicChange).topic);
        return this.#groupsGone();
      case 'leaveCluster':
        return this.#groupsGone();
      case 'install':
        return this.#installed(command.definition, result as InstallOutcome);
      case 'putGroup':
        return this.#regrouped(this.#state.groupsByName.get(command.group.name)!);
      case 'deleteGroup':
        return this.#groupsGone();
      case 'commitOffsets':
        if (group) this.#desks.committed(group);
        return group && this.consumers.committed(group);
      case 'retry':
      case 'settle':
        return group && this.consumers.committed(group);
      case 'resetOffsets':
        if (group) this.consumers.reset(group);
        return group && this.#desks.reset(group);
      case 'assignQueues':
        return group && this.#desks.reset(group);
      case 'setPermission':
        this.#attributesChanged = true;
        for (const { record } of this.#state.topics.values()) {
          this.consumers.refresh(record);
          this.#desks.refresh(record);
        }
        return;
      default:
        return; // nothing soft hangs on the others
    }
  }

  #installed({ kind, name }: Definition, { topics }: InstallOutcome): void {
    for (const topic of topics) this.#topicChanged(topic);
    this.#groupsGone();
    const group = kind === 'GROUP' ? this.#state.groupsByName.get(name) : undefined;
    if (group) this.#regrouped(group);
  }

  #regrouped(group: GroupState): void {
    this.consumers.regroup(group);
    this.#desks.regroup(group);
  }

  #topicChanged(topic: { readonly no: number; readonly name: string }): void {
    this.#changedTopics.add(topic.name);
    this.consumers.refresh(topic);
    this.#desks.refresh(topic);
  }

  #groupsGone(): void {
    this.consumers.forgetDeleted();
    this.#desks.forgetDeleted();
  }

  #afterTurn(): void {
    for (const queue of this.#touched) for (const parking of [...queue.waiting]) parking.wake('DATA');
    this.#touched.clear();
    this.#timers.notice();
    this.checkbacks.notice();
    for (const name of this.#state.goneTopics.splice(0)) this.#changedTopics.add(name);
    this.#flusher.notice();
    if (this.#changedTopics.size === 0 && !this.#attributesChanged) return;
    this.#attributesChanged = false;
    const names = new Set(this.#changedTopics);
    this.#changedTopics.clear();
    this.#onTopicsChanged(names);
  }
}
