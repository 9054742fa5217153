import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// As in vitest.config.ts: most of a server's start is its modules.
process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url))

/** Tests of seals whose real parts this machine lacks (`HOLDFAST_WITHOUT=awskms,pkcs11,migration`): left out only when somebody says so. */
const without = (process.env['HOLDFAST_WITHOUT'] ?? '').split(',').filter((name) => name !== '')

/** What takes minutes each runs with `npm run test:full`, or when it is named. */
const full = process.env['HOLDFAST_FULL'] === '1' || process.argv.some((argument) => argument.includes('e2e/full'))

/** Real servers on loopback: one file at a time, since they share two cores. */
export default defineConfig({
  test: {
    include: ['test/e2e/**/*.test.ts', 'test/compat/**/*.test.ts', 'test/chaos/**/*.test.ts'],
    exclude: [...without.map((name) => `test/e2e/seals/${name}.test.ts`), ...(full ? [] : ['test/e2e/full/**'])],
    experimental: { viteModuleRunner: false },
    setupFiles: process.env['AUDIT_KEEP'] === undefined ? [] : ['test/support/keep-audit.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
})
