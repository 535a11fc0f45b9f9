// csv-parse + BullMQ + Redis: a producer fills the queue, one worker at a time POSTs a job.
// FILE URL CHUNK_RECORDS REDIS_PORT. Source: https://docs.bullmq.io and https://csv.js.org/parse
// After a crash the queue still has its jobs; the producer knows nothing and starts over.
const fs = require("node:fs");
const { parse } = require("csv-parse");
const { Queue, Worker } = require("bullmq");

const [file, url, chunk, port] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };

async function post(job) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ records: job.data.records }),
  });
  if ((await response.json()).ack !== true) throw new Error("not acknowledged");
}

async function produce(queue) {
  let records = [];
  for await (const record of fs.createReadStream(file).pipe(parse({ columns: true }))) {
    records.push(record);
    if (records.length === Number(chunk)) {
      await queue.add("chunk", { records });
      records = [];
    }
  }
  if (records.length) await queue.add("chunk", { records });
}

async function main() {
  console.log("ready");
  const queue = new Queue("deliver", {
    connection,
    defaultJobOptions: { removeOnComplete: true, attempts: 5 },
  });
  let drained;
  const worker = new Worker("deliver", post, { connection, concurrency: 1 });
  worker.on("error", fail);
  worker.on("completed", () => drained && drained());
  await produce(queue);
  for (;;) {
    const left = await queue.getJobCounts("wait", "active", "delayed", "prioritized");
    if (Object.values(left).every((count) => count === 0)) break;
    await new Promise((resolve) => {
      drained = resolve;
      setTimeout(resolve, 200);
    });
  }
  await worker.close();
  await queue.close();
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

main().catch(fail);
