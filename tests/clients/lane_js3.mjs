// The AWS SDK for JavaScript v3: streams with trailing checksums, lib-storage, middleware of today.
import { createRequire } from "node:module";
import f from "./fixture.js";

const load = createRequire(`${process.env.LANE_NODE}/`);
const sdk = load("@aws-sdk/client-s3");
const { Upload } = load("@aws-sdk/lib-storage");
const { getSignedUrl } = load("@aws-sdk/s3-request-presigner");
const { BUCKET, same, step } = f;

function client(options) {
  return new sdk.S3({
    endpoint: f.ENDPOINT, region: f.REGION, credentials: f.CREDENTIALS, forcePathStyle: true, maxAttempts: 1,
    ...options,
  });
}

const s3 = client({});
const target = (Key) => ({ Bucket: BUCKET, Key });
const put = (key, data, more) => s3.putObject({ ...target(key), Body: data, ...more });

async function get(key, more, from = s3) {
  const answer = await from.getObject({ ...target(key), ...more });
  return Buffer.from(await answer.Body.transformToByteArray());
}

async function listed(Prefix = undefined, pageSize = 1000) {
  const keys = [];
  for await (const page of sdk.paginateListObjectsV2({ client: s3, pageSize }, { Bucket: BUCKET, Prefix })) {
    keys.push(...(page.Contents ?? []).map((o) => o.Key));
  }
  return keys;
}

async function oddKeys() {
  await step("odd keys", async () => {
    for (const [key, text] of Object.entries(f.ODD_KEYS)) {
      await put(key, text);
      same(key, (await get(key)).toString(), text);
    }
    same("listed", await listed(), f.inKeyOrder(Object.keys(f.ODD_KEYS)));
    same("listed by 3", await listed(undefined, 3), f.inKeyOrder(Object.keys(f.ODD_KEYS)));
  });
}

async function largeObject() {
  const big = f.randomBytes(f.BIG_BYTES);
  await step("multipart upload of a stream, and download", async () => {
    const params = { ...target("big"), Body: f.streamOf(big), Metadata: { colour: "blue" } };
    await new Upload({ client: s3, params, partSize: f.PART_BYTES, queueSize: 4 }).done();
    same("SHA-256", f.sha256(await get("big")), f.sha256(big));
    const head = await s3.headObject(target("big"));
    same("head", [head.Metadata, head.ContentLength], [{ colour: "blue" }, f.BIG_BYTES]);
  });
  await step("one PUT of a stream, with its checksum in the trailer", async () => {
    const data = big.subarray(0, 20_000_001);
    await put("stream", f.streamOf(data), { ContentLength: data.length, ChecksumAlgorithm: "SHA256" });
    same("SHA-256", f.sha256(await get("stream")), f.sha256(data));
    const head = await s3.headObject({ ...target("stream"), ChecksumMode: "ENABLED" });
    same("checksum", Buffer.from(head.ChecksumSHA256, "base64").toString("hex"), f.sha256(data));
  });
  await step("ranged get", async () => {
    const border = f.PART_BYTES;
    const Range = `bytes=${border - 3}-${border + 3}`;
    same("range", await get("big", { Range }), big.subarray(border - 3, border + 4));
    same("suffix", await get("big", { Range: "bytes=-5" }), big.subarray(-5));
  });
  await step("multipart copy", async () => {
    const { UploadId } = await s3.createMultipartUpload(target("big-copy"));
    const half = 40 * 1024 * 1024;
    const ranges = [`bytes=0-${half - 1}`, `bytes=${half}-${f.BIG_BYTES - 1}`];
    const Parts = await f.forAll(ranges, async (CopySourceRange) => {
      const PartNumber = ranges.indexOf(CopySourceRange) + 1;
      const answer = await s3.uploadPartCopy({
        ...target("big-copy"), UploadId, PartNumber, CopySource: `${BUCKET}/big`, CopySourceRange,
      });
      const { LastModified, ...sums } = answer.CopyPartResult;
      return { PartNumber, ...sums };
    });
    await s3.completeMultipartUpload({ ...target("big-copy"), UploadId, MultipartUpload: { Parts } });
    same("SHA-256", f.sha256(await get("big-copy")), f.sha256(big));
  });
}

async function checksums() {
  const data = f.randomBytes(300_001, 1);
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]) {
    await step(`checksum ${ChecksumAlgorithm}`, async () => {
      const answer = await put(`checksum/${ChecksumAlgorithm}`, data, { ChecksumAlgorithm });
      // Reading validates: the SDK throws if the server's value does not fit the bytes.
      const back = await s3.getObject({ ...target(`checksum/${ChecksumAlgorithm}`), ChecksumMode: "ENABLED" });
      same("value", back[`Checksum${ChecksumAlgorithm}`], answer[`Checksum${ChecksumAlgorithm}`]);
      same("content", Buffer.from(await back.Body.transformToByteArray()), data);
    });
  }
  await step("no checksum of the client's", async () => {
    const plain = client({ requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED" });
    await plain.putObject({ ...target("plain"), Body: data });
    same("content", await get("plain", {}, plain), data);
  });
}

async function copiesAndMetadata() {
  await step("metadata, tags, conditions and copies", async () => {
    await put("metadata", "x", { Metadata: { colour: "blue" }, ContentType: "text/x-lane", Tagging: "a=b%20c" });
    const tags = await s3.getObjectTagging(target("metadata"));
    same("tags", tags.TagSet, [{ Key: "a", Value: "b c" }]);
    const odd = "unicod\u00e9-\u6f22\u5b57-\u{1F600}.txt";
    await s3.copyObject({ ...target("copy + of"), CopySource: encodeURIComponent(`${BUCKET}/${odd}`) });
    same("copy", (await get("copy + of")).toString(), "unicode");
    await s3.copyObject({ ...target("copy + of"), CopySource: `${BUCKET}/metadata` });
    const head = await s3.headObject(target("copy + of"));
    same("kept", [head.Metadata, head.ContentType], [{ colour: "blue" }, "text/x-lane"]);
    await f.refused("PreconditionFailed", () => put("metadata", "y", { IfNoneMatch: "*" }));
  });
}

async function longListing() {
  await step(`${f.MANY_KEYS} objects go up, are listed and come back`, async () => {
    await f.forAll(Object.entries(f.MANY), ([key, text]) => put(key, text));
    same("listed", await listed("many/"), Object.keys(f.MANY));
    const texts = await f.forAll(Object.keys(f.MANY), async (key) => (await get(key)).toString());
    same("contents", texts, Object.values(f.MANY));
  });
}

async function presignedUrls() {
  await step("presigned get and put", async () => {
    const put = new sdk.PutObjectCommand(target("signed + put"));
    const done = await f.fetchUrl(await getSignedUrl(s3, put, { expiresIn: 60 }), "PUT", Buffer.from("by URL"));
    same("put", done.status, 200);
    const url = await getSignedUrl(s3, new sdk.GetObjectCommand(target("signed + put")), { expiresIn: 60 });
    same("get", (await f.fetchUrl(url)).body.toString(), "by URL");
    same("other key", (await f.fetchUrl(url.replace("signed", "signet"))).status, 403);
  });
}

async function virtualHosts() {
  await step("virtual-hosted style", async () => {
    const endpoint = `http://localhost:${f.PORT}`;
    const other = client({ endpoint, forcePathStyle: false, requestHandler: { httpAgent: f.localhostAgent() } });
    await other.putObject({ ...target("virtual + host"), Body: "virtual" });
    same("content", (await get("virtual + host", {}, other)).toString(), "virtual");
    same("by path", (await get("virtual + host")).toString(), "virtual");
  });
}

async function deletes() {
  await step("errors", async () => {
    await f.refused("NoSuchKey", () => get("absent"));
    await f.refused("NotFound", () => s3.headObject(target("absent")));
    await f.refused("BucketNotEmpty", () => s3.deleteBucket({ Bucket: BUCKET }));
    const wrong = client({ credentials: { ...f.CREDENTIALS, secretAccessKey: "wrong" } });
    await f.refused("SignatureDoesNotMatch", () => wrong.listObjectsV2({ Bucket: BUCKET }));
  });
  await step("delete one, many, and the bucket", async () => {
    await s3.deleteObject(target("small.txt"));
    await f.refused("NoSuchKey", () => get("small.txt"));
    const keys = await listed();
    for (let at = 0; at < keys.length; at += 1000) {
      const Objects = keys.slice(at, at + 1000).map((Key) => ({ Key }));
      const answer = await s3.deleteObjects({ Bucket: BUCKET, Delete: { Objects } });
      same("outcome", [answer.Deleted.length, answer.Errors ?? []], [Objects.length, []]);
    }
    same("rest", await listed(), []);
    await s3.deleteBucket({ Bucket: BUCKET });
    same("bucket", ((await s3.listBuckets({})).Buckets ?? []).filter((b) => b.Name === BUCKET), []);
  });
}

f.finish(async () => {
  await step("make a bucket", async () => {
    await s3.createBucket({ Bucket: BUCKET });
    await s3.headBucket({ Bucket: BUCKET });
  });
  await oddKeys();
  await largeObject();
  await checksums();
  await copiesAndMetadata();
  await longListing();
  await presignedUrls();
  await virtualHosts();
  await deletes();
});
