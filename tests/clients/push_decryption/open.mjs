// A browser's side of Web Push: makes keys (http_ece needs Node's ECDH), and opens what arrives
// with http_ece and jose. One JSON line for each request on standard input.
import { createECDH, randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import ece from "http_ece";
import { importJWK, jwtVerify } from "jose";

function make() {
  const ecdh = createECDH("prime256v1");
  const p256dh = ecdh.generateKeys("base64url");
  const auth = randomBytes(16).toString("base64url");
  return { p256dh, auth, private: ecdh.getPrivateKey("base64url") };
}

/** Verifies the signature for this push service, and returns its public key and claims. */
async function verify(authorization, audience) {
  const [, token, key] = /^vapid t=([^,]+), k=(.+)$/.exec(authorization);
  const point = Buffer.from(key, "base64url");
  const x = point.subarray(1, 33).toString("base64url");
  const y = point.subarray(33).toString("base64url");
  const jwk = await importJWK({ kty: "EC", crv: "P-256", x, y }, "ES256");
  const { payload, protectedHeader } = await jwtVerify(token, jwk, { audience });
  return { key, claims: payload, header: protectedHeader };
}

async function read({ private: own, auth, authorization, audience, body }) {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(own, "base64url");
  const opened = ece.decrypt(Buffer.from(body, "base64"), {
    version: "aes128gcm",
    privateKey: ecdh,
    authSecret: auth,
  });
  return { ...(await verify(authorization, audience)), message: JSON.parse(opened.toString()) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    const answer = request.make ? make() : await read(request);
    console.log(JSON.stringify(answer));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message) }));
  }
}
