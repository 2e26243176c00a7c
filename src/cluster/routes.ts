/**
 * Where topics are, as the NameServers say. Any one of them is asked, and the next when it does not answer; they are
 * independent, and one that restarted knows nothing yet. So a topic is unknown only when every NameServer that can be
 * reached and has been up long enough says so; before that nobody can tell.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { failureFields, silentLog, type Log } from '../base/log';
import { idMarkOf } from '../broker/offsetMessageId';
import type { ClusterMember, ClusterView, TopicRoute } from '../nameserver/route';
import { withDeadline } from './deadline';
import type { LiveBroker } from './fleet';
import { hostPortOf, type NameserverPeer } from './nameserverPeer';

/** Longest wait for one NameServer; then the next is asked. */
const CALL_MS = 1000;

/** Which brokers live. */
export interface BrokersSeen {
  /** False when every NameServer that answered had just started: there may be more. */
  readonly complete: boolean;
  /** In the order of their names. */
  readonly brokers: readonly LiveBroker[];
}

/** What a NameServer made of the question. */
type Answer = TopicRoute | 'UNKNOWN' | 'STARTING' | 'AWAY';

export class Routes {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #nameservers: readonly NameserverPeer[];
  /** Whether it answered when it was asked last; undefined: it was never asked. */
  readonly #answered = new Map<NameserverPeer, boolean>();

  /** The log gets a line when a NameServer begins or ceases to answer. */
  constructor(parts: { clock: Clock; nameservers: readonly NameserverPeer[]; log?: Log }) {
    this.#clock = parts.clock;
    this.#log = parts.log ?? silentLog;
    this.#nameservers = parts.nameservers;
  }

  /**
   * The route as it is now. Throws TOPIC_NOT_FOUND; STARTING while those that answer cannot know yet;
   * SERVICE_NOT_AVAILABLE when none answers.
   */
  async of(topic: string, signal: AbortSignal): Promise<TopicRoute> {
    const misses = new Set<Answer>();
    for (const nameserver of this.#inTurn()) {
      const answer = await this.#ask(nameserver, topic, signal);
      signal.throwIfAborted();
      if (answer === 'AWAY') continue;
      if (typeof answer === 'object') return answer;
      misses.add(answer);
    }
    throw refusal(topic, misses);
  }

  /**
   * All live brokers that any NameServer knows: one that is cut off from a NameServer lives nevertheless. Nobody waits
   * for a NameServer that did not answer when it was asked last. Throws SERVICE_NOT_AVAILABLE when none answers.
   */
  async brokers(): Promise<BrokersSeen> {
    const asked = this.#nameservers.map((peer) => ({
      trusted: this.#answered.get(peer) !== false,
      view: this.#view(peer),
    }));
    const heard = async (some: typeof asked) =>
      (await Promise.all(some.map(({ view }) => view))).filter((view) => view !== undefined);
    let views = await heard(asked.filter(({ trusted }) => trusted));
    if (views.length === 0) views = await heard(asked);
    if (views.length > 0)
      return { complete: views.some(({ started }) => started), brokers: liveBrokers(views.flatMap(membersOf)) };
    throw new GantryError('SERVICE_NOT_AVAILABLE', 'no NameServer answers: nobody can tell which brokers live', LATER);
  }

  /** How it stands with each NameServer, in the order they were given. */
  nameservers(): { readonly address: string; readonly reachable: boolean }[] {
    return this.#nameservers.map((peer) => ({ address: peer.address, reachable: this.#answered.get(peer) ?? false }));
  }

  /** All of them; who did not answer last time comes last: a NameServer that hangs costs its deadline once. */
  #inTurn(): readonly NameserverPeer[] {
    const silent = (peer: NameserverPeer) => this.#answered.get(peer) === false;
    return [...this.#nameservers.filter((peer) => !silent(peer)), ...this.#nameservers.filter(silent)];
  }

  async #view(nameserver: NameserverPeer): Promise<ClusterView | undefined> {
    try {
      const view = await withDeadline(this.#clock, CALL_MS, NEVER, (own) => nameserver.clusterView(own));
      this.#heard(nameserver);
      return view;
    } catch (error) {
      this.#unheard(nameserver, error);
      return undefined;
    }
  }

  #heard(peer: NameserverPeer): void {
    if (this.#answered.get(peer) === false)
      this.#log.info({ nameserver: hostPortOf(peer) }, 'NameServer answers again');
    this.#answered.set(peer, true);
  }

  #unheard(peer: NameserverPeer, error: unknown): void {
    if (this.#answered.get(peer) !== false)
      this.#log.warn({ nameserver: hostPortOf(peer), ...failureFields(error) }, 'NameServer does not answer');
    this.#answered.set(peer, false);
  }

  async #ask(nameserver: NameserverPeer, topic: string, signal: AbortSignal): Promise<Answer> {
    try {
      const route = await withDeadline(this.#clock, CALL_MS, signal, (own) => nameserver.route(topic, own));
      this.#heard(nameserver);
      return route;
    } catch (error) {
      const refused = error instanceof GantryError;
      if (refused) this.#heard(nameserver);
      else if (!signal.aborted) this.#unheard(nameserver, error);
      if (refused && error.code === 'TOPIC_NOT_FOUND') return 'UNKNOWN';
      return refused && error.code === 'STARTING' ? 'STARTING' : 'AWAY';
    }
  }
}

/** Nobody's going away ends what serves everybody. */
const NEVER = new AbortController().signal;
const LATER = { retryAfterMs: 1000 };

interface Heard extends ClusterMember {
  readonly cluster: string;
  readonly broker: string;
  readonly messageIdTag: string;
}

const membersOf = ({ clusters }: ClusterView): Heard[] =>
  clusters.flatMap(({ cluster, brokers }) =>
    brokers.flatMap(({ broker, messageIdTag, members }) =>
      members.map((member) => ({ cluster, broker, messageIdTag, ...member })),
    ),
  );

/** Of each member what was heard of it last, whichever NameServer heard it. */
function liveBrokers(heard: readonly Heard[]): LiveBroker[] {
  const groups = new Map<string, Map<number, Heard>>();
  for (const member of heard) {
    const group = groups.get(member.broker) ?? new Map<number, Heard>();
    groups.set(member.broker, group);
    const before = group.get(member.brokerId);
    if (!before || before.lastHeartbeatTimestamp < member.lastHeartbeatTimestamp) group.set(member.brokerId, member);
  }
  const brokers = [...groups].map(([name, group]) => {
    const members = [...group.values()];
    const { cluster, messageIdTag } = members[0]!;
    const lastHeartbeatTimestamp = Math.max(...members.map((member) => member.lastHeartbeatTimestamp));
    const address = masterOf(members)?.address;
    return { name, cluster, address, idMark: idMarkOf(messageIdTag), lastHeartbeatTimestamp };
  });
  return brokers.sort(byName);
}

export const byName = (a: LiveBroker, b: LiveBroker): number => (a.name < b.name ? -1 : 1);

/** With two that call themselves master the one of the higher epoch is it (replication.md). */
function masterOf(members: readonly ClusterMember[]): ClusterMember | undefined {
  const epoch = Math.max(...members.map((member) => member.epoch));
  return members.find((member) => member.role === 'MASTER' && member.epoch === epoch);
}

const CREATE_IT = 'create it with POST /v1/topics, or start the brokers that have it';

function refusal(topic: string, misses: ReadonlySet<Answer>): GantryError {
  // Brokers register with all of them: one that has been up long enough has heard of every topic.
  if (misses.has('UNKNOWN'))
    return new GantryError('TOPIC_NOT_FOUND', `no live broker has a topic ${topic}: ${CREATE_IT}`);
  if (misses.has('STARTING'))
    return new GantryError('STARTING', `a NameServer has just started and may not have heard of ${topic} yet`, LATER);
  return new GantryError('SERVICE_NOT_AVAILABLE', 'no NameServer answers: nobody can tell where topics are', LATER);
}
