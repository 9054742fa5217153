import { defineConfig } from 'vitest/config'

/** Real servers on loopback: one file at a time, since they share two cores. */
export default defineConfig({
  test: {
    include: ['test/e2e/**/*.test.ts', 'test/compat/**/*.test.ts', 'test/chaos/**/*.test.ts'],
    experimental: { viteModuleRunner: false },
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
})
