import { expect, test } from 'vitest'
import { RequestMetrics } from '#http/request-metrics.ts'
import { metricsJson } from '#engines/sys/metrics-json.ts'

test('counts answers by method and class, and how long they took, in buckets that add up', () => {
  const metrics = new RequestMetrics()
  metrics.observe('GET', 200, 0.5)
  metrics.observe('GET', 404, 3)
  metrics.observe('GET', 500, 1_000_000)
  metrics.observe('BREW', 418, 1)
  const lines = metrics.text().split('\n')
  expect(lines).toContain('holdfast_http_requests_total{method="GET",code="2xx"} 1')
  expect(lines).toContain('holdfast_http_requests_total{method="GET",code="5xx"} 1')
  expect(lines).toContain('holdfast_http_requests_total{method="other",code="4xx"} 1')
  expect(lines).toContain('holdfast_http_request_seconds_bucket{method="GET",le="0.001"} 1')
  expect(lines).toContain('holdfast_http_request_seconds_bucket{method="GET",le="0.005"} 2')
  expect(lines).toContain('holdfast_http_request_seconds_bucket{method="GET",le="90"} 2')
  expect(lines).toContain('holdfast_http_request_seconds_bucket{method="GET",le="+Inf"} 3')
  expect(lines).toContain('holdfast_http_request_seconds_count{method="GET"} 3')
  expect(metrics.text()).not.toContain('BREW')
})

test('the same as JSON: gauges and counters with their labels', () => {
  const text = '# HELP a_b A.\n# TYPE a_b gauge\na_b{peer="n\\"1"} 2.5\n# HELP c C.\n# TYPE c counter\nc 7\n'
  expect(JSON.parse(metricsJson(text, 0))).toEqual({
    Timestamp: '1970-01-01T00:00:00.000Z',
    Gauges: [{ Name: 'a_b', Labels: { peer: 'n\\"1' }, Value: 2.5 }],
    Counters: [{ Name: 'c', Labels: {}, Value: 7 }],
    Points: [],
    Samples: [],
  })
})
