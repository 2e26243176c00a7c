/** Tests run TypeScript through swc; types are checked by `npm run typecheck`. */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } },
    ],
  },
  globalSetup: '<rootDir>/test/support/slowness.ts',
  // Longer than anything waits inside a test on a slow machine (test/support/patience.ts), so that what did not happen is named.
  testTimeout: 600_000,
  maxWorkers: 2,
};
