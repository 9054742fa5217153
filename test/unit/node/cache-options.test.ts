import { expect, test } from 'vitest'
import { loadConfig } from '#config/load.ts'
import { limits } from '#base/limits.ts'
import { cacheOptions } from '#node/cache-options.ts'

const options = (line: string, env: Record<string, string> = {}): ReturnType<typeof cacheOptions> => {
  const text = `listener "tcp" {\n  tls_disable = true\n}\nstorage "raft" {\n  path = "/data"\n}\n${line}`
  const config = loadConfig({ text: { name: 'server.hcl', text }, env })
  expect(config.warnings).toEqual([])
  return cacheOptions(config)
}

test('the cache is on, has the size that is configured, and can be turned off', () => {
  const bytes = limits.serverCacheBytesMax
  expect(options('')).toEqual({ valueCacheBytesMax: bytes, folderIndexBytesMax: (bytes / 3) * 2, nameCacheBytesMax: bytes / 4 })
  expect(options('cache_bytes_max = 100000').valueCacheBytesMax).toBe(100_000)
  const off = { valueCacheBytesMax: 0, folderIndexBytesMax: 0, nameCacheBytesMax: 0 }
  expect(options('disable_cache = true')).toEqual(off)
  expect(options('', { HOLDFAST_DISABLE_CACHE: 'true' })).toEqual(off)
  expect(options('disable_cache = false\ncache_bytes_max = 65536').folderIndexBytesMax).toBe(43_690)
  expect(() => options('cache_bytes_max = 1')).toThrow(/cache_bytes_max/)
})
