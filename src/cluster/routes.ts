/**
 * Where topics are, as the NameServers say. Any one of them is asked, and the next when it does not answer; they are
 * independent, and one that restarted knows nothing yet. So a topic is unknown only when every NameServer that can be
 * reached and has been up long enough says so; before that nobody can tell.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import type { TopicRoute } from '../nameserver/route';
import { withDeadline } from './deadline';
import type { NameserverPeer } from './nameserverPeer';

/** Longest wait for one NameServer; then the next is asked. */
const CALL_MS = 1000;

/** What a NameServer made of the question. */
type Answer = TopicRoute | 'UNKNOWN' | 'STARTING' | 'AWAY';

export class Routes {
  readonly #clock: Clock;
  readonly #nameservers: readonly NameserverPeer[];
  /** The one that answered last is asked first: a NameServer that hangs costs its deadline once. */
  #first = 0;

  constructor(parts: { clock: Clock; nameservers: readonly NameserverPeer[] }) {
    this.#clock = parts.clock;
    this.#nameservers = parts.nameservers;
  }

  /**
   * The route as it is now. Throws TOPIC_NOT_FOUND; STARTING while those that answer cannot know yet;
   * SERVICE_NOT_AVAILABLE when none answers.
   */
  async of(topic: string, signal: AbortSignal): Promise<TopicRoute> {
    const answers = new Set<Answer>();
    const count = this.#nameservers.length;
    for (let i = 0; i < count; i++) {
      const at = (this.#first + i) % count;
      const answer = await this.#ask(this.#nameservers[at]!, topic, signal);
      signal.throwIfAborted();
      answers.add(answer);
      if (answer === 'AWAY') continue;
      if (i > 0 && !answers.has('UNKNOWN') && !answers.has('STARTING')) this.#first = at;
      if (typeof answer === 'object') return answer;
    }
    throw refusal(topic, answers);
  }

  async #ask(nameserver: NameserverPeer, topic: string, signal: AbortSignal): Promise<Answer> {
    try {
      return await withDeadline(this.#clock, CALL_MS, signal, (own) => nameserver.route(topic, own));
    } catch (error) {
      if (!(error instanceof GantryError)) return 'AWAY';
      if (error.code === 'TOPIC_NOT_FOUND') return 'UNKNOWN';
      return error.code === 'STARTING' ? 'STARTING' : 'AWAY';
    }
  }
}

function refusal(topic: string, answers: ReadonlySet<Answer>): GantryError {
  const later = { retryAfterMs: 1000 };
  if (answers.has('STARTING'))
    return new GantryError('STARTING', `a NameServer has just started and may not have heard of ${topic} yet`, later);
  if (answers.has('UNKNOWN')) return new GantryError('TOPIC_NOT_FOUND', `no live broker has a topic ${topic}`);
  return new GantryError('SERVICE_NOT_AVAILABLE', 'no NameServer answers: nobody can tell where topics are', later);
}
