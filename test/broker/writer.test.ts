/** The single writer: what waits becomes a turn, in order; what fails is never taken for done. */
import type { Journal, NewCommand } from '../../storage/journal';
import { LIMITS } from '../../src/base/limits';
import { RECORD_HEADER_BYTES } from '../../storage/record';
import type { Applied, Outcome } from '../../src/broker/apply';
import type { Command } from '../../src/broker/command';
import { Writer } from '../../src/broker/writer';
import { codeOf, turn, until } from '../support/broker';
import { ManualClock } from '../support/clock';

/** A journal whose writes end when the test says so. */
class SlowJournal {
  readonly turns: {
    commands: number;
    bytes: number;
    time: number;
    epoch: number;
    sync: boolean;
    end: (error?: Error) => void;
  }[] = [];
  #end = 0;

  append(commands: NewCommand[], stamp: { time: number; epoch: number }, { sync }: { sync: boolean }): Promise<number> {
    const first = this.#end + 1;
    this.#end += commands.length;
    const bytes = commands.reduce(
      (sum, { records }) => sum + records.reduce((all, record) => all + record.length, 0),
      0,
    );
    return new Promise((resolve, reject) =>
      this.turns.push({
        commands: commands.length,
        bytes,
        ...stamp,
        sync,
        end: (error) => (error ? reject(error) : resolve(first)),
      }),
    );
  }
}

function setup({
  lastTime = 0,
  sync = true,
  apply,
}: { lastTime?: number; sync?: boolean; apply?: (applied: Applied) => Outcome } = {}) {
  const clock = new ManualClock();
  const journal = new SlowJournal();
  const applied: Applied[] = [];
  const events: string[] = [];
  const fatal: unknown[] = [];
  const writer = new Writer({
    clock,
    journal: journal as unknown as Journal,
    epoch: 7,
    sync,
    lastTime,
    apply: (one) => {
      const outcome = apply?.(one) ?? { ok: undefined };
      applied.push(one);
      return outcome;
    },
    onTurn: () => events.push(`turn of ${applied.length}`),
    onFatal: (error) => fatal.push(error),
  });
  const turnBegins = (count: number) => until(() => journal.turns.length === count, `turn ${count}`);
  return { clock, journal, writer, applied, events, fatal, turnBegins };
}

const deletion = (no: number): Command => ({ kind: 'deleteGroup', no });
const send = (bytes: number): Command => ({
  kind: 'send',
  topic: 1,
  records: [Buffer.alloc(RECORD_HEADER_BYTES + bytes)],
});
const numbers = (applied: Applied[]) => applied.map(({ command }) => (command as { no: number }).no);

describe('turns', () => {
  test('what arrives together shares the first turn; what arrives while it syncs shares the next', async () => {
    const { writer, journal, turnBegins, applied } = setup();
    const first = [writer.submit(deletion(1)), writer.submit(deletion(2))];
    await turnBegins(1);
    expect(journal.turns[0]).toMatchObject({ commands: 2, epoch: 7, sync: true });
    const second = [3, 4, 5].map((no) => writer.submit(deletion(no)));
    await turn();
    expect(journal.turns).toHaveLength(1);
    journal.turns[0]!.end();
    await Promise.all(first);
    expect(journal.turns[1]).toMatchObject({ commands: 3 });
    expect(numbers(applied)).toEqual([1, 2]);
    journal.turns[1]!.end();
    await Promise.all(second);
    expect(numbers(applied)).toEqual([1, 2, 3, 4, 5]);
    expect(applied.map(({ index, epoch }) => [index, epoch])).toEqual([1, 2, 3, 4, 5].map((index) => [index, 7]));
    expect([writer.turns, writer.commands]).toEqual([2, 5]);
  });

  test('the next turn’s write begins before the last one is applied, but is applied after it', async () => {
    const order: string[] = [];
    const { writer, journal, turnBegins } = setup({
      apply: ({ index }) => {
        order.push(`applied ${index} with ${journal.turns.length} turns begun`);
        return { ok: undefined };
      },
    });
    const one = writer.submit(deletion(1));
    await turnBegins(1);
    const two = writer.submit(deletion(2));
    journal.turns[0]!.end();
    await one;
    journal.turns[1]!.end();
    await two;
    expect(order).toEqual(['applied 1 with 2 turns begun', 'applied 2 with 2 turns begun']);
  });

  test('nobody hears of a command before it is durable and applied', async () => {
    const { writer, journal, turnBegins, applied } = setup();
    let answered = false;
    const submitted = writer.submit(deletion(1)).then(() => (answered = true));
    await turnBegins(1);
    await turn();
    expect([answered, applied.length]).toEqual([false, 0]);
    journal.turns[0]!.end();
    await submitted;
    expect(applied).toHaveLength(1);
  });

  test('hold at most 1,024 commands', async () => {
    const { writer, journal, turnBegins } = setup();
    for (let no = 0; no < LIMITS.turnCommands + 10; no++) void writer.submit(deletion(no));
    await turnBegins(1);
    expect(journal.turns[0]!.commands).toBe(1024);
    journal.turns[0]!.end();
    await turnBegins(2);
    expect(journal.turns[1]!.commands).toBe(10);
    journal.turns[1]!.end();
  });

  test('hold at most 512 KiB, but always one command', async () => {
    const { writer, journal, turnBegins } = setup();
    for (let i = 0; i < 4; i++) void writer.submit(send(200 << 10));
    void writer.submit(send(1 << 20));
    for (const [i, commands] of [2, 2, 1].entries()) {
      await turnBegins(i + 1);
      expect(journal.turns[i]!.commands).toBe(commands);
      journal.turns[i]!.end();
    }
  });

  test('are announced after all their commands are applied', async () => {
    const { writer, journal, turnBegins, events } = setup();
    const all = [writer.submit(deletion(1)), writer.submit(deletion(2))];
    await turnBegins(1);
    journal.turns[0]!.end();
    await Promise.all(all);
    expect(events).toEqual(['turn of 2']);
  });

  test('are not synced one by one when that was not asked for', async () => {
    const { writer, journal, turnBegins } = setup({ sync: false });
    const one = writer.submit(deletion(1));
    await turnBegins(1);
    expect(journal.turns[0]!.sync).toBe(false);
    journal.turns[0]!.end();
    await one;
  });
});

describe('command time', () => {
  test('is the wall clock’s, and the same for a whole turn', async () => {
    const { writer, journal, turnBegins, applied, clock } = setup();
    const all = [writer.submit(deletion(1)), writer.submit(deletion(2))];
    await turnBegins(1);
    journal.turns[0]!.end();
    await Promise.all(all);
    expect(applied.map(({ time }) => time)).toEqual([clock.now(), clock.now()]);
  });

  test('never goes back: not when the clock is set back, not behind the last command before the start', async () => {
    const { writer, journal, turnBegins, applied, clock } = setup({ lastTime: Date.UTC(2026, 5, 1) });
    const step = async (no: number, now: number) => {
      clock.jumpTo(now);
      const one = writer.submit(deletion(no));
      await turnBegins(no);
      journal.turns[no - 1]!.end();
      await one;
    };
    await step(1, Date.UTC(2026, 4, 1));
    await step(2, Date.UTC(2026, 6, 1));
    await step(3, Date.UTC(2026, 4, 1));
    expect(applied.map(({ time }) => time)).toEqual([Date.UTC(2026, 5, 1), Date.UTC(2026, 6, 1), Date.UTC(2026, 6, 1)]);
  });
});

describe('a write that fails', () => {
  test('leaves those under way unsure and refuses all others, then and later', async () => {
    const { writer, journal, turnBegins, applied, fatal } = setup();
    const underWay = [writer.submit(deletion(1)), writer.submit(deletion(2))];
    await turnBegins(1);
    const waiting = writer.submit(deletion(3));
    const codes = Promise.all([...underWay, waiting].map(codeOf));
    journal.turns[0]!.end(new Error('EIO'));
    expect(await codes).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN', 'SERVICE_NOT_AVAILABLE']);
    expect(await codeOf(writer.submit(deletion(4)))).toBe('SERVICE_NOT_AVAILABLE');
    await turn();
    expect(journal.turns).toHaveLength(1);
    expect(applied).toEqual([]);
    expect(fatal).toEqual([new Error('EIO')]);
    await writer.stop();
  });

  test('does not undo what was confirmed before it', async () => {
    const { writer, journal, turnBegins, applied } = setup();
    const first = writer.submit(deletion(1));
    await turnBegins(1);
    const second = writer.submit(deletion(2));
    const failed = codeOf(second);
    journal.turns[0]!.end();
    expect(await first).toEqual({ ok: undefined });
    journal.turns[1]!.end(new Error('EIO'));
    expect(await failed).toBe('OUTCOME_UNKNOWN');
    expect(numbers(applied)).toEqual([1]);
  });
});

describe('a command that breaks an invariant', () => {
  const breaking = (no: number) => ({
    apply: ({ command }: Applied): Outcome => {
      if ((command as { no: number }).no === no) throw new Error('invariant broken');
      return { ok: undefined };
    },
  });

  test('is the last one: neither its own turn nor the next, already written, is applied over it', async () => {
    const { writer, journal, turnBegins, applied, fatal, events } = setup(breaking(2));
    const all = [1, 2, 3].map((no) => codeOf(writer.submit(deletion(no))));
    await turnBegins(1);
    all.push(codeOf(writer.submit(deletion(4))));
    journal.turns[0]!.end();
    await turnBegins(2);
    all.push(codeOf(writer.submit(deletion(5))));
    journal.turns[1]!.end();
    // 1 was applied. 2 to 4 are in the journal and decide themselves after the restart. 5 was never written.
    expect(await Promise.all(all)).toEqual([
      { resolved: { ok: undefined } },
      'OUTCOME_UNKNOWN',
      'OUTCOME_UNKNOWN',
      'OUTCOME_UNKNOWN',
      'SERVICE_NOT_AVAILABLE',
    ]);
    expect(numbers(applied)).toEqual([1]);
    expect(fatal).toEqual([new Error('invariant broken')]);
    expect(events).toEqual([]); // nothing is announced, so nothing is flushed
    await writer.stop();
  });
});

describe('what waits', () => {
  test('is bounded in bytes; more is refused before anything is written, until some of it is confirmed', async () => {
    const { writer, journal, turnBegins } = setup();
    const accepted: Promise<unknown>[] = [];
    const bytes = 4 << 20;
    while (writer.pendingBytes + bytes + 1024 <= LIMITS.pendingBytes) accepted.push(writer.submit(send(bytes)));
    expect(accepted).toHaveLength(15);
    await expect(writer.submit(send(bytes))).rejects.toMatchObject({
      code: 'SERVICE_NOT_AVAILABLE',
      extras: { retryAfterMs: 1000 },
    });
    await turnBegins(1);
    journal.turns[0]!.end();
    await turnBegins(2);
    accepted.push(writer.submit(send(bytes)));
    for (let i = 1; writer.pendingBytes > 0; i++) {
      await turnBegins(i + 1);
      journal.turns[i]!.end();
      await turn();
    }
    await Promise.all(accepted);
    expect(writer.pendingBytes).toBe(0);
  });
});

describe('stopping', () => {
  test('waits for what is being written and what waits, and refuses what comes', async () => {
    const { writer, journal, turnBegins, applied } = setup();
    const first = writer.submit(deletion(1));
    await turnBegins(1);
    const second = writer.submit(deletion(2));
    let stopped = false;
    const stopping = writer.stop().then(() => (stopped = true));
    expect(await codeOf(writer.submit(deletion(3)))).toBe('SERVICE_NOT_AVAILABLE');
    journal.turns[0]!.end();
    await first;
    expect(stopped).toBe(false);
    journal.turns[1]!.end();
    await second;
    await stopping;
    expect(numbers(applied)).toEqual([1, 2]);
  });

  test('before the first turn began loses nothing', async () => {
    const { writer, journal, turnBegins, applied } = setup();
    const one = writer.submit(deletion(1));
    const stopping = writer.stop();
    await turnBegins(1);
    journal.turns[0]!.end();
    await one;
    await stopping;
    expect(applied).toHaveLength(1);
  });

  test('with nothing to do is done at once', async () => {
    const { writer } = setup();
    await writer.stop();
    await writer.stop();
    expect(await codeOf(writer.submit(deletion(1)))).toBe('SERVICE_NOT_AVAILABLE');
  });
});
