/** What the barrier may keep of what it has opened, as the configuration says. */
import type { BarrierOptions } from '#barrier/barrier.ts'
import type { ServerConfig } from '#config/types.ts'

/**
 * Values get what is configured; names for listings two thirds as much, so that by default a folder of a million has room; hidden names a quarter:
 * each value is found by one, which takes an eighth or less of it.
 * With `disable_cache` nothing stays in memory beyond the request that opened it.
 */
export function cacheOptions(
  config: Pick<ServerConfig, 'disable_cache' | 'cache_bytes_max'>,
): Required<Pick<BarrierOptions, 'valueCacheBytesMax' | 'folderIndexBytesMax' | 'nameCacheBytesMax'>> {
  const bytes = config.disable_cache ? 0 : config.cache_bytes_max
  return { valueCacheBytesMax: bytes, folderIndexBytesMax: Math.floor((bytes * 2) / 3), nameCacheBytesMax: Math.floor(bytes / 4) }
}
