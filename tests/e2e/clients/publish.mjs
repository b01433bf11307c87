// Publishes payments to Kafka, as the backend of a shop does: one payment a line on standard input.
//
//   node publish.mjs --bootstrap-servers localhost:9092 --topic payments.succeeded < payments.jsonl
//
//   --compression gzip     none, gzip, snappy, lz4 or zstd
//   --key paymentId        the field whose value is the key of the message; without it, no key
//   --cloudevents          add the headers of a CloudEvent
//   --header name=value    add a header of your own; may be given more than once
//   --batch-size 100       how many messages go out together

import { randomUUID } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { Producer, ProduceAcks, stringSerializers } from '@platformatic/kafka'

const { values: options } = parseArgs({
  options: {
    'bootstrap-servers': { type: 'string', default: 'localhost:9092' },
    topic: { type: 'string', default: 'payments.succeeded' },
    compression: { type: 'string', default: 'none' },
    key: { type: 'string' },
    cloudevents: { type: 'boolean', default: false },
    header: { type: 'string', multiple: true, default: [] },
    'batch-size': { type: 'string', default: '100' }
  }
})

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/

// In a backend instants are Dates; JSON.stringify then writes them in UTC, with milliseconds.
function parsePayment (line) {
  return JSON.parse(line, (_, value) =>
    typeof value === 'string' && INSTANT.test(value) ? new Date(value) : value
  )
}

function cloudEvent (payment) {
  return {
    ce_specversion: '1.0',
    ce_id: randomUUID(),
    ce_type: 'com.example.payment.succeeded',
    ce_source: '/checkout',
    ce_subject: payment.paymentId,
    ce_time: new Date().toISOString(),
    'content-type': 'application/json'
  }
}

function toMessage (payment) {
  return {
    topic: options.topic,
    key: options.key && payment[options.key],
    value: JSON.stringify(payment),
    headers: { ...(options.cloudevents && cloudEvent(payment)), ...ownHeaders }
  }
}

const ownHeaders = Object.fromEntries(
  options.header.map(header => [header.slice(0, header.indexOf('=')), header.slice(header.indexOf('=') + 1)])
)
const batchSize = Number(options['batch-size'])
const lines = (await text(process.stdin)).split('\n').filter(line => line.trim())
const messages = lines.map(line => toMessage(parsePayment(line)))

const producer = new Producer({
  clientId: 'checkout',
  bootstrapBrokers: options['bootstrap-servers'].split(','),
  serializers: stringSerializers,
  acks: ProduceAcks.ALL,
  compression: options.compression
})

try {
  for (let sent = 0; sent < messages.length; sent += batchSize) {
    await producer.send({ messages: messages.slice(sent, sent + batchSize) })
  }
} finally {
  await producer.close()
}
