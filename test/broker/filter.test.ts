/** RocketMQ's two kinds of filter, on messages as they are stored, and that the hash alone never decides. */
import { canonical, checkFilter, parseFilter, tagFilter, type Filter, type FilterSpec } from '../../src/broker/filter';
import { FilterCache } from '../../src/broker/filterCache';
import { tagHash } from '../../src/broker/hash';
import { encodeMessage } from '../../src/broker/message';
import { coded, message, type Given } from '../support/broker';

const parse = (expression: string) => parseFilter({ type: 'TAG', expression });
const stored = (given: Given) =>
  encodeMessage(message(given), { topic: 1, queueId: 0, messageId: Buffer.alloc(16), bornTimestamp: 0 });
const withTag = (tag: string | undefined) => stored({ tag });
const takes = (filter: Filter, tag: string | undefined) =>
  filter.mayMatch(tag === undefined ? 0 : tagHash(tag)) && filter.matches(withTag(tag));

describe('an expression that takes everything', () => {
  test.each(['', '   ', '*', ' * ', '\t\n'])('%j', (expression) => {
    expect(parse(expression)).toBeUndefined();
  });
});

describe('an expression that names tags', () => {
  test.each<[string, taken: string[], left: (string | undefined)[]]>([
    ['a', ['a'], ['b', 'A', '', undefined]],
    ['a||b', ['a', 'b'], ['c', 'a||b', 'ab']],
    ['  a  ||  b  ', ['a', 'b'], [' a']],
    ['a||', ['a'], ['', undefined]],
    ['||a', ['a'], ['', undefined]],
    ['a|||b', ['a', '|b'], ['b']],
    ['a|b', ['a|b'], ['a', 'b']],
    ['a||a', ['a'], ['b']],
    ['a||*', ['a', '*'], ['b']],
    ['größe || 😀', ['größe', '😀'], ['grosse']],
  ])('%j', (expression, taken, left) => {
    const filter = parse(expression)!;
    for (const tag of taken) expect([tag, takes(filter, tag)]).toEqual([tag, true]);
    for (const tag of left) expect([tag, takes(filter, tag)]).toEqual([tag, false]);
  });
});

describe('an expression of separators alone', () => {
  test.each(['||', ' || ', '||||'])('%j is refused', (expression) => {
    expect(() => parse(expression)).toThrow(expect.objectContaining(coded('FILTER_INVALID')));
  });
});

describe('tags that share a hash', () => {
  test('pass the first look and are told apart by their text', () => {
    const filter = parse('Aa')!;
    expect(filter.mayMatch(tagHash('BB'))).toBe(true);
    expect(filter.matches(withTag('BB'))).toBe(false);
    expect(filter.matches(withTag('Aa'))).toBe(true);
  });

  test('a tag that hashes to 0 is not confused with no tag', () => {
    const filter = parse('f5a5a608')!;
    expect(filter.mayMatch(0)).toBe(true);
    expect(filter.matches(withTag(undefined))).toBe(false);
    expect(filter.matches(withTag('f5a5a608'))).toBe(true);
  });
});

test('a list of tags is an OR; an empty list takes everything', () => {
  expect(tagFilter([])).toBeUndefined();
  const filter = tagFilter(['a', 'b'])!;
  expect([takes(filter, 'a'), takes(filter, 'b'), takes(filter, 'c')]).toEqual([true, true, false]);
});

describe('a SQL expression', () => {
  const sql = (expression: string) => parseFilter({ type: 'SQL92', expression })!;
  const order: Given = { tag: 'paid', keys: ['1001', 'vip'], properties: { region: 'eu', total: '250.5', note: 'x' } };

  test.each([
    ["TAGS = 'paid'", true],
    ["KEYS = '1001 vip'", true],
    ["KEYS CONTAINS 'vip' AND region = 'eu'", true],
    ['total > 250 AND other IS NULL', true],
    ['total > 251', false],
    ["TAGS IS NULL OR other = 'a'", false],
  ])('%s is judged by tag, keys and properties of the record', (expression, expected) => {
    expect(sql(expression).matches(stored(order))).toBe(expected);
  });

  test('sees NULL where a message has nothing', () => {
    expect(sql('TAGS IS NULL AND KEYS IS NULL AND region IS NULL').matches(stored('bare'))).toBe(true);
  });

  test('can be decided about by no hash: every record is read', () => {
    const filter = sql("TAGS = 'paid'");
    expect([filter.byRecord, filter.mayMatch(tagHash('other')), parse('paid')!.byRecord]).toEqual([true, true, false]);
  });

  test('tells where it fails from where it does not match', () => {
    const of = (expression: string) => {
      const filter = sql(expression);
      return [filter.matches(stored(order)), filter.fails(stored(order))];
    };
    expect([of('note > 1'), of('total > 1000'), of('other > 1'), of('total > 1')]).toEqual([
      [false, true],
      [false, false],
      [false, false],
      [true, false],
    ]);
  });

  test('that cannot be read is refused with the place', () => {
    expect(() => sql('total >')).toThrow(
      expect.objectContaining(
        coded('FILTER_INVALID', {
          extras: { errors: [{ pointer: '/filter/expression', detail: expect.stringContaining('character 8') }] },
        }),
      ),
    );
  });
});

test('the same words as tags and as SQL are two filters, also when they are remembered', () => {
  const cache = new FilterCache();
  const expression = 'TRUE';
  expect(cache.of({ type: 'TAG', expression })!.matches(withTag('x'))).toBe(false);
  expect(cache.of({ type: 'SQL92', expression })!.matches(withTag('x'))).toBe(true);
  expect(cache.of({ type: 'SQL92', expression })).toBe(cache.of({ type: 'SQL92', expression }));
});

describe('the canonical form', () => {
  const sql = (expression: string): FilterSpec => ({ type: 'SQL92', expression });

  test('of SQL expressions forgets how they were written, and nothing else', () => {
    expect(canonical(sql("(a  =  'x') and b > 1.0"))).toBe(canonical(sql("a = 'x' AND b > 1")));
    expect(canonical(sql("a = 'x'"))).not.toBe(canonical(sql("a = 'X'")));
    expect(canonical(sql('TRUE'))).not.toBe(canonical({ type: 'TAG', expression: 'TRUE' }));
    expect(canonical(sql('TRUE'))).not.toBe(canonical({ type: 'TAG', expression: '*' }));
    expect(() => canonical(sql('a ='))).toThrow(expect.objectContaining(coded('FILTER_INVALID')));
  });

  test.each([
    ['a||b', 'b || a'],
    ['a', ' a '],
    ['a||a', 'a'],
    ['', '*'],
    ['  ', '*'],
  ])('%j and %j are the same subscription', (one, other) => {
    expect(canonical({ type: 'TAG', expression: one })).toBe(canonical({ type: 'TAG', expression: other }));
  });

  test.each([
    ['a', 'b'],
    ['a', 'a||b'],
    ['a', '*'],
    ['a', 'A'],
    // As a filter it takes the tag a and a tag that is called *, not everything.
    ['a||*', '*'],
  ])('%j and %j are not', (one, other) => {
    expect(canonical({ type: 'TAG', expression: one })).not.toBe(canonical({ type: 'TAG', expression: other }));
  });
});

describe('a filter that comes in', () => {
  const tag = (expression: string): FilterSpec => ({ type: 'TAG', expression });
  const sql = (expression: string): FilterSpec => ({ type: 'SQL92', expression });
  const refusal = { code: 'FILTER_INVALID', message: expect.stringMatching(/write ('a \|\| b'|TAGS IN) /) as unknown };

  test.each([
    ...[
      'a|b',
      'a | b',
      'a || b | c',
      'a|||b',
      'a || *',
      '* || a',
      '**||*',
      '|| a',
      'a ||',
      'a || || b',
      '|',
      '||',
      'a\u0000b',
    ],
    ...['a\nb', 'a || b\u007fc', 'x'.repeat(129)],
  ])('is refused when no message can have its tag: %j', (expression) => {
    expect(() => checkFilter(tag(expression))).toThrow(expect.objectContaining(refusal));
  });

  test.each(['', ' ', '*', ' * '])('takes all: %j', (expression) => {
    expect(checkFilter(tag(expression))).toBeUndefined();
  });

  test.each(['a', ' a || b ', 'a\t||\nb', 'a b', 'a,b', 'a*', '**', 'größe||😀', 'x'.repeat(128)])(
    'is taken: %j',
    (expression) => {
      expect(checkFilter(tag(expression))).toBeDefined();
    },
  );

  test.each([
    ...["TAGS = 'a|b'", "'a || b' = TAGS", "TAGS <> '*'", "TAGS IN ('a', '')", "a = 1 AND NOT (TAGS = ' ')"],
    ...["(TAGS = 'a|b') = TRUE", "(TAGS = '|') IS NULL", "TAGS CONTAINS '|'", "a = 1 OR TAGS STARTSWITH 'a|'"],
  ])('is refused when it compares TAGS with what is no tag: %s', (expression) => {
    expect(() => checkFilter(sql(expression))).toThrow(expect.objectContaining(refusal));
    expect(parseFilter(sql(expression))).toBeDefined();
  });

  test.each(["TAGS = ' a '", "TAGS CONTAINS '*'", "TAGS CONTAINS ' '", "a = 'a|b'", "a IN ('*')", "TAGS LIKE '%a'"])(
    'is taken: %s',
    (expression) => {
      expect(checkFilter(sql(expression))).toBeDefined();
    },
  );

  test('may be what it was before this was checked', () => {
    expect(takes(checkFilter(tag('a |b||'), tag('||a |b'))!, 'a |b')).toBe(true);
    expect(() => checkFilter(tag('a |b'), tag('a|b'))).toThrow(expect.objectContaining(refusal));
  });
});

describe('the tag that a text stands for', () => {
  const [composed, decomposed] = ['\u00e9', 'e\u0301'];

  test.each([
    ['TAG', `\u3000${decomposed}\ufeff || b`],
    ['SQL92', `TAGS = '\u00a0${decomposed} '`],
    ['SQL92', `TAGS IN ('x', '${decomposed}')`],
    ['SQL92', `'${decomposed}' = TAGS`],
    ['SQL92', `TAGS CONTAINS '${decomposed}'`],
    ['SQL92', `TAGS LIKE '_%' AND TAGS LIKE '%${decomposed}'`],
    ['SQL92', `(TAGS = '${decomposed}') = TRUE`],
    ['SQL92', `NOT TAGS <> '${decomposed}'`],
  ] as const)('is met by %s %j', (type, expression) => {
    const filter = checkFilter({ type, expression })!;
    expect(takes(filter, composed)).toBe(true);
    expect(takes(filter, 'e')).toBe(false);
  });

  test('and the text itself, as an earlier build stored it', () => {
    expect(takes(parse(decomposed)!, decomposed)).toBe(true);
    expect(takes(tagFilter([' a '])!, ' a ')).toBe(true);
    expect(takes(parseFilter({ type: 'SQL92', expression: "TAGS = ' a '" })!, ' a ')).toBe(true);
    expect(takes(parseFilter({ type: 'SQL92', expression: `TAGS NOT CONTAINS '${decomposed}'` })!, decomposed)).toBe(
      false,
    );
  });

  test('makes two filters one subscription', () => {
    expect(canonical({ type: 'TAG', expression: decomposed })).toBe(canonical({ type: 'TAG', expression: composed }));
  });
});
