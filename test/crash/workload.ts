/**
 * What clients do to a broker that may go away at any moment: writers of every kind, consumers that commit in both ways,
 * and somebody who administers. Each lane does one thing after the other and writes down what it was told; when the
 * broker is gone it ends, and goes on with the next one where it was: what has a key is sent again until it is known.
 */
import type { Answer, Call, GantryProcess } from '../support/child';
import type { Given, History, Kind, Pending, Placed, QueueContent, QueueOffset, Seen } from '../support/history';

/** Plain messages with declared tags. */
export const ORDERS = 'orders';
/** FIFO: messages of a messageGroup keep their order. */
export const STEPS = 'steps';
const TAGS = ['created', 'paid', 'shipped'];
const MESSAGE_GROUPS = ['ada', 'ben', 'cleo', 'dan', 'eve'];
const PAGE = 1000;

/** Numbers that only depend on the seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor(((t ^ (t >>> 14)) >>> 0) * (bound / 0x1_0000_0000));
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}

/** A seed for this run, or the one of an earlier run that shall be repeated: `CRASH_SEED=123 npx jest test/crash`. */
export const SEED = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);

/** A body follows from its value, so that a reader can tell whether it is whole: `writer-counter`, and padding. */
function bodyOf(value: string): string {
  const counter = Number(value.slice(value.lastIndexOf('-') + 1));
  const padding = counter % 97 === 0 ? 30_000 : counter % 10 === 0 ? 2_000 : counter % 40;
  return `${value} ${'.'.repeat(padding)}`;
}

function valueOf(body: string): string {
  const value = body.slice(0, body.indexOf(' '));
  return body === bodyOf(value) ? value : `damaged: ${body.slice(0, 40)}`;
}

interface MessageJson extends Placed {
  readonly body: string;
  readonly tag?: string;
  readonly messageGroup?: string;
}

const seenOf = ({ body, queueId, queueOffset, messageId, offsetMessageId, tag, messageGroup }: MessageJson): Seen => ({
  value: valueOf(body),
  queueId,
  queueOffset,
  messageId,
  offsetMessageId,
  tag,
  messageGroup,
});

/** One broker's life, as the lanes see it. */
interface Run {
  readonly child: GantryProcess;
  stopping: boolean;
}

/** The lanes at work on one child. */
export interface Load {
  /** Resolves as soon as a send was answered, rejects when none ever will be. */
  readonly begun: Promise<void>;
  /** All lanes end, with their answers or because the broker is gone; then it resolves. */
  end(): Promise<void>;
}

type Lane = (run: Run) => Promise<void>;

/** A send with a key whose outcome is not known yet. */
interface Unsettled {
  readonly topic: string;
  readonly key: string;
  readonly messages: readonly Given[];
}

export class Workload {
  readonly #history: History;
  readonly #dice: Dice;
  readonly #lanes: readonly Lane[];
  readonly #counters = new Map<string, number>();
  readonly #unsettled = new Map<string, Unsettled>();
  /** What was sent with a key and acknowledged, oldest first. */
  readonly #settled: (Unsettled & { writer: string })[] = [];
  readonly #registers = new Map<string, (child: GantryProcess) => Promise<string | null>>();
  /** Answers that never may be: 500, and those that are no answers to what was asked. */
  readonly surprises: string[] = [];
  #onAnswer: () => void = () => undefined;

  constructor(history: History, dice: Dice) {
    this.#history = history;
    this.#dice = dice;
    this.#lanes = [
      (run) => this.#singles(run, 'single1'),
      (run) => this.#singles(run, 'single2'),
      (run) => this.#batches(run, 'batch'),
      (run) => this.#keyed(run, 'keyed1'),
      (run) => this.#keyed(run, 'keyed2'),
      (run) => this.#grouped(run, 'group1'),
      (run) => this.#grouped(run, 'group2'),
      (run) => this.#refused(run, 'refused'),
      (run) => this.#autoCommitting(run),
      (run) => this.#committing(run),
      (run) => this.#administering(run, new Dice(this.#dice.below(0x1_0000_0000))),
    ];
  }

  /** Makes the topics, once for all lives of the broker. */
  async setUp(child: GantryProcess): Promise<void> {
    await child.ask('POST', '/v1/topics', { name: ORDERS, writeQueues: 4, tagPolicy: 'DECLARED' });
    await child.ask('POST', '/v1/topics', { name: STEPS, writeQueues: 4, type: 'FIFO' });
    for (const tag of TAGS) await child.ask('PUT', `/v1/topics/${ORDERS}/tags/${tag}`, {});
  }

  /** Sets all lanes to work. */
  start(child: GantryProcess): Load {
    const run: Run = { child, stopping: false };
    const answered = new Promise<void>((done) => (this.#onAnswer = done));
    const lanes = Promise.all(this.#lanes.map((lane) => lane(run)));
    const over = lanes.then(() => {
      throw new Error('no send was answered');
    });
    over.catch(() => undefined); // told by end(), too
    return {
      begun: Promise.race([answered, over]),
      end: async () => {
        run.stopping = true;
        await lanes;
      },
    };
  }

  // --- writers ---------------------------------------------------------------------------------------------------

  #next(writer: string): string {
    const counter = (this.#counters.get(writer) ?? 0) + 1;
    this.#counters.set(writer, counter);
    return `${writer}-${counter}`;
  }

  #order(writer: string): Given {
    return { value: this.#next(writer), tag: this.#dice.below(3) === 0 ? undefined : this.#dice.of(TAGS) };
  }

  async #singles(run: Run, writer: string): Promise<void> {
    while (!run.stopping) {
      if (!(await this.#send(run, writer, ORDERS, [this.#order(writer)]))) return;
    }
  }

  async #batches(run: Run, writer: string): Promise<void> {
    while (!run.stopping) {
      const size = this.#dice.below(8) === 0 ? 150 : 2 + this.#dice.below(20);
      const messages = Array.from({ length: size }, () => this.#order(writer));
      if (!(await this.#send(run, writer, ORDERS, messages))) return;
    }
  }

  /** Never leaves a key before it knows what became of it. */
  async #keyed(run: Run, writer: string): Promise<void> {
    while (!run.stopping) {
      const again = this.#unsettled.get(writer);
      const size = this.#dice.below(2) === 0 ? 1 : 2 + this.#dice.below(8);
      const { topic, key, messages }: Unsettled = again ?? {
        topic: ORDERS,
        messages: Array.from({ length: size }, () => this.#order(writer)),
        key: this.#next(`${writer}.key`),
      };
      this.#unsettled.set(writer, { topic, key, messages });
      if (!(await this.#send(run, writer, topic, messages, key))) return;
      this.#unsettled.delete(writer);
      this.#settled.push({ writer, topic, key, messages });
    }
  }

  /** Two such writers share the messageGroups, so their order is also one between writers. */
  async #grouped(run: Run, writer: string): Promise<void> {
    while (!run.stopping) {
      const messageGroup = this.#dice.of(MESSAGE_GROUPS);
      const size = this.#dice.below(3) === 0 ? 3 : 1;
      const messages = Array.from({ length: size }, () => ({ value: this.#next(writer), messageGroup }));
      if (!(await this.#send(run, writer, STEPS, messages))) return;
    }
  }

  /** Sends what the topic does not take, alone or among others: none of it may ever be read. */
  async #refused(run: Run, writer: string): Promise<void> {
    while (!run.stopping) {
      const bad = { value: this.#next(writer), tag: 'undeclared' };
      const messages = this.#dice.below(2) === 0 ? [bad] : [this.#order(writer), bad, this.#order(writer)];
      if (!(await this.#send(run, writer, ORDERS, messages))) return;
      await this.#pause(run, 20);
    }
  }

  /** False when the broker is gone. */
  async #send(run: Run, writer: string, topic: string, messages: readonly Given[], key?: string): Promise<boolean> {
    const atOnce = messages.every(({ tag }) => tag !== 'undeclared');
    const pending = this.#history.invoke(writer, 'send', { topic, key, atOnce, messages });
    const json = { messages: messages.map(({ value, ...rest }) => ({ ...rest, body: bodyOf(value) })) };
    const headers = key === undefined ? {} : { 'idempotency-key': key };
    const answer = await this.#call(run, pending, 'POST', `/v1/topics/${topic}/messages`, { json, headers });
    if (!answer) return false;
    if (answer.status === 200 || answer.status === 207) {
      type Item = Placed & { error?: { code: string } };
      pending.ok((answer.body as { results: Item[] }).results.map((item) => item.error?.code ?? placedOf(item)));
      this.#onAnswer();
      return true;
    }
    // A key is kept until it is known: unavailable now is no answer to the first attempt.
    return this.#refusal(pending, answer) && (key === undefined || answer.status === 422);
  }

  // --- consumers -------------------------------------------------------------------------------------------------

  /** Commits with its next poll what the last one gave. */
  async #autoCommitting(run: Run): Promise<void> {
    const [group, topic, consumer] = ['auto', ORDERS, '/v1/groups/auto/consumers/c1'];
    let cursor = '';
    let handed: readonly Seen[] = [];
    if (!(await this.#join(run, consumer, topic))) return;
    while (!run.stopping) {
      const offsets = behind(handed);
      const commit =
        offsets.length === 0 ? undefined : this.#history.invoke('auto', 'commit', { group, topic, offsets });
      const poll = this.#history.invoke('auto', 'poll', { group, topic });
      const query = `max=200&waitMs=100&autoCommit=true&cursor=${cursor}`;
      const answer = await this.#call(run, poll, 'GET', `${consumer}/messages?${query}`);
      if (answer?.status !== 200) {
        commit?.info('the poll that carried it was not answered well');
        if (answer) this.#refusal(poll, answer);
        return;
      }
      const body = answer.body as { messages: MessageJson[]; cursor: string; dropped?: { queueId: number }[] };
      commit?.ok(offsets.filter(({ queueId }) => !body.dropped?.some((dropped) => dropped.queueId === queueId)));
      handed = body.messages.map(seenOf);
      poll.ok(handed);
      cursor = body.cursor;
    }
  }

  /** Commits by hand, with the cursor or queue by queue, and now and then not at all. */
  async #committing(run: Run): Promise<void> {
    const [group, topic, consumer] = ['explicit', STEPS, '/v1/groups/explicit/consumers/c1'];
    if (!(await this.#join(run, consumer, topic))) return;
    while (!run.stopping) {
      const poll = this.#history.invoke('explicit', 'poll', { group, topic });
      const answer = await this.#call(run, poll, 'GET', `${consumer}/messages?max=100&waitMs=100`);
      if (!answer) return;
      if (answer.status !== 200) return void this.#refusal(poll, answer);
      const { messages, cursor, generation } = answer.body as {
        messages: MessageJson[];
        cursor: string;
        generation: string;
      };
      const handed = messages.map(seenOf);
      poll.ok(handed);
      if (handed.length === 0 || this.#dice.below(5) === 0) continue;
      const offsets = behind(handed);
      const how =
        this.#dice.below(2) === 0
          ? { cursor }
          : { generation, offsets: offsets.map((at) => ({ topic, broker: 'broker-a', ...at })) };
      const commit = this.#history.invoke('explicit', 'commit', { group, topic, offsets });
      const said = await this.#call(run, commit, 'POST', `/v1/groups/${group}/offsets`, {
        json: { consumerId: 'c1', ...how },
      });
      if (!said) return;
      if (said.status === 200) commit.ok(offsets);
      else if (!this.#refusal(commit, said)) return;
    }
  }

  /** False when the broker is gone. */
  async #join(run: Run, consumer: string, topic: string): Promise<boolean> {
    try {
      await run.child.ask('PUT', consumer, { topic });
      return true;
    } catch {
      return false;
    }
  }

  // --- an administrator ------------------------------------------------------------------------------------------

  /** Changes descriptions, makes and deletes a topic, a tag, a group. Each of these has one value, known or in doubt. */
  async #administering(run: Run, dice: Dice): Promise<void> {
    for (let step = 0; !run.stopping; step++) {
      const text = this.#next('text');
      const changes = [
        () => this.#describe(run, `/v1/topics/${STEPS}`, text),
        () => this.#describe(run, '/v1/groups/auto', text),
        () => this.#presence(run, '/v1/topics/passing', ['POST', '/v1/topics', { name: 'passing', writeQueues: 2 }]),
        () =>
          this.#presence(run, `/v1/topics/${ORDERS}/tags/passing`, ['PUT', `/v1/topics/${ORDERS}/tags/passing`, {}]),
        () => this.#presence(run, '/v1/groups/passing', ['PUT', '/v1/groups/passing', { topic: ORDERS }]),
      ];
      if (!(await dice.of(changes)())) return;
      await this.#pause(run, 15);
    }
  }

  async #describe(run: Run, path: string, text: string): Promise<boolean> {
    this.#registers.set(`description of ${path}`, async (child) => {
      const { status, body } = await child.call('GET', path);
      return status === 200 ? ((body as { description?: string }).description ?? null) : null;
    });
    return this.#change(run, `description of ${path}`, text, ['PATCH', path, { description: text }]);
  }

  /** Makes it, and deletes it the next time. */
  async #presence(run: Run, path: string, making: ['POST' | 'PUT', string, unknown]): Promise<boolean> {
    const known = this.#registers.has(path);
    this.#registers.set(path, async (child) => {
      // Tags cannot be got one by one.
      const tag = /^(.*\/tags)\/(\w+)$/.exec(path);
      if (!tag) {
        const { status } = await child.call('GET', path);
        // One that starts or stops says 503, which is no word on what is there.
        if (status !== 200 && status !== 404) throw new Error(`${status}`);
        return status === 200 ? 'there' : null;
      }
      const { declared } = (await child.ask('GET', tag[1]!)) as { declared: { tag: string }[] };
      return declared.some((one) => one.tag === tag[2]) ? 'there' : null;
    });
    const there = known && (await this.#look(run, path)) === 'there';
    return this.#change(run, path, there ? null : 'there', there ? ['DELETE', path, undefined] : making);
  }

  async #change(
    run: Run,
    register: string,
    value: string | null,
    [method, path, json]: ['POST' | 'PUT' | 'PATCH' | 'DELETE', string, unknown],
  ): Promise<boolean> {
    const pending = this.#history.invoke('admin', 'change', { register, value });
    const answer = await this.#call(run, pending, method, path, { json });
    if (!answer) return false;
    if (answer.status < 300) {
      pending.ok(undefined);
      return true;
    }
    return this.#refusal(pending, answer);
  }

  /** undefined when the broker is gone. */
  async #look(run: Pick<Run, 'child'>, register: string): Promise<string | null | undefined> {
    const pending = this.#history.invoke('admin', 'look', { register });
    try {
      const value = await this.#registers.get(register)!(run.child);
      pending.ok(value);
      return value;
    } catch (error) {
      pending.info(String(error));
      return undefined;
    }
  }

  // --- the wire --------------------------------------------------------------------------------------------------

  /** undefined when no answer came, which is written down: refused connections carried nothing, all else is unknown. */
  async #call(
    run: Run,
    pending: Pick<Pending<Kind>, 'fail' | 'info'>,
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    call: Call = {},
  ): Promise<Answer | undefined> {
    try {
      return await run.child.call(method, path, call);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ECONNREFUSED') pending.fail(message);
      else pending.info(message);
      return undefined;
    }
  }

  /** A problem document: 4xx and 503 did nothing, 504 says that nobody knows. False for 504 and what is no refusal. */
  #refusal(pending: Pick<Pending<Kind>, 'fail' | 'info'>, { status, body }: Answer): boolean {
    const { code } = body as { code?: string };
    const surely = (status >= 400 && status < 500) || status === 503;
    if (surely) pending.fail(`${status} ${code}`);
    else pending.info(`${status} ${code}`);
    if (!surely && status !== 504) this.surprises.push(`${status} ${JSON.stringify(body)}`);
    return surely;
  }

  async #pause(run: Run, ms: number): Promise<void> {
    if (!run.stopping) await new Promise((next) => setTimeout(next, ms));
  }

  // --- looking at everything -------------------------------------------------------------------------------------

  /**
   * Sends again what has a key: what has no known outcome, and some of what was acknowledged, as a client does that did
   * not get the answer. Nobody else may be at work.
   */
  async settle(child: GantryProcess): Promise<void> {
    const run = { child, stopping: false };
    for (const [writer, unsettled] of this.#unsettled) {
      const { topic, key, messages } = unsettled;
      if (!(await this.#send(run, writer, topic, messages, key))) continue;
      this.#unsettled.delete(writer);
      this.#settled.push({ writer, ...unsettled });
    }
    const some = Array.from({ length: Math.min(10, this.#settled.length) }, () => this.#dice.of(this.#settled));
    for (const { writer, topic, key, messages } of [...this.#settled.slice(-10), ...some]) {
      await this.#send(run, writer, topic, messages, key);
    }
  }

  /** Lets both groups read on until they are at the end. */
  async consumeAll(child: GantryProcess): Promise<void> {
    const run: Run = { child, stopping: false };
    const consuming = Promise.all([this.#autoCommitting(run), this.#committing(run)]).then(() => {
      if (!run.stopping) throw new Error('a consumer ended before it was at the end');
    });
    await Promise.race([consuming, this.#caughtUp(child)]);
    run.stopping = true;
    await consuming;
  }

  async #caughtUp(child: GantryProcess): Promise<void> {
    for (const group of ['auto', 'explicit']) {
      while (((await child.ask('GET', `/v1/groups/${group}/offsets`)) as { lag: number }).lag > 0) {
        await new Promise((next) => setTimeout(next, 20));
      }
    }
  }

  /** Reads everything there is while nobody writes, and looks for a part of it by its ids. */
  async readAll(child: GantryProcess): Promise<void> {
    for (const topic of [ORDERS, STEPS]) await this.#drain(child, topic);
    await Promise.all([
      this.#offsets(child, 'auto', ORDERS),
      this.#offsets(child, 'explicit', STEPS),
      ...[...this.#registers.keys()].map((register) => this.#look({ child }, register)),
      ...this.#someIds().map(([topic, id]) => this.#find(child, topic, id)),
    ]);
  }

  async #drain(child: GantryProcess, topic: string): Promise<void> {
    const pending = this.#history.invoke('reader', 'drain', { topic });
    const { queues } = (await child.ask('GET', `/v1/topics/${topic}/queues`)) as {
      queues: { broker: string; queueId: number; minOffset: number; maxOffset: number }[];
    };
    const contents = await Promise.all(
      queues.map(async ({ broker, queueId, minOffset, maxOffset }): Promise<QueueContent> => {
        const messages: Seen[] = [];
        for (let offset = minOffset; offset < maxOffset;) {
          const path = `/v1/topics/${topic}/queues/${broker}/${queueId}/messages?offset=${offset}&max=${PAGE}`;
          const page = (await child.ask('GET', path)) as { messages: MessageJson[]; nextOffset: number };
          for (const message of page.messages) messages.push(seenOf(message));
          if (page.nextOffset <= offset) break; // the checker sees what is missing
          offset = page.nextOffset;
        }
        return { queueId, minOffset, maxOffset, messages };
      }),
    );
    const { seen } = (await child.ask('GET', `/v1/topics/${topic}/tags`)) as { seen: { tag: string; count: number }[] };
    pending.ok({ queues: contents, tags: Object.fromEntries(seen.map(({ tag, count }) => [tag, count])) });
  }

  async #offsets(child: GantryProcess, group: string, topic: string): Promise<void> {
    const pending = this.#history.invoke('reader', 'offsets', { group, topic, whole: true });
    const answer = await child.call('GET', `/v1/groups/${group}/offsets`);
    if (answer.status !== 200) return pending.fail(`${answer.status}`);
    type Position = { queueId: number; committed: number; minOffset: number; maxOffset: number };
    pending.ok((answer.body as { offsets: Position[] }).offsets);
  }

  async #find(child: GantryProcess, topic: string, id: string): Promise<void> {
    const pending = this.#history.invoke('reader', 'find', { topic, id });
    const { status, body } = await child.call('GET', `/v1/topics/${topic}/messages/${id}`);
    if (status === 200) pending.ok(seenOf(body as MessageJson));
    else pending.fail(`${status}`);
  }

  /** Both ids of the messages acknowledged last, and of some from before. */
  #someIds(): [topic: string, id: string][] {
    const acknowledged: [string, Placed][] = [];
    for (const { kind, args, outcome, result } of this.#history.operations) {
      if (kind !== 'send' || outcome !== 'ok') continue;
      for (const placed of result!) if (typeof placed !== 'string') acknowledged.push([args.topic, placed]);
    }
    const older = Array.from({ length: Math.min(60, acknowledged.length) }, () => this.#dice.of(acknowledged));
    return [...acknowledged.slice(-60), ...older].flatMap(([topic, { messageId, offsetMessageId }]) => [
      [topic, messageId],
      [topic, offsetMessageId],
    ]);
  }
}

/** The answer of a send, without what is not compared. */
const placedOf = ({ queueId, queueOffset, messageId, offsetMessageId }: Placed): Placed => ({
  queueId,
  queueOffset,
  messageId,
  offsetMessageId,
});

/** The positions behind what was handed out. */
function behind(handed: readonly Seen[]): QueueOffset[] {
  const next = new Map<number, number>();
  for (const { queueId, queueOffset } of handed) next.set(queueId, Math.max(next.get(queueId) ?? 0, queueOffset + 1));
  return [...next].map(([queueId, nextOffset]) => ({ queueId, nextOffset }));
}
