// A payment service that tells Firstbell what was paid and what was given back.
//
//   KAFKA=localhost:9092 node producer.ts < sales.json

import { json } from "node:stream/consumers";
import { CompressionTypes, Kafka, Partitioners, type Message, type Producer } from "kafkajs";

// A sale as this service keeps it; yours looks otherwise.
interface Sale {
  id: string;
  buyer: string;
  course: string;
  price: { minor: number; currency: string }; // 1499900 and INR: 14,999 rupees
  coins?: number;
  lessons: { count: number; slot: string; from: string; days?: string[]; zone?: string };
  cartItem?: string;
  paidAt: string;
  refund?: { id: string; at: string; coins?: number };
}

// What was paid never changes: build the message from what you stored, and it says the same however often you send it.
function paymentSucceeded(sale: Sale): Message {
  return {
    key: sale.id,
    value: JSON.stringify({
      paymentId: sale.id,
      studentId: sale.buyer,
      amountMinor: sale.price.minor,
      currency: sale.price.currency,
      succeededAt: new Date(sale.paidAt).toISOString(), // when it was paid, not when it is sent
      coinsRedeemed: sale.coins ?? 0,
      metadata: {
        courseId: sale.course,
        purchaseTier: sale.lessons.count,
        timeSlot: sale.lessons.slot,
        date: sale.lessons.from,
        daysOfWeek: sale.lessons.days, // undefined: JSON.stringify leaves it out, and that is every day
        timezone: sale.lessons.zone,
        cartItemId: sale.cartItem,
      },
    }),
  };
}

function paymentRefunded(sale: Sale, refund: NonNullable<Sale["refund"]>): Message {
  return {
    key: sale.id, // the payment, so that its refund goes the same way
    value: JSON.stringify({
      refundId: refund.id,
      paymentId: sale.id,
      coinsReturned: refund.coins, // undefined: all that the payment redeemed
      refundedAt: new Date(refund.at).toISOString(),
    }),
  };
}

// Resolves once every replica in sync has the messages. If it rejects, send the same messages again.
async function tell(producer: Producer, topic: string, messages: Message[]): Promise<void> {
  if (messages.length > 0) {
    await producer.send({ topic, messages, acks: -1, compression: CompressionTypes.GZIP });
  }
}

const sales = (await json(process.stdin)) as Sale[];
const prefix = process.env.TOPIC_PREFIX ?? ""; // only on a Kafka that others use too
const kafka = new Kafka({ clientId: "payments", brokers: (process.env.KAFKA ?? "localhost:9092").split(",") });
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });

await producer.connect();
try {
  await tell(producer, `${prefix}payments.succeeded`, sales.map(paymentSucceeded));
  const refunds = sales.flatMap((sale) => (sale.refund ? [paymentRefunded(sale, sale.refund)] : []));
  await tell(producer, `${prefix}payments.refunded`, refunds);
} finally {
  await producer.disconnect();
}
