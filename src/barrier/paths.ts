import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'

/** Deepest path. Each level costs one more AES-SIV over a longer prefix: unbounded, 4 KiB of slashes would cost 40 ms of this thread. */
export const pathSegmentsMax = 128

function refuse(what: string, hint: string): never {
  throw new HoldfastError('ERR_BAD_REQUEST', `storage path ${what}`, { hint })
}

function checkSegment(segment: string): void {
  if (segment === '.' || segment === '..')
    throw new HoldfastError('ERR_RELATIVE_PATH', `storage path expected no '.' or '..' segment, got one`, {
      hint: 'write the path out in full',
    })
  if (segment === '') refuse('expected no empty segment, got one', 'remove the double, leading or trailing slash')
  const bytes = Buffer.byteLength(segment)
  if (bytes > limits.pathSegmentBytesMax)
    refuse(`segment expected at most ${limits.pathSegmentBytesMax} bytes, got ${bytes}`, 'split the name with slashes')
}

/**
 * The segments of a storage path; [] for ''. The error names lengths, never the path.
 * @throws ERR_RELATIVE_PATH for '.' and '..'; ERR_BAD_REQUEST for an empty segment, one that is too long, too many, or a string that is no Unicode.
 */
export function pathSegments(path: string): string[] {
  if (path === '') return []
  if (path.length > limits.pathBytesMax || Buffer.byteLength(path) > limits.pathBytesMax)
    refuse(`expected at most ${limits.pathBytesMax} bytes, got more`, 'use a shorter path')
  // A lone surrogate has no UTF-8: it would be written as U+FFFD, and two different paths would be one key.
  if (!path.isWellFormed()) refuse('expected well-formed Unicode, got a lone surrogate', 'encode the path as UTF-8')
  const segments = path.split('/')
  if (segments.length > pathSegmentsMax)
    refuse(`expected at most ${pathSegmentsMax} segments, got ${segments.length}`, 'use a flatter path')
  for (const segment of segments) checkSegment(segment)
  return segments
}

/** As `pathSegments`, for a path that must name a leaf. */
export function leafSegments(path: string): string[] {
  if (path === '') refuse('expected a name, got an empty path', 'name the entry')
  return pathSegments(path)
}
