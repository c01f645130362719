// Node.js, AWS SDK v3: lines of the body, JSON.parse, BatchWriteCommand of lib-dynamodb.
// It lies in tests/bench/baselines and is run from .bench/node, beside its packages.

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { BatchWriteCommand, DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

const BATCH = 25;

async function* linesOf(body) {
  let rest = Buffer.alloc(0);
  for await (const chunk of body) {
    const bytes = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    let start = 0;
    for (let end; (end = bytes.indexOf(10, start)) >= 0; start = end + 1) yield bytes.subarray(start, end);
    rest = bytes.subarray(start);
  }
  if (rest.length) yield rest;
}

function eventOf(line) {
  if (!isUtf8(line)) return undefined;
  let row;
  try {
    row = JSON.parse(line.toString());
  } catch {
    return undefined;
  }
  if (row === null || typeof row !== "object" || Array.isArray(row)) return undefined;
  const { user_id: user, event_name: name, event_time_ts: time } = row;
  if (typeof user !== "string" || !user || typeof name !== "string" || !name) return undefined;
  return Number.isInteger(time) && time > 0 ? row : undefined;
}

async function write(documents, table, requests) {
  while (requests.length) {
    const answer = await documents.send(new BatchWriteCommand({ RequestItems: { [table]: requests } }));
    requests = answer.UnprocessedItems?.[table] ?? [];
  }
}

const seconds = ({ user, system }) => (user + system) / 1e6;
const begunCpu = process.cpuUsage();
const begun = process.hrtime.bigint();
let good = 0;
let bad = 0;
const s3 = new S3Client({ forcePathStyle: true });
const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const table = process.env.PLAIN_TABLE;
const { Body } = await s3.send(new GetObjectCommand({ Bucket: process.env.BUCKET_NAME, Key: process.argv[2] }));
let requests = [];
for await (const line of linesOf(Body)) {
  const row = eventOf(line);
  if (row === undefined) {
    bad += 1;
    continue;
  }
  good += 1;
  requests.push({ PutRequest: { Item: row } });
  if (requests.length === BATCH) {
    await write(documents, table, requests);
    requests = [];
  }
}
await write(documents, table, requests);
const peak = readFileSync("/proc/self/status", "utf8").match(/VmHWM:\s+(\d+)/)[1];
console.log(
  JSON.stringify({
    good,
    bad,
    cpu_seconds: seconds(process.cpuUsage(begunCpu)),
    wall_seconds: Number(process.hrtime.bigint() - begun) / 1e9,
    start_cpu_seconds: seconds(begunCpu),
    peak_rss_bytes: Number(peak) * 1024,
    node: process.versions.node,
  }),
);
