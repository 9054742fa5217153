// Ends with 0 when the node of this container answers, sealed or not, and with 1 when it does not.
// HOLDFAST_HEALTH_ADDR: where its listener is, https://127.0.0.1:8200 unless said.
import { request as plain } from 'node:http'
import { request as secure } from 'node:https'

const timeoutMs = 4_000
const address = process.env.HOLDFAST_HEALTH_ADDR ?? 'https://127.0.0.1:8200'
const url = new URL('/v1/sys/health?standbyok=true&sealedcode=200&uninitcode=200', address)
const send = url.protocol === 'http:' ? plain : secure

function end(code, said) {
  console.log(said)
  process.exit(code)
}

// The certificate names the node's own name, not loopback; nothing secret is sent, and the answer is believed for nothing but this.
const asked = send(url, { rejectUnauthorized: false, timeout: timeoutMs }, (answer) => {
  answer.resume()
  end(answer.statusCode === 200 ? 0 : 1, `answered ${answer.statusCode}`)
})
asked.on('timeout', () => end(1, `no answer within ${timeoutMs} ms`))
asked.on('error', (error) => end(1, `no answer: ${error.code ?? 'an error'}`))
asked.end()
