// A server of a reference herd on Node.js. A callback gets the bytes of one read, replies
// to each line, and sends news to the neighbours.
//
//     node node_herd.js NAME NAME=HOST:PORT... -- NEIGHBOUR...
//
// With BATCHED in the environment, the replies to all lines of one read leave in one
// write, and their news goes to each neighbour in one write.
'use strict'
const net = require('node:net')

const LOCATION = /^[+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?$/
const TIME = /^\d{1,18}(?:\.\d+)?$/
const NO_PLACES = '{\n   "html_attributions" : [],\n   "results" : [],\n   "status" : "OK"\n}\n\n'

const split = process.argv.indexOf('--')
const name = process.argv[2]
const where = new Map(process.argv.slice(3, split).map(pair => {
  const [who, host, port] = pair.split(/[=:]/)
  return [who, { host, port: Number(port) }]
}))
const neighbours = process.argv.slice(split + 1)

const batched = 'BATCHED' in process.env
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

// answer is the reply to a client's line, and what was news: a line, or nothing.
function answer (line) {
  const [verb, client, second, third, ...more] = line.trim().split(/[ \t\r\f\v]+/)
  if (third !== undefined && more.length === 0) {
    if (verb === 'IAMAT' && LOCATION.test(second) && TIME.test(third)) {
      const at = parseTime(third)
      const record = `AT ${name} ${difference(at)} ${client} ${second} ${third}\n`
      return [record, learn(client, at, record) ? record : '']
    }
    if (verb === 'WHATSAT' && records.has(client)) return [records.get(client).record + NO_PLACES, '']
  }
  return ['? ' + line + '\n', '']
}

// hear is what was news of a neighbour's line: that line, or nothing.
function hear (line) {
  const fields = line.split(' ')
  const record = line + '\n'
  return ['', learn(fields[3], parseTime(fields[5]), record) ? record : '']
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
    const handle = peer === undefined ? answer : hear
    let replies = ''
    let news = ''
    let roomy = true
    const send = () => {
      flood(news, peer)
      if (replies !== '') roomy = socket.write(replies, 'latin1')
      replies = news = ''
    }
    for (const line of lines) {
      const [reply, fresh] = handle(line)
      replies += reply
      news += fresh
      if (!batched) send()
    }
    send()
    // A client that does not take its replies is read no further meanwhile.
    if (!roomy) {
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
