import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatHcl } from '#cmd/cli/hcl-format.ts'

test('indents by nesting, spaces equals signs, keeps comments, strings and heredocs', () => {
  const before = `# mine = { [
path "a/{{x}}/*" {
capabilities=["read",
      "list"]


      /* block {
    stays */
  // line }
 allowed_parameters = { "k"=["}"] }
text = <<EOT
   keep { this
EOT
}


`
  expect(formatHcl(before)).toBe(`# mine = { [
path "a/{{x}}/*" {
  capabilities = ["read",
    "list"]

  /* block {
    stays */
  // line }
  allowed_parameters = { "k"=["}"] }
  text = <<EOT
   keep { this
EOT
}
`)
})

test('changes white space only, and nothing the second time', () => {
  const piece = fc.constantFrom('{', '}', '[', ']', '"a b"', '"\\""', '# c', '\n', '=', 'key', ' ', '/*', '*/', ',')
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const text = pieces.join('')
      const once = formatHcl(text)
      expect(once.replace(/\s/g, '')).toBe(text.replace(/\s/g, ''))
      expect(formatHcl(once)).toBe(once)
    }),
  )
})
