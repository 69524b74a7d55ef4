// HTTPS as the documentation of Scality S3 Server sets it up: a CA and a certificate made with openssl,
// certFilePaths in config.json, a name that leads to loopback, and a script on the AWS SDK for JavaScript
// v2 that says at its end that SSL is cool. Then the same without openssl: --tls-self-signed.
// Starts servers of its own.
"use strict";

process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const https = require("node:https");
const { createRequire } = require("node:module");
const path = require("node:path");
const readline = require("node:readline");
const AWS = createRequire(`${process.env.LANE_NODE}/`)("aws-sdk");
const f = require("./fixture.js");
const { BUCKET, same, step } = f;

const HOST = "s3.scality.test";
const SUBJECT = "/C=US/ST=Country/L=City/O=Organization";
const PATIENCE_MS = 20_000;

function run(program, ...words) {
  return execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: PATIENCE_MS });
}

const openssl = (...words) => run("openssl", ...words);

/** The commands of the documentation: RSA keys, and a certificate that has its name as CN only. */
function makeCertificates() {
  openssl("genrsa", "-out", "ca.key", "2048");
  openssl("req", "-new", "-x509", "-extensions", "v3_ca", "-key", "ca.key", "-out", "ca.crt", "-days", "99999",
    "-subj", `${SUBJECT}/CN=scality.test`);
  openssl("genrsa", "-out", "test.key", "2048");
  openssl("req", "-new", "-key", "test.key", "-out", "test.csr", "-subj", `${SUBJECT}/CN=*.scality.test`);
  openssl("x509", "-req", "-in", "test.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
    "-out", "test.crt", "-days", "99999", "-sha256");
}

/** Starts a server in the current folder; its port, and what ends it. */
async function serve(name, ...words) {
  const log = fs.openSync(`${name}.log`, "w");
  const backend = ["--backend", process.env.LANE_BACKEND, "--sync", "none"];
  const folders = ["--data-path", `${name}-data`, "--metadata-path", `${name}-metadata`];
  const server = spawn(process.env.LANE_BINARY, [...backend, ...folders, "--listen", "127.0.0.1:0", ...words],
    { stdio: ["ignore", "pipe", log], env: { PATH: process.env.PATH } });
  const ended = new Promise((resolve) => server.once("exit", resolve));
  const started = new Promise((resolve) => readline.createInterface(server.stdout).once("line", resolve));
  const line = await Promise.race([started, ended]);
  const found = /https:\/\/127\.0\.0\.1:(\d+) /.exec(String(line));
  if (!found) throw new Error(`no HTTPS server: ${line} ${fs.readFileSync(`${name}.log`, "utf8")}`);
  const stop = async () => {
    server.kill("SIGTERM");
    same("exit status", await ended, 0);
  };
  return { port: found[1], stop };
}

/** A client that trusts one CA and takes every name for loopback, in place of an entry in /etc/hosts. */
function client(host, port, ca, options) {
  const lookup = (_, { all }, done) =>
    all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
  const agent = new https.Agent({ keepAlive: true, ca: fs.readFileSync(ca), lookup });
  return new AWS.S3({
    endpoint: `https://${host}:${port}`, region: f.REGION, credentials: new AWS.Credentials(f.CREDENTIALS),
    s3ForcePathStyle: true, signatureVersion: "v4", maxRetries: 0, httpOptions: { agent }, ...options,
  });
}

async function storeAndFetch(s3, bucket) {
  const body = f.randomBytes(3_000_001);
  await s3.createBucket({ Bucket: bucket }).promise();
  await s3.putObject({ Bucket: bucket, Key: "key", Body: body }).promise();
  same("body", (await s3.getObject({ Bucket: bucket, Key: "key" }).promise()).Body, body);
}

async function documented() {
  await step("a CA and a certificate by openssl", async () => makeCertificates());
  fs.writeFileSync("config.json", JSON.stringify({
    certFilePaths: { key: "./test.key", cert: "./test.crt", ca: "./ca.crt" },
    restEndpoints: { [HOST]: "us-east-1" },
  }));
  const server = await serve("documented");
  await step("the script of the documentation", async () => {
    await storeAndFetch(client(HOST, server.port, "ca.crt"), BUCKET);
    console.log("SSL is cool!");
  });
  await step("a client that does not trust the CA", async () => {
    openssl("req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "other.key", "-out", "other.crt",
      "-days", "2", "-subj", "/CN=other");
    const s3 = client(HOST, server.port, "other.crt");
    const refused = await s3.listBuckets().promise().then(() => "trusted", (error) => error.message);
    // What Node calls an unknown issuer depends on what the server sends of the chain.
    if (!/self.signed|unable to/i.test(refused)) throw new Error(`not refused for its CA: ${refused}`);
  });
  await server.stop();
}

const BOTO3 = `
import sys, boto3
from botocore.config import Config
url, ca, bucket, key, secret = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, verify=ca, aws_access_key_id=key, aws_secret_access_key=secret,
                  region_name="us-east-1", config=Config(s3={"addressing_style": "path"}))
print(s3.get_object(Bucket=bucket, Key="key")["ContentLength"])
`;

async function selfSigned() {
  fs.rmSync("config.json", { force: true });
  const bucket = `${BUCKET}-own`;
  const server = await serve("own", "--tls-self-signed", "tls", "--endpoint", HOST);
  const ca = path.resolve("tls/ca.crt");
  await step("self-signed: path and virtual-hosted style", async () => {
    await storeAndFetch(client("localhost", server.port, ca), bucket);
    const hosted = client(HOST, server.port, ca, { s3ForcePathStyle: false });
    same("hosted", (await hosted.headObject({ Bucket: bucket, Key: "key" }).promise()).ContentLength, 3_000_001);
  });
  await step("self-signed: openssl verifies, strictly", async () => {
    openssl("verify", "-x509_strict", "-CAfile", ca, "-verify_hostname", `bucket.${HOST}`, "tls/server.crt");
  });
  await step("self-signed: curl, in both versions", async () => {
    for (const version of [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]]) {
      const url = `https://localhost:${server.port}/live`;
      same("status", run("curl", "-sS", ...version, "--cacert", ca, "-o", "/dev/null", "-w", "%{http_code}", url), "200");
    }
  });
  const bin = process.env.LANE_BIN;
  const url = `https://localhost:${server.port}`;
  const { accessKeyId, secretAccessKey } = f.CREDENTIALS;
  if (fs.existsSync(`${bin}/aws`)) {
    await step("self-signed: boto3 and the AWS CLI", async () => {
      const got = run(`${bin}/python`, "-c", BOTO3, url, ca, bucket, accessKeyId, secretAccessKey);
      same("boto3", got.trim(), "3000001");
      const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
      Object.assign(process.env, keys, { AWS_DEFAULT_REGION: f.REGION });
      const listed = run(`${bin}/aws`, "--endpoint-url", url, "--ca-bundle", ca, "s3", "ls", `s3://${bucket}/`);
      same("aws s3 ls", /3000001 key/.test(listed), true);
    });
  } else {
    console.log("   not run: boto3 and the AWS CLI, which are installed for lanes of their own");
  }
  await server.stop();
}

f.finish(async () => {
  await documented();
  await selfSigned();
});
