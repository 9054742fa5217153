/** Every primitive that is in use, held against test vectors: each verdict as the vectors say, each vector counted. */
import { readdirSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { recordFigures } from '#test/support/figures.ts'
import { suites } from '#test/support/vector-suites.ts'
import { committedFolder, publishedIsHere, vectorSources } from '#test/support/vectors.ts'

/** Vectors that the published files hold; a file that lost some must not pass for whole. */
const publishedCounts: Readonly<Record<string, number>> = {
  'AES-GCM': 316,
  'AES-SIV': 442,
  'AES-GCM-SIV': 202,
  'XChaCha20-Poly1305': 315,
  'HMAC-SHA-256': 174,
  'HKDF-SHA-256': 86,
  Ed25519: 151,
}

const report: Record<string, Record<string, object>> = {}
afterAll(() => recordFigures('vectors', 'HOLDFAST_FIGURES=bench/results npx vitest run test/unit/barrier/vectors.test.ts', report))

describe.each(vectorSources())('$name vectors', ({ name, read }) => {
  describe.each(suites)('$algorithm', ({ algorithm, file, implementations }) => {
    const { testGroups, numberOfTests } = read(file)
    const vectors = testGroups.flatMap((group) => group.tests.map((vector) => ({ group, vector })))

    test(`${vectors.length} vectors: as many as there should be, of both kinds`, () => {
      expect(vectors).toHaveLength(numberOfTests)
      if (name === 'published') expect(vectors).toHaveLength(publishedCounts[algorithm] ?? 0)
      for (const kind of ['valid', 'invalid']) expect(vectors.filter(({ vector }) => vector.result === kind).length).toBeGreaterThan(2)
      // "Acceptable" would be a verdict that nobody is held to.
      expect(vectors.filter(({ vector }) => vector.result === 'acceptable')).toEqual([])
    })

    test.each(implementations)('$name agrees in every verdict', (implementation) => {
      const [accepted, refused]: [number[], number[]] = [[], []]
      const wrong: string[] = []
      for (const { group, vector } of vectors) {
        if (!implementation.takes(vector, group)) continue
        const accepts = implementation.accepts(vector, group)
        ;(accepts ? accepted : refused).push(vector.tcId)
        if (accepts !== (vector.result === 'valid')) wrong.push(`${vector.tcId} (${vector.comment}): ${vector.result}`)
      }
      expect(wrong).toEqual([])
      expect(accepted.length).toBeGreaterThan(0)
      const elsewhere = vectors.length - accepted.length - refused.length
      report[`${algorithm}, ${name}`] = {
        ...report[`${algorithm}, ${name}`],
        [implementation.name]: {
          vectors: accepted.length + refused.length,
          accepted: accepted.length,
          refused: refused.length,
          not_its_sizes: elsewhere,
        },
      }
    })

    test('no vector is taken by none', () => {
      const left = vectors.filter(({ group, vector }) => !implementations.some((each) => each.takes(vector, group)))
      expect(left.map(({ vector }) => vector.tcId)).toEqual([])
    })
  })
})

test(
  publishedIsHere
    ? 'the published vectors are beside this checkout'
    : 'the published vectors are not beside this checkout: only the committed ones count',
  () => {
    expect(vectorSources().map(({ name }) => name)).toEqual(publishedIsHere ? ['published', 'committed'] : ['committed'])
    expect(
      readdirSync(committedFolder)
        .filter((file) => file.endsWith('.json'))
        .toSorted(),
    ).toEqual(suites.map(({ file }) => file).toSorted())
  },
)
