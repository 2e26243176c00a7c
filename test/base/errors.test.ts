/** Failures with a code: what is repeatable, and that a broken invariant is none of them. */
import { CODES, GantryError, invariant } from '../../src/base/errors';

test('a coded failure takes from the registry whether it may be repeated, unless it says otherwise', () => {
  expect(new GantryError('DISK_FULL', 'full').retryable).toBe(true);
  expect(new GantryError('TOPIC_NOT_FOUND', 'none').retryable).toBe(false);
  expect(new GantryError('OUTCOME_UNKNOWN', 'unknown').retryable).toBe(false);
  expect(new GantryError('OUTCOME_UNKNOWN', 'unknown', { retryable: true }).retryable).toBe(true);
});

test('only what is over soon may be repeated as it is', () => {
  const repeatable = Object.entries(CODES).flatMap(([code, { retryable }]) => (retryable ? [code] : []));
  expect(repeatable.sort()).toEqual([
    'DISK_FULL',
    'IDEMPOTENCY_IN_PROGRESS',
    'NOT_HOME',
    'NOT_MASTER',
    'QUEUE_ELSEWHERE',
    'QUEUE_READ_ONLY',
    'REQUEST_TIMEOUT',
    'SERVICE_NOT_AVAILABLE',
    'STARTING',
    'TOO_MANY_REQUESTS',
  ]);
});

test('a broken invariant is no coded failure', () => {
  expect(() => invariant(true, 'the sky is up')).not.toThrow();
  const broken = () => invariant(false, 'the sky is up');
  expect(broken).toThrow('invariant broken: the sky is up');
  expect(broken).not.toThrow(GantryError);
});
