import { compareVersions } from '../../src/nameserver/dataVersion';
import { bothAllow, type Permission } from '../../src/nameserver/permission';
import { version } from './registrations';

test('versions are ordered by epoch, then counter, then time', () => {
  const inOrder = [version(1, 1, 9), version(1, 2, 3), version(1, 2, 4), version(2, 0, 0)];
  const shuffled = [...inOrder].reverse().sort(compareVersions);
  expect(shuffled).toEqual(inOrder);
  expect(compareVersions(version(1, 2, 3), version(1, 2, 3))).toBe(0);
});

test('a permission is what both sides allow', () => {
  const all: readonly Permission[] = ['RW', 'R', 'W', 'NONE'];
  const table = all.map((a) => all.map((b) => bothAllow(a, b)));
  expect(table).toEqual([
    ['RW', 'R', 'W', 'NONE'],
    ['R', 'R', 'NONE', 'NONE'],
    ['W', 'NONE', 'W', 'NONE'],
    ['NONE', 'NONE', 'NONE', 'NONE'],
  ]);
});
