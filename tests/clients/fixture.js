// What both JavaScript lanes share: where the server is, what is stored, and how a difference is told.
// CommonJS, because version 2 of the SDK is; the other lane imports it all the same.
"use strict";

const crypto = require("node:crypto");
const http = require("node:http");
const path = require("node:path");
const { Readable } = require("node:stream");
const { isDeepStrictEqual } = require("node:util");

const env = process.env;
const ENDPOINT = env.LANE_ENDPOINT;
const PORT = new URL(ENDPOINT).port;
const SEED = Number(env.LANE_SEED);
const LANE = path.basename(process.argv[1]).replace(/^lane_|\.m?js$/g, "");
const BUCKET = `lane-${LANE}-${String(SEED % 100000).padStart(5, "0")}`;
const CREDENTIALS = { accessKeyId: env.LANE_ACCESS_KEY, secretAccessKey: env.LANE_SECRET_KEY };

// Past 64 MiB, and not a multiple of any part size: the last part is a short one.
const BIG_BYTES = 65 * 1024 * 1024 + 3;
const PART_BYTES = 8 * 1024 * 1024;
// More than the 1000 keys of one page of ListObjects.
const MANY_KEYS = 1100;
const CONCURRENCY = 8;

const ODD_KEYS = {
  "small.txt": "hello, bucket\n",
  "empty.bin": "",
  "with space and  two.txt": "space",
  "plus+sign+.txt": "plus",
  "percent%41 %2F% 100%.txt": "percent",
  "unicod\u00e9-\u6f22\u5b57-\u{1F600}.txt": "unicode",
  "deep/er/and/deeper/leaf": "slashes",
  ".hidden": "leading dot",
  "..two-dots/.in/.side": "leading dots",
  "amp&eq=hash#semi;at@colon:comma,.txt": "reserved",
  "quote'single$dollar!(paren)~*.txt": "shell",
  "folder/": "",
  "question?mark&x=*[glob]{brace}": "query-like",
  "<xml>&amp;\"quotes\"</xml>": "markup",
  "back\\slash|pipe^caret`tick": "unsafe characters",
  ["k".repeat(1024)]: "the longest key",
};

const MANY = Object.fromEntries(
  Array.from({ length: MANY_KEYS }, (_, i) => [`many/key-${String(i).padStart(5, "0")}`, `value ${i}`]),
);

/** Names what is being tried; printed with its time once it has passed. */
async function step(name, body) {
  const start = Date.now();
  console.log(`   ... ${name}`);
  try {
    await body();
  } catch (error) {
    console.log(`  FAILED ${name}`);
    throw error;
  }
  console.log(`    ok ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
}

/** Fails unless both are equal. Long bytes are told by length and SHA-256. */
function same(what, got, want) {
  if (!isDeepStrictEqual(got, want)) {
    throw new Error(`${what}: got ${shorten(got)}, wanted ${shorten(want)}`);
  }
}

function shorten(value) {
  if (value instanceof Uint8Array && value.length > 200) return `${value.length} bytes, SHA-256 ${sha256(value)}`;
  const text = value instanceof Uint8Array ? JSON.stringify(Buffer.from(value).toString()) : JSON.stringify(value);
  return String(text).slice(0, 2000);
}

function sha256(bytes) {
  return crypto.createHash("sha256").update(bytes).digest("hex");
}

/** Bytes that depend only on the seed of the run and on `salt`. */
function randomBytes(length, salt = 0) {
  const key = crypto.createHash("sha256").update(`${SEED} ${salt}`).digest();
  return crypto.createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** The bytes as a stream of chunks that fit no part size. Not in object mode, which v2 cannot read. */
function streamOf(bytes) {
  const chunks = [];
  for (let at = 0; at < bytes.length; at += 1_000_003) chunks.push(bytes.subarray(at, at + 1_000_003));
  return Readable.from(chunks, { objectMode: false });
}

/** UTF-8 order, which is S3's order of keys; JavaScript's own is that of UTF-16. */
function inKeyOrder(keys) {
  return [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Runs `work` over the items, `CONCURRENCY` at a time; keeps their order. */
async function forAll(items, work) {
  const results = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at]);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return results;
}

/** A plain HTTP request without credentials of its own, for presigned URLs. */
async function fetchUrl(url, method = "GET", body = undefined) {
  const answer = await fetch(url, { method, body, signal: AbortSignal.timeout(60_000) });
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
}

/** The call fails with this S3 error code. The SDKs name it in different fields. */
async function refused(code, call) {
  try {
    await call();
  } catch (error) {
    return same("error", error.code ?? error.Code ?? error.name, code);
  }
  throw new Error(`no ${code}`);
}

/** An agent that finds every name under localhost on loopback, which not every resolver does. */
function localhostAgent() {
  const lookup = (host, options, done) =>
    options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
  return new http.Agent({ keepAlive: true, lookup });
}

/** Ends the process with the outcome of the lane, whatever sockets are still open. */
function finish(lane) {
  // Node ends with status 0 when nothing is left to wait for, also where a promise is still pending.
  process.exitCode = 1;
  lane().then(
    () => process.exit(0),
    (error) => {
      console.log(error);
      process.exit(1);
    },
  );
}

module.exports = {
  BIG_BYTES, BUCKET, CREDENTIALS, ENDPOINT, MANY, MANY_KEYS, ODD_KEYS, PART_BYTES, PORT, REGION: env.LANE_REGION,
  fetchUrl, finish, forAll, inKeyOrder, localhostAgent, randomBytes, refused, same, sha256, step, streamOf,
};
