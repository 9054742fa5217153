import { defineConfig } from 'vitest/config'

/** Real parts that this machine lacks, by name (`HOLDFAST_WITHOUT=awskms,pkcs11`): said aloud, or the test of each fails without it. */
const without = (process.env['HOLDFAST_WITHOUT'] ?? '').split(',').filter((name) => name !== '')

/** Real servers on loopback: one file at a time, since they share two cores. */
export default defineConfig({
  test: {
    include: ['test/e2e/**/*.test.ts', 'test/compat/**/*.test.ts', 'test/chaos/**/*.test.ts'],
    exclude: without.flatMap((name) => [`test/e2e/seals/${name}.test.ts`, `test/e2e/seals/*-${name}.test.ts`]),
    experimental: { viteModuleRunner: false },
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
})
