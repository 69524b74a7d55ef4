// The AWS SDK for JavaScript v2: promises over callbacks, managed upload, V2 and V4 signatures.
"use strict";

process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
const { createRequire } = require("node:module");
const AWS = createRequire(`${process.env.LANE_NODE}/`)("aws-sdk");
const f = require("./fixture.js");
const { BUCKET, same, step } = f;

function client(options) {
  return new AWS.S3({
    endpoint: f.ENDPOINT, region: f.REGION, credentials: new AWS.Credentials(f.CREDENTIALS),
    s3ForcePathStyle: true, signatureVersion: "v4", maxRetries: 0, ...options,
  });
}

const s3 = client({});
const target = (Key) => ({ Bucket: BUCKET, Key });
const put = (key, data, more) => s3.putObject({ ...target(key), Body: data, ...more }).promise();
const get = async (key, more) => (await s3.getObject({ ...target(key), ...more }).promise()).Body;

async function listed(operation, Prefix = "", MaxKeys = 1000) {
  const keys = [];
  let page = { IsTruncated: true };
  while (page.IsTruncated) {
    const after = operation === "listObjects"
      ? { Marker: keys.at(-1) } : { ContinuationToken: page.NextContinuationToken };
    page = await s3[operation]({ Bucket: BUCKET, Prefix, MaxKeys, ...after }).promise();
    keys.push(...page.Contents.map((o) => o.Key));
  }
  return keys;
}

async function oddKeys() {
  await step("odd keys", async () => {
    for (const [key, text] of Object.entries(f.ODD_KEYS)) {
      await put(key, text);
      same(key, (await get(key)).toString(), text);
    }
    same("listed", await listed("listObjectsV2"), f.inKeyOrder(Object.keys(f.ODD_KEYS)));
    same("listed by version 1", await listed("listObjects", "", 3), f.inKeyOrder(Object.keys(f.ODD_KEYS)));
  });
}

async function largeObject() {
  const big = f.randomBytes(f.BIG_BYTES);
  await step("managed multipart upload and download", async () => {
    const options = { partSize: f.PART_BYTES, queueSize: 4 };
    await s3.upload({ ...target("big"), Body: f.streamOf(big), Metadata: { colour: "blue" } }, options)
      .promise();
    same("SHA-256", f.sha256(await get("big")), f.sha256(big));
    const head = await s3.headObject(target("big")).promise();
    same("head", [head.Metadata, head.ContentLength], [{ colour: "blue" }, f.BIG_BYTES]);
  });
  await step("ranged get, as bytes and as a stream", async () => {
    const border = f.PART_BYTES;
    const Range = `bytes=${border - 3}-${border + 3}`;
    same("range", await get("big", { Range }), big.subarray(border - 3, border + 4));
    const parts = [];
    for await (const part of s3.getObject({ ...target("big"), Range: "bytes=-100000" }).createReadStream()) {
      parts.push(part);
    }
    same("stream", Buffer.concat(parts), big.subarray(-100000));
  });
  await step("multipart copy", async () => {
    const { UploadId } = await s3.createMultipartUpload(target("big-copy")).promise();
    const half = 40 * 1024 * 1024;
    const ranges = [`bytes=0-${half - 1}`, `bytes=${half}-${f.BIG_BYTES - 1}`];
    const Parts = await f.forAll(ranges, async (CopySourceRange) => {
      const PartNumber = ranges.indexOf(CopySourceRange) + 1;
      const answer = await s3.uploadPartCopy({
        ...target("big-copy"), UploadId, PartNumber, CopySource: `/${BUCKET}/big`, CopySourceRange,
      }).promise();
      return { PartNumber, ETag: answer.CopyPartResult.ETag };
    });
    await s3.completeMultipartUpload({ ...target("big-copy"), UploadId, MultipartUpload: { Parts } }).promise();
    same("SHA-256", f.sha256(await get("big-copy")), f.sha256(big));
  });
}

async function copiesAndMetadata() {
  await step("metadata and copies", async () => {
    await put("metadata", "x", { Metadata: { colour: "blue" }, ContentType: "text/x-lane", CacheControl: "no-cache" });
    const odd = "unicod\u00e9-\u6f22\u5b57-\u{1F600}.txt";
    await s3.copyObject({ ...target("copy + of"), CopySource: encodeURIComponent(`${BUCKET}/${odd}`) }).promise();
    same("copy", (await get("copy + of")).toString(), "unicode");
    await s3.copyObject({ ...target("copy + of"), CopySource: `${BUCKET}/metadata` }).promise();
    const head = await s3.headObject(target("copy + of")).promise();
    same("kept", [head.Metadata, head.ContentType, head.CacheControl], [{ colour: "blue" }, "text/x-lane", "no-cache"]);
  });
}

async function longListing() {
  await step(`${f.MANY_KEYS} objects go up, are listed and come back`, async () => {
    await f.forAll(Object.entries(f.MANY), ([key, text]) => put(key, text));
    same("version 2", await listed("listObjectsV2", "many/"), Object.keys(f.MANY));
    same("version 1", await listed("listObjects", "many/"), Object.keys(f.MANY));
    const texts = await f.forAll(Object.keys(f.MANY), async (key) => (await get(key)).toString());
    same("contents", texts, Object.values(f.MANY));
  });
}

async function signatures() {
  for (const signatureVersion of ["v4", "v2"]) {
    await step(`signature version ${signatureVersion}, in the header and in the URL`, async () => {
      const other = client({ signatureVersion });
      const key = `signed/${signatureVersion} + put`;
      await other.putObject({ ...target(key), Body: "header" }).promise();
      same("header", (await other.getObject(target(key)).promise()).Body.toString(), "header");
      const { status } = await f.fetchUrl(other.getSignedUrl("putObject", target(key)), "PUT", Buffer.from("url"));
      same("put", status, 200);
      const answer = await f.fetchUrl(other.getSignedUrl("getObject", { ...target(key), Expires: 60 }));
      same("get", answer.body.toString(), "url");
      const wrong = client({ signatureVersion, credentials: new AWS.Credentials(f.CREDENTIALS.accessKeyId, "x") });
      await f.refused("SignatureDoesNotMatch", () => wrong.getObject(target(key)).promise());
    });
  }
}

async function virtualHosts() {
  await step("virtual-hosted style", async () => {
    const endpoint = `http://localhost:${f.PORT}`;
    const other = client({ endpoint, s3ForcePathStyle: false, httpOptions: { agent: f.localhostAgent() } });
    await other.putObject({ ...target("virtual + host"), Body: "virtual" }).promise();
    same("content", (await other.getObject(target("virtual + host")).promise()).Body.toString(), "virtual");
    same("by path", (await get("virtual + host")).toString(), "virtual");
  });
}

async function deletes() {
  await step("errors", async () => {
    await f.refused("NoSuchKey", () => get("absent"));
    await f.refused("NotFound", () => s3.headObject(target("absent")).promise());
    await f.refused("BucketNotEmpty", () => s3.deleteBucket({ Bucket: BUCKET }).promise());
  });
  await step("delete one, many, and the bucket", async () => {
    await s3.deleteObject(target("small.txt")).promise();
    await f.refused("NoSuchKey", () => get("small.txt"));
    const keys = await listed("listObjectsV2");
    for (let at = 0; at < keys.length; at += 1000) {
      const Objects = keys.slice(at, at + 1000).map((Key) => ({ Key }));
      const answer = await s3.deleteObjects({ Bucket: BUCKET, Delete: { Objects } }).promise();
      same("outcome", [answer.Deleted.length, answer.Errors.length], [Objects.length, 0]);
    }
    same("rest", await listed("listObjectsV2"), []);
    await s3.deleteBucket({ Bucket: BUCKET }).promise();
    same("bucket", (await s3.listBuckets().promise()).Buckets.filter((b) => b.Name === BUCKET), []);
  });
}

f.finish(async () => {
  await step("make a bucket", async () => {
    await s3.createBucket({ Bucket: BUCKET }).promise();
    await s3.headBucket({ Bucket: BUCKET }).promise();
  });
  await oddKeys();
  await largeObject();
  await copiesAndMetadata();
  await longListing();
  await signatures();
  await virtualHosts();
  await deletes();
});
