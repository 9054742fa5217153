import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Compiled code is kept between the hundreds of processes that tests start: each then needs a third of the time for its modules. A server of an operator's does not
// do that by itself, since whoever can write there can put code into it.
process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url))

export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts'],
    // Vitest's own transformer accepts what Node refuses to strip (enums): tests must load what production loads.
    experimental: { viteModuleRunner: false },
    pool: 'forks',
    testTimeout: 30_000,
  },
})
