/** Times as the field's clients read them: RFC 3339 in UTC, fractions without trailing zeros, as Go prints RFC3339Nano. */

/** `2026-08-01T10:00:00.12Z` for milliseconds since the epoch (years 0 to 9999); a whole second has no fraction. */
export function formatRfc3339(timeMs: number): string {
  const text = new Date(timeMs).toISOString()
  const fraction = text.slice(20, 23).replace(/0+$/, '')
  return fraction === '' ? `${text.slice(0, 19)}Z` : `${text.slice(0, 19)}.${fraction}Z`
}
