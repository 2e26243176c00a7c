/**
 * A broker's conversation with one NameServer. One exchange at a time, each chosen from what this NameServer last
 * acknowledged: nothing known → FULL, an older state → CHANGES, the present one → HEARTBEAT. Links know nothing of each
 * other, so a slow or dead NameServer delays nobody else.
 *
 * What always holds: `#acknowledged` is a state the NameServer has confirmed, and `#pending` names every topic that
 * changed after that state was described. A failed exchange may have been applied or not: the next CHANGES from the old
 * state is then answered `known: false`, and a FULL one follows.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { failureFields, type Log } from '../base/log';
import { sameVersion, type DataVersion, type Registration, type RegistrationAnswer } from '../nameserver/route';
import type { RefusedClaim } from '../nameserver/route';
import { withDeadline } from './deadline';
import { hostPortOf, type NameserverPeer } from './nameserverPeer';

/**
 * A refusal is remembered for so long beyond the last one, milliseconds, though the NameServer cannot be reached any
 * more: by then the broker that it defended would have been forgotten there.
 */
const CONFLICT_MS = 120_000;

/** Names remembered for a NameServer that does not answer; with more, it gets everything again. */
const PENDING_NAMES = 1_000;

export interface NameserverStatus {
  readonly address: string;
  /** True if the last call was answered, be it by a refusal. False before the first answer. */
  readonly reachable: boolean;
  /** Wall clock of the last acknowledged registration or heartbeat, milliseconds. */
  readonly lastRegistrationTimestamp?: number;
  /** Why the last call failed; absent after an acknowledged one. */
  readonly lastError?: string;
  /** Why this broker is refused while another one lives; absent when it is not. */
  readonly conflict?: string;
  /** A process that wants this broker's name and is refused there. */
  readonly refusedClaim?: RefusedClaim;
}

export interface LinkTimes {
  /** Milliseconds between an acknowledgement and the next heartbeat. */
  readonly heartbeatMs: number;
  /** Milliseconds one call may take. */
  readonly callMs: number;
  /** Milliseconds before the first repetition of a failed call; doubles up to `retryMaxMs`. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** Milliseconds `stop` may take, a call under way included. */
  readonly stopMs: number;
}

export interface LinkOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly peer: NameserverPeer;
  readonly cluster: string;
  readonly broker: string;
  readonly brokerId: number;
  readonly times: LinkTimes;
  /** The registration that brings a NameServer from `acknowledged` (nothing, if undefined) to the present state. */
  readonly compose: (acknowledged: DataVersion | undefined, changed: ReadonlySet<string>) => Registration;
  /** The present state's version. */
  readonly version: () => DataVersion;
  /** Why this link must not be registered now, because of what another NameServer said; undefined: it may. */
  readonly holdBack: (link: NameserverLink) => string | undefined;
  /** The NameServer has refused this broker, and had not before. */
  readonly onConflict: (link: NameserverLink) => void;
}

interface Waiter {
  readonly counter: number;
  readonly settle: (acknowledged: boolean) => void;
}

export class NameserverLink {
  readonly #options: LinkOptions;
  readonly #ended = new AbortController();
  #acknowledged: DataVersion | undefined;
  #pending = new Set<string>();
  /** The next exchange is a FULL one, whatever the one under way acknowledges: its changes are not in `#pending`. */
  #tellAll = false;
  #waiters: Waiter[] = [];
  /** Exchanges in a row that got no answer, or a refusal. */
  #failures = 0;
  #status: Omit<NameserverStatus, 'address'> = { reachable: false };
  #registeredEver = false;
  #conflict: { readonly words: string; readonly until: number } | undefined;
  #lastAddress: string | undefined;
  #loop: Promise<void> | undefined;
  #leaving = false;
  #stopped: Promise<void> | undefined;
  /** Ends the present pause; undefined while an exchange is under way. */
  #endPause: (() => void) | undefined;
  #hurried = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get status(): NameserverStatus {
    return { address: this.#options.peer.address, ...this.#status };
  }

  /** True once this NameServer has acknowledged anything. */
  get registeredEver(): boolean {
    return this.#registeredEver;
  }

  /** True while the NameServer has this broker among those that live. */
  get isRegistered(): boolean {
    return this.#acknowledged !== undefined && this.#failures === 0;
  }

  /** True once the first exchange has ended, well or badly. */
  get hasVerdict(): boolean {
    return this.#registeredEver || this.#failures > 0;
  }

  /** Why this broker is refused while another one lives. */
  get conflict(): string | undefined {
    if (this.#conflict && this.#conflict.until < this.#options.clock.monotonic()) this.#conflict = undefined;
    return this.#conflict?.words;
  }

  /** Ends the present pause, or leaves out the next one if an exchange is under way: something is different now. */
  hurry(): void {
    if (this.#endPause) this.#endPause();
    else this.#hurried = true;
  }

  start(): void {
    if (!this.#leaving) this.#loop ??= this.#run();
  }

  /** Tells that these topics, or with none only the member's attributes, are not what was acknowledged any more. */
  changed(names: readonly string[]): void {
    for (const name of names) this.#pending.add(name);
    this.#boundPending();
    // After what waits now, so that a burst becomes one exchange. A failing NameServer is not hurried: it has its back-off.
    this.#options.clock.soon(() => {
      if (this.#pauseMs() === 0) this.#endPause?.();
    });
  }

  /**
   * True once this NameServer has acknowledged the change with this number. False as soon as it is plain that it does
   * not now: it is failing, it fails while waited for, or the link is not running.
   */
  acknowledgement(counter: number): Promise<boolean> {
    if (this.#acknowledged !== undefined && this.#acknowledged.counter >= counter) return Promise.resolve(true);
    const hopeless = this.#loop === undefined || this.#leaving || this.#failures > 0;
    if (hopeless) return Promise.resolve(false);
    return new Promise((settle) => this.#waiters.push({ counter, settle }));
  }

  /** Lets a call under way end, then unregisters; all of it within `stopMs`. */
  stop(): Promise<void> {
    this.#leaving = true;
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    if (this.#loop === undefined) return;
    const { clock, times } = this.#options;
    const timer = clock.after(times.stopMs, () => this.#ended.abort(new Error('stopped')));
    this.#endPause?.();
    await this.#loop;
    await this.#unregister();
    timer.cancel();
    this.#settle(() => false);
  }

  async #run(): Promise<void> {
    while (!this.#leaving) {
      await this.#exchange();
      if (!this.#leaving) await this.#pause(this.#pauseMs());
    }
  }

  async #exchange(): Promise<void> {
    const heldBack = this.#options.holdBack(this);
    if (heldBack !== undefined) return this.#withdraw(heldBack);
    const told = this.#pending;
    this.#pending = new Set();
    if (this.#tellAll) this.#acknowledged = undefined;
    this.#tellAll = false;
    try {
      const registration = this.#options.compose(this.#acknowledged, told);
      const answer = await this.#register(registration);
      if (answer.known) this.#succeed(registration, answer);
      else if (registration.mode === 'FULL') throw new Error('the NameServer does not take a full registration');
      else this.#forgotten();
    } catch (error) {
      for (const name of told) this.#pending.add(name);
      this.#fail(error);
    }
  }

  #register(registration: Registration): Promise<RegistrationAnswer> {
    const { clock, peer, cluster, broker, brokerId, times } = this.#options;
    this.#lastAddress = registration.address;
    return withDeadline(clock, times.callMs, this.#ended.signal, (signal) =>
      peer.register(cluster, broker, brokerId, registration, signal),
    );
  }

  #succeed(registration: Registration, { refusedClaim }: RegistrationAnswer): void {
    const { clock, log, peer, broker } = this.#options;
    if (registration.mode === 'FULL') log.info({ nameserver: hostPortOf(peer) }, 'registered at a NameServer');
    else if (this.#failures > 0) log.info({ nameserver: hostPortOf(peer) }, 'NameServer answers again');
    if (refusedClaim !== undefined && refusedClaim.address !== this.#status.refusedClaim?.address)
      log.warn(
        { nameserver: hostPortOf(peer), broker, claimant: refusedClaim.address },
        'another process wants to register with the name of this broker and is refused',
      );
    this.#failures = 0;
    this.#registeredEver = true;
    this.#conflict = undefined;
    this.#acknowledged = registration.dataVersion;
    this.#status = {
      reachable: true,
      lastRegistrationTimestamp: clock.now(),
      ...(refusedClaim !== undefined && { refusedClaim }),
    };
    const { counter } = registration.dataVersion;
    this.#settle((waiter) => (waiter.counter <= counter ? true : undefined));
  }

  /** The NameServer restarted, dropped this member, or holds another state of it. */
  #forgotten(): void {
    const { log, peer } = this.#options;
    log.info({ nameserver: hostPortOf(peer) }, 'NameServer does not know this state, registering in full');
    this.#failures = 0;
    this.#acknowledged = undefined;
  }

  #fail(error: unknown): void {
    const { log, peer, clock } = this.#options;
    const refused = isConflict(error);
    const lastError = error instanceof Error ? error.message : String(error);
    if (this.#status.lastError !== lastError) {
      const facts = { nameserver: hostPortOf(peer), ...failureFields(error) };
      if (refused)
        log.error(facts, 'another broker lives with the name of this one: it serves nobody until that is gone');
      else log.warn(facts, 'registration at a NameServer failed, will be repeated');
    }
    const isNew = refused && this.conflict === undefined;
    if (refused) this.#conflict = { words: lastError, until: clock.monotonic() + CONFLICT_MS };
    this.#setFailed(lastError, refused);
    this.#boundPending();
    this.#settle(() => false);
    if (isNew) this.#options.onConflict(this);
  }

  #setFailed(lastError: string, reachable: boolean): void {
    const { lastRegistrationTimestamp } = this.#status;
    this.#failures++;
    this.#status = {
      reachable,
      ...(lastRegistrationTimestamp !== undefined && { lastRegistrationTimestamp }),
      lastError,
      ...(this.conflict !== undefined && { conflict: this.conflict }),
    };
  }

  /** Another NameServer defends a broker of this name: here, where that may not be known yet, its place is left free. */
  async #withdraw(why: string): Promise<void> {
    if (this.#acknowledged !== undefined) await this.#unregister();
    this.#acknowledged = undefined;
    this.#setFailed(why, this.#status.reachable);
    this.#settle(() => false);
  }

  #boundPending(): void {
    if (this.#pending.size <= PENDING_NAMES) return;
    this.#pending.clear();
    this.#tellAll = true;
  }

  async #unregister(): Promise<void> {
    const { clock, log, peer, cluster, broker, brokerId, times } = this.#options;
    const address = this.#lastAddress;
    // A refused registration leaves no entry there; another broker with the same address may have one.
    if (address === undefined || this.conflict !== undefined) return;
    try {
      await withDeadline(clock, times.stopMs, this.#ended.signal, (signal) =>
        peer.unregister(cluster, broker, brokerId, address, signal),
      );
    } catch (error) {
      log.info(
        { nameserver: hostPortOf(peer), ...failureFields(error) },
        'not unregistered, the NameServer will drop this broker',
      );
    }
  }

  #pauseMs(): number {
    const { times, version } = this.#options;
    if (this.#failures > 0) return Math.min(times.retryMinMs * 2 ** (this.#failures - 1), times.retryMaxMs);
    const upToDate = this.#acknowledged !== undefined && sameVersion(this.#acknowledged, version());
    return upToDate && !this.#tellAll ? times.heartbeatMs : 0;
  }

  #pause(ms: number): Promise<void> {
    const hurried = this.#hurried;
    this.#hurried = false;
    if (ms === 0 || hurried) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.#endPause = undefined;
        resolve();
      };
      const timer = this.#options.clock.after(ms, end);
      this.#endPause = end;
    });
  }

  /** Tells each waiter what `verdict` says of it and keeps those of which it says nothing. */
  #settle(verdict: (waiter: Waiter) => boolean | undefined): void {
    const waiting = this.#waiters;
    this.#waiters = waiting.filter((waiter) => verdict(waiter) === undefined);
    for (const waiter of waiting) {
      const acknowledged = verdict(waiter);
      if (acknowledged !== undefined) waiter.settle(acknowledged);
    }
  }
}

const isConflict = (error: unknown): boolean => error instanceof GantryError && error.code === 'REGISTRATION_CONFLICT';
