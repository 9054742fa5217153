/** `*` stands for any text, anywhere. Linear in the text for each `*`: a pattern of an operator's can't be made slow by a stranger's text. */
export function globMatches(glob: string, value: string): boolean {
  const parts = glob.split('*')
  if (parts.length === 1) return glob === value
  const [first = '', ...rest] = parts
  const last = rest.pop() ?? ''
  if (!value.startsWith(first)) return false
  let at = first.length
  for (const part of rest) {
    const found = value.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return value.length - last.length >= at && value.endsWith(last)
}
