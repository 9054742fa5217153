/** What the barrier may keep of what it has opened, as the configuration says. */
import type { BarrierOptions } from '#barrier/barrier.ts'
import type { ServerConfig } from '#config/types.ts'

/**
 * Values get what is configured; names for listings twice as much, so that by default a folder of a million has room; hidden names half as much.
 * With `disable_cache` nothing stays in memory beyond the request that opened it.
 */
export function cacheOptions(
  config: Pick<ServerConfig, 'disable_cache' | 'cache_bytes_max'>,
): Required<Pick<BarrierOptions, 'valueCacheBytesMax' | 'folderIndexBytesMax' | 'nameCacheBytesMax'>> {
  const bytes = config.disable_cache ? 0 : config.cache_bytes_max
  return { valueCacheBytesMax: bytes, folderIndexBytesMax: 2 * bytes, nameCacheBytesMax: Math.floor(bytes / 2) }
}
