import { expect, test } from 'vitest'
import { Attached } from '#base/attached.ts'

class Noted extends Attached {
  readonly #note: string
  constructor(to: object, note: string) {
    super(to)
    this.#note = note
  }
  static of(object: object): string | undefined {
    return #note in object ? (object as Noted).#note : undefined
  }
}

test('an object carries what was attached to it, and shows it to nobody else', () => {
  const [carrier, other] = [{ a: 1 }, { a: 1 }]
  expect(new Noted(carrier, 'secret')).toBe(carrier)
  expect([Noted.of(carrier), Noted.of(other), Noted.of({ ...carrier })]).toEqual(['secret', undefined, undefined])
  expect(Reflect.ownKeys(carrier)).toEqual(['a'])
  expect(JSON.stringify(carrier)).toBe('{"a":1}')
  expect(() => new Noted(carrier, 'again')).toThrow(TypeError)
})
