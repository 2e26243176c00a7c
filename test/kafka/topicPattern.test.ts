/** Patterns of topics match what regular expressions match, in linear time. */
import * as fc from 'fast-check';
import { TopicPattern } from '../../api/kafka/topicPattern';
import { patience } from '../support/patience';

test.each([
  ['a', 'a', true],
  ['a', 'ab', false],
  ['^a.*$', 'abc', true],
  ['a\\.b', 'a.b', true],
  ['a\\.b', 'axb', false],
  ['(orders|bills)-\\d{2,3}', 'bills-12', true],
  ['(orders|bills)-\\d{2,3}', 'bills-1', false],
  ['[^.]+', 'a.b', false],
  ['[]a-c-]+', 'a]-', true],
  ['(?:ab)*?', 'abab', true],
  ['(a|)b?', '', true],
  ['\\$', '$', true],
])('%s on %s: %s', (pattern, name, expected) => expect(new TopicPattern(pattern).matches(name)).toBe(expected));

test('as JavaScript’s own (random)', () => {
  const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', 'c');
  const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
    pattern: fc.oneof(
      { maxDepth: 4 },
      atom,
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => a + b),
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => `(${a}|${b})`),
      fc
        .tuple(tie('pattern'), fc.constantFrom('*', '+', '?', '{2}', '{1,3}', '{0,}'))
        .map(([a, times]) => `(${a})${times}`),
    ),
  }));
  fc.assert(
    fc.property(
      pattern.filter((text) => text.length <= 200),
      fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1'), maxLength: 8 }),
      (text, name) => {
        expect(new TopicPattern(text).matches(name)).toBe(new RegExp(`^(?:${text})$`).test(name));
      },
    ),
    { numRuns: 2000 },
  );
});

test('what takes a backtracking matcher for ever is done at once', () => {
  const before = performance.now();
  expect(new TopicPattern('(a*)*(a*)*(a|aa)+[0-9]').matches('a'.repeat(127))).toBe(false);
  expect(new TopicPattern('(.*.*.*.*.*.*)x').matches('a'.repeat(127))).toBe(false);
  expect(performance.now() - before).toBeLessThan(patience(1000));
});
