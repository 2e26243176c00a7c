import { chmodSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FolderUnusableError } from '../../storage/failures';
import { makeFolder, unusable } from '../../storage/makeFolder';

let parent: string;
beforeEach(() => void (parent = mkdtempSync(join(tmpdir(), 'gantry-make-'))));
afterEach(() => rmSync(parent, { recursive: true, force: true }));

test('makes a folder and its parents, and takes one that is there', () => {
  const path = join(parent, 'a/b/c');
  makeFolder(path);
  makeFolder(path);
  expect(statSync(path).isDirectory()).toBe(true);
});

test('follows a link to a folder', () => {
  symlinkSync(parent, join(parent, 'link'));
  makeFolder(join(parent, 'link/a'));
  expect(statSync(join(parent, 'a')).isDirectory()).toBe(true);
});

test.each([
  ['a file', () => writeFileSync(join(parent, 'x'), ''), 'x', /a part of the path is a file and no folder.*ENOTDIR/],
  ['below a file', () => writeFileSync(join(parent, 'x'), ''), 'x/y/z', /a file and no folder.*ENOTDIR/],
  ['a link to nowhere', () => symlinkSync('/nowhere/disk', join(parent, 'x')), 'x', /leads nowhere.*EEXIST/],
  ['a circle of links', () => symlinkSync(join(parent, 'x'), join(parent, 'x')), 'x/y', /ELOOP/],
  ['a name that is too long', () => undefined, 'n'.repeat(300), /path is too long.*ENAMETOOLONG/],
])('refuses %s', (_, prepare, name, reason) => {
  prepare();
  const path = join(parent, name);
  expect(() => makeFolder(path)).toThrow(FolderUnusableError);
  expect(() => makeFolder(path)).toThrow(reason);
});

test('refuses a parent that takes no folders, at once', () => {
  expect(() => makeFolder('/proc/nope/data')).toThrow(/the data folder \/proc\/nope\/data cannot be used, .*ENOENT/);
});

(process.getuid?.() === 0 ? test.skip : test)(
  'refuses a folder without rights (not tried as root, who has all)',
  () => {
    chmodSync(parent, 0o500);
    expect(() => makeFolder(join(parent, 'a'))).toThrow(/give the user the right to write there.*EACCES/);
  },
);

test('says a sentence for every failure of the file system, and leaves other errors alone', () => {
  const failure = (code: string) => Object.assign(new Error(`${code}: words`), { code });
  for (const code of ['EACCES', 'EROFS', 'ENOSPC', 'EDQUOT', 'EMFILE', 'EIO'])
    expect(String(unusable('/d', failure(code)))).toMatch(
      new RegExp(`the data folder /d cannot be used, .+: .+\\(${code}\\)$`),
    );
  const other = new Error('other');
  expect(unusable('/d', other)).toBe(other);
});
