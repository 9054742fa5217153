import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts'],
    // Vitest's own transformer accepts what Node refuses to strip (enums): tests must load what production loads.
    experimental: { viteModuleRunner: false },
    pool: 'forks',
    testTimeout: 30_000,
  },
})
