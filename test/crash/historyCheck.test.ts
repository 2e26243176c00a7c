/** The judge is judged: hand-made histories with one broken promise each, which it has to name, and good ones. */
import { History, type Given, type Placed, type Seen } from '../support/history';
import { checkHistory } from '../support/historyCheck';

/** A small world to tell stories in: topic t, ids that follow from the place. */
class Story {
  readonly history = new History();

  at(queueId: number, queueOffset: number): Placed {
    return {
      queueId,
      queueOffset,
      messageId: `M${queueId}.${queueOffset}`,
      offsetMessageId: `O${queueId}.${queueOffset}`,
    };
  }

  seen(value: string, queueId: number, queueOffset: number, more: Partial<Seen> = {}): Seen {
    return { ...this.at(queueId, queueOffset), value, ...more };
  }

  /** A request under way: `w-1`, or with a messageGroup `w-1/g`, or with a tag `w-1#paid`. */
  sending(values: string, key?: string) {
    const messages = values.split(' ').map((text): Given => {
      const [, value, messageGroup, tag] = /^([^/#]+)(?:\/(\w+))?(?:#(\w+))?$/.exec(text)!;
      return { value: value!, messageGroup, tag };
    });
    return this.history.invoke(values.split('-')[0]!, 'send', { topic: 't', key, atOnce: true, messages });
  }

  /** Acknowledged: in queue `queueId` from `queueOffset` on. */
  sent(values: string, queueId: number, queueOffset: number, key?: string): this {
    this.sending(values, key).ok(values.split(' ').map((_, i) => this.at(queueId, queueOffset + i)));
    return this;
  }

  refused(values: string): this {
    this.sending(values).fail('503 DISK_FULL');
    return this;
  }

  unknown(values: string, key?: string): this {
    this.sending(values, key).info('other side closed');
    return this;
  }

  /** Everything there is; of each queue its messages in order, from offset 0. */
  drained(queues: (string | Seen)[][], tags: Record<string, number> = {}): this {
    this.history.invoke('reader', 'drain', { topic: 't' }).ok({
      queues: queues.map((messages, queueId) => ({
        queueId,
        minOffset: 0,
        maxOffset: messages.length,
        messages: messages.map((one, offset) => (typeof one === 'string' ? this.seen(one, queueId, offset) : one)),
      })),
      tags,
    });
    return this;
  }

  polled(...messages: Seen[]): this {
    this.history.invoke('c', 'poll', { group: 'g', topic: 't' }).ok(messages);
    return this;
  }

  committed(queueId: number, nextOffset: number): this {
    const offsets = [{ queueId, nextOffset }];
    this.history.invoke('c', 'commit', { group: 'g', topic: 't', offsets }).ok(offsets);
    return this;
  }

  stands(committed: number, maxOffset: number, whole = false): this {
    const position = { queueId: 0, committed, minOffset: 0, maxOffset };
    this.history.invoke('reader', 'offsets', { group: 'g', topic: 't', whole }).ok([position]);
    return this;
  }

  found(id: string, seen: Seen | undefined): this {
    const pending = this.history.invoke('reader', 'find', { topic: 't', id });
    if (seen) pending.ok(seen);
    else pending.fail('404');
    return this;
  }

  changed(value: string | null, outcome: 'ok' | 'fail' | 'info' = 'ok'): this {
    const pending = this.history.invoke('admin', 'change', { register: 'r', value });
    if (outcome === 'ok') pending.ok(undefined);
    else pending[outcome]('said so');
    return this;
  }

  looked(value: string | null): this {
    this.history.invoke('reader', 'look', { register: 'r' }).ok(value);
    return this;
  }

  get anomalies(): string[] {
    return checkHistory(this.history.operations).map(({ name }) => name);
  }
}

const tell = () => new Story();

describe('broken promises are named', () => {
  const STORIES: [what: string, story: Story, names: string[]][] = [
    [
      'an acknowledged message is missing at the end',
      tell()
        .sent('w-1 w-2', 0, 0)
        .drained([['w-1']]),
      ['lost'],
    ],
    [
      'an acknowledged message is missing at the beginning',
      tell().sent('w-1', 0, 0).sent('w-2', 0, 1).drained([[]]),
      ['lost', 'lost'],
    ],
    [
      'it is there at first and gone later',
      tell()
        .sent('w-1', 0, 0)
        .drained([['w-1']])
        .drained([[]]),
      ['lost'],
    ],
    [
      'what a consumer was handed is gone, though its writer got no answer',
      (() => {
        const story = tell().unknown('w-1');
        return story.polled(story.seen('w-1', 0, 0)).drained([[]]);
      })(),
      ['lost'],
    ],
    ['the queue of an acknowledged message is gone', tell().sent('w-1', 1, 0).drained([[]]), ['lost']],
    [
      'an acknowledged message lies at two offsets',
      tell()
        .sent('w-1', 0, 0)
        .drained([['w-1', 'w-1']]),
      ['duplicate', 'identity'],
    ],
    [
      'a send without an answer lies in two queues',
      tell()
        .unknown('w-1')
        .drained([['w-1'], ['w-1']]),
      ['duplicate', 'identity'],
    ],
    [
      'a send with a key was stored by the first attempt and again by the second',
      tell()
        .unknown('w-1', 'k')
        .drained([['w-1']])
        .sent('w-1', 0, 1, 'k')
        .drained([['w-1', 'w-1']]),
      ['duplicate', 'identity'],
    ],
    [
      'a key is answered with another place than the first time',
      tell()
        .sent('w-1', 0, 0, 'k')
        .sent('w-1', 1, 0, 'k')
        .drained([['w-1'], []]),
      ['duplicate', 'identity', 'lost'],
    ],
    [
      'two writers were given one offset',
      tell()
        .sent('w-1', 0, 0)
        .sent('v-1', 0, 0)
        .drained([['w-1']]),
      ['inconsistent-offset'],
    ],
    [
      'an offset has another message after a restart',
      tell()
        .sent('w-1', 0, 0)
        .unknown('v-1')
        .drained([['w-1']])
        .drained([['v-1']]),
      ['lost', 'inconsistent-offset'],
    ],
    [
      'a consumer reads another message at an offset than the next one',
      (() => {
        const story = tell().unknown('w-1').unknown('v-1');
        return story.polled(story.seen('w-1', 0, 0)).polled(story.seen('v-1', 0, 0));
      })(),
      ['inconsistent-offset'],
    ],
    [
      "a writer's second message lies before its first",
      tell()
        .sent('w-1', 0, 1)
        .sent('w-2', 0, 0)
        .drained([['w-2', 'w-1']]),
      ['order'],
    ],
    [
      'a send without an answer overtook what was acknowledged before it was sent',
      tell()
        .sent('w-1', 0, 1)
        .unknown('w-2')
        .drained([['w-2', 'w-1']]),
      ['order'],
    ],
    [
      'messages of one request lie in another order',
      (() => {
        const story = tell();
        story.sending('w-1 w-2').ok([story.at(0, 1), story.at(0, 0)]);
        return story.drained([['w-2', 'w-1']]);
      })(),
      ['order', 'torn'],
    ],
    [
      'a messageGroup goes to two queues',
      (() => {
        const story = tell().sent('w-1/a', 0, 0).sent('v-1/a', 1, 0);
        return story.drained([
          [story.seen('w-1', 0, 0, { messageGroup: 'a' })],
          [story.seen('v-1', 1, 0, { messageGroup: 'a' })],
        ]);
      })(),
      ['order'],
    ],
    [
      "another writer's later message of a messageGroup lies first",
      (() => {
        const story = tell().sent('w-1/a', 0, 1).sent('v-1/a', 0, 0);
        return story.drained([
          [story.seen('v-1', 0, 0, { messageGroup: 'a' }), story.seen('w-1', 0, 1, { messageGroup: 'a' })],
        ]);
      })(),
      ['order'],
    ],
    [
      'a message comes out of nowhere',
      tell()
        .sent('w-1', 0, 0)
        .drained([['w-1', 'x-9']]),
      ['unexpected'],
    ],
    [
      'a message comes out damaged',
      tell()
        .sent('w-1', 0, 0)
        .drained([['damaged: w-1 ..']]),
      ['lost', 'inconsistent-offset', 'unexpected'],
    ],
    [
      'a message comes out of another topic',
      (() => {
        const story = tell();
        story.history
          .invoke('w', 'send', { topic: 'other', atOnce: true, messages: [{ value: 'w-1' }] })
          .info('no answer');
        return story.drained([['w-1']]);
      })(),
      ['unexpected'],
    ],
    [
      'a message comes out with another tag',
      (() => {
        const story = tell().sent('w-1#paid', 0, 0);
        return story.drained([[story.seen('w-1', 0, 0, { tag: 'created' })]], { created: 1 });
      })(),
      ['unexpected'],
    ],
    [
      'a refused message is read',
      tell()
        .refused('w-1')
        .drained([['w-1']]),
      ['aborted'],
    ],
    [
      'a message refused among others is read',
      (() => {
        const story = tell();
        story.sending('w-1 w-2').ok([story.at(0, 0), 'TAG_NOT_DECLARED']);
        return story.drained([['w-1', 'w-2']]);
      })(),
      ['aborted'],
    ],
    [
      'half of a request without an answer is there',
      tell()
        .unknown('w-1 w-2')
        .drained([['w-1']]),
      ['torn'],
    ],
    [
      'messages of one request do not lie side by side',
      (() => {
        const story = tell().unknown('v-1');
        story.sending('w-1 w-2').ok([story.at(0, 0), story.at(0, 2)]);
        return story.drained([['w-1', 'v-1', 'w-2']]);
      })(),
      ['torn'],
    ],
    [
      'an offset between min and max is empty',
      (() => {
        const story = tell().sent('w-1', 0, 0).sent('w-2', 0, 2);
        const messages = [story.seen('w-1', 0, 0), story.seen('w-2', 0, 2)];
        story.history
          .invoke('reader', 'drain', { topic: 't' })
          .ok({ queues: [{ queueId: 0, minOffset: 0, maxOffset: 3, messages }], tags: {} });
        return story;
      })(),
      ['gap'],
    ],
    [
      'a queue ends before it says it does',
      (() => {
        const story = tell();
        story.history
          .invoke('reader', 'drain', { topic: 't' })
          .ok({ queues: [{ queueId: 0, minOffset: 0, maxOffset: 1, messages: [] }], tags: {} });
        return story;
      })(),
      ['gap'],
    ],
    [
      'an acknowledged id finds nothing',
      tell()
        .sent('w-1', 0, 0)
        .drained([['w-1']])
        .found('M0.0', undefined),
      ['identity'],
    ],
    [
      'an acknowledged offsetMessageId finds another message',
      (() => {
        const story = tell()
          .sent('w-1 w-2', 0, 0)
          .drained([['w-1', 'w-2']]);
        return story.found('O0.0', story.seen('w-2', 0, 1));
      })(),
      ['identity'],
    ],
    [
      'a message has another id after a restart',
      (() => {
        const story = tell().sent('w-1', 0, 0);
        return story.drained([[story.seen('w-1', 0, 0, { messageId: 'M9.9' })]]);
      })(),
      ['identity'],
    ],
    ['a group stands before what it had committed', tell().committed(0, 5).stands(4, 9), ['offset-backwards']],
    ['a group stood further once than it does now', tell().stands(7, 9).stands(6, 9), ['offset-backwards']],
    [
      'a consumer is handed again what it had committed',
      (() => {
        const story = tell().sent('w-1 w-2', 0, 0).committed(0, 2);
        return story.polled(story.seen('w-2', 0, 1)).drained([['w-1', 'w-2']]);
      })(),
      ['offset-backwards'],
    ],
    ['a group stands behind the end of a queue', tell().stands(10, 9), ['offset-beyond-end']],
    [
      'a group has passed a message that nobody got',
      (() => {
        const story = tell()
          .sent('w-1 w-2', 0, 0)
          .drained([['w-1', 'w-2']]);
        return story
          .polled(story.seen('w-2', 0, 1))
          .committed(0, 2)
          .stands(2, 2, true);
      })(),
      ['skipped'],
    ],
    [
      'a tag is counted twice',
      (() => {
        const story = tell().sent('w-1#paid', 0, 0);
        return story.drained([[story.seen('w-1', 0, 0, { tag: 'paid' })]], { paid: 2 });
      })(),
      ['count'],
    ],
    [
      'a tag is forgotten',
      (() => {
        const story = tell().sent('w-1#paid', 0, 0);
        return story.drained([[story.seen('w-1', 0, 0, { tag: 'paid' })]]);
      })(),
      ['count'],
    ],
    ['an acknowledged change is gone', tell().changed('a').changed('b').looked('a'), ['lost-change']],
    ['a refused change is there', tell().changed('a').changed('b', 'fail').looked('b'), ['lost-change']],
    [
      'a change in doubt was seen and is gone',
      tell().changed('a').changed('b', 'info').looked('b').looked('a'),
      ['lost-change'],
    ],
    ['what was deleted is there again', tell().changed('a').changed(null).looked('a'), ['lost-change']],
    [
      'nobody looked at what was acknowledged',
      tell()
        .sent('w-1', 0, 0)
        .drained([['w-1']])
        .sent('w-2', 0, 1),
      ['unread'],
    ],
  ];

  test.each(STORIES)('%s', (_, story, names) => {
    expect(story.anomalies.sort()).toEqual([...names].sort());
  });
});

describe('kept promises are not complained about', () => {
  const STORIES: [what: string, story: Story][] = [
    ['nothing happened', tell()],
    [
      'all is there',
      tell()
        .sent('w-1 w-2', 0, 0)
        .sent('w-3', 1, 0)
        .drained([['w-1', 'w-2'], ['w-3']]),
    ],
    [
      'a send without an answer is there once',
      tell()
        .unknown('w-1')
        .drained([['w-1']])
        .drained([['w-1']]),
    ],
    ['a send without an answer is not there', tell().unknown('w-1').drained([[]])],
    [
      'a request without an answer is there as a whole',
      tell()
        .unknown('w-1 w-2')
        .drained([['w-1', 'w-2']]),
    ],
    [
      'a refused message is not there',
      tell()
        .refused('w-1')
        .sent('w-2', 0, 0)
        .drained([['w-2']]),
    ],
    [
      'a key is sent again and brings the first answer',
      tell()
        .unknown('w-1', 'k')
        .drained([['w-1']])
        .sent('w-1', 0, 0, 'k')
        .drained([['w-1']]),
    ],
    [
      'a key is sent again and stored then',
      tell()
        .unknown('w-1', 'k')
        .drained([[]])
        .sent('w-1', 0, 0, 'k')
        .drained([['w-1']]),
    ],
    [
      'a key was refused at first',
      (() => {
        const story = tell();
        story.sending('w-1', 'k').fail('503 STARTING');
        return story.sent('w-1', 0, 0, 'k').drained([['w-1']]);
      })(),
    ],
    [
      'an old key is answered as at first, behind later messages',
      tell()
        .sent('w-1', 0, 0, 'k')
        .sent('w-2', 0, 1)
        .sent('w-1', 0, 0, 'k')
        .drained([['w-1', 'w-2']]),
    ],
    [
      'writers at the same time are in any order',
      (() => {
        const story = tell();
        const [first, second] = [story.sending('w-1'), story.sending('v-1')];
        first.ok([story.at(0, 1)]);
        second.ok([story.at(0, 0)]);
        return story.drained([['v-1', 'w-1']]);
      })(),
    ],
    [
      'a messageGroup of two writers, one after the other',
      (() => {
        const story = tell().sent('w-1/a', 0, 0).sent('v-1/a', 0, 1);
        return story.drained([
          [story.seen('w-1', 0, 0, { messageGroup: 'a' }), story.seen('v-1', 0, 1, { messageGroup: 'a' })],
        ]);
      })(),
    ],
    [
      'a message is read before its writer has the answer',
      (() => {
        const story = tell();
        const sending = story.sending('w-1');
        story.polled(story.seen('w-1', 0, 0));
        sending.ok([story.at(0, 0)]);
        return story.drained([['w-1']]);
      })(),
    ],
    [
      'a consumer is handed again what it had not committed',
      (() => {
        const story = tell().sent('w-1 w-2', 0, 0);
        story
          .polled(story.seen('w-1', 0, 0))
          .committed(0, 1)
          .polled(story.seen('w-2', 0, 1))
          .polled(story.seen('w-2', 0, 1));
        return story
          .committed(0, 2)
          .stands(2, 2, true)
          .drained([['w-1', 'w-2']]);
      })(),
    ],
    [
      'a commit without an answer took effect',
      (() => {
        const story = tell();
        story.history
          .invoke('c', 'commit', { group: 'g', topic: 't', offsets: [{ queueId: 0, nextOffset: 3 }] })
          .info('gone');
        return story.stands(3, 3).stands(3, 3);
      })(),
    ],
    [
      'ids find what they were given for',
      (() => {
        const story = tell()
          .sent('w-1', 0, 0)
          .drained([['w-1']]);
        return story
          .found('M0.0', story.seen('w-1', 0, 0))
          .found('O0.0', story.seen('w-1', 0, 0))
          .found('nonsense', undefined);
      })(),
    ],
    [
      'tags are counted',
      (() => {
        const story = tell().sent('w-1#paid', 0, 0).sent('w-2', 0, 1);
        return story.drained([[story.seen('w-1', 0, 0, { tag: 'paid' }), 'w-2']], { paid: 1 });
      })(),
    ],
    ['a change in doubt is there', tell().changed('a').changed('b', 'info').looked('b').looked('b')],
    ['a change in doubt is not there', tell().changed('a').changed('b', 'info').looked('a').changed(null).looked(null)],
    ['nothing was ever changed', tell().looked(null)],
    [
      'an operation never came back',
      (() => {
        const story = tell().sent('w-1', 0, 0);
        story.sending('w-2');
        return story.drained([['w-1', 'w-2']]);
      })(),
    ],
  ];

  test.each(STORIES)('%s', (_, story) => {
    expect(checkHistory(story.history.operations)).toEqual([]);
  });
});
