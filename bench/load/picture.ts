/** Charts as SVG, small enough to be ours: bars with their spread, and curves. Readable in light and dark, without a script or a font. */

export interface Bar {
  readonly label: string
  readonly series: string
  readonly value: number
  /** The whisker; both equal to `value`: none. */
  readonly lowest: number
  readonly highest: number
}

export interface Curve {
  readonly series: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

const width = 720
const colors = ['#2f6f9f', '#c77d2a', '#5b8c3e', '#9a4f8f', '#777777']
const ink = '#808080'

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
const at = (value: number): string => value.toFixed(1)
const text = (x: number, y: number, words: string, anchor = 'start'): string =>
  `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}">${escape(words)}</text>`

/** 12.3 k, 4.5 M: at most three figures. */
export function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`
  if (value >= 1e3) return `${Number((value / 1e3).toPrecision(3))} k`
  return String(Number(value.toPrecision(3)))
}

function frame(title: string, height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="${ink}">
<title>${escape(title)}</title>
${text(8, 18, title)}
${parts.join('\n')}
</svg>
`
}

const legend = (series: readonly string[], y: number): string[] =>
  series.flatMap((name, i) => [
    `<rect x="${8 + 175 * i}" y="${y - 10}" width="10" height="10" fill="${colors[i % colors.length]}"/>`,
    text(22 + 175 * i, y, name),
  ])

/** Lying bars, in the order given; bars of one label stand together. @throws Error for none. */
export function barChart(title: string, bars: readonly Bar[]): string {
  if (bars.length === 0) throw new Error('expected at least one bar, got none')
  const series = [...new Set(bars.map((bar) => bar.series))]
  const [left, right, rowHeight] = [170, 70, 20]
  const most = Math.max(...bars.map((bar) => bar.highest), Number.MIN_VALUE)
  const x = (value: number): number => left + (value / most) * (width - left - right)
  const parts = legend(series, 40)
  let [y, label] = [52, '']
  for (const bar of bars) {
    if (bar.label !== label) {
      label = bar.label
      y += 6
      parts.push(text(left - 8, y + 14, label, 'end'))
    }
    const middle = y + rowHeight / 2
    parts.push(
      `<rect x="${left}" y="${y + 2}" width="${at(x(bar.value) - left)}" height="${rowHeight - 4}" fill="${colors[series.indexOf(bar.series) % colors.length]}"/>`,
    )
    if (bar.lowest < bar.highest)
      parts.push(`<path d="M${at(x(bar.lowest))} ${middle}H${at(x(bar.highest))}" stroke="${ink}" stroke-width="2"/>`)
    parts.push(text(x(bar.highest) + 6, middle + 4, short(bar.value)))
    y += rowHeight
  }
  return frame(title, y + 12, parts)
}

/** Curves over a logarithmic x, from zero upward in y. @throws Error for no point, or an x not above zero. */
export function curveChart(title: string, xName: string, curves: readonly Curve[]): string {
  const points = curves.flatMap((curve) => curve.points)
  if (points.length === 0 || points.some(([x]) => !(x > 0))) throw new Error('expected points with x above zero, got none or others')
  const [left, right, top, bottom, height] = [60, 24, 56, 44, 320]
  const logs = points.map(([x]) => Math.log10(x))
  const [first, last] = [Math.min(...logs), Math.max(...logs)]
  const most = Math.max(...points.map(([, y]) => y), Number.MIN_VALUE) * 1.05
  const x = (value: number): number => left + (last === first ? 0.5 : (Math.log10(value) - first) / (last - first)) * (width - left - right)
  const y = (value: number): number => height - bottom - (value / most) * (height - bottom - top)
  const parts = legend(
    curves.map((curve) => curve.series),
    40,
  )
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(
      `<path d="M${left} ${at(y(most * part))}H${width - right}" stroke="${ink}" stroke-width="0.4"/>`,
      text(left - 6, y(most * part) + 4, short(most * part), 'end'),
    )
  }
  for (const value of new Set(points.map(([each]) => each))) parts.push(text(x(value), height - bottom + 16, short(value), 'middle'))
  parts.push(text((left + width - right) / 2, height - 10, xName, 'middle'))
  for (const [i, curve] of curves.entries()) {
    const color = colors[i % colors.length]
    const sorted = curve.points.toSorted(([a], [b]) => a - b)
    parts.push(
      `<polyline fill="none" stroke="${color}" stroke-width="2" points="${sorted.map(([a, b]) => `${at(x(a))},${at(y(b))}`).join(' ')}"/>`,
    )
    for (const [a, b] of sorted) parts.push(`<circle cx="${at(x(a))}" cy="${at(y(b))}" r="3" fill="${color}"/>`)
  }
  return frame(title, height, parts)
}
