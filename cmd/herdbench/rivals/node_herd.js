// A server of a reference herd on Node.js: all lines of what one read brought are
// handled together, answered with one write, and what was news goes to each
// neighbour in one write.
//
//     node node_herd.js NAME NAME=HOST:PORT... -- NEIGHBOUR...
'use strict'
const net = require('node:net')

const LOCATION = /^[+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?$/
const TIME = /^\d{1,18}(?:\.\d+)?$/
const NO_PLACES = '\n{\n   "html_attributions" : [],\n   "results" : [],\n   "status" : "OK"\n}\n\n'

const split = process.argv.indexOf('--')
const name = process.argv[2]
const where = new Map(process.argv.slice(3, split).map(pair => {
  const [who, host, port] = pair.split(/[=:]/)
  return [who, { host, port: Number(port) }]
}))
const neighbours = process.argv.slice(split + 1)

const records = new Map() // client: { seconds, nanoseconds, record }
const peers = new Map() // neighbour: socket

function parseTime (text) {
  const point = text.indexOf('.')
  if (point < 0) return { seconds: Number(text), nanoseconds: 0 }
  return { seconds: Number(text.slice(0, point)), nanoseconds: Number(text.slice(point + 1, point + 10).padEnd(9, '0')) }
}

// Doubles do not hold nanoseconds since 1970: seconds and nanoseconds are apart.
function difference (at) {
  const now = performance.timeOrigin + performance.now()
  const whole = Math.floor(now / 1000)
  let seconds = whole - at.seconds
  let nanoseconds = Math.floor((now - whole * 1000) * 1e6) - at.nanoseconds
  if (nanoseconds < 0) { nanoseconds += 1e9; seconds-- }
  if (nanoseconds >= 1e9) { nanoseconds -= 1e9; seconds++ }
  let sign = '+'
  if (seconds < 0) {
    sign = '-'
    seconds = -seconds
    if (nanoseconds > 0) { nanoseconds = 1e9 - nanoseconds; seconds-- }
  }
  return sign + seconds + '.' + String(nanoseconds).padStart(9, '0')
}

// learn stores a report and tells whether it was news.
function learn (client, at, record) {
  const known = records.get(client)
  if (known !== undefined && (known.seconds > at.seconds || (known.seconds === at.seconds && known.nanoseconds >= at.nanoseconds))) return false
  at.record = record
  records.set(client, at)
  return true
}

function flood (news, source) {
  if (news === '') return
  for (const [peer, socket] of peers) {
    if (peer !== source) socket.write(news, 'latin1')
  }
}

function serve (socket) {
  socket.setNoDelay(true)
  socket.setEncoding('latin1') // bytes as they came
  socket.on('error', () => socket.destroy())
  let rest = ''
  let peer
  socket.on('data', data => {
    const lines = (rest + data).split('\n')
    rest = lines.pop()
    if (lines.length > 0 && lines[0].startsWith('PEER ')) peer = lines.shift().slice(5)
    let news = ''
    let replies = ''
    for (const line of lines) {
      if (peer !== undefined) {
        const fields = line.split(' ')
        if (learn(fields[3], parseTime(fields[5]), line)) news += line + '\n'
        continue
      }
      const fields = line.trim().split(/[ \t\r\f\v]+/)
      if (fields.length === 4 && fields[0] === 'IAMAT' && LOCATION.test(fields[2]) && TIME.test(fields[3])) {
        const at = parseTime(fields[3])
        const record = `AT ${name} ${difference(at)} ${fields[1]} ${fields[2]} ${fields[3]}`
        if (learn(fields[1], at, record)) news += record + '\n'
        replies += record + '\n'
      } else if (fields.length === 4 && fields[0] === 'WHATSAT' && records.has(fields[1])) {
        replies += records.get(fields[1]).record + NO_PLACES
      } else {
        replies += '? ' + line + '\n'
      }
    }
    flood(news, peer)
    // A client that does not take its replies is read no further meanwhile.
    if (replies !== '' && !socket.write(replies, 'latin1')) {
      socket.pause()
      socket.once('drain', () => socket.resume())
    }
  })
}

function dial (neighbour, done) {
  const socket = net.connect({ ...where.get(neighbour), noDelay: true }, () => {
    socket.write(`PEER ${name}\n`)
    peers.set(neighbour, socket)
    done()
  })
  socket.on('error', () => setTimeout(dial, 20, neighbour, done)) // it may not listen yet
  socket.resume()
}

const own = where.get(name)
net.createServer(serve).listen(own.port, own.host, 1024, () => {
  let left = neighbours.length
  for (const n of neighbours) {
    dial(n, () => { if (--left === 0) console.log('ready') })
  }
})
