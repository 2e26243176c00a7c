/** RocketMQ's tag expression, and that the hash alone never decides. */
import { canonical, parseFilter, tagFilter, type Filter } from '../../src/broker/filter';
import { tagHash } from '../../src/broker/hash';
import { coded } from '../support/broker';

const parse = (expression: string) => parseFilter({ type: 'TAG', expression });
const takes = (filter: Filter, tag: string | undefined) =>
  filter.mayMatch(tag === undefined ? 0 : tagHash(tag)) && filter.matches(tag);

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
    expect(filter.matches('BB')).toBe(false);
    expect(filter.matches('Aa')).toBe(true);
  });

  test('a tag that hashes to 0 is not confused with no tag', () => {
    const filter = parse('f5a5a608')!;
    expect(filter.mayMatch(0)).toBe(true);
    expect(filter.matches(undefined)).toBe(false);
    expect(filter.matches('f5a5a608')).toBe(true);
  });
});

test('a list of tags is an OR; an empty list takes everything', () => {
  expect(tagFilter([])).toBeUndefined();
  const filter = tagFilter(['a', 'b'])!;
  expect([takes(filter, 'a'), takes(filter, 'b'), takes(filter, 'c')]).toEqual([true, true, false]);
});

describe('the canonical form', () => {
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
